"""`envagent lock --standalone-python`: the lock brings its Python along, as an archive of the proxy's files face."""

from __future__ import annotations

import json
import platform
import sys
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.agent import Agent
from fixtures.collection import FakeFiles
from fixtures.conda_pythons import CannotMoveError
from fixtures.proxy import running_proxy
from fixtures.standalone import make_standalone
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fixtures.upstream import FakeIndex

MINOR = ".".join(map(str, sys.version_info[:2]))
LATEST = "latest/download/SHA256SUMS"
LOCK = ("lock", "--pypi", "alpha", "--platform", "linux-64", "--standalone-python", "-o", "lock.json")


@pytest.fixture
async def releases() -> AsyncIterator[FakeFiles]:
    async with FakeFiles() as host:
        yield host


@pytest.fixture
async def agent(tmp_path: Path, index: FakeIndex, releases: FakeFiles) -> AsyncIterator[Agent]:
    index.add(make_wheel("alpha", "1.0"))
    home = tmp_path / "proxy"
    home.mkdir()
    settings = {"files.python-build-standalone.url": releases.url}
    async with running_proxy(home, upstream=index, settings=settings) as proxy:
        yield Agent(tmp_path, {"ENVAGENT_PROXY": proxy.url, "UV_HTTP_RETRIES": "0"})


def _release(releases: FakeFiles, version: str) -> str:
    """A release with one archive; its name."""
    filename = f"cpython-{version}+20240107-x86_64-unknown-linux-gnu-install_only.tar.gz"
    sha256 = releases.put(f"download/20240107/{filename}", b"archive")
    releases.put(LATEST, f"{sha256}  {filename}\n".encode())
    return filename


def _target(agent: Agent) -> dict[str, Any]:
    [target] = json.loads((agent.home / "lock.json").read_text())["environments"]["default"]["targets"]
    return target


async def test_the_lock_names_the_archive_and_keeps_it_when_it_is_made_again(
    agent: Agent, releases: FakeFiles
) -> None:
    filename = _release(releases, f"{MINOR}.7")
    said = await agent.run(*LOCK, "--python", MINOR)
    assert said.code == 0, said.err
    target = _target(agent)
    assert target["interpreter"] == {"kind": "files", "name": "cpython"}
    assert target["packages"][0]["filename"] == filename
    asked = releases.count()
    _release(releases, f"{MINOR}.8")
    again = await agent.run(*LOCK, "--python", MINOR)
    assert again.code == 0, again.err
    assert _target(agent) == target
    assert releases.count() == asked


async def test_a_version_without_an_archive_makes_no_lock(agent: Agent, releases: FakeFiles) -> None:
    _release(releases, "3.99.1")
    said = await agent.run(*LOCK, "--python", MINOR)
    assert said.code == 2
    assert f"there is no relocatable Python {MINOR} for linux-64" in said.err
    assert not (agent.home / "lock.json").exists()


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the archive is called as for x86_64"
)
async def test_what_was_locked_is_made_and_runs(agent: Agent, releases: FakeFiles) -> None:
    try:
        standalone = make_standalone()
    except CannotMoveError as error:
        pytest.skip(str(error))
    releases.put(standalone.path, standalone.data)
    releases.put(LATEST, f"{standalone.sha256}  {standalone.filename}\n".encode())
    locked = await agent.run(*LOCK, "--python", standalone.version)
    assert locked.code == 0, locked.err
    said = await agent.run(
        "run", "--lock", "lock.json", "--", "python", "-c", "import alpha, sys; print(sys.base_prefix)"
    )
    assert said.code == 0, said.err
    assert said.out.startswith(str(agent.data / "store" / "trees"))
