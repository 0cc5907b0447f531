"""Which relocatable Python a lock gets: out of the checksums of the latest release, through the proxy."""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from envagent.errors import SourceUnreachable
from envagent.fetch.artifacts import Artifacts
from envagent.fetch.sources import Origins
from envagent.lock.model import InterpreterArchive, Target
from envagent.resolve.asking import Asking, asking
from envagent.resolve.pythons import builds, chosen, located
from fixtures.collection import FakeFiles
from fixtures.faults import Status
from fixtures.proxy import running_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LINUX = Target(platform="linux-64", virtual_packages={"__glibc": "2.28"})
A, B, C, D = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
X86 = "20240107-x86_64-unknown-linux-gnu"
SUMS = f"""\
{A}  cpython-3.12.1+{X86}-install_only.tar.gz
{B}  cpython-3.12.1+{X86}-install_only_stripped.tar.gz
{A}  cpython-3.12.1+{X86}-debug-full.tar.zst
{A}  cpython-3.12.1+{X86}-freethreaded-install_only.tar.gz
{C}  cpython-3.9.18+{X86}-install_only.tar.gz
{C}  cpython-3.12.0+20240107-x86_64_v3-unknown-linux-gnu-install_only.tar.gz
{D}  cpython-3.12.1+20240107-x86_64-unknown-linux-musl-install_only.tar.gz
{D}  cpython-3.12.1+20240107-aarch64-apple-darwin-install_only.tar.gz
{D}  cpython-3.14.0rc1+{X86}-install_only.tar.gz
junk
"""


@pytest.mark.parametrize(
    ("version", "filename"),
    [
        ("3.12", f"cpython-3.12.1+{X86}-install_only_stripped.tar.gz"),
        ("3.12.1", f"cpython-3.12.1+{X86}-install_only_stripped.tar.gz"),
        ("3.9", f"cpython-3.9.18+{X86}-install_only.tar.gz"),
        ("3", f"cpython-3.12.1+{X86}-install_only_stripped.tar.gz"),
    ],
)
def test_the_newest_stripped_build_of_a_version_is_chosen(version, filename):
    assert chosen(builds(SUMS, LINUX), version).filename == filename


@pytest.mark.parametrize("version", ["3.12.0", "3.1", "3.14", "3.10", "2.7"])
def test_a_version_that_the_release_lacks_has_no_build(version):
    assert chosen(builds(SUMS, LINUX), version) is None


@pytest.mark.parametrize(
    ("machine", "triple"),
    [
        (Target(platform="osx-arm64", virtual_packages={"__osx": "13.0"}), "aarch64-apple-darwin"),
        (Target(platform="linux-64", virtual_packages={"__musl": "1.2"}), "x86_64-unknown-linux-musl"),
    ],
)
def test_each_machine_gets_its_own_build(machine, triple):
    assert chosen(builds(SUMS, machine), "3.12").filename == f"cpython-3.12.1+20240107-{triple}-install_only.tar.gz"


def test_a_machine_that_nobody_builds_for_gets_none():
    assert list(builds(SUMS, Target(platform="linux-32"))) == []


@pytest.fixture
async def upstream() -> AsyncIterator[FakeFiles]:
    async with FakeFiles() as host:
        yield host


@asynccontextmanager
async def _through_a_proxy(tmp_path: Path, upstream: FakeFiles) -> AsyncIterator[Asking]:
    settings = {"files.python-build-standalone.url": upstream.url}
    async with (
        running_proxy(tmp_path, settings=settings) as proxy,
        asking(Artifacts(tmp_path / "artifacts"), proxy.url) as ask,
    ):
        yield ask


def _release(upstream: FakeFiles) -> tuple[str, str]:
    filename = f"cpython-3.12.1+{X86}-install_only.tar.gz"
    sha256 = upstream.put(f"download/20240107/{filename}", b"archive")
    upstream.put("latest/download/SHA256SUMS", f"{sha256}  {filename}\n".encode())
    return filename, sha256


async def test_the_lock_pins_upstreams_own_url_and_the_archive_is_not_fetched(
    tmp_path: Path, upstream: FakeFiles
) -> None:
    filename, sha256 = _release(upstream)
    async with _through_a_proxy(tmp_path, upstream) as ask:
        found = await located("3.12", LINUX, ask)
    assert found == InterpreterArchive(
        name="cpython",
        version="3.12.1",
        filename=filename,
        url=f"{upstream.url}download/20240107/{filename.replace('+', '%2B')}",
        size=len(b"archive"),
        sha256=hashlib.sha256(b"archive").hexdigest(),
    )
    assert found.sha256 == sha256
    assert upstream.count("GET", "*.tar.gz") == 0


async def test_a_release_after_the_last_day_that_counts_is_left_out(tmp_path: Path, upstream: FakeFiles) -> None:
    _release(upstream)
    async with _through_a_proxy(tmp_path, upstream) as ask:
        before, on_the_day = datetime(2024, 1, 6, 23, tzinfo=UTC), datetime(2024, 1, 7, tzinfo=UTC)
        assert await located("3.12", LINUX, ask, exclude_newer=before) is None
        assert await located("3.12", LINUX, ask, exclude_newer=on_the_day) is not None


async def test_without_a_release_or_such_a_collection_there_is_no_archive(
    tmp_path: Path, upstream: FakeFiles
) -> None:
    async with _through_a_proxy(tmp_path, upstream) as ask:
        assert await located("3.12", LINUX, ask) is None
        assert await located("3.12", LINUX, replace(ask, origins=Origins())) is None
    assert upstream.count() == 1


async def test_a_failure_is_no_absence(tmp_path: Path, upstream: FakeFiles) -> None:
    upstream.fail("*", Status(500))
    async with _through_a_proxy(tmp_path, upstream) as ask:
        with pytest.raises(SourceUnreachable):
            await located("3.12", LINUX, ask)
