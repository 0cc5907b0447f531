"""Observation and error answers, as a client on a real connection and an operator reading the log see them."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from envproxy.connection import Runner
from envproxy.errors import (
    DigestMismatch,
    EnvproxyError,
    NoSuchThing,
    PolicyRefused,
    StorageFull,
    Unauthorized,
    UpstreamError,
)
from envproxy.logs import LineBuffer, LineFormatter, unparsable
from envproxy.metrics import Metrics
from envproxy.middleware import AccessLine, AccessLog, JsonLine, TextLine, observe
from envproxy.problems import problems

Handler = Callable[[web.Request], "asyncio.Future[web.StreamResponse]"]


@dataclass
class Proxy:
    """A server with both middlewares, what it counted and what it logged."""

    registry: CollectorRegistry
    written: list[bytes]
    client: aiohttp.ClientSession
    port: int

    def requests(self, **labels: str) -> float | None:
        return self.registry.get_sample_value("envmesh_http_requests_total", {"component": "proxy", **labels})

    def inflight(self, route: str) -> float | None:
        return self.registry.get_sample_value("envmesh_http_inflight", {"route": route})

    def sent_bytes(self, route: str) -> float | None:
        return self.registry.get_sample_value("envmesh_response_bytes_total", {"route": route})


@asynccontextmanager
async def serving(*routes: web.RouteDef, style: str = "text", **server: object) -> AsyncIterator[Proxy]:
    """A proxy with `routes`, whose timer makes a quarter second of each request; its log is complete at the end."""
    registry, written = CollectorRegistry(), []
    lines = LineBuffer(written.append)
    access = AccessLog(lines, style, clock=lambda: 1795332600.12)
    timer = iter(n / 4 for n in range(10_000)).__next__
    app = web.Application(middlewares=[observe(Metrics(registry), access, timer=timer), problems])
    app.add_routes(routes)
    runner = Runner(app, **server)
    writing = asyncio.create_task(lines.run())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            yield Proxy(registry, written, client, port)
    finally:
        await runner.cleanup()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


def log_of(proxy: Proxy) -> list[str]:
    return b"".join(proxy.written).decode().splitlines()


async def page(request: web.Request) -> web.Response:
    return web.Response(body=b"0123456789", headers={"X-Envmesh-Cache": "hit"})


def raising(error: BaseException) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        raise error

    return handler


async def talk(port: int, request: bytes) -> bytes:
    """Everything the server answers to raw bytes, until it closes; ConnectionError if it resets."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()


# --- counting -------------------------------------------------------------------------------------------


async def test_a_request_is_counted_by_route_method_and_class_with_its_bytes() -> None:
    async with serving(web.get("/simple/{project}/", page, name="project")) as proxy:
        for _ in range(2):
            await (await proxy.client.get("/simple/numpy/")).read()
        await proxy.client.head("/simple/numpy/")
    assert proxy.requests(route="project", method="GET", status_class="2xx") == 2
    assert proxy.requests(route="project", method="HEAD", status_class="2xx") == 1
    assert proxy.sent_bytes("project") == 20
    labels = {"component": "proxy", "route": "project", "method": "GET", "status_class": "2xx"}
    assert proxy.registry.get_sample_value("envmesh_http_request_seconds_sum", labels) == 0.5


async def test_what_no_route_takes_and_methods_nobody_knows_are_other() -> None:
    async with serving() as proxy:
        assert (await proxy.client.request("PROPFIND", "/nowhere")).status == 404
    assert proxy.requests(route="other", method="other", status_class="4xx") == 1


