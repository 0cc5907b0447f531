"""Whatever a client or an upstream sends: the right status, a plain message, and a proxy that still answers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fixtures.proxy import LocalProxy, proxy_process
from fixtures.upstream import FakeIndex, RawBody
from fixtures.wheels import Dist, make_wheel
from fixtures.wire import JSON, talk, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fixtures.wire import Ask

ALPHA = "/pypi/main/simple/alpha/"
SHA256 = "0" * 64


@pytest.fixture
def wheel(upstream: FakeIndex) -> Dist:
    wheel = make_wheel("alpha", "1.0")
    upstream.add(wheel)
    return wheel


@pytest.fixture(autouse=True)
async def _the_proxy_still_answers_afterwards(ask: Ask, upstream: FakeIndex) -> AsyncIterator[None]:
    yield
    upstream.clear_faults()
    upstream.add(make_wheel("afterwards", "1.0"))
    assert (await ask("/pypi/main/simple/afterwards/", JSON)).status == 200


# --- paths ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "%2e%2e",
        "%2E",
        "a%2Fb",
        "..%2F..%2Fetc%2Fpasswd",
        "%2Fetc",
        "a%5Cb",
        "a\\b",
        "a%00b",
        "a%0D%0AX-Evil:%20yes",
        "a%20b",
        "a%zz",
        "a%FF",
        "-alpha",
        "alpha-",
        "_",
        "a+b",
        "a%E2%80%8Bb",
        "%F0%9F%90%8D",
        "a" * 201,
        "alpha%3Fx=1",
    ],
)
@pytest.mark.parametrize("slash", ["/", ""], ids=["page", "redirect"])
async def test_names_that_are_no_names_are_400(proxy: LocalProxy, upstream: FakeIndex, name: str, slash: str) -> None:
    # Raw, for every client library would tidy up some of these.
    path = f"/pypi/main/simple/{name}{slash}"
    said = await talk(proxy.url, f"GET {path} HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n\r\n".encode())
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nX-Evil" not in head
    assert "project name" in json.loads(body)["detail"]
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/pypi/%2e%2e/simple/alpha/", 404),
        ("/pypi/ma%2Fin/simple/alpha/", 404),
        ("/pypi/nobody/simple/alpha/", 404),
        ("/pypi/main/simple//alpha/", 404),
        ("//pypi/main/simple/alpha/", 404),
        ("/pypi/main/simple/alpha/extra/", 404),
        ("/pypi/main/", 404),
        ("/pypi/main/simple/{project}/", 404),
        ("/", 404),
        (f"/pypi/main/files/alpha/{SHA256}/..%2f..%2fcatalog.sqlite", 400),
        (f"/pypi/main/files/alpha/{SHA256}/%2e%2e", 400),
        (f"/pypi/main/files/alpha/{SHA256}/.hidden.whl", 400),
        (f"/pypi/main/files/alpha/{SHA256}/a%5Cb.whl", 400),
        (f"/pypi/main/files/alpha/{SHA256}/a%00.whl", 400),
        (f"/pypi/main/files/alpha/{SHA256}/a%0A.whl", 400),
        (f"/pypi/main/files/alpha/{SHA256}/{'a' * 300}.whl", 400),
        (f"/pypi/main/files/alpha/{SHA256}/%ED%B2%80.whl", 404),
        (f"/pypi/main/files/..%2Falpha/{SHA256}/alpha-1.0-py3-none-any.whl", 400),
        ("/pypi/main/files/alpha/%2e%2e/alpha-1.0-py3-none-any.whl", 400),
        ("/pypi/main/files/alpha/abc/alpha-1.0-py3-none-any.whl", 400),
        (f"/pypi/main/files/alpha/{'F' * 64}/alpha-1.0-py3-none-any.whl", 400),
        (f"/pypi/main/files/alpha/{'0' * 65}/alpha-1.0-py3-none-any.whl", 400),
        ("/pypi/main/files/alpha/md5/alpha-1.0-py3-none-any.whl.metadata", 400),
        (f"/pypi/main/files/alpha/{SHA256}/.metadata", 400),
    ],
)
async def test_other_paths_that_lead_nowhere_say_so(ask: Ask, wheel: Dist, path: str, status: int) -> None:
    answer = await ask(path)
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status
    assert answer.reason == answer.json()["detail"][:200]


async def test_an_unknown_index_is_404_and_the_hint_names_those_there_are(ask: Ask) -> None:
    answer = await ask("/pypi/mian/simple/alpha/")
    assert answer.json()["detail"] == "there is no index 'mian' here"
    assert answer.json()["hint"] == "configured indexes: main"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
async def test_methods_that_would_write_are_405(ask: Ask, wheel: Dist, method: str) -> None:
    for path in (ALPHA, f"/pypi/main/files/alpha/{wheel.sha256}/{wheel.filename}", "/healthz"):
        answer = await ask(path, method=method, body=b"x")
        assert (answer.status, answer.headers["Allow"], answer.reason) == (405, "GET,HEAD", "Method Not Allowed")


# --- requests that are hardly HTTP ----------------------------------------------------------------------


def request(path: str, headers: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"GET %s HTTP/%s\r\nHost: proxy\r\nConnection: close\r\n%s\r\n" % (path.encode(), version, headers)


FLOOD = b"".join(b"X-Garbage-%d: %d\r\n" % (number, number) for number in range(10_000))


def problem(said: bytes) -> dict[str, object]:
    """The problem document in an answer that ends its connection."""
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"\r\nContent-Type: application/problem+json\r\n" in head + b"\r\n"
    return json.loads(body)


@pytest.mark.parametrize(
    ("sent", "status", "detail"),
    [
        pytest.param(
            request("/pypi/main/simple/" + "a" * 9000 + "/"),
            414,
            "the request target is longer than 8192 bytes",
            id="a URL beyond 8 KiB",
        ),
        pytest.param(request(ALPHA, FLOOD), 431, "the request has more than 128 header fields", id="10,000 headers"),
        pytest.param(
            request(ALPHA, b"X-Garbage: " + b"a" * 100_000 + b"\r\n"),
            431,
            "a header field is longer than 16384 bytes",
            id="a header of 100 kB",
        ),
        pytest.param(
            request(ALPHA, b"X-" + b"a" * 100_000 + b": 1\r\n"),
            431,
            "a header field is longer than 16384 bytes",
            id="a header's name of 100 kB",
        ),
    ],
)
async def test_too_much_of_a_request_is_refused_by_the_status_that_names_it(
    proxy: LocalProxy, wheel: Dist, sent: bytes, status: int, detail: str
) -> None:
    said = await talk(proxy.url, sent)
    assert said.startswith(b"HTTP/1.0 %d %s\r\n" % (status, detail.encode()))
    assert (problem(said)["status"], problem(said)["detail"]) == (status, detail)


async def test_a_refusal_is_read_by_a_client_that_sends_on_and_ends_the_connection(proxy: LocalProxy) -> None:
    # Three megabytes fit into no buffer: a proxy that closed at once would reset, and the answer would be lost.
    async with asyncio.timeout(60):
        said = await talk(proxy.url, request(ALPHA, FLOOD * 15))
    assert problem(said)["status"] == 431
    assert said.count(b"HTTP/1.0 ") == 1


async def test_urls_and_headers_just_within_their_bounds_are_no_problem(proxy: LocalProxy, wheel: Dist) -> None:
    path = ALPHA + "?" + "a" * (8192 - len(ALPHA) - 1)
    said = await talk(proxy.url, request(path, b"X: " + b"a" * 16383 + b"\r\n"))
    assert said.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(request("/pypi/main/simple/al\0pha/"), id="a NUL in the URL"),
        pytest.param(request(ALPHA, b"X-Garb\0age: 1\r\n"), id="a NUL in a header"),
        pytest.param(request(ALPHA, b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"), id="two lengths"),
        pytest.param(request(ALPHA, b"no colon\r\n"), id="a header without a colon"),
        pytest.param(request(ALPHA, version=b"7.7"), id="HTTP/7.7"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", id="TLS"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", id="SSH"),
        pytest.param(b"\xff" * 100 + b"\r\n\r\n", id="noise"),
    ],
)
async def test_what_is_hardly_http_is_400_and_short(proxy: LocalProxy, wheel: Dist, sent: bytes) -> None:
    said = await talk(proxy.url, sent)
    assert said.split(b" ")[1] == b"400"
    assert str(problem(said)["detail"]).startswith("this is not valid HTTP/1.1: ")
    assert len(said) < 1000
    assert b"Traceback" not in said


async def test_many_headers_that_are_not_too_many_are_no_problem(proxy: LocalProxy, wheel: Dist) -> None:
    said = await talk(proxy.url, request(ALPHA, b"".join(FLOOD.splitlines(keepends=True)[:100])))
    assert said.startswith(b"HTTP/1.1 200 ")


async def test_a_body_that_nobody_asked_for_is_not_taken_for_the_next_request(proxy: LocalProxy, wheel: Dist) -> None:
    body = request("/healthz")
    said = await talk(proxy.url, request(ALPHA, b"Content-Length: %d\r\n" % len(body)) + body)
    assert said.count(b"HTTP/1.1 200 OK") == 1


async def test_an_old_client_gets_an_old_answer(proxy: LocalProxy, wheel: Dist) -> None:
    path = f"/pypi/main/files/alpha/{wheel.sha256}/{wheel.filename}"
    for _ in ("cold", "warm"):
        head, _, body = (await talk(proxy.url, b"GET %s HTTP/1.0\r\n\r\n" % path.encode())).partition(b"\r\n\r\n")
        assert (head.split(b" ")[:2], body) == ([b"HTTP/1.0", b"200"], wheel.data)


# --- headers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["cold", "warm"])
@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("bytes=", 200),
        ("bytes=-", 200),
        ("bytes=abc-def", 200),
        ("bytes=5-2", 200),
        ("bytes=0-1,5-6", 200),
        ("lines=0-5", 200),
        ("bytes=99999999-", 416),
        ("bytes=99999999999999999999999-", 200),
        ("bytes=-0", 416),
        ("bytes=0-99999999", 206),
        ("bytes=\u0663-\u0665", 200),
        ("\u00fc", 200),
    ],
)
async def test_ranges_that_are_none_give_the_whole_file_and_those_outside_it_416(
    ask: Ask, proxy: LocalProxy, wheel: Dist, state: str, asked: str, status: int
) -> None:
    path = f"/pypi/main/files/alpha/{wheel.sha256}/{wheel.filename}"
    if state == "warm":
        await ask(path)
        await proxy.settled()
    answer = await ask(path, {"Range": asked})
    assert answer.status == status
    if status == 416:
        assert answer.headers["Content-Range"] == f"bytes */{len(wheel.data)}"
    else:
        assert answer.body == wheel.data


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "application/vnd.pypi.simple.v2+json"},
        {"Accept": ", " * 2000},
        {"Accept": "text/html;q=nan, application/vnd.pypi.simple.v1+json;q=-1"},
        {"Accept-Encoding": "gzip;q=1e999, br;q="},
        {"If-None-Match": '"' * 3000},
        {"Cache-Control": "no-cache=" + '"' * 3000},
        {"Cookie": "a=b; " * 100},
        {"Host": "evil.example.org"},
        {"X-Forwarded-Host": "evil.example.org", "X-Forwarded-Proto": "javascript"},
        {"Content-Encoding": "gzip"},
        {"Expect": "a miracle"},
    ],
    ids=lambda headers: next(iter(headers)),
)
async def test_strange_headers_change_nothing(ask: Ask, wheel: Dist, headers: dict[str, str]) -> None:
    answer = await ask(ALPHA, headers)
    if "Expect" in headers:
        assert answer.status == 417
    else:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert b"evil" not in answer.body


# --- what upstream sends --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"meta": {"api-version": "1.4"}, "name": "alpha", "files": [{"filen', id="truncated JSON"),
        pytest.param(b"<!DOCTYPE html><title>Sign in</title><form></form>", id="a portal page"),
        pytest.param(b'{"meta": {"api-version": "1.4"}, "name": "omega", "files": []}', id="another project"),
        pytest.param(b'{"meta": {"api-version": "2.0"}, "name": "alpha", "files": []}', id="a version to come"),
        pytest.param(b'{"message": "rate limit exceeded"}', id="another object"),
        pytest.param(b"[" * 100_000, id="deep nesting"),
        pytest.param(b"\x00" * 10_000, id="zeros"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_a_page_that_is_none_is_503_and_never_an_empty_page(ask: Ask, upstream: FakeIndex, body: bytes) -> None:
    upstream.fail("/simple/alpha/", RawBody(body, "application/json"))
    answer = await ask(ALPHA, JSON)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json()["title"] == "Upstream sent something unusable"
    assert "check that the source's URL" in answer.json()["hint"]


async def test_links_that_cannot_be_fetched_are_left_out_and_the_rest_is_served(
    ask: Ask, upstream: FakeIndex, wheel: Dist
) -> None:
    def entry(filename: str, url: str) -> dict[str, object]:
        return {"filename": filename, "url": url, "hashes": {}}

    files = [
        entry("../../../etc/passwd", "https://files.example.org/passwd"),
        entry("alpha-0.1.tar.gz", "file:///etc/passwd"),
        entry("alpha-0.2.tar.gz", "gopher://files.example.org/alpha-0.2.tar.gz"),
        entry("alpha-0.3\r\nX-Evil: yes.tar.gz", "https://files.example.org/x"),
        entry("alpha-0.4.tar.gz", "https://[broken"),
        {"filename": "alpha-0.5.tar.gz"},
        entry(wheel.filename, upstream.file_url(wheel.filename)),
    ]
    page = json.dumps({"meta": {"api-version": "1.0"}, "name": "alpha", "files": files}).encode()
    upstream.fail("/simple/alpha/", RawBody(page, "application/vnd.pypi.simple.v1+json"))
    shown = await ask(ALPHA, JSON)
    assert [file["filename"] for file in shown.json()["files"]] == [wheel.filename]
    assert (await ask(shown.file_path(wheel.filename))).body == wheel.data


def large_page(files: int) -> bytes:
    """A page as large projects with nightly builds have it: some 200 bytes a file."""
    entries = [
        {
            "filename": f"alpha-1.0.{number}-py3-none-any.whl",
            "url": f"https://files.example.org/alpha-1.0.{number}-py3-none-any.whl",
            "hashes": {"sha256": f"{number:064x}"},
            "upload-time": "2024-03-01T12:00:00Z",
        }
        for number in range(files)
    ]
    return json.dumps({"meta": {"api-version": "1.1"}, "name": "alpha", "files": entries}).encode()


@pytest.mark.parametrize("policy", ["", 'min-age = "7d"\ndeny = ["alpha==1.0.7"]'], ids=["open", "with a policy"])
async def test_a_page_of_10_mb_with_50_000_files_is_served_in_all_forms_within_150_mb(
    tmp_path: Path, upstream: FakeIndex, policy: str
) -> None:
    body = await asyncio.to_thread(large_page, 50_000)
    assert len(body) > 10_000_000
    upstream.fail("/simple/alpha/", RawBody(body, "application/vnd.pypi.simple.v1+json"))
    home = tmp_path / "home"
    home.mkdir()
    toml = f'[pypi.indexes.main]\nsources = ["pypi"]\n[pypi.indexes.main.policy]\n{policy}\n'
    async with proxy_process(home, upstream=upstream, toml=toml) as proxy, wire(proxy.url) as ask:
        forms = [
            {"Accept": accept, "Accept-Encoding": coding}
            for accept in (JSON["Accept"], "text/html")
            for coding in ("gzip", "zstd", "identity")
        ]
        answers = await asyncio.gather(*(ask(ALPHA, headers) for headers in forms))
        assert {answer.status for answer in answers} == {200}
        page = next(answer for answer in answers if answer.body.startswith(b'{"files"'))
        assert len(page.json()["files"]) == (49_999 if policy else 50_000)
        status = await asyncio.to_thread(Path(f"/proc/{proxy.process.pid}/status").read_text)
    [peak_kb] = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")]
    assert peak_kb < 150_000
    assert upstream.count(path="/simple/alpha/") == 1
