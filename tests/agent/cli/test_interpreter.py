"""`envagent materialize` of a lock that brings its Python as an archive of a files upstream."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

import pytest

from envagent.machine import platform
from fixtures.agent import Agent, write_lock
from fixtures.collection import FakeFiles
from fixtures.proxy import running_proxy
from fixtures.standalone import FAKE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PATH = "download/1/cpython-9.9.9%2B1-install_only.tar.gz"


@pytest.fixture
async def upstream() -> AsyncIterator[FakeFiles]:
    async with FakeFiles() as host:
        host.put("download/1/cpython-9.9.9+1-install_only.tar.gz", FAKE)
        yield host


def _document(upstream: FakeFiles) -> dict[str, Any]:
    package = {
        "kind": "interpreter",
        "name": "cpython",
        "version": "9.9.9",
        "filename": "cpython-9.9.9+1-install_only.tar.gz",
        "url": f"{upstream.url}{PATH}",
        "size": len(FAKE),
        "sha256": hashlib.sha256(FAKE).hexdigest(),
        "depends": [],
    }
    target = {
        "platform": platform(os.uname()),
        "interpreter": {"kind": "files", "name": "cpython"},
        "packages": [package],
    }
    return {"envmesh-lock": 1, "environments": {"default": {"request": {}, "targets": [target]}}}


async def test_its_python_comes_through_the_proxy_and_a_second_environment_needs_neither(
    tmp_path: Path, upstream: FakeFiles
) -> None:
    lock = write_lock(_document(upstream), tmp_path / "lock.json")
    (tmp_path / "proxy").mkdir()
    settings = {"files.pythons.url": upstream.url}
    async with running_proxy(tmp_path / "proxy", settings=settings) as proxy:
        agent = Agent(tmp_path, {"ENVAGENT_PROXY": proxy.url})
        first = await agent.run("materialize", lock, "--prefix", "first", "--no-proxy-fallback")
        assert first.code == 0, first.err
        assert upstream.count("GET", "*.tar.gz") == 1
    await upstream.stop()
    second = await agent.run("materialize", lock, "--prefix", "second")
    assert second.code == 0, second.err
    assert (tmp_path / "first/bin/python").readlink() == (tmp_path / "second/bin/python").readlink()
    assert (tmp_path / "first/bin/python").resolve().is_relative_to(agent.data / "store" / "trees")


async def test_an_archive_other_than_the_lock_names_makes_no_environment(tmp_path: Path, upstream: FakeFiles) -> None:
    lock = write_lock(_document(upstream), tmp_path / "lock.json")
    upstream.put("download/1/cpython-9.9.9+1-install_only.tar.gz", FAKE[:-1] + b"?")
    said = await Agent(tmp_path).run("materialize", lock, "--prefix", "env")
    assert said.code != 0
    assert "cpython-9.9.9+1-install_only.tar.gz" in said.err
    assert not (tmp_path / "env").exists()
