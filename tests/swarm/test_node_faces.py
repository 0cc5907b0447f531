"""What clients of a node's own machine get from it: pages, packages and whole environments, through the swarm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aiohttp import ClientSession

from envagent.peers.face import wanted_of
from fixtures.agent import lock_document, write_lock
from fixtures.node import SECRET, SWARM, NodeProcess, running_node
from fixtures.proxy import proxy_process
from fixtures.upstream import FakeIndex
from fixtures.wheels import make_wheel

SHA = "ab" * 32


@pytest.mark.parametrize(
    ("path", "demanded", "is_pinned"),
    [
        (f"/pypi/main/files/alpha/{SHA}/alpha-1.0-py3-none-any.whl", None, True),
        (f"/pypi/main/files/alpha/{SHA}/alpha-1.0-py3-none-any.whl.metadata", None, False),
        ("/pypi/main/simple/alpha/", SHA, False),
        ("/conda/demo/noarch/alpha-1.0-0.conda", SHA, True),
        ("/conda/demo/noarch/alpha-1.0-0.conda", None, False),
        ("/conda/demo/noarch/alpha-1.0-0.conda", "AB" * 32, False),
        ("/files/python/3.12/python.tar.gz", SHA, True),
        ("/api/origins", SHA, False),
    ],
)
def test_an_artifact_comes_through_the_swarm_if_the_request_names_its_digest(
    path: str, demanded: str | None, is_pinned: bool
) -> None:
    wanted = wanted_of(path, demanded)
    assert (wanted is not None) == is_pinned
    assert wanted is None or (wanted.sha256, wanted.path) == (SHA, path)


async def test_an_environment_is_made_on_two_nodes_and_its_wheels_leave_the_proxy_once(tmp_path: Path) -> None:
    dists = [make_wheel(name, "1.0", payload_size=20_000) for name in ("alpha", "beta")]
    (tmp_path / "proxy").mkdir()
    async with (
        FakeIndex() as upstream,
        proxy_process(tmp_path / "proxy", upstream=upstream, settings=SWARM, environ=SECRET) as proxy,
        running_node(tmp_path / "first", proxy.url) as first,
        running_node(tmp_path / "second", proxy.url) as second,
    ):
        upstream.add(*dists)
        lock = write_lock(lock_document(upstream, *dists), tmp_path / "lock.json")
        made = [json.loads(await node.said("materialize", str(lock), "--json")) for node in (first, second)]
        found = [await node.status() for node in (first, second)]
        served = [await files_served(node) for node in (first, second)]
    size = sum(len(dist.data) for dist in dists)
    assert all(list(Path(one["prefix"]).rglob("alpha/__init__.py")) for one in made)
    assert [(one["origin_bytes"], one["peer_bytes_down"]) for one in found] == [(size, 0), (0, size)]
    assert served == [0, 0]  # the files are in the process that wants them


async def files_served(node: NodeProcess) -> float:
    """How many files the node has given to clients, itself among them."""
    async with ClientSession() as session, session.get(f"{node.url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(
        float(line.split()[-1])
        for line in lines
        if line.startswith("envmesh_http_requests_total") and 'route="file"' in line
    )


async def test_clients_find_pages_and_the_names_of_the_proxy(tmp_path: Path) -> None:
    dist = make_wheel("alpha", "1.0")
    (tmp_path / "proxy").mkdir()
    async with (
        FakeIndex() as upstream,
        proxy_process(tmp_path / "proxy", upstream=upstream, settings=SWARM, environ=SECRET) as proxy,
        running_node(tmp_path / "node", proxy.url) as node,
        ClientSession() as session,
    ):
        upstream.add(dist)
        async with session.get(f"{node.url}/pypi/main/simple/alpha/") as answer:
            page = await answer.text()
        async with session.get(f"{node.url}/api/origins") as answer:
            origins = await answer.json(content_type=None)
        async with session.get(f"{proxy.url}/api/origins") as answer:
            assert origins == await answer.json(content_type=None)
        async with session.get(f"{node.url}/pypi/main/files/alpha/{SHA}/alpha-1.0-py3-none-any.whl") as answer:
            assert answer.status == 404
    assert f"{dist.sha256}/{dist.filename}" in page