async def test_a_route_counts_under_its_name_up_to_the_first_dot() -> None:
    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPMovedPermanently("/simple/six/")

    async with serving(web.get("/simple/Six", redirect, name="project.redirect")) as proxy:
        answer = await proxy.client.get("/simple/Six", allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (301, "/simple/six/")
    assert proxy.requests(route="project", method="GET", status_class="3xx") == 1


async def test_a_request_is_in_flight_until_its_last_byte() -> None:
    go = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await go.wait()
        await response.write(b"done")
        return response

    async with serving(web.get("/file", slow, name="file")) as proxy:
        answer = await proxy.client.get("/file")
        assert proxy.inflight("file") == 1
        go.set()
        assert await answer.read() == b"done"
    assert proxy.inflight("file") == 0
    assert proxy.requests(route="file", method="GET", status_class="2xx") == 1


async def test_a_file_that_the_kernel_sends_is_counted_with_all_its_bytes(tmp_path: object) -> None:
    wheel = tmp_path / "wheel"
    wheel.write_bytes(b"w" * 300_000)

    async def file(request: web.Request) -> web.FileResponse:
        return web.FileResponse(wheel)

    async with serving(web.get("/file", file, name="file")) as proxy:
        assert len(await (await proxy.client.get("/file")).read()) == 300_000
    assert proxy.sent_bytes("file") == 300_000


@pytest.mark.parametrize("handler_cancellation", [False, True])
async def test_a_client_that_leaves_is_counted_as_aborted_and_logs_no_traceback(
    handler_cancellation: bool, caplog: pytest.LogCaptureFixture
) -> None:
    left = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
                await asyncio.sleep(0)
        finally:
            left.set()

    async with serving(web.get("/file", endless, name="file"), handler_cancellation=handler_cancellation) as proxy:
        answer = await proxy.client.get("/file")
        await answer.content.readexactly(10)
        answer.close()
        await left.wait()
    assert proxy.requests(route="file", method="GET", status_class="aborted") == 1
    assert proxy.inflight("file") == 0
    assert " 499 route=file " in log_of(proxy)[0]
    assert log_of(proxy)[0].endswith(" aborted=True")
    assert [record for record in caplog.records if record.exc_info] == []


# --- the access log -------------------------------------------------------------------------------------


async def test_a_request_is_one_line_of_text() -> None:
    async with serving(web.get("/simple/{project}/", page, name="project")) as proxy:
        await proxy.client.get("/simple/numpy/", headers={"X-Request-Id": "ab-12"})
    (line,) = log_of(proxy)
    assert line == (
        "2026-11-22T07:30:00.120Z INFO envproxy.access GET /simple/numpy/ 200 route=project bytes=10"
        " seconds=0.25 client=127.0.0.1 cache=hit request_id=ab-12"
    )


async def test_a_request_is_one_object_of_json() -> None:
    async with serving(web.get("/simple/{project}/", page, name="project"), style="json") as proxy:
        await proxy.client.get("/simple/numpy/")
    assert [json.loads(line) for line in log_of(proxy)] == [
        {
            "time": "2026-11-22T07:30:00.120Z",
            "level": "INFO",
            "logger": "envproxy.access",
            "method": "GET",
            "path": "/simple/numpy/",
            "status": 200,
            "route": "project",
            "bytes": 10,
            "seconds": 0.25,
            "client": "127.0.0.1",
            "cache": "hit",
        }
    ]


async def test_probes_are_counted_but_not_logged() -> None:
    async with serving(web.get("/healthz", page, name="health"), web.get("/metrics", page, name="metrics")) as proxy:
        await proxy.client.get("/healthz")
        await proxy.client.get("/metrics")
    assert log_of(proxy) == []
    assert proxy.requests(route="health", method="GET", status_class="2xx") == 1


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (b"/page?token=hunter2", "/page"),
        (b"http://user:hunter2@proxy.example.org/page", "/page"),
        (b"/http://user:hunter2@files.example.org/page", "/http://***@files.example.org/page"),
        (b"/a%0d%0ab", "/a%0d%0ab"),
    ],
)
@pytest.mark.parametrize("style", ["text", "json"])
async def test_the_log_has_the_path_and_no_credentials(target: bytes, shown: str, style: str) -> None:
    async with serving(style=style) as proxy:
        await talk(proxy.port, b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    (line,) = log_of(proxy)
    assert "hunter2" not in line
    assert (json.loads(line)["path"] if style == "json" else line.split()[4]) == shown


@pytest.mark.parametrize("kind", [TextLine, JsonLine])
def test_a_path_that_is_no_unicode_is_still_a_line(kind: type[AccessLine]) -> None:
    line = bytes(kind(0.0, "GET", "/caf\xe9/\udcff", 404, "other", 0, 0.1, "127.0.0.1", "", False, ""))
    assert rb"/caf\xe9/\udcff" in line.replace(rb"\\", b"\\")
    assert line.endswith(b"\n")


@pytest.mark.parametrize("given", ["two words", "x" * 65, "caf\u00e9"])
async def test_a_request_id_that_could_forge_a_line_is_left_out(given: str) -> None:
    async with serving(web.get("/", page)) as proxy:
        await proxy.client.get("/", headers={"X-Request-Id": given})
    assert "request_id" not in log_of(proxy)[0]


# --- errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "title", "kind", "headers"),
    [
        (NoSuchThing("m"), 404, "Not found", "not-found", {"Cache-Control": "max-age=60"}),
        (
            Unauthorized("m"),
            401,
            "Credentials required",
            "credentials-required",
            {"Cache-Control": "no-store", "WWW-Authenticate": 'Basic realm="envmesh"'},
        ),
        (PolicyRefused("m"), 403, "Refused by policy", "refused-by-policy", {"Cache-Control": "no-store"}),
        (
            UpstreamError("m", cause="timeout", retry_after_s=7),
            503,
            "Upstream failed",
            "upstream-failed",
            {"Cache-Control": "no-store", "Retry-After": "7"},
        ),
        (StorageFull("m"), 507, "Storage full", "storage-full", {"Cache-Control": "no-store"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, EnvproxyError) else "",
)
async def test_an_error_is_a_problem_document_with_the_headers_clients_act_on(
    error: EnvproxyError, status: int, title: str, kind: str, headers: dict[str, str]
) -> None:
    error.hint = "try this"
    async with serving(web.get("/", raising(error))) as proxy:
        answer = await proxy.client.get("/")
        assert answer.status == status
        assert answer.content_type == "application/problem+json"
        assert json.loads(await answer.read()) == {
            "type": f"urn:envmesh:problem:{kind}",
            "title": title,
            "status": status,
            "detail": "m",
            "hint": "try this",
        }
    assert {name: answer.headers.get(name) for name in headers} == headers


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("numpy 2.9 waits 7 days (min-age)", "numpy 2.9 waits 7 days (min-age)"),
        ("one\r\nSet-Cookie: two\tthree", "one Set-Cookie: two three"),
        ("d\u00e9j\u00e0 vu \x00", "d?j? vu"),
        ("x" * 300, "x" * 200),
        ("https://user:pw@pkgs.example.org/ failed", "https://***@pkgs.example.org/ failed"),
        ("", "Forbidden"),
    ],
)
async def test_the_message_is_the_reason_phrase_made_safe(message: str, reason: str) -> None:
    async with serving(web.get("/", raising(PolicyRefused(message)))) as proxy:
        answer = await proxy.client.get("/")
        assert answer.reason == reason
        assert "Set-Cookie" not in answer.headers


