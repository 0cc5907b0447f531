"""A node's place in the swarm: it beats on, whatever fails, and comes to none that refuses it."""

from __future__ import annotations

import asyncio
import errno
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from envagent.errors import AccessRefused
from envagent.peers.membership import Identity, Membership, Publicity
from envagent.peers.wire import Wire
from fixtures.agent import Agent
from fixtures.node import SECRET as OF_NODES
from fixtures.node import SWARM, running_node
from fixtures.patience import until
from fixtures.proxy import proxy_process
from fixtures.swarm import SECRET

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.proxy import LocalProxy, ProxyProcess

ME = Identity("node-1", 1, "http://node-1.example.org:8418")
NOTHING: dict[str, int] = {}


def membership(wire: Wire, home: Path, me: Identity = ME) -> Membership:
    return Membership(me, wire, Publicity(home / "public"), whole=lambda: NOTHING, busy=lambda: 0)


async def test_a_disk_that_fails_for_a_moment_does_not_end_the_heartbeat(
    proxy: LocalProxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listed: list[str] = []

    def whole() -> dict[str, int]:
        listed.append("again")
        if len(listed) == 1:
            raise OSError(errno.EIO, "Input/output error")
        return {"ab" * 32: 1000}

    async with Wire("node-1", proxy.url, SECRET, peer_timeout_s=2) as wire:
        member = Membership(ME, wire, Publicity(tmp_path / "public"), whole=whole, busy=lambda: 0)
        beating = asyncio.create_task(member.beat_often())
        await until(lambda: listed)
        member.announce_soon()
        await until(lambda: len(listed) > 1 or beating.done())
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
    assert "the artifacts here cannot be listed: [Errno 5] Input/output error" in caplog.text


@pytest.mark.parametrize(
    ("secret", "tenant", "said"),
    [
        pytest.param("of another swarm", "", "401: the swarm does not know that secret", id="nobody's"),
        pytest.param("the secret of the lab", "default", "403: that secret is tenant lab's", id="another tenant's"),
    ],
)
async def test_a_node_that_is_refused_when_it_comes_is_told_which_setting_to_look_at(
    proxy: LocalProxy, tmp_path: Path, secret: str, tenant: str, said: str
) -> None:
    me = Identity("node-1", 1, ME.address, tenant=tenant)
    async with Wire("node-1", proxy.url, secret, peer_timeout_s=2) as wire:
        with pytest.raises(AccessRefused) as refused:
            await membership(wire, tmp_path, me).come()
    assert refused.value.message.startswith("the proxy refuses the swarm-secret of this node: 127.0.0.1 answered")
    assert said in refused.value.message
    assert "ENVAGENT_SWARM_SECRET" in refused.value.hint


async def test_a_directory_that_is_down_refuses_nobody(tmp_path: Path) -> None:
    async with Wire("node-1", "http://127.0.0.1:1", SECRET, peer_timeout_s=2) as wire:
        member = membership(wire, tmp_path)
        await member.come()
    assert member.welcome is None


async def test_a_proxy_that_refuses_a_node_later_is_not_said_to_be_silent(
    proxy: LocalProxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Wire("node-1", proxy.url, "of another swarm", peer_timeout_s=2) as wire:
        beating = asyncio.create_task(membership(wire, tmp_path).beat_often())
        await until(lambda: caplog.records)
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "the proxy refuses the swarm-secret of this node"
    ]


async def test_envagent_serve_ends_where_its_secret_is_refused(tmp_path: Path, origin: ProxyProcess) -> None:
    agent = Agent(tmp_path, {"ENVAGENT_SWARM_SECRET": "env:SWARM_SECRET", "SWARM_SECRET": "of another swarm"})
    said = await agent.run("serve", "--proxy", origin.url, "--listen", "127.0.0.1:0")
    assert (said.code, said.out) == (1, "")
    assert "the proxy refuses the swarm-secret of this node" in said.err
    assert "swarm-secret (ENVAGENT_SWARM_SECRET) is to be" in said.err


async def test_a_node_that_the_proxy_knows_starts_while_the_proxy_is_down(tmp_path: Path) -> None:
    (tmp_path / "proxy").mkdir()
    async with proxy_process(tmp_path / "proxy", settings=SWARM, environ=OF_NODES) as proxy:
        async with running_node(tmp_path / "node", proxy.url):
            pass
        await proxy.kill()
        async with running_node(tmp_path / "node", proxy.url) as node:
            assert (await node.status())["directory"] == ""
