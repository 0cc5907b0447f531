"""Choosing a relocatable CPython for a machine: an archive of python-build-standalone, seen through the proxy.

What there is, the checksums of the latest release say, and they pin it: one release has one patch version of each
minor one, so a version that is not among them has no archive here, and the caller takes a Python of the machine. The
archive is not fetched. A failure to ask is an error and never an absence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from envagent.lock.model import InterpreterArchive

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from envagent.lock.model import Target
    from envagent.resolve.asking import Asking

COLLECTION = "python-build-standalone"
"""What a proxy calls the releases, unless its operator took the name for something else."""

_LATEST = "latest/download/SHA256SUMS"
_LINE = re.compile(
    r"(?P<sha256>[0-9a-f]{64}) [ *](?P<filename>cpython-(?P<version>3\.[0-9]+\.[0-9]+)\+(?P<tag>[0-9]{8})"
    r"-(?P<triple>[a-z0-9_-]+)-(?P<form>install_only|install_only_stripped)\.tar\.gz)"
)
_TRIPLES = {
    "linux-64": "x86_64-unknown-linux-gnu",
    "linux-aarch64": "aarch64-unknown-linux-gnu",
    "linux-ppc64le": "ppc64le-unknown-linux-gnu",
    "linux-riscv64": "riscv64-unknown-linux-gnu",
    "linux-s390x": "s390x-unknown-linux-gnu",
    "osx-64": "x86_64-apple-darwin",
    "osx-arm64": "aarch64-apple-darwin",
    "win-64": "x86_64-pc-windows-msvc",
    "win-arm64": "aarch64-pc-windows-msvc",
}


@dataclass(frozen=True, slots=True)
class Build:
    """One archive of a release; `tag` is the day of the release (20240107)."""

    filename: str
    version: str
    tag: str
    sha256: str
    is_stripped: bool

    @property
    def path(self) -> str:
        """Below the releases. The plus is quoted: some file hosts take a bare one for a space."""
        return f"download/{self.tag}/{quote(self.filename)}"


async def located(
    version: str, machine: Target, ask: Asking, *, exclude_newer: datetime | None = None
) -> InterpreterArchive | None:
    """The archive of Python `version` (3.12, or 3.12.8) for the machine; None where the latest release has none.

    `exclude_newer` leaves out a release of a later day. Raises SourceUnreachable, AccessRefused.
    """
    upstream = next(iter(ask.origins.files.get(COLLECTION, ())), None)
    if upstream is None:
        return None
    sums = await ask.page(f"{ask.proxy}/files/{COLLECTION}/{_LATEST}")
    found = chosen(builds((sums or b"").decode("utf-8", "replace"), machine), version)
    if found is None or (exclude_newer is not None and found.tag > f"{exclude_newer:%Y%m%d}"):
        return None
    return InterpreterArchive(
        name="cpython",
        version=found.version,
        filename=found.filename,
        url=f"{upstream.rstrip('/')}/{found.path}",
        size=await ask.size(f"{ask.proxy}/files/{COLLECTION}/{found.path}"),
        sha256=found.sha256,
    )


def builds(sums: str, machine: Target) -> Iterator[Build]:
    """The archives for a machine, of the checksums of a release."""
    triple = _TRIPLES.get(machine.platform, "")
    if "__musl" in machine.virtual_packages:
        triple = triple.replace("-gnu", "-musl")
    for line in sums.splitlines():
        found = _LINE.fullmatch(line.strip())
        if found and found["triple"] == triple:
            is_stripped = found["form"] == "install_only_stripped"
            yield Build(found["filename"], found["version"], found["tag"], found["sha256"], is_stripped)


def chosen(found: Iterable[Build], version: str) -> Build | None:
    """The newest of a version such as 3.12 or 3.12.8, without debug symbols where it is there so."""
    fitting = [build for build in found if f"{build.version}.".startswith(f"{version}.")]
    return max(fitting, key=lambda build: (_numbers(build.version), build.tag, build.is_stripped), default=None)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