async def test_a_message_that_is_no_unicode_is_still_an_answer() -> None:
    async with serving(web.get("/", raising(NoSuchThing("no file \udcff")))) as proxy:
        answer = await proxy.client.get("/")
        assert (await answer.json(content_type=None))["detail"] == answer.reason == r"no file \udcff"


@pytest.mark.parametrize(
    ("method", "path", "status", "title"),
    [("GET", "/nowhere", 404, "Not Found"), ("DELETE", "/page", 405, "Method Not Allowed")],
)
async def test_refusals_of_the_router_are_problem_documents_too(
    method: str, path: str, status: int, title: str
) -> None:
    async with serving(web.get("/page", page)) as proxy:
        answer = await proxy.client.request(method, path)
        document = json.loads(await answer.read())
    assert (answer.status, document["type"], document["title"]) == (status, "about:blank", title)
    assert answer.headers.get("Allow") == ("GET,HEAD" if status == 405 else None)


async def test_an_unexpected_exception_is_logged_once_and_tells_the_client_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(web.get("/", raising(LookupError("secret inside")))) as proxy:
        answer = await proxy.client.get("/")
        body = await answer.read()
    assert (answer.status, answer.content_type) == (500, "application/problem+json")
    assert b"secret" not in body
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [LookupError]


async def test_a_connection_error_from_elsewhere_is_an_unexpected_exception() -> None:
    async with serving(web.get("/", raising(ConnectionRefusedError("a database, say")))) as proxy:
        assert (await proxy.client.get("/")).status == 500


@pytest.mark.parametrize("error", [DigestMismatch("six.whl is not what its digest names"), LookupError("a bug")])
@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
async def test_an_error_after_the_first_byte_resets_the_connection(error: Exception, version: bytes) -> None:
    begun = asyncio.Event()

    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half a wheel")
        await begun.wait()
        raise error

    async with serving(web.get("/file", half, name="file")) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"GET /file " + version + b"\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"half a wheel")
        begun.set()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
    assert proxy.requests(route="file", method="GET", status_class="aborted") == 1


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic " + b"hunter2" * 3000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic hunter2\x01\r\n\r\n", 400),
        (b"\x16\x03\x01 hunter2, this is no HTTP\r\n\r\n", 400),
    ],
    ids=["long URL", "long header", "bad header", "TLS"],
)
async def test_what_is_no_http_is_refused_and_logged_without_traceback_or_secret(
    request_head: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    server_log = logging.getLogger("aiohttp.server")
    server_log.addFilter(unparsable)
    try:
        async with serving() as proxy:
            answer = await talk(proxy.port, request_head)
    finally:
        server_log.removeFilter(unparsable)
    assert answer.startswith(b"HTTP/1.0 %d " % status)
    assert b"hunter2" not in answer
    logged = [LineFormatter("text").format(record) for record in caplog.records]
    assert not any("hunter2" in line or "Traceback" in line for line in logged)
    assert all(re.search(r"WARNING aiohttp.server Error handling request from 127.0.0.1: ", line) for line in logged)
