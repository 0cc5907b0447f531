"""`envproxy pin`, `unpin` and `pins`: what the cache must keep, whatever its limits.

A wheel is pinned together with its metadata, for one is of little use without the other. Only what is here can be
pinned; a pin fetches nothing.
"""

from __future__ import annotations

import asyncio
import re
import time
from argparse import Namespace
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from envproxy.command import UsageError
from envproxy.engine.catalog import Artifact, Catalog
from envproxy.errors import EnvproxyError
from envproxy.pypi.show import wheel_key
from envproxy.tables import Config

from .data import Data, config_of, opened
from .output import counted, print_json, print_table, say, shown_size
from .spec import Spec, parse_spec

_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")

Change = Callable[[Catalog, str], Awaitable[object]]
"""What to do with one SHA-256."""


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The SHA-256 of the files that were named, the SPECs that named none, and all their bytes with the metadata."""

    files: set[str]
    unmatched: list[str]
    nbytes: int


@dataclass(frozen=True, slots=True)
class _Pinned:
    """A pin with what is known of its blob; `size` in bytes, None if the disk has lost it."""

    sha256: str
    filename: str | None
    size: int | None
    reason: str
    since: str


def pin(args: Namespace) -> int:
    """Pin what is cached of what was named; 1 if a SPEC matched nothing."""
    reason = f"lock:{Path(args.lock).name}" if args.lock else "named"
    return _apply(args, "pinned", lambda catalog, sha256: catalog.pin(sha256, reason, time.time()))


def unpin(args: Namespace) -> int:
    """Drop the pins of what was named; 1 if a SPEC matched nothing."""
    return _apply(args, "unpinned", Catalog.unpin)


def show(args: Namespace) -> int:
    """List every pin."""
    pinned = asyncio.run(_listed(config_of(args)))
    if args.json:
        print_json([asdict(one) for one in pinned])
    else:
        print_table(
            ("file", "size", "reason", "since", "sha256"),
            [(one.filename or "", shown_size(one.size or 0), one.reason, one.since, one.sha256) for one in pinned],
        )
    return 0


def _apply(args: Namespace, done: str, change: Change) -> int:
    if not (args.spec or args.lock):
        raise UsageError("nothing is named", hint="give a SPEC, or a lock file with --lock")
    asked = _digests_in(args.lock) if args.lock else set()
    chosen = asyncio.run(_change(config_of(args), [parse_spec(text) for text in args.spec], asked, change))
    for text in chosen.unmatched:
        say(f"nothing cached matches {text}")
    of = f" of the {len(asked)} in {args.lock}" if args.lock else ""
    say(f"{done} {counted(len(chosen.files), 'file')}{of}, {shown_size(chosen.nbytes)}")
    return 1 if chosen.unmatched else 0


async def _change(config: Config, specs: list[Spec], asked: set[str], change: Change) -> _Chosen:
    async with opened(config) as data:
        artifacts = await data.catalog.artifacts()
        files, unmatched = await _named(data, specs, artifacts)
        files |= await _present(data, asked)
        both = files | await _metadata_of(data, files, artifacts)
        for sha256 in sorted(both):
            await change(data.catalog, sha256)
        sizes = [await asyncio.to_thread(data.store.size, sha256) for sha256 in both]
    return _Chosen(files, unmatched, sum(size or 0 for size in sizes))


async def _named(data: Data, specs: list[Spec], artifacts: list[Artifact]) -> tuple[set[str], list[str]]:
    """The digests of what is cached of the SPECs, and those that match nothing."""
    digests: set[str] = set()
    unmatched = []
    for spec in specs:
        named = {file.sha256 for file in spec.among(artifacts)} | ({spec.sha256} if spec.sha256 else set())
        found = await _present(data, named)
        digests |= found
        if not found:
            unmatched.append(spec.text)
    return digests, unmatched


async def _present(data: Data, digests: set[str]) -> set[str]:
    """Those that are stored, or were when they were pinned: a pin must go even if the disk lost its blob."""
    sizes = {sha256: await asyncio.to_thread(data.store.size, sha256) for sha256 in digests}
    pinned = {pin.sha256 for pin in await data.catalog.pins()}
    return {sha256 for sha256, size in sizes.items() if size is not None or sha256 in pinned}


async def _metadata_of(data: Data, digests: set[str], artifacts: list[Artifact]) -> set[str]:
    keys = [wheel_key(file.source, file) for file in artifacts if file.sha256 in digests]
    known = await data.catalog.sidecars_for(keys)
    return await _present(data, {sha256 for sha256 in known.values() if sha256 is not None})


def _digests_in(lock: str) -> set[str]:
    """Every SHA-256 that a lock file names. Raises UsageError if it names none."""
    try:
        found = set(_DIGEST.findall(Path(lock).read_text("utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise EnvproxyError(f"{lock} cannot be read: {error}") from error
    if not found:
        raise UsageError(
            f"{lock} names no SHA-256", hint="requirements.txt needs hashes: uv pip compile --generate-hashes"
        )
    return found


async def _listed(config: Config) -> list[_Pinned]:
    async with opened(config) as data:
        names = await data.names()
        return [
            _Pinned(
                sha256=pin.sha256,
                filename=names.get(pin.sha256),
                size=await asyncio.to_thread(data.store.size, pin.sha256),
                reason=pin.reason,
                since=datetime.fromtimestamp(pin.pinned_at, UTC).isoformat(timespec="seconds"),
            )
            for pin in await data.catalog.pins()
        ]
