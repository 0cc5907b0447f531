"""The swarm's URLs on a running proxy: who is admitted, what is given, and pieces from the first byte to the last.

The clock stands still, and whoever should find something asks until it does.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientError, ClientSession

from envproxy.swarm.messages import Fault, Holding
from envproxy.swarm.tickets import admits
from fixtures.faults import Delay, Gate, flipped
from fixtures.swarm import SECRET, Agent, Refused, digest
from fixtures.wire import talk

if TYPE_CHECKING:
    from fixtures.clock import FakeClock
    from fixtures.collection import FakeFiles
    from fixtures.proxy import LocalProxy

SMALL = b"small enough to be one piece"
MIB = 1024 * 1024
THREE_MIB = Random(6).randbytes(3 * MIB)
LARGE = Random(5).randbytes(8 * MIB + 1)  # eight pieces of 1 MiB, and one of a byte


async def test_an_agent_gets_a_small_artifact_as_one_piece_whose_hash_is_its_digest(upstream: FakeFiles, come):
    sha256 = upstream.put("small.bin", SMALL)
    agent = await come("node-1")

    given = await agent.want(sha256, "/files/demo/small.bin")

    assert (given.private, given.size, given.leases, given.offers) == (False, len(SMALL), [0], [])
    assert given.hashes.hex() == sha256
    assert await agent.piece(sha256, 0) == SMALL


async def test_nothing_is_downloaded_before_somebody_fetches_what_was_leased(upstream: FakeFiles, come):
    sha256 = upstream.put("small.bin", SMALL)
    agent = await come("node-1")

    await agent.want(sha256, "/files/demo/small.bin")
    before = [seen.method for seen in upstream.requests]
    await agent.piece(sha256, 0)

    assert "GET" not in before
    assert [seen.method for seen in upstream.requests].count("GET") == 1


async def test_a_large_artifact_comes_in_pieces_with_hashes_of_their_own(upstream: FakeFiles, come):
    sha256 = upstream.put("large.bin", LARGE)
    agent = await come("node-1")
    got: dict[int, bytes] = {}
    hashes = b""

    while len(got) < 9:
        held = sum(1 << piece for piece in got)
        given = await agent.obtain(sha256, "/files/demo/large.bin", held=held, hashes=len(hashes) // 32)
        hashes += given.hashes
        for piece in given.leases:
            got[piece] = await agent.piece(sha256, piece)

    assert b"".join(got[piece] for piece in range(9)) == LARGE
    assert [hashes[32 * piece : 32 * piece + 32].hex() for piece in range(9)] == [digest(got[p]) for p in range(9)]
    assert [len(got[piece]) for piece in range(9)] == [MIB] * 8 + [1]


async def test_the_first_pieces_are_given_while_the_proxy_still_downloads_the_last(upstream: FakeFiles, come):
    sha256 = upstream.put("large.bin", LARGE)
    head, rest = asyncio.Event(), asyncio.Event()
    upstream.fail("/files/large.bin", Delay(head), times=1)
    upstream.fail("/files/large.bin", Gate(MIB + MIB // 2, rest))
    head.set()
    agent = await come("node-1")

    given = await agent.obtain(sha256, "/files/demo/large.bin")
    first = await agent.piece(sha256, 0)
    rest.set()

    assert given.leases == [0]
    assert given.hashes.hex() == digest(first)
    assert first == LARGE[:MIB]


async def test_head_of_a_piece_is_refused(upstream: FakeFiles, proxy: LocalProxy, come):
    sha256 = upstream.put("large.bin", LARGE)
    agent = await come("node-1")
    await agent.obtain(sha256, "/files/demo/large.bin")

    path = f"/swarm/v1/artifacts/{sha256}/pieces/0"
    lines = f"HEAD {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {SECRET}", "Connection: close", "", ""
    head, _, body = (await talk(proxy.url, "\r\n".join(lines).encode())).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 405")
    assert b"Allow: GET" in head
    assert body == b""


async def test_who_comes_second_is_told_to_ask_the_first(upstream: FakeFiles, come):
    sha256 = upstream.put("small.bin", SMALL)
    first, second = await come("node-1"), await come("node-2")
    await first.want(sha256, "/files/demo/small.bin")
    waiting = asyncio.create_task(second.obtain(sha256, "/files/demo/small.bin"))

    await first.want(sha256, "/files/demo/small.bin", held=0b1, count=0)

    given = await waiting
    assert given.leases == []
    assert [(offer.piece, [peer.node for peer in offer.peers]) for offer in given.offers] == [(0, ["node-1"])]
    assert given.offers[0].peers[0].address == "http://node-1.example.org:8418"


async def test_what_a_node_announced_is_found_without_upstream(upstream: FakeFiles, come):
    sha256 = upstream.put("small.bin", SMALL)
    holder, seeker = await come("node-1"), await come("node-2")
    await holder.beat(Holding(sha256=sha256, size=len(SMALL), private=False), artifacts=1)

    given = await seeker.want(sha256, "/files/demo/small.bin")

    assert [peer.node for peer in given.offers[0].peers] == ["node-1"]
    assert "GET" not in [seen.method for seen in upstream.requests]


async def test_a_size_that_was_misstated_counts_until_upstream_sends_the_file(upstream: FakeFiles, come):
    agent = await come("node-1")
    upstream.put("file.bin", b"x" * 1000)
    stated = await agent.obtain(digest(THREE_MIB), "/files/demo/file.bin")
    upstream.put("file.bin", THREE_MIB)

    with pytest.raises(Refused, match="not the 1000 that were stated") as refused:
        await agent.piece(digest(THREE_MIB), 0)
    found = await agent.obtain(digest(THREE_MIB), "/files/demo/file.bin")

    assert refused.value.status == 404
    assert (stated.size, found.size, found.leases) == (1000, 3 * MIB, [0])
    assert await agent.piece(digest(THREE_MIB), 0) == THREE_MIB


async def test_a_size_that_was_misstated_does_not_outlive_the_arrival_of_the_file(
    upstream: FakeFiles, proxy: LocalProxy, come
):
    agent = await come("node-1")
    upstream.put("file.bin", b"x" * 1000)
    await agent.obtain(digest(THREE_MIB), "/files/demo/file.bin")
    upstream.put("file.bin", THREE_MIB)
    async with ClientSession() as session, session.get(f"{proxy.url}/files/demo/file.bin") as answer:
        assert await answer.read() == THREE_MIB
    await proxy.settled()

    with pytest.raises(Refused, match="not the 1000 that were stated"):
        await agent.piece(digest(THREE_MIB), 0)

    assert (await agent.obtain(digest(THREE_MIB), "/files/demo/file.bin")).size == 3 * MIB
    assert await agent.piece(digest(THREE_MIB), 0) == THREE_MIB


async def test_a_piece_can_be_resumed(upstream: FakeFiles, come):
    sha256 = upstream.put("small.bin", SMALL)
    agent = await come("node-1")
    await agent.want(sha256, "/files/demo/small.bin")

    assert await agent.piece(sha256, 0, Range="bytes=6-") == SMALL[6:]


async def test_pieces_without_a_lease_come_from_one_allowance_for_all(upstream: FakeFiles, proxy: LocalProxy, come):
    sha256 = upstream.put("whole.bin", LARGE[: 4 * MIB])
    agents = [await come(f"node-{number}") for number in range(6)]
    await agents[0].obtain(sha256, "/files/demo/whole.bin")
    await proxy.settled()

    for agent in agents[1:5]:  # 20 MB are allowed at once
        assert await agent.piece(sha256, 0) == LARGE[: 4 * MIB]
    with pytest.raises(Refused, match="without a lease") as refused:
        await agents[5].piece(sha256, 0)

    assert refused.value.status == 503
    assert int(refused.value.retry_after or 0) >= 1


async def test_a_lease_whose_transfer_breaks_off_is_free_again_at_once(upstream: FakeFiles, come):
    sha256 = upstream.put("whole.bin", LARGE[: 8 * MIB - 1])  # one piece, more than a socket takes unread
    first, second = await come("node-1"), await come("node-2")
    await first.want(sha256, "/files/demo/whole.bin")
    waiting = asyncio.create_task(second.obtain(sha256, "/files/demo/whole.bin"))

    await first.begin_piece(sha256, 0)

    assert (await waiting).leases == [0]


async def test_nobody_is_admitted_without_the_secret(proxy: LocalProxy):
    with pytest.raises(Refused) as refused:
        await Agent(proxy.url, "node-1", secret="another").hello()
    assert refused.value.status == 401


async def test_an_agent_is_of_the_tenant_of_its_secret_whatever_it_says(proxy: LocalProxy):
    agent = Agent(proxy.url, "node-1", secret="the secret of the lab")

    assert (await agent.hello()).tenant == "lab"
    with pytest.raises(Refused, match="not default's") as refused:
        await agent.hello(tenant="default")
    assert refused.value.status == 403


async def test_inventories_of_private_artifacts_never_leave_their_tenant(upstream: FakeFiles, come):
    sha256 = upstream.put("small.bin", SMALL)
    ours, other, lab = await come("a"), await come("b"), await come("c", secret="the secret of the lab")
    await ours.beat(Holding(sha256=sha256, size=len(SMALL), private=True), artifacts=1)

    within = await other.want(sha256, "/files/corp/small.bin")
    beyond = await lab.want(sha256, "/files/corp/small.bin")
    public = await lab.want(sha256, "/files/demo/small.bin")

    assert [peer.node for peer in within.offers[0].peers] == ["a"]
    assert (beyond.private, beyond.leases, beyond.offers) == (True, [0], [])
    assert (public.private, public.leases, public.offers) == (False, [0], [])


async def test_peers_of_private_artifacts_come_with_tickets_that_they_can_verify(
    upstream: FakeFiles, clock: FakeClock, come
):
    sha256 = upstream.put("small.bin", SMALL)
    holder, seeker = await come("a"), await come("b")
    await holder.beat(Holding(sha256=sha256, size=len(SMALL), private=True), artifacts=1)

    given = await seeker.want(sha256, "/files/corp/small.bin")

    ticket = given.offers[0].peers[0].ticket
    assert admits(ticket, holder.key, sha256=sha256, node="a", tenant="default", now=clock())


async def test_a_piece_is_absent_for_a_tenant_that_never_asked_for_the_artifact(upstream: FakeFiles, come):
    sha256 = upstream.put("small.bin", SMALL)
    ours, lab = await come("a"), await come("b", secret="the secret of the lab")
    await ours.want(sha256, "/files/corp/small.bin")

    with pytest.raises(Refused) as refused:
        await lab.piece(sha256, 0)
    assert refused.value.status == 404


async def test_a_path_that_the_proxy_does_not_have_is_absent(upstream: FakeFiles, come):
    agent = await come("node-1")

    for path in ("/files/none/small.bin", "/pypi/main/simple/alpha/", f"/files/demo/{'0' * 64}"):
        with pytest.raises(Refused) as refused:
            await agent.want("0" * 64, path)
        assert refused.value.status == 404


async def test_a_path_that_is_not_there_is_no_way_to_an_artifact_that_was_just_found_elsewhere(
    upstream: FakeFiles, come
):
    sha256 = upstream.put("small.bin", SMALL)
    agent = await come("node-1")
    await agent.obtain(sha256, "/files/demo/small.bin")

    with pytest.raises(Refused) as refused:
        await agent.want(sha256, "/files/demo/elsewhere.bin", moving=0b1)

    assert refused.value.status == 404
    assert await agent.piece(sha256, 0) == SMALL


async def test_a_path_that_leads_nowhere_keeps_nobody_from_another(upstream: FakeFiles, come):
    sha256, head, never = upstream.put("large.bin", LARGE), asyncio.Event(), asyncio.Event()
    upstream.put("slow.bin", LARGE)
    upstream.fail("/files/slow.bin", Delay(head), times=1)
    upstream.fail("/files/slow.bin", Delay(never))
    head.set()
    lab, ours = await come("a", secret="the secret of the lab"), await come("b")
    stuck = asyncio.create_task(lab.obtain(sha256, "/files/demo/slow.bin"))
    await upstream.arrived("/files/slow.bin", times=2)

    given = await ours.obtain(sha256, "/files/demo/large.bin")

    assert given.size == len(LARGE)
    never.set()
    stuck.cancel()
    await asyncio.wait([stuck])


async def test_the_path_that_one_tenant_names_is_not_where_others_get_the_artifact(upstream: FakeFiles, come):
    sha256 = upstream.put("small.bin", SMALL)
    upstream.put("other.bin", b"other bytes")
    ours, lab = await come("a"), await come("b", secret="the secret of the lab")
    await ours.obtain(sha256, "/files/demo/small.bin")

    while (await lab.want(sha256, "/files/demo/other.bin", count=0)).size is None:
        pass

    assert await ours.piece(sha256, 0) == SMALL


async def test_who_knows_a_private_digest_does_not_get_its_bytes_by_a_public_path(
    upstream: FakeFiles, proxy: LocalProxy, come
):
    sha256 = upstream.put("small.bin", SMALL)
    upstream.put("other.bin", b"other bytes")
    ours, lab = await come("a"), await come("b", secret="the secret of the lab")
    await ours.obtain(sha256, "/files/corp/small.bin")
    await ours.piece(sha256, 0)
    await proxy.settled()

    await lab.obtain(sha256, "/files/demo/other.bin")

    with pytest.raises((Refused, ClientError)):
        await lab.piece(sha256, 0)


async def test_a_lease_counts_whichever_other_paths_lead_to_the_artifact(
    upstream: FakeFiles, proxy: LocalProxy, come
):
    sha256 = upstream.put("small.bin", SMALL)
    ours, other = await come("a"), await come("b")
    await ours.obtain(sha256, "/files/demo/small.bin")
    await other.obtain(sha256, "/files/corp/small.bin")

    await other.piece(sha256, 0)

    assert f'envmesh_swarm_origin_bytes_total{{reason="leased"}} {len(SMALL)}.0' in await metrics(proxy)


async def test_what_is_no_message_is_refused(proxy: LocalProxy):
    agent = Agent(proxy.url, "no name for a node!")

    with pytest.raises(Refused, match="is no Hello") as refused:
        await agent.hello()
    assert refused.value.status == 400


async def test_an_agent_of_an_earlier_directory_is_told_to_say_hello(upstream: FakeFiles, come):
    agent = await come("node-1")
    agent.directory = "the one before"

    assert await agent.beat() == "hello"
    assert (await agent.want("0" * 64, "/files/demo/x")).again == "hello"


async def test_a_ban_is_counted_and_the_node_not_offered_any_more(upstream: FakeFiles, proxy: LocalProxy, come):
    sha256 = upstream.put("small.bin", SMALL)
    liar, *victims = [await come(name) for name in ("liar", "v1", "v2", "v3")]
    await liar.beat(Holding(sha256=sha256, size=len(SMALL), private=False), artifacts=1)
    fault = Fault(sha256=sha256, private=False, piece=0, peer="liar", wrong="bad_hash")

    await victims[0].report(fault)
    await victims[1].report(fault)

    assert (await victims[2].want(sha256, "/files/demo/small.bin")).leases == [0]
    assert "envmesh_swarm_bans_total 1.0" in await metrics(proxy)
    assert 'envmesh_swarm_faults_total{wrong="bad_hash"} 2.0' in await metrics(proxy)


async def test_bytes_that_leave_the_proxy_are_counted(upstream: FakeFiles, proxy: LocalProxy, come):
    sha256 = upstream.put("small.bin", SMALL)
    agent = await come("node-1")
    await agent.want(sha256, "/files/demo/small.bin")
    await agent.piece(sha256, 0)

    text = await metrics(proxy)

    assert f'envmesh_swarm_origin_bytes_total{{reason="leased"}} {len(SMALL)}.0' in text
    assert 'envmesh_swarm_leases_total{event="granted"} 1.0' in text
    assert "envmesh_swarm_nodes 1.0" in text


async def test_bytes_that_the_disk_damaged_take_their_hashes_back_and_come_again(
    upstream: FakeFiles, proxy: LocalProxy, come
):
    sha256 = upstream.put("large.bin", LARGE)
    agent = await come("node-1")
    async with ClientSession() as session, session.get(f"{proxy.url}/files/demo/large.bin") as answer:
        await answer.read()
    await proxy.settled()
    await asyncio.to_thread(proxy.parts.store.path(sha256).write_bytes, flipped(LARGE))

    await agent.obtain(sha256, "/files/demo/large.bin")
    await proxy.settled()
    await agent.obtain(sha256, "/files/demo/large.bin")
    await proxy.settled()
    given = await agent.obtain(sha256, "/files/demo/large.bin")

    assert given.hashes.hex() == "".join(digest(LARGE[at : at + MIB]) for at in range(0, 9 * MIB, MIB))
    assert 'envmesh_digest_mismatch_total{source="disk"} 1.0' in await metrics(proxy)


async def test_wrong_bytes_of_upstream_take_their_hashes_back(upstream: FakeFiles, proxy: LocalProxy, come):
    upstream.put("large.bin", LARGE)
    agent = await come("node-1")
    promised = digest(b"other bytes")
    await agent.want(promised, "/files/demo/large.bin")
    await proxy.settled()

    with pytest.raises(Refused) as refused:
        await agent.piece(promised, 0)
    assert refused.value.status == 404


async def metrics(proxy: LocalProxy) -> str:
    async with ClientSession() as session, session.get(f"{proxy.url}/metrics") as answer:
        return await answer.text()
