"""What a node can still have when its proxy is gone: what it never asked for before, from peers that it knows."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from aiohttp import ClientSession

from envagent.peers.alone import Holder, of_one_piece, rarest
from envproxy.swarm.layout import WHOLE_BYTES, Layout
from envproxy.swarm.messages import Peer
from fixtures import imposter
from fixtures.clients import Pip
from fixtures.node import SECRET, SWARM, running_node, running_nodes
from fixtures.proxy import proxy_process
from fixtures.upstream import FakeIndex
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.proxy import ProxyProcess
    from fixtures.wheels import Dist

A, B, C = (Peer(node=name, address=f"http://{name}.example.org:8418", zone="") for name in ("a", "b", "c"))
ALPHA = make_wheel("alpha", "1.0", payload_size=20_000)
BETA = make_wheel("beta", "1.0", payload_size=300_000)


def path_of(dist: Dist) -> str:
    return f"/pypi/main/files/{dist.project}/{dist.sha256}/{dist.filename}"


async def see(url: str, *paths: str) -> None:
    """As a client that resolves: it reads pages and metadata."""
    async with ClientSession() as session:
        for path in paths:
            async with session.get(url + path) as answer:
                assert answer.status == 200


# --- whom to ask ---------------------------------------------------------------------------------------------


def test_an_artifact_of_one_piece_is_asked_of_those_who_agree_on_its_size() -> None:
    whole, nothing = frozenset({0}), frozenset[int]()
    found = [
        Holder(A, 999, whole),
        Holder(B, 1000, whole),
        Holder(C, 1000, whole),
        Holder(A, 1000, nothing),
        Holder(A, WHOLE_BYTES, whole),
    ]
    assert of_one_piece(found) == [(Layout(1000, 1000), [B, C]), (Layout(999, 999), [A])]


def test_the_piece_that_the_fewest_have_is_taken_first() -> None:
    layout = Layout(40, 10)
    found = [
        Holder(A, 40, frozenset({0, 1, 2})),
        Holder(B, 40, frozenset({0, 1})),
        Holder(C, 40, frozenset({0})),
        Holder(C, 50, frozenset({3})),
    ]
    planned = rarest(found, layout, [0, 2, 3], Random(1))
    assert [(index, sorted(peer.node for peer in peers)) for index, peers in planned] == [
        (2, ["a"]),
        (0, ["a", "b", "c"]),
    ]


# --- real nodes ----------------------------------------------------------------------------------------------


async def test_pip_installs_from_a_peer_what_its_node_never_asked_for_after_the_proxy_died(
    tmp_path: Path, origin: ProxyProcess, index: FakeIndex
) -> None:
    index.add(ALPHA, BETA)
    async with running_nodes(tmp_path, origin.url, 3) as [first, second, third]:
        for node in (first, second, third):
            assert await node.get(path_of(ALPHA)) == ALPHA.sha256
        assert await first.get(path_of(BETA)) == BETA.sha256
        await see(second.url, "/pypi/main/simple/beta/", f"{path_of(BETA)}.metadata")
        await origin.kill()
        outcome = await Pip(tmp_path).install("beta", f"{second.url}/pypi/main/simple/")
        got = await third.get(path_of(BETA))
        found = [await node.status() for node in (second, third)]
    assert outcome.ok, outcome.output
    assert outcome.installed == {"beta": "1.0"}
    assert got == BETA.sha256
    size = len(ALPHA.data) + len(BETA.data)
    assert [(one["origin_bytes"], one["peer_bytes_down"]) for one in found] == [(0, size)] * 2


async def test_a_peer_that_is_wrong_about_a_size_tells_readers_nothing(tmp_path: Path) -> None:
    (tmp_path / "proxy").mkdir()
    async with FakeIndex() as upstream:
        upstream.add(ALPHA, BETA)
        async with (
            proxy_process(tmp_path / "proxy", upstream=upstream, settings=SWARM, environ=SECRET) as proxy,
            running_node(tmp_path / "honest", proxy.url) as honest,
            running_node(tmp_path / "node", proxy.url) as node,
            imposter.Imposter("imposter", proxy.url, imposter.wrong_bytes) as liar,
        ):
            assert await honest.get(path_of(ALPHA)) == ALPHA.sha256
            assert await honest.get(path_of(BETA)) == BETA.sha256
            await liar.announce(ALPHA.sha256, len(ALPHA.data))
            assert await node.get(path_of(ALPHA)) == ALPHA.sha256
            await liar.announce(BETA.sha256, len(BETA.data) - 1)
            await proxy.kill()
            got = await node.get(path_of(BETA))
            status = await node.status()
    assert got == BETA.sha256
    assert status["artifacts"] == 2
