"""Who waits at the desk of a running proxy, asked in its own event loop: so a wait is under way when it should be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from envproxy.errors import ClientError
from envproxy.swarm.bitmap import to_bytes
from envproxy.swarm.messages import VERSION, Given, Hello, Want
from fixtures.swarm import Agent, Refused, digest

if TYPE_CHECKING:
    from envproxy.swarm.desk import Desk
    from fixtures.collection import FakeFiles
    from fixtures.proxy import LocalProxy

SMALL = b"small enough to be one piece"
SHA = digest(SMALL)


class Visitor:
    """Says hello for nodes of a tenant, and wants the artifact `sha256` for them."""

    def __init__(self, desk: Desk, sha256: str) -> None:
        self._desk = desk
        self._sha256 = sha256
        self._directory = ""

    async def hello(self, *nodes: str) -> None:
        for node in nodes:
            address = f"http://{node}.example.org:8418"
            welcome = await self._desk.hello(Hello(node=node, epoch=1, address=address), "default")
            self._directory = welcome.directory

    async def want(self, node: str, *, tenant: str = "default", held: int = 0, **others: object) -> Given:
        want = Want(
            node=node, epoch=1, directory=self._directory, sha256=self._sha256,
            path="/files/demo/small.bin", held=to_bytes(held), **others,  # type: ignore[arg-type] # what Want has
        )  # fmt: skip
        return await self._desk.want(want, tenant)

    async def begin_to_wait(self, node: str, *, serial: int = 0) -> asyncio.Task[Given]:
        """Want something for a node while all there is is another's; it waits once this returns."""
        assert (await self.want(node, wait_s=0)).offers == []
        waiting = asyncio.create_task(self.want(node, serial=serial, wait_s=5.0))
        await asyncio.sleep(0)
        return waiting


async def turns() -> None:
    """Let everybody do what can be done now."""
    for _ in range(10):
        await asyncio.sleep(0)


async def visit(proxy: LocalProxy, sha256: str) -> Visitor:
    """Of the nodes `first` and `second` the first has the artifact's lease."""
    assert proxy.parts.swarm is not None
    visitor = Visitor(proxy.parts.swarm.desk, sha256)
    await visitor.hello("first", "second")
    while not (await visitor.want("first")).leases:
        pass  # until upstream has told how long it is
    return visitor


@pytest.fixture
async def visitor(proxy: LocalProxy, upstream: FakeFiles) -> Visitor:
    upstream.put("small.bin", SMALL)
    return await visit(proxy, SHA)


async def test_another_tenant_takes_no_nodes_place_by_its_name(visitor: Visitor):
    while not (await visitor.want("second", tenant="lab")).again:
        pass  # until upstream was asked for that tenant, too
    waiting = await visitor.begin_to_wait("second")

    foreign = await visitor.want("second", tenant="lab")
    await visitor.want("first", held=0b1, count=0)

    assert foreign.again == "hello"
    assert [offer.piece for offer in (await waiting).offers] == [0]


async def test_a_question_that_was_overtaken_takes_no_later_ones_place(visitor: Visitor):
    waiting = await visitor.begin_to_wait("second", serial=5)

    overtaken = await visitor.want("second", serial=3)
    await visitor.want("first", held=0b1, count=0)

    assert overtaken.offers == []
    assert [offer.piece for offer in (await waiting).offers] == [0]


async def test_a_later_question_takes_the_place_of_the_one_that_waits(visitor: Visitor):
    waiting = await visitor.begin_to_wait("second", serial=1)

    later = asyncio.create_task(visitor.want("second", serial=2, wait_s=5.0))
    await asyncio.sleep(0)
    await visitor.want("first", held=0b1, count=0)

    assert (await waiting).offers == []
    assert [offer.piece for offer in (await later).offers] == [0]


async def test_a_question_that_waits_is_answered_as_soon_as_there_is_a_later_one(visitor: Visitor):
    waiting = await visitor.begin_to_wait("second", serial=1)

    later = asyncio.create_task(visitor.want("second", serial=2, wait_s=5.0))
    await turns()

    assert (waiting.done(), later.done()) == (True, False)
    await visitor.want("first", held=0b1, count=0)
    await later


async def test_of_hundreds_that_ask_none_waits_and_each_is_told_a_pause(visitor: Visitor):
    names = [f"node-{number}" for number in range(200)]
    await visitor.hello(*names)
    for name in names:
        await visitor.want(name, wait_s=0)

    asked = asyncio.create_task(visitor.want("node-0", wait_s=5.0))
    await turns()

    assert asked.done()
    assert (asked.result().offers, asked.result().pace_s > 0.1) == ([], True)


async def test_who_has_it_all_is_told_no_pause(visitor: Visitor):
    names = [f"node-{number}" for number in range(200)]
    await visitor.hello(*names)
    given = [await visitor.want(name, wait_s=0, held=0b1, count=0) for name in names]

    assert {one.pace_s for one in given} == {0.0}


async def test_an_agent_that_speaks_another_version_is_refused_plainly(proxy: LocalProxy):
    assert proxy.parts.swarm is not None
    hello = Hello(node="old", epoch=1, address="http://old.example.org:8418", version=VERSION - 1)

    with pytest.raises(ClientError, match="old speaks version 1 of the swarm's messages, and this proxy 2"):
        await proxy.parts.swarm.desk.hello(hello, "default")


async def test_who_waits_is_not_told_a_size_that_turned_out_wrong_meanwhile(proxy: LocalProxy, upstream: FakeFiles):
    upstream.put("small.bin", SMALL[:10])  # what its length is asked of
    visitor = await visit(proxy, SHA)
    waiting = await visitor.begin_to_wait("second")
    upstream.put("small.bin", SMALL)

    with pytest.raises(Refused):
        await Agent(proxy.url, "first").piece(SHA, 0)

    assert (await waiting).leases == []
    while not (given := await visitor.want("second")).leases:
        pass
    assert given.size == len(SMALL)
