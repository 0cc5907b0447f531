"""Client credentials: who must show a token, in which forms, and that nobody else ever sees one."""

from __future__ import annotations

import base64
import logging
from typing import TYPE_CHECKING

import pytest

from envproxy.auth import Forbidden, Gate, Grant, presented
from envproxy.errors import Unauthorized
from fixtures.proxy import LocalProxy, proxy_process, running_proxy
from fixtures.upstream import FakeIndex, Redirect, Status
from fixtures.wheels import Dist, make_wheel
from fixtures.wire import JSON, Ask, Reply, talk, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TOML = """
[auth]
read = "token"
[auth.tokens.reader]
secret = "env:READER"
[auth.tokens.publisher]
secret = "env:PUBLISHER"
scopes = ["upload"]
"""
READER, PUBLISHER = "let-me-read-5f2a", "let-me-publish-77c1"
ENVIRON = {"READER": READER, "PUBLISHER": PUBLISHER}
ALPHA = "/pypi/main/simple/alpha/"


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def wheel(upstream: FakeIndex) -> Dist:
    wheel = make_wheel("alpha", "1.0")
    upstream.add(wheel)
    return wheel


@pytest.fixture
async def proxy(tmp_path: Path, upstream: FakeIndex) -> AsyncIterator[LocalProxy]:
    async with running_proxy(tmp_path, upstream=upstream, toml=TOML, environ=ENVIRON) as running:
        yield running


def paths(wheel: Dist) -> list[str]:
    file = f"/pypi/main/files/alpha/{wheel.sha256}/{wheel.filename}"
    return [
        "/pypi/main/simple/",
        ALPHA,
        "/pypi/main/simple/alpha",
        "/pypi/main/simple/nobody/",
        "/pypi/no-such-index/simple/alpha/",
        file,
        f"{file}.metadata",
        "/api/stats",
        "/api/origins",
        "/pypi/main/origins/alpha/",
        "/nowhere",
        "/%70ypi/main/simple/alpha/",
    ]


# --- reading --------------------------------------------------------------------------------------------


async def test_without_a_token_nothing_is_answered_but_401(ask: Ask, wheel: Dist, upstream: FakeIndex) -> None:
    for path in paths(wheel):
        for method in ("GET", "HEAD"):
            answer = await ask(path, method=method)
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="envmesh"'), path
            assert answer.headers["Cache-Control"] == "no-store"
    assert upstream.requests == []


async def test_probes_and_prometheus_need_no_token(ask: Ask) -> None:
    assert [(await ask(path)).status for path in ("/healthz", "/readyz", "/metrics")] == [200, 200, 200]


@pytest.mark.parametrize(
    "headers",
    [
        basic("__token__", READER),
        basic("anybody", READER),
        basic("", READER),
        basic(READER, ""),
        bearer(READER),
        {"Authorization": f"bearer   {READER} "},
    ],
    ids=["__token__", "any user", "no user", "token as user", "bearer", "bearer, untidy"],
)
async def test_a_token_is_taken_in_each_form_that_clients_send_it_in(
    ask: Ask, wheel: Dist, headers: dict[str, str]
) -> None:
    page = await ask(ALPHA, {**JSON, **headers})
    assert page.status == 200
    file = page.file_path(wheel.filename)
    assert (await ask(file, headers)).body == wheel.data
    assert (await ask(f"{file}.metadata", headers)).body == wheel.metadata


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer wrong",
        "Bearer",
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
        "Basic " + base64.b64encode(b"no colon").decode(),
        f"Digest {READER}",
        READER,
        f"Bearer {READER}x",
        "Bearer \u0142\u00f3d\u017a",
        "",
    ],
)
async def test_what_is_no_valid_token_is_401(ask: Ask, wheel: Dist, authorization: str) -> None:
    assert (await ask(ALPHA, {"Authorization": authorization})).status == 401


async def test_bytes_that_are_no_text_are_no_token(proxy: LocalProxy) -> None:
    said = await talk(
        proxy.url,
        b"GET /pypi/main/simple/alpha/ HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer \xff\xfe\r\n"
        b"Connection: close\r\n\r\n",
    )
    assert said.startswith(b"HTTP/1.1 401 ")


async def test_a_token_for_uploads_does_not_read(ask: Ask, wheel: Dist) -> None:
    answer = await ask(ALPHA, bearer(PUBLISHER))
    assert (answer.status, answer.json()["detail"]) == (403, "token publisher may not read")


async def test_answers_to_token_holders_are_for_private_caches_only(ask: Ask, wheel: Dist, proxy: LocalProxy) -> None:
    token = bearer(READER)
    page = await ask(ALPHA, {**JSON, **token})
    file = page.file_path(wheel.filename)
    said = [page.headers["Cache-Control"]]
    for path in (file, f"{file}.metadata"):
        for _ in ("cold", "warm"):
            said.append((await ask(path, token)).headers["Cache-Control"])
            await proxy.settled()
    said += [(await ask("/pypi/main/simple/nobody/", token)).headers["Cache-Control"] for _ in range(2)]
    said.append((await ask(file.replace("1.0", "2.0"), token)).headers["Cache-Control"])
    assert [directives for directives in said if "public" in directives] == []
    assert said[0].startswith("private, max-age=")
    assert said[1] == "private, max-age=365000000, immutable"


