"""Agents get what was evicted as everybody does: it comes again, though its face remembers that it was here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fixtures.channel import FakeChannel
from fixtures.conda_packages import make_conda
from fixtures.proxy import running_proxy
from fixtures.repodata import FLAT_ONLY
from fixtures.swarm import SECRET, Agent
from fixtures.upstream import FakeIndex
from fixtures.wheels import make_wheel
from fixtures.wire import wire

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.proxy import LocalProxy

SWARM = {"swarm.enabled": "true", "swarm.secret": "env:SWARM"}
ENVIRON = {"SWARM": SECRET}


async def piece_of_what_was_evicted(proxy: LocalProxy, path: str, sha256: str) -> bytes:
    async with wire(proxy.url) as ask:
        for _ in range(2):  # the second is found where the first was put, and remembered
            assert (await ask(path, {"X-Expected-SHA256": sha256})).status == 200
            await proxy.settled()
    await asyncio.to_thread(proxy.parts.store.delete, sha256)
    agent = Agent(proxy.url, "node-1")
    await agent.hello()
    await agent.obtain(sha256, path)
    return await agent.piece(sha256, 0)


async def test_a_wheel_that_was_evicted_is_fetched_again_for_an_agent(tmp_path: Path) -> None:
    wheel = make_wheel("alpha", "1.0", payload_size=1000)
    path = f"/pypi/main/files/{wheel.project}/{wheel.sha256}/{wheel.filename}"
    async with (
        FakeIndex() as upstream,
        running_proxy(tmp_path, upstream=upstream, settings=SWARM, environ=ENVIRON) as proxy,
    ):
        upstream.add(wheel)
        assert await piece_of_what_was_evicted(proxy, path, wheel.sha256) == wheel.data


async def test_a_package_that_was_evicted_is_fetched_again_for_an_agent(tmp_path: Path) -> None:
    package = make_conda("alpha")
    async with FakeChannel(FLAT_ONLY) as upstream:
        upstream.add(package)
        settings = {**SWARM, **upstream.settings}
        async with running_proxy(tmp_path, settings=settings, environ=ENVIRON) as proxy:
            path = f"/conda/demo/{package.path}"
            assert await piece_of_what_was_evicted(proxy, path, package.sha256) == package.data
