"""What a node asks its proxy for on behalf of clients that have no token of their own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientPayloadError, ClientSession, encode_basic_auth, web

from envagent.fetch.completer import NetworkCompleter
from envagent.fetch.sources import Sources
from envagent.lock.complete import KnownFile, Wanted
from envagent.peers.relay import Relay
from envproxy.problems import problems
from fixtures.collection import FakeFiles
from fixtures.faults import Cut, Redirect
from fixtures.node import HOST, SECRET, SWARM, running_node
from fixtures.proxy import proxy_process
from fixtures.upstream import FakeIndex
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fixtures.node import NodeProcess

FILE = b"Python" * 1000
TOKEN = {"ENVAGENT_PROXY_TOKEN": "env:NODES_TOKEN", "NODES_TOKEN": "open-sesame"}
PROTECTED = {**SWARM, "auth.read": "token"}
PROTECTED_TOML = '[auth.tokens.node]\nsecret = "env:NODE"\n'
WHEEL = make_wheel("alpha", "1.0")


@pytest.fixture
async def upstream() -> AsyncIterator[FakeIndex]:
    async with FakeIndex() as index:
        index.add(WHEEL)
        yield index


@pytest.fixture
async def files() -> AsyncIterator[FakeFiles]:
    async with FakeFiles() as host:
        host.put("3.12/python.tgz", FILE)
        yield host


@pytest.fixture
async def node(tmp_path: Path, upstream: FakeIndex, files: FakeFiles) -> AsyncIterator[NodeProcess]:
    """A node with a token, of a proxy that shows nobody anything without one."""
    (tmp_path / "proxy").mkdir()
    settings = {**PROTECTED, "files.demo.url": files.url}
    environ = {**SECRET, "NODE": "open-sesame"}
    async with (
        proxy_process(
            tmp_path / "proxy", upstream=upstream, toml=PROTECTED_TOML, settings=settings, environ=environ
        ) as proxy,
        running_node(tmp_path / "node", proxy.url, environ=TOKEN) as running,
    ):
        yield running


async def test_a_foreign_lock_is_completed_through_a_node_whose_proxy_wants_a_token(
    node: NodeProcess, upstream: FakeIndex
) -> None:
    wanted = Wanted("pypi", "main", "alpha", "1.0")
    completer = NetworkCompleter(Sources(node.url, fallback=False))
    found = await asyncio.to_thread(completer.find, [wanted])
    url = upstream.file_url(WHEEL.filename)
    assert found == {wanted: [KnownFile(WHEEL.filename, url, len(WHEEL.data), WHEEL.sha256)]}


async def test_a_file_without_a_digest_comes_with_what_the_proxy_says_of_it(node: NodeProcess) -> None:
    async with ClientSession() as session:
        url = f"{node.url}/files/demo/3.12/python.tgz"
        async with session.get(url) as whole:
            assert (whole.status, await whole.read()) == (200, FILE)
        async with session.get(url, headers={"Range": "bytes=6-11"}) as part:
            assert (part.status, await part.read()) == (206, b"Python")
            assert part.headers["Content-Range"] == f"bytes 6-11/{len(FILE)}"
        async with session.head(url) as head:
            assert (head.status, head.headers["Content-Length"]) == (200, str(len(FILE)))


@pytest.mark.parametrize("headers", [{}, {"X-Expected-SHA256": "ab" * 32}], ids=["any", "pinned"])
async def test_a_file_that_is_nowhere_is_refused_in_the_proxys_words(
    node: NodeProcess, headers: dict[str, str]
) -> None:
    url = f"{node.url}/files/demo/3.12/nothing.tgz"
    async with ClientSession() as session, session.get(url, headers=headers) as answer:
        assert (answer.status, answer.history) == (404, ())
        assert "demo has no nothing.tgz" in await answer.text()


@pytest.fixture
async def relayed(files: FakeFiles) -> AsyncIterator[str]:
    """Where a relay alone answers, with the file host in the place of the proxy."""
    app = web.Application(middlewares=[problems])
    async with Relay(f"http://{HOST}:{files.port}", "open-sesame") as relay:
        app.router.add_get("/{path:.*}", relay.answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        yield f"http://{HOST}:{runner.addresses[0][1]}"
        await runner.cleanup()


async def test_the_proxy_sees_the_nodes_token_and_nothing_of_a_clients(relayed: str, files: FakeFiles) -> None:
    own = {"Authorization": "Basic b3duOm93bg==", "Cookie": "own=1", "X-Own": "own", "User-Agent": "pip/26.0"}
    async with ClientSession() as session, session.get(f"{relayed}/files/3.12/python.tgz", headers=own) as answer:
        assert await answer.read() == FILE
    [seen] = files.requests
    assert seen.headers["Authorization"] == encode_basic_auth("__token__", "open-sesame")
    assert seen.headers["User-Agent"] == "pip/26.0"
    assert not {"Cookie", "X-Own"} & {*seen.headers}


async def test_what_a_client_has_already_does_not_come_again(relayed: str) -> None:
    url = f"{relayed}/files/3.12/python.tgz"
    async with ClientSession() as session:
        async with session.get(url) as whole:
            etag = whole.headers["ETag"]
        async with session.get(url, headers={"If-None-Match": etag}) as same:
            assert (same.status, await same.read()) == (304, b"")


async def test_a_redirect_of_the_proxy_is_for_the_client_to_follow(relayed: str, files: FakeFiles) -> None:
    files.fail("*", Redirect("https://files.example.org/python.tgz"))
    url = f"{relayed}/files/3.12/python.tgz"
    async with ClientSession() as session, session.get(url, allow_redirects=False) as answer:
        assert answer.status // 100 == 3
        assert answer.headers["Location"] == "https://files.example.org/python.tgz"


async def test_what_is_cut_short_on_the_way_never_looks_whole(relayed: str, files: FakeFiles) -> None:
    files.fail("*", Cut(1000))
    async with ClientSession() as session, session.get(f"{relayed}/files/3.12/python.tgz") as answer:
        with pytest.raises((ClientPayloadError, ConnectionResetError)):
            await answer.read()


async def test_a_proxy_that_is_away_is_said(relayed: str, files: FakeFiles) -> None:
    await files.stop()
    async with ClientSession() as session, session.get(f"{relayed}/files/3.12/python.tgz") as answer:
        assert answer.status == 503
        assert "cannot be reached" in await answer.text()