async def test_an_open_proxy_takes_a_token_that_it_does_not_know(
    tmp_path: Path, upstream: FakeIndex, wheel: Dist
) -> None:
    async with running_proxy(tmp_path, upstream=upstream) as proxy, wire(proxy.url) as ask:
        assert (await ask(ALPHA, bearer("for another proxy"))).status == 200


# --- nobody else sees it --------------------------------------------------------------------------------


async def test_credentials_are_in_no_answer_no_log_and_no_metric_and_go_to_no_upstream(
    tmp_path: Path, upstream: FakeIndex, wheel: Dist, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    toml = TOML + '[pypi.upstreams.pypi]\nusername = "ci"\npassword = "env:CORP"\n'
    upstream.require_basic("ci", "corp-password-91bd")
    environ = {**ENVIRON, "CORP": "corp-password-91bd"}
    said: list[object] = []
    async with (
        running_proxy(tmp_path, upstream=upstream, toml=toml, environ=environ) as proxy,
        wire(proxy.url) as ask,
    ):
        for headers in (basic("__token__", READER), bearer(READER), bearer(PUBLISHER), bearer(f"{READER}-stale")):
            for path in paths(wheel):
                said.append(await ask(path, {**JSON, **headers}))
        upstream.fail("*", Redirect(f"http://ci:corp-password-91bd@127.0.0.1:{upstream.port}/simple/gamma/"), times=1)
        said.append(await ask("/pypi/main/simple/beta/", bearer(READER)))
        upstream.fail("*", Status(500))
        said.append(await ask("/pypi/main/simple/delta/", bearer(READER)))
        said += [await ask(path) for path in ("/metrics", "/readyz")]
        said += [proxy.parts, proxy.parts.upstreams, vars(proxy.parts.upstreams[0])]
    everything = "".join(repr(vars(answer)) if isinstance(answer, Reply) else repr(answer) for answer in said)
    everything += caplog.text + "".join(str(vars(record)) for record in caplog.records)
    for secret in (READER, PUBLISHER, "corp-password-91bd", base64.b64encode(b"ci:corp-password-91bd").decode()):
        assert secret not in everything
    sent = [seen.headers.get("Authorization", "") for seen in upstream.requests]
    assert not [header for header in sent if READER in header or PUBLISHER in header]


async def test_the_log_of_a_process_says_nothing_of_credentials(
    tmp_path: Path, upstream: FakeIndex, wheel: Dist
) -> None:
    async with (
        proxy_process(tmp_path, upstream=upstream, toml=TOML, environ=ENVIRON) as proxy,
        wire(proxy.url) as ask,
    ):
        await ask(f"{ALPHA}?token={READER}", basic("__token__", READER))
        await ask(f"{ALPHA}?x=http://u:{READER}@h/", {"Authorization": f"Bearer {READER}x", "Referer": READER})
        assert await proxy.stop() == 0
        log = proxy.log.read_text()
    assert log.count(ALPHA) == 2
    assert READER not in log


# --- the gate by itself ---------------------------------------------------------------------------------


def test_the_gate_knows_each_token_by_name_and_scope() -> None:
    gate = Gate(
        [Grant("one", "s3cret-a", frozenset({"read"})), Grant("two", "s3cret-b", frozenset({"read", "upload"}))],
        open_to_read=False,
    )
    assert gate.admit("Bearer s3cret-a", "read") == "one"
    assert gate.admit("Bearer s3cret-b", "upload") == "two"
    with pytest.raises(Forbidden, match="token one may not upload"):
        gate.admit("Bearer s3cret-a", "upload")
    with pytest.raises(Unauthorized):
        gate.admit("Bearer s3cret", "read")
    with pytest.raises(Unauthorized):
        gate.admit(None, "read")


def test_uploading_takes_a_token_even_where_reading_is_open() -> None:
    gate = Gate([Grant("one", "s3cret", frozenset({"read", "upload"}))], open_to_read=True)
    assert gate.admit(None, "read") == ""
    with pytest.raises(Unauthorized, match="wants a token to upload"):
        gate.admit(None, "upload")


def test_a_grant_does_not_show_its_secret() -> None:
    assert "s3cret" not in repr(Grant("one", "s3cret", frozenset({"read"})))


@pytest.mark.parametrize(
    ("header", "secret"),
    [
        (None, None),
        ("", None),
        ("Bearer abc", b"abc"),
        ("BEARER abc", b"abc"),
        ("Bearer ", None),
        ("Basic dTpw", b"p"),
        ("Basic dTo=", b"u"),
        ("Basic Og==", None),
        ("Basic dTpw:", None),
        ("Negotiate abc", None),
        ("Bearer \udcff", b"\xff"),
    ],
)
def test_what_is_presented(header: str | None, secret: bytes | None) -> None:
    assert presented(header) == secret
