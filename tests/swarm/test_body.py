"""Bodies of pieces over a real connection: nothing is missing, nobody waits for bytes that do not come."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from envagent.peers.body import BATCH_BYTES, LEAST_BYTES, MOST_BYTES, WAKE_S, batches, tapped, worth_waking
from envproxy.errors import UpstreamError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

DATA = Random(3).randbytes(3 * BATCH_BYTES + 5)


PATIENT = aiohttp.ClientTimeout(sock_read=60.0)


class Server:
    """Sends DATA: parts of those sizes, and the rest unless it is to break off before."""

    def __init__(self, parts: Sequence[int], *, whole: bool = True) -> None:
        self._parts = parts
        self._whole = whole
        self.clients: list[object] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        assert request.transport
        self.clients.append(request.transport.get_extra_info("peername"))
        response = web.StreamResponse()
        response.content_length = len(DATA)
        await response.prepare(request)
        position = 0
        for size in self._parts:
            await response.write(DATA[position : position + size])
            position += size
        if not self._whole:
            request.transport.close()
            return response
        await response.write(DATA[position:])
        return response


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    app = web.Application()
    app.router.add_get("/", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        async with aiohttp.ClientSession() as session:
            yield session, f"http://{host}:{port}/"
    finally:
        await runner.cleanup()


async def got(answer: aiohttp.ClientResponse) -> list[list[bytes]]:
    return [batch async for batch in batches(answer, time.monotonic)]


async def test_a_body_comes_in_large_batches() -> None:
    async with serving(Server([])) as (session, url), session.get(url) as answer:
        found = await got(answer)
    assert b"".join(chunk for batch in found for chunk in batch) == DATA
    assert len(found) <= 4


@pytest.mark.parametrize("last", [1, LEAST_BYTES - 1, MOST_BYTES + 1])
async def test_the_last_bytes_are_heard_of_however_few_they_are(last: int) -> None:
    async with serving(Server([len(DATA) - last])) as (session, url), session.get(url) as answer:
        found = await got(answer)
    assert b"".join(chunk for batch in found for chunk in batch) == DATA


async def test_a_connection_is_used_again_for_an_answer_that_is_small() -> None:
    server = Server([])
    async with serving(server) as (session, url):
        for _ in range(2):
            async with session.get(url) as answer:
                await got(answer)
        async with session.get(f"{url}missing") as answer:
            assert answer.status == 404
    assert len(set(server.clients)) == 1


async def taken(answer: aiohttp.ClientResponse, *, most: int) -> bytes:
    """What a thread takes that leaves when it has so many bytes."""
    tap, found = tapped(answer), bytearray()
    assert tap is not None

    def take() -> None:
        for batch in tap.batches(MOST_BYTES):
            found.extend(batch)
            if len(found) >= most:
                return

    with tap:
        await tap.run(take)
    return bytes(found)


async def test_a_connection_is_used_again_when_a_thread_has_taken_all_of_an_answer() -> None:
    server = Server([BATCH_BYTES])
    async with serving(server) as (session, url):
        for _ in range(3):
            async with session.get(url, timeout=PATIENT) as answer:
                assert await taken(answer, most=len(DATA)) == DATA
        async with session.get(f"{url}missing") as answer:
            assert answer.status == 404
    assert len(set(server.clients)) == 1


async def test_a_connection_is_not_used_again_when_a_thread_has_left_some_of_an_answer() -> None:
    server = Server([BATCH_BYTES])
    async with serving(server) as (session, url):
        for _ in range(2):
            async with session.get(url, timeout=PATIENT) as answer:
                assert DATA.startswith(await taken(answer, most=1))
    assert len(set(server.clients)) == 2


async def test_what_came_before_a_break_is_not_lost() -> None:
    came = bytearray()

    async def read(answer: aiohttp.ClientResponse) -> None:
        async for batch in batches(answer, time.monotonic):
            came.extend(b"".join(batch))

    async with serving(Server([BATCH_BYTES], whole=False)) as (session, url), session.get(url) as answer:
        with pytest.raises(UpstreamError):
            await read(answer)
    assert bytes(came) == DATA[: len(came)]
    assert len(came) > 0


def test_a_fast_line_wakes_for_more_and_a_slow_one_for_less_within_bounds() -> None:
    assert worth_waking(1 << 15, WAKE_S / 2) == 1 << 16
    assert worth_waking(1 << 15, WAKE_S * 2) == 1 << 14
    assert worth_waking(MOST_BYTES, 0.0) == MOST_BYTES
    assert worth_waking(LEAST_BYTES, 10.0) == LEAST_BYTES
