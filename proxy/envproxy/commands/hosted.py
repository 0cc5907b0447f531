"""`envproxy hosted`: what was uploaded here, and taking it back."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from dataclasses import asdict

from envproxy.command import UsageError
from envproxy.engine.catalog import HostedFile
from envproxy.errors import EnvproxyError
from envproxy.pypi.names import normalize
from envproxy.tables import Config

from .data import Data, config_of, files_of, opened
from .output import print_json, print_table, say, shown_size
from .spec import parse_spec


def show(args: Namespace) -> int:
    """List files."""
    files = asyncio.run(_listed(*_place(args), args.project))
    if args.json:
        print_json([asdict(file) for file in files])
    else:
        print_table(
            ("project", "version", "file", "size", "uploaded", "by", "yanked"),
            [
                (
                    file.project, file.version, file.filename, shown_size(file.size), file.upload_time,
                    file.uploader, "" if file.yanked is None else file.yanked or "yes",
                )
                for file in files
            ],
        )  # fmt: skip
    return 0


def yank(args: Namespace) -> int:
    """Yank each file (PEP 592)."""
    return asyncio.run(_set_yanked(*_place(args), args.spec, args.reason or ""))


def unyank(args: Namespace) -> int:
    """Undo it."""
    return asyncio.run(_set_yanked(*_place(args), args.spec, None))


def delete(args: Namespace) -> int:
    """Delete each file, with its bytes."""
    return asyncio.run(_delete(*_place(args), args.spec))


async def _listed(config: Config, source: str, project: str | None) -> list[HostedFile]:
    async with opened(config) as data:
        if project is not None:
            return await data.catalog.hosted_files(source, normalize(project))
        return await files_of(data.catalog, source)


async def _set_yanked(config: Config, source: str, specs: list[str], reason: str | None) -> int:
    async with opened(config) as data:
        for file in await _chosen(data, source, specs):
            await data.catalog.set_yanked(source, file.filename, reason)
            say(f"{'unyanked' if reason is None else 'yanked'} {file.filename}")
    return 0


async def _delete(config: Config, source: str, specs: list[str]) -> int:
    async with opened(config) as data:
        for file in await _chosen(data, source, specs):
            await data.catalog.delete_hosted(source, file.filename)
            await _delete_bytes(data, file)
            say(f"deleted {file.filename}")
    return 0


async def _delete_bytes(data: Data, file: HostedFile) -> None:
    """File before row, as an eviction does; what something else pins stays."""
    pinned = {pin.sha256 for pin in await data.catalog.pins()}
    for sha256 in {file.sha256, file.metadata_sha256} - pinned - {None}:
        assert sha256 is not None
        await asyncio.to_thread(data.store.delete, sha256)
        await data.catalog.forget_blob(sha256)


def _place(args: Namespace) -> tuple[Config, str]:
    """The configuration and its hosted index. Raises UsageError if it has none of that name."""
    config = config_of(args)
    if args.source not in config.pypi.hosted:
        known = ", ".join(config.pypi.hosted) or "none"
        raise UsageError(f"there is no hosted index {args.source!r}", hint=f"the configuration has: {known}")
    return config, args.source


async def _chosen(data: Data, source: str, texts: list[str]) -> list[HostedFile]:
    """The files that the SPECs name. Raises EnvproxyError, before anything is done, if one names none."""
    files = await files_of(data.catalog, source)
    chosen: dict[str, HostedFile] = {}
    for spec in map(parse_spec, texts):
        named = spec.among(files)
        if not named:
            raise EnvproxyError(f"{source} has no file {spec.text}", hint=f"envproxy hosted list {source} shows all")
        chosen |= {file.filename: file for file in named}
    return list(chosen.values())
