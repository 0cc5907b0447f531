"""Invariants 1 to 5 of docs/architecture.md, each seen from outside a whole proxy; 6 and 7 are those of the disk.

A section is one invariant. Corner cases have tests of their own beside each module; here is what must never break.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from typing import TYPE_CHECKING

import aiohttp
import pytest

from envproxy.engine.download import HOLD_BYTES
from envproxy.pypi import source
from fixtures.disk import blobs, partials
from fixtures.patience import until
from fixtures.upstream import Cut, FakeIndex, Gate, RawBody, Status, WrongBytes
from fixtures.wheels import make_wheel
from fixtures.wire import JSON, asking

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.clock import FakeClock
    from fixtures.proxy import LocalProxy
    from fixtures.wheels import Dist
    from fixtures.wire import Ask

ALPHA = make_wheel("alpha", "1.0", payload_size=1_500_000)
PAGE = "/pypi/main/simple/alpha/"
FILE = f"/pypi/main/files/alpha/{ALPHA.sha256}/{ALPHA.filename}"
UPSTREAM_PAGE = "/simple/alpha/"
UPSTREAM_FILE = f"/files/alpha/{ALPHA.filename}"


@pytest.fixture(autouse=True)
def _listed(upstream: FakeIndex) -> None:
    upstream.add(ALPHA)


def path_of(dist: Dist) -> str:
    return f"/pypi/main/files/{dist.project}/{dist.sha256}/{dist.filename}"


async def get(session: aiohttp.ClientSession, url: str) -> bytes:
    async with session.get(url) as answer:
        assert answer.status == 200
        return await answer.read()


# 1. Bytes are named by SHA-256.


async def test_1_whatever_upstream_did_every_visible_blob_is_what_its_name_says_and_in_the_catalog(
    ask: Ask, proxy: LocalProxy, upstream: FakeIndex, tmp_path: Path
) -> None:
    others = [make_wheel("alpha", f"2.{number}", payload_size=200_000) for number in range(4)]
    upstream.add(*others)
    upstream.fail(f"/files/alpha/{others[0].filename}", WrongBytes())
    upstream.fail(f"/files/alpha/{others[1].filename}", Cut(100_000), times=1)
    upstream.fail(f"/files/alpha/{others[2].filename}", RawBody(b"<h1>Please log in</h1>", "text/html"))
    await asyncio.gather(*(ask(path_of(dist)) for dist in [ALPHA, *others]), return_exceptions=True)
    await proxy.settled()
    kept = blobs(tmp_path / "data")
    assert {ALPHA.sha256, others[1].sha256, others[3].sha256} <= kept.keys()
    assert [name for name, data in kept.items() if hashlib.sha256(data).hexdigest() != name] == []
    assert {row.sha256 for row in await proxy.parts.catalog.blob_rows()} == kept.keys()
    assert partials(tmp_path / "data") == []


async def test_1_a_reader_keeps_its_blob_though_it_is_deleted(ask: Ask, proxy: LocalProxy) -> None:
    await ask(FILE)
    await proxy.settled()
    async with asking(proxy.url, FILE) as (reader, _):
        await reader.readuntil(b"\r\n\r\n")
        got = await reader.readexactly(1)
        assert await asyncio.to_thread(proxy.parts.store.delete, ALPHA.sha256) == len(ALPHA.data)
        assert got + await reader.readexactly(len(ALPHA.data) - 1) == ALPHA.data
    assert (await ask(FILE)).body == ALPHA.data


# 2. Three states per name.


async def test_2_a_name_is_known_absent_or_unknown_and_none_passes_for_another(ask: Ask, upstream: FakeIndex) -> None:
    known = await ask(PAGE, JSON)
    assert [file["filename"] for file in known.json()["files"]] == [ALPHA.filename]

    absent = await ask("/pypi/main/simple/nosuch/", JSON)
    assert absent.status == 404
    lifetime = re.fullmatch(r"public, max-age=(\d+)", absent.headers["Cache-Control"])
    assert lifetime
    assert 0 < int(lifetime[1]) <= 60

    upstream.fail("/simple/*", Status(500))
    unknown = await ask("/pypi/main/simple/beta/", JSON)
    assert (unknown.status, unknown.headers["Cache-Control"]) == (503, "no-store")
    assert unknown.headers["Retry-After"].isdigit()


@pytest.mark.parametrize(
    "fault",
    [
        Status(500),
        Status(429),
        Status(401),
        Status(403),
        RawBody(b"", "application/json"),
        RawBody(b"<p>", "text/html"),
    ],
    ids=["500", "429", "401", "403", "nothing", "another page"],
)
async def test_2_no_failure_is_an_absence_or_an_empty_list(
    ask: Ask, upstream: FakeIndex, fault: Status | RawBody
) -> None:
    upstream.fail(UPSTREAM_PAGE, fault)
    for path in (PAGE, FILE):
        answer = await ask(path, JSON)
        assert answer.status == 503
        assert answer.headers["Retry-After"].isdigit()
        assert "files" not in json.loads(answer.body)


# 3. One flight per key.


@pytest.mark.parametrize("clients", [12, 200])
async def test_3_many_cold_clients_are_one_request_and_late_ones_tail(
    proxy: LocalProxy, upstream: FakeIndex, clients: int
) -> None:
    half_way = asyncio.Event()
    upstream.fail(UPSTREAM_FILE, Gate(700_000, half_way))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        first = [asyncio.create_task(get(session, proxy.url + FILE)) for _ in range(clients // 2)]
        await upstream.arrived(UPSTREAM_FILE)
        [download] = proxy.parts.artifacts._downloads.values()
        await until(lambda: f" {clients // 2} readers" in repr(download) and download.missing < 900_000)
        late = [asyncio.create_task(get(session, proxy.url + FILE)) for _ in range(clients - clients // 2)]
        await until(lambda: f" {clients} readers" in repr(download))
        half_way.set()
        assert set(await asyncio.gather(*first, *late)) == {ALPHA.data}
    assert (upstream.count(path=UPSTREAM_PAGE), upstream.count(path=UPSTREAM_FILE)) == (1, 1)
    assert proxy.parts.metrics.snapshot()["coalesced_waiters"] >= clients - 1


async def test_3_a_flight_outlives_its_first_client(ask: Ask, proxy: LocalProxy, upstream: FakeIndex) -> None:
    half_way = asyncio.Event()
    upstream.fail(UPSTREAM_FILE, Gate(700_000, half_way))
    first = asyncio.create_task(ask(FILE))
    await upstream.arrived(UPSTREAM_FILE)
    first.cancel()
    await asyncio.wait([first])
    half_way.set()
    assert (await ask(FILE)).body == ALPHA.data
    assert upstream.count(path=UPSTREAM_FILE) == 1


async def test_3_a_cut_upstream_is_resumed_behind_the_clients_back(ask: Ask, upstream: FakeIndex) -> None:
    upstream.fail(UPSTREAM_FILE, Cut(700_000), times=1)
    answer = await ask(FILE)
    assert (answer.status, answer.body) == (200, ALPHA.data)
    resumed = upstream.requests[-1].headers
    assert resumed["Range"].startswith("bytes=")
    assert resumed["If-Range"] == f'"{ALPHA.sha256}"'


async def test_3_no_client_ever_has_a_whole_body_of_wrong_bytes(
    proxy: LocalProxy, upstream: FakeIndex, tmp_path: Path
) -> None:
    upstream.fail(UPSTREAM_FILE, WrongBytes(), times=1)
    got = bytearray()
    async with aiohttp.ClientSession() as session, session.get(proxy.url + FILE) as answer:
        with pytest.raises(aiohttp.ClientError):  # noqa: PT012 (what came before counts)
            async for chunk in answer.content.iter_any():
                got += chunk
    assert len(got) <= len(ALPHA.data) - HOLD_BYTES
    assert blobs(tmp_path / "data") == {}
    assert proxy.parts.metrics.snapshot()["digest_mismatches"] == 1
    async with aiohttp.ClientSession() as session:
        assert await get(session, proxy.url + FILE) == ALPHA.data


# 4. A warm hit does no upstream I/O and no parsing.


async def test_4_warm_pages_and_files_are_ready_made(
    ask: Ask, proxy: LocalProxy, upstream: FakeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [PAGE, FILE, FILE + ".metadata"]
    cold = [await ask(path, JSON) for path in paths]
    await proxy.settled()
    asked = upstream.count()
    await upstream.stop()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a warm hit parses")

    monkeypatch.setattr(source, "parse", refuse)
    monkeypatch.setattr(source, "load", refuse)
    sent_by_kernel: list[int] = []
    monkeypatch.setattr(os, "sendfile", _counted(os.sendfile, sent_by_kernel))
    warm = [await ask(path, JSON) for path in paths]
    assert [answer.cache for answer in warm] == ["hit", "hit", "hit"]
    assert [answer.body for answer in warm] == [answer.body for answer in cold]
    assert sum(sent_by_kernel) == len(ALPHA.data)
    assert upstream.count() == asked


async def test_4_each_representation_has_an_etag_of_its_own_that_saves_its_bytes(ask: Ask) -> None:
    ways = [{**JSON, "Accept-Encoding": coding} for coding in ("identity", "gzip", "zstd")]
    ways += [{"Accept": "text/html", "Accept-Encoding": coding} for coding in ("identity", "gzip", "zstd")]
    etags = [(await ask(PAGE, way)).headers["ETag"] for way in ways]
    assert len(set(etags)) == 6
    for way, etag in zip(ways, etags, strict=True):
        assert (await ask(PAGE, {**way, "If-None-Match": etag})).status == 304


def _counted(sendfile: object, sent: list[int]) -> object:
    def counting(*arguments: object) -> int:
        count = sendfile(*arguments)
        sent.append(count)
        return count

    return counting


# 5. Stale beats down, removal beats stale.


async def test_5_what_we_have_is_served_while_upstream_is_down_and_says_so(
    ask: Ask, upstream: FakeIndex, clock: FakeClock, proxy: LocalProxy
) -> None:
    fresh = await ask(PAGE, JSON)
    await ask(FILE)
    await proxy.settled()
    await upstream.stop()
    clock.advance(86_400)
    page, file = await ask(PAGE, JSON), await ask(FILE)
    assert (page.status, page.cache, page.body) == (200, "stale", fresh.body)
    assert (file.status, file.body) == (200, ALPHA.data)
    assert proxy.parts.metrics.snapshot()["stale_served"] >= 1


async def test_5_what_upstream_took_away_is_gone_but_not_from_under_a_lock(
    ask: Ask, upstream: FakeIndex, clock: FakeClock, proxy: LocalProxy
) -> None:
    await ask(PAGE, JSON)
    await ask(FILE)
    await proxy.settled()
    upstream.remove_project("alpha")
    clock.advance(86_400)
    assert (await ask(PAGE, JSON)).status == 404
    assert (await ask(FILE)).body == ALPHA.data
    await upstream.stop()
    clock.advance(86_400)
    assert (await ask(PAGE, JSON)).status == 404
