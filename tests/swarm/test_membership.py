"""A node's place in the swarm: it beats on, whatever fails on its own machine."""

from __future__ import annotations

import asyncio
import errno
from contextlib import suppress
from typing import TYPE_CHECKING

from envagent.peers.membership import Identity, Membership, Publicity
from envagent.peers.wire import Wire
from fixtures.patience import until
from fixtures.swarm import SECRET

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from fixtures.proxy import LocalProxy


async def test_a_disk_that_fails_for_a_moment_does_not_end_the_heartbeat(
    proxy: LocalProxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listed: list[str] = []

    def whole() -> dict[str, int]:
        listed.append("again")
        if len(listed) == 1:
            raise OSError(errno.EIO, "Input/output error")
        return {"ab" * 32: 1000}

    me = Identity("node-1", 1, "http://node-1.example.org:8418")
    async with Wire("node-1", proxy.url, SECRET, peer_timeout_s=2) as wire:
        membership = Membership(me, wire, Publicity(tmp_path / "public"), whole=whole, busy=lambda: 0)
        beating = asyncio.create_task(membership.beat_often())
        await until(lambda: listed)
        membership.announce_soon()
        await until(lambda: len(listed) > 1 or beating.done())
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
    assert "the artifacts here cannot be listed: [Errno 5] Input/output error" in caplog.text
