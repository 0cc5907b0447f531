"""Credentials for nobody else, certificates that are trusted, and the way through a forward proxy."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import aiohttp
import pytest
import trustme

from envproxy.engine.credentials import Credentials
from envproxy.engine.upstream import Absent, Fetched
from envproxy.errors import UpstreamError
from fixtures.clock import FakeClock
from fixtures.origin import Origin, answer
from fixtures.proxy import running_proxy
from fixtures.reports import Reports
from fixtures.talks import failure, head_of, page, read, talking_to
from fixtures.upstream import FakeIndex, Redirect, Status
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path


ALPHA = make_wheel("alpha", "1.0")
PAGE = "/simple/alpha/"
FILE = f"/files/alpha/{ALPHA.filename}"
JSON = "application/vnd.pypi.simple.v1+json"


@pytest.fixture(autouse=True)
def _listed(index: FakeIndex) -> None:
    index.add(ALPHA)


# Credentials.

OWN = ("ci", "s3cret")


def own_credentials(index: FakeIndex) -> Credentials:
    index.require_basic(*OWN)
    return Credentials.basic(index.url, *OWN)


async def test_credentials_go_to_the_own_origin(index: FakeIndex, reports: Reports, clock: FakeClock) -> None:
    async with talking_to(index.url, reports, clock, credentials=own_credentials(index)) as upstream:
        assert isinstance(await page(upstream), Fetched)
        index.fail(PAGE, Redirect("/simple/beta/"), times=1)
        assert isinstance(await page(upstream), Absent)
    assert [head_of(index, number)["Authorization"] for number in range(3)] == ["Basic Y2k6czNjcmV0"] * 3


async def test_a_bearer_token_goes_there_too(index: FakeIndex, reports: Reports, clock: FakeClock) -> None:
    index.require_bearer("t0ken")
    async with talking_to(index.url, reports, clock, credentials=Credentials.bearer(index.url, "t0ken")) as upstream:
        assert isinstance(await page(upstream), Fetched)


async def test_credentials_go_to_no_other_port_of_the_host(
    index: FakeIndex, reports: Reports, clock: FakeClock
) -> None:
    elsewhere = f"http://127.0.0.1:{index.files_port}"
    async with talking_to(index.url, reports, clock, credentials=own_credentials(index)) as upstream:
        index.fail(PAGE, Redirect(elsewhere + PAGE), times=1)
        assert isinstance(await page(upstream), Fetched)
        await read(upstream, elsewhere + FILE)
    assert [(seen.port, "Authorization" in seen.headers) for seen in index.requests] == [
        (index.port, True),
        (index.files_port, False),
        (index.files_port, False),
    ]


async def test_another_host_gets_what_netrc_has_for_it(index: FakeIndex, reports: Reports, clock: FakeClock) -> None:
    logins = {"127.0.0.1": ("user", "word")}
    async with talking_to("http://index.example.org/", reports, clock, logins=logins) as upstream:
        await read(upstream, f"http://127.0.0.1:{index.port}{FILE}")
    assert head_of(index)["Authorization"] == aiohttp.encode_basic_auth("user", "word")


async def test_a_link_may_carry_its_own_credentials_but_not_replace_ours(
    index: FakeIndex, reports: Reports, clock: FakeClock
) -> None:
    link = f"http://link:key@127.0.0.1:{{}}{FILE}"
    async with talking_to(index.url, reports, clock, credentials=own_credentials(index)) as upstream:
        await read(upstream, link.format(index.files_port))
        await read(upstream, link.format(index.port))
    assert [head_of(index, number)["Authorization"] for number in (0, 1)] == [
        aiohttp.encode_basic_auth("link", "key"),
        aiohttp.encode_basic_auth(*OWN),
    ]


async def test_no_message_and_no_repr_shows_a_secret(index: FakeIndex, reports: Reports, clock: FakeClock) -> None:
    credentials = Credentials.basic(index.url, "ci", "s3cret")
    assert "s3cret" not in repr(credentials) + str(credentials)
    index.fail("*", Status(500))
    async with talking_to(index.url, reports, clock) as upstream:
        with pytest.raises(UpstreamError) as raised:
            await read(upstream, f"http://user:s3cret@127.0.0.1:{index.port}{FILE}?signature=s3cret")
    assert raised.value.message == f"corp answered 500 for {ALPHA.filename}"


# TLS and forward proxies.


async def test_a_private_ca_is_trusted_where_ca_file_names_it(tmp_path: Path) -> None:
    ca = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(tls)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    body = b'{"meta": {"api-version": "1.0"}, "name": "alpha", "files": []}'
    async with Origin(answer(body, f"Content-Type: {JSON}"), tls=tls) as origin, aiohttp.ClientSession() as client:
        settings = {"pypi.upstreams.pypi.url": origin.url}
        async with running_proxy(tmp_path, settings=settings) as proxy:
            response = await client.get(f"{proxy.simple()}alpha/")
            assert (response.status, response.headers["Retry-After"]) == (503, "5")
            assert (await response.json(content_type=None))["hint"] == "set ca-file of this upstream"
        settings["pypi.upstreams.pypi.ca-file"] = str(tmp_path / "ca.pem")
        async with running_proxy(tmp_path, settings=settings) as proxy:
            response = await client.get(f"{proxy.simple()}alpha/")
            assert response.status == 200


async def test_requests_go_through_the_forward_proxy_of_their_scheme(reports: Reports, clock: FakeClock) -> None:
    async with Origin(answer(b"page")) as forward:
        proxies = {"http": forward.url, "https": forward.url}
        async with talking_to("http://index.example.org/", reports, clock, http_proxies=proxies) as upstream:
            assert isinstance(await page(upstream), Fetched)
            with pytest.raises(UpstreamError):
                await upstream.fetch("https://index.example.org/alpha/", accept=JSON)
    assert [head.partition(" HTTP/")[0] for head in forward.heads] == [
        "GET http://index.example.org/alpha/",
        "CONNECT index.example.org:443",
        "CONNECT index.example.org:443",
    ]


@pytest.mark.parametrize("exempt", ["127.0.0.1", "*", "example.org, 127.0.0.1:{port}"])
async def test_hosts_that_no_proxy_names_are_asked_directly(
    exempt: str, index: FakeIndex, reports: Reports, clock: FakeClock
) -> None:
    proxies = {"http": "http://127.0.0.1:1", "no": exempt.format(port=index.port)}
    async with talking_to(index.url, reports, clock, http_proxies=proxies) as upstream:
        assert isinstance(await page(upstream), Fetched)


async def test_a_forward_proxy_that_is_down_or_refuses_is_named(reports: Reports, clock: FakeClock) -> None:
    async with Origin(answer(b"", status="407 Proxy Authentication Required")) as forward:
        for url in ("http://127.0.0.1:1", forward.url):
            proxies = {"https": url}
            async with talking_to("https://index.example.org/", reports, clock, http_proxies=proxies) as upstream:
                error = await failure(upstream)
            assert (error.cause, error.hint) == ("connect", "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY")
