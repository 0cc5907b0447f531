"""Files on the wire: ranges and validators, warm and arriving, and connections that end as they should."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest

from envproxy.engine.download import HOLD_BYTES
from fixtures.disk import open_files, partials
from fixtures.patience import a_moment, until
from fixtures.upstream import Gate, Status, Style, WrongBytes
from fixtures.wheels import make_wheel
from fixtures.wire import asking, talk

if TYPE_CHECKING:
    from fixtures.proxy import LocalProxy
    from fixtures.upstream import FakeIndex
    from fixtures.wheels import Dist
    from fixtures.wire import Ask

SMALL = make_wheel("small", "1.0", payload_size=1000)
LARGE = make_wheel("large", "1.0", payload_size=8_000_000)
BOTH = pytest.mark.parametrize("dist", [SMALL, LARGE], ids=["small", "large"])
STATES = pytest.mark.parametrize("warm", [False, True], ids=["arriving", "warm"])


@pytest.fixture(autouse=True)
def _listed(upstream: FakeIndex) -> None:
    upstream.add(SMALL, LARGE)


def path_of(dist: Dist) -> str:
    return f"/pypi/main/files/{dist.project}/{dist.sha256}/{dist.filename}"


def upstream_path(dist: Dist) -> str:
    return f"/files/{dist.project}/{dist.filename}"


async def prepare(proxy: LocalProxy, ask: Ask, dist: Dist, *, warm: bool) -> None:
    if warm:
        assert (await ask(path_of(dist))).body == dist.data
        await proxy.settled()


# Ranges and validators.


@STATES
@BOTH
async def test_a_part_is_that_part_of_the_file(ask: Ask, proxy: LocalProxy, dist: Dist, warm: bool) -> None:
    await prepare(proxy, ask, dist, warm=warm)
    size = len(dist.data)
    for asked, start, stop in [
        ("0-", 0, size),
        ("5-104", 5, 105),
        ("-100", size - 100, size),
        ("9-99999999", 9, size),
    ]:
        answer = await ask(path_of(dist), {"Range": f"bytes={asked}"})
        assert (answer.status, answer.body) == (206, dist.data[start:stop])
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
        assert answer.headers["Content-Length"] == str(stop - start)
        assert answer.headers["ETag"] == f'"{dist.sha256}"'
        assert "Content-Encoding" not in answer.headers


@STATES
async def test_a_part_is_sent_only_of_the_version_that_the_client_has(
    ask: Ask, proxy: LocalProxy, warm: bool
) -> None:
    await prepare(proxy, ask, SMALL, warm=warm)
    for version, status in [(f'"{SMALL.sha256}"', 206), ('"another"', 200), ("Fri, 01 Mar 2024 12:00:00 GMT", 200)]:
        answer = await ask(path_of(SMALL), {"Range": "bytes=10-", "If-Range": version})
        assert (answer.status, answer.body) == (status, SMALL.data[10 if status == 206 else 0 :])


@STATES
async def test_a_part_beyond_the_end_is_416_with_the_length(ask: Ask, proxy: LocalProxy, warm: bool) -> None:
    await prepare(proxy, ask, SMALL, warm=warm)
    answer = await ask(path_of(SMALL), {"Range": "bytes=99999999-"})
    assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{len(SMALL.data)}")


@STATES
async def test_several_parts_at_once_are_the_whole(ask: Ask, proxy: LocalProxy, warm: bool) -> None:
    await prepare(proxy, ask, SMALL, warm=warm)
    answer = await ask(path_of(SMALL), {"Range": "bytes=0-1,5-9"})
    assert (answer.status, answer.body) == (200, SMALL.data)


@STATES
async def test_a_range_means_nothing_to_head(ask: Ask, proxy: LocalProxy, warm: bool) -> None:
    await prepare(proxy, ask, SMALL, warm=warm)
    answer = await ask(path_of(SMALL), {"Range": "bytes=5-9"}, method="HEAD")
    assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, str(len(SMALL.data)), b"")
    assert answer.headers["Accept-Ranges"] == "bytes"


@STATES
@pytest.mark.parametrize("known", ['"{}"', 'W/"{}"', '"other", "{}"', "*"])
async def test_who_has_the_file_gets_no_bytes(ask: Ask, proxy: LocalProxy, warm: bool, known: str) -> None:
    await prepare(proxy, ask, SMALL, warm=warm)
    answer = await ask(path_of(SMALL), {"If-None-Match": known.format(SMALL.sha256), "Range": "bytes=5-9"})
    assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", f'"{SMALL.sha256}"')


async def test_what_arrives_without_a_length_is_sent_whole_and_then_has_one(
    ask: Ask, proxy: LocalProxy, upstream: FakeIndex
) -> None:
    upstream.style = Style(lengths=False)
    answer = await ask(path_of(LARGE), {"Range": "bytes=5-9"})
    assert (answer.status, answer.body) == (200, LARGE.data)
    assert "Accept-Ranges" not in answer.headers
    await proxy.settled()
    assert (await ask(path_of(LARGE), {"Range": "bytes=5-9"})).body == LARGE.data[5:10]


# HEAD.


async def test_the_length_that_the_page_states_costs_no_request_upstream(ask: Ask, upstream: FakeIndex) -> None:
    answer = await ask(path_of(LARGE), method="HEAD")
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(LARGE.data)))
    assert (answer.headers["Accept-Ranges"], answer.cache) == ("bytes", "miss")
    assert upstream.count(path="/files/*") == 0


async def test_a_length_that_the_page_keeps_silent_about_is_asked_for(ask: Ask, upstream: FakeIndex) -> None:
    upstream.style = Style(sizes="none")
    answer = await ask(path_of(LARGE), method="HEAD")
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(LARGE.data)))
    assert (upstream.count("HEAD", "/files/*"), upstream.count("GET", "/files/*")) == (1, 0)


async def test_a_server_that_refuses_head_leaves_the_length_open(ask: Ask, upstream: FakeIndex) -> None:
    upstream.style = Style(sizes="none")
    upstream.fail(upstream_path(LARGE), Status(405))
    answer = await ask(path_of(LARGE), method="HEAD")
    assert answer.status == 200
    assert "Content-Length" not in answer.headers
    upstream.clear_faults()
    upstream.fail(upstream_path(LARGE), Status(500))
    assert (await ask(path_of(LARGE), method="HEAD")).status == 503


async def test_head_of_what_was_evicted_says_what_head_of_a_cold_file_says_and_fetches_nothing(
    ask: Ask, proxy: LocalProxy, upstream: FakeIndex
) -> None:
    await prepare(proxy, ask, LARGE, warm=True)
    assert (await ask(path_of(LARGE))).cache == "hit"
    await asyncio.to_thread(proxy.parts.store.delete, LARGE.sha256)
    said = await talk(proxy.url, f"HEAD {path_of(LARGE)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert f"Content-Length: {len(LARGE.data)}".encode() in head
    assert b"X-Envmesh-Cache: miss" in head
    assert body == b""
    assert upstream.count("GET", "/files/*") == 1


# The last bytes.


async def test_a_client_never_has_the_whole_before_the_digest_matched(proxy: LocalProxy, upstream: FakeIndex) -> None:
    last_byte = asyncio.Event()
    upstream.fail(upstream_path(LARGE), Gate(len(LARGE.data) - 1, last_byte))
    async with (
        asking(proxy.url, path_of(LARGE)) as (whole, _),
        asking(proxy.url, path_of(LARGE), "Range: bytes=0-99999") as (part, _),
    ):
        await whole.readuntil(b"\r\n\r\n")
        await part.readuntil(b"\r\n\r\n")
        got = await whole.readexactly(len(LARGE.data) - HOLD_BYTES)
        got_of_part = await part.readexactly(100_000 - HOLD_BYTES)
        [download] = proxy.parts.artifacts._downloads.values()
        await until(lambda: download.missing == 1)
        await a_moment()
        assert (len(whole._buffer), len(part._buffer)) == (0, 0)
        last_byte.set()
        assert got + await whole.readexactly(HOLD_BYTES) == LARGE.data
        assert got_of_part + await part.readexactly(HOLD_BYTES) == LARGE.data[:100_000]


async def test_wrong_bytes_of_a_small_file_are_a_plain_503(ask: Ask, proxy: LocalProxy, upstream: FakeIndex) -> None:
    upstream.fail(upstream_path(SMALL), WrongBytes(), times=1)
    answer = await ask(path_of(SMALL))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert "not what its index promises" in answer.json()["detail"]
    await assert_nothing_was_kept(ask, proxy, upstream, SMALL)


@pytest.mark.parametrize("asked", ["bytes=0-", "bytes=0-3999999", "bytes=7000000-"])
async def test_wrong_bytes_of_a_large_file_end_in_a_broken_connection(
    ask: Ask, proxy: LocalProxy, upstream: FakeIndex, asked: str
) -> None:
    upstream.fail(upstream_path(LARGE), WrongBytes(), times=1)
    with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
        await ask(path_of(LARGE), {"Range": asked})
    await assert_nothing_was_kept(ask, proxy, upstream, LARGE)


async def test_where_nothing_announces_the_length_wrong_bytes_end_in_a_reset(
    proxy: LocalProxy, upstream: FakeIndex
) -> None:
    upstream.style = Style(lengths=False)
    upstream.fail(upstream_path(LARGE), WrongBytes())
    with pytest.raises(ConnectionResetError):
        await talk(proxy.url, f"GET {path_of(LARGE)} HTTP/1.0\r\nHost: proxy\r\n\r\n".encode())


async def assert_nothing_was_kept(ask: Ask, proxy: LocalProxy, upstream: FakeIndex, dist: Dist) -> None:
    await proxy.settled()
    assert proxy.parts.metrics.snapshot()["digest_mismatches"] == 1
    assert not proxy.parts.store.path(dist.sha256).exists()
    assert partials(proxy.parts.store.root) == []
    again = await ask(path_of(dist))
    assert (again.cache, again.body) == ("miss", dist.data)
    assert upstream.count(path=upstream_path(dist)) == 2


# Clients that leave.


@pytest.mark.parametrize("warm", [False, True], ids=["arriving", "by sendfile"])
async def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(
    ask: Ask, proxy: LocalProxy, warm: bool, caplog: pytest.LogCaptureFixture
) -> None:
    await prepare(proxy, ask, LARGE, warm=warm)
    before = proxy.parts.metrics.snapshot()["requests"]
    async with asking(proxy.url, path_of(LARGE)) as (reader, writer):
        await reader.readexactly(100_000)
        writer.transport.abort()
    await until(lambda: proxy.parts.metrics.snapshot()["requests"] == before + 1)
    await proxy.settled()
    await until(lambda: open_files(proxy.parts.store.root) == [])
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []
    answer = await ask(path_of(LARGE))
    assert (answer.cache, answer.body) == ("hit", LARGE.data)


async def test_a_client_that_leaves_before_the_first_byte_is_no_reader_any_more(
    ask: Ask, proxy: LocalProxy, upstream: FakeIndex
) -> None:
    go_on = asyncio.Event()
    upstream.fail(upstream_path(LARGE), Gate(200_000, go_on))
    async with asking(proxy.url, path_of(LARGE), "Range: bytes=7000000-") as (_, writer):
        await upstream.arrived(upstream_path(LARGE))
        writer.transport.abort()
    [download] = proxy.parts.artifacts._downloads.values()
    go_on.set()
    await proxy.settled()
    await until(lambda: "0 readers" in repr(download))
    await until(lambda: open_files(proxy.parts.store.root) == [])
    assert (await ask(path_of(LARGE))).cache == "hit"
