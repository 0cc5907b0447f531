"""Answers with a ready-made head are, on the wire, what an ordinary response would have been."""

import asyncio

import pytest
from aiohttp import web

from envproxy.engine.prebuilt import Prebuilt, render_head, suits

NOON = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


async def _page(request: web.Request) -> web.StreamResponse:
    body = b"page" if request.method == "GET" else b""
    if suits(request):
        return Prebuilt(200, render_head(200, {"Content-Length": "4", "X": "y"}, now=NOON), body, cache="hit")
    return web.Response(body=b"page", headers={"X": "ordinary"})


@pytest.fixture
async def port():
    app = web.Application()
    app.router.add_get("/page", _page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def _talk(port: int, raw: bytes, count: int = -1) -> bytes:
    """Send, then read `count` bytes, or all until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    answer = await (reader.read() if count < 0 else reader.readexactly(count))
    writer.close()
    await writer.wait_closed()
    return answer


HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX: y\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\nServer: envproxy\r\n\r\n"
)


async def test_head_and_body_are_written_as_rendered_and_the_connection_lives_on(port: int) -> None:
    two = b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n" * 2
    expected = (HEAD + b"page") * 2
    assert await _talk(port, two, len(expected)) == expected


async def test_head_requests_get_the_head_alone(port: int) -> None:
    # a GET behind it shows that no body came in between
    both = b"HEAD /page HTTP/1.1\r\nHost: x\r\n\r\nGET /page HTTP/1.1\r\nHost: x\r\n\r\n"
    assert await _talk(port, both, 2 * len(HEAD) + 4) == HEAD + HEAD + b"page"


@pytest.mark.parametrize(
    "request_head", [b"GET /page HTTP/1.0\r\n\r\n", b"GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"]
)
async def test_a_client_that_wants_no_keep_alive_gets_an_ordinary_response(port: int, request_head: bytes) -> None:
    answer = await _talk(port, request_head)
    assert b"X: ordinary" in answer
    assert answer.endswith(b"\r\n\r\npage")


def test_a_header_cannot_end_the_head_early() -> None:
    with pytest.raises(ValueError, match="line break"):
        render_head(200, {"X": "a\r\nSet-Cookie: b"}, now=NOON)
