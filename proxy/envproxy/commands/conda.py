"""`envproxy conda`: packages into a hosted channel, what it has, and taking them back.

An upload goes to a server, which indexes the package before it answers; the rest works on the data directory, and a
running server indexes anew when it notices.
"""

from __future__ import annotations

import asyncio
import os
from argparse import Namespace
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import msgspec
from yarl import URL

from envproxy.command import UsageError
from envproxy.conda.archive import read_archive
from envproxy.conda.channel import parse_filename
from envproxy.engine.channels import HostedPackage
from envproxy.errors import EnvproxyError
from envproxy.kinds import BadValueError, Surroundings, secret
from envproxy.tables import Config

from .data import Data, config_of, opened, packages_of
from .output import print_json, print_table, say, shown_size

_READ_BYTES = 1024 * 1024
_SILENCE_S = 60.0  # indexing a large channel takes seconds, not a minute


def upload(args: Namespace) -> int:
    """Send each file. Raises EnvproxyError at the first that is refused."""
    asyncio.run(_upload(URL(args.url or "http://127.0.0.1:8417"), args.channel, _token(args.token), args.file))
    return 0


def show(args: Namespace) -> int:
    """List packages."""
    packages = asyncio.run(_listed(*_place(args)))
    if args.json:
        print_json([_document(package) for package in packages])
    else:
        print_table(
            ("subdir", "package", "size", "uploaded", "by", "yanked"),
            [
                (
                    package.subdir, package.filename, shown_size(package.size), _instant(package.uploaded_at),
                    package.uploader, "yes" if package.yanked else "",
                )
                for package in packages
            ],
        )  # fmt: skip
    return 0


def yank(args: Namespace) -> int:
    """List each package as removed."""
    return asyncio.run(_change(*_place(args), args.package, deleting=False))


def delete(args: Namespace) -> int:
    """Delete each package, with its bytes."""
    return asyncio.run(_change(*_place(args), args.package, deleting=True))


async def _upload(url: URL, channel: str, token: str | None, packages: list[str]) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=_SILENCE_S)
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
        for package in map(Path, packages):
            name = parse_filename(package.name)
            if name is None:
                raise EnvproxyError(f"{package} is not the name of a package", hint="it is name-version-build.conda")
            archive = await asyncio.to_thread(read_archive, package, name)
            target = url / "conda" / channel / archive.subdir / package.name
            try:
                async with session.put(target, data=_pieces(package)) as answer:
                    _check(answer.status, await answer.read(), package.name)
            except (aiohttp.ClientError, TimeoutError) as error:
                shown = url.with_user(None)
                raise EnvproxyError(f"no envproxy takes {package.name} at {shown}", hint="is it running?") from error
            say(f"uploaded {archive.subdir}/{package.name}")


def _check(status: int, body: bytes, filename: str) -> None:
    if status >= 400:
        try:
            problem = msgspec.json.decode(body, type=dict[str, str | int])
        except msgspec.MsgspecError:
            problem = {}
        raise EnvproxyError(f"{filename}: {problem.get('detail', status)}", hint=str(problem.get("hint", "")))


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, _READ_BYTES):
            yield piece


async def _listed(config: Config, channel: str) -> list[HostedPackage]:
    async with opened(config) as data:
        return await packages_of(data.catalog, channel)


async def _change(config: Config, channel: str, filenames: list[str], *, deleting: bool) -> int:
    async with opened(config) as data:
        known = await packages_of(data.catalog, channel)
        if missing := sorted(set(filenames) - {package.filename for package in known}):
            raise EnvproxyError(
                f"{channel} has no {', '.join(missing)}", hint=f"envproxy conda list {channel} shows all"
            )
        for package in known:
            if package.filename in filenames:
                await _take_back(data, package, deleting=deleting)
                say(f"{'deleted' if deleting else 'yanked'} {package.subdir}/{package.filename}")
    return 0


async def _take_back(data: Data, package: HostedPackage, *, deleting: bool) -> None:
    key = (package.channel, package.subdir, package.filename)
    if not deleting:
        await data.catalog.yank_package(*key)
        return
    await data.catalog.delete_package(*key)
    if package.sha256 not in {pin.sha256 for pin in await data.catalog.pins()}:
        await asyncio.to_thread(data.store.delete, package.sha256)
        await data.catalog.forget_blob(package.sha256)


def _place(args: Namespace) -> tuple[Config, str]:
    """The configuration and its hosted channel. Raises UsageError if it has none of that name."""
    config = config_of(args)
    if args.channel not in config.conda.hosted:
        known = ", ".join(config.conda.hosted) or "none"
        raise UsageError(f"there is no hosted channel {args.channel!r}", hint=f"the configuration has: {known}")
    return config, args.channel


def _token(reference: str | None) -> str | None:
    """What `env:NAME` or `file:PATH` refers to. Raises UsageError."""
    if reference is None:
        return None
    try:
        return secret(reference, Surroundings(os.environ, Path())).reveal()
    except BadValueError as error:
        raise UsageError(f"--token {error.rule}", hint=error.hint) from error


def _document(package: HostedPackage) -> dict[str, object]:
    return {
        "channel": package.channel,
        "subdir": package.subdir,
        "filename": package.filename,
        "sha256": package.sha256,
        "size": package.size,
        "uploaded_at": _instant(package.uploaded_at),
        "uploader": package.uploader,
        "yanked": package.yanked,
        "record": msgspec.json.decode(package.record),
    }


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
