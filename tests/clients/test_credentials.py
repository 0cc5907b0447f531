"""Who may ask the proxy, and as whom the proxy asks upstream. Neither side ever sees the credentials of the other."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

import pytest

from fixtures.clients import Client, Pdm, Pip, Pipenv, Poetry, Uv, UvProject
from fixtures.proxy import running_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fixtures.proxy import Proxy
    from fixtures.upstream import FakeIndex

TOKEN = "t0ken-of-ci"
PASSWORD = "pa55word-of-the-proxy"

pytestmark = pytest.mark.clients


@pytest.fixture
async def guarded(tmp_path: Path, upstream: FakeIndex) -> AsyncIterator[Proxy]:
    """A proxy that wants a token, before an upstream that wants a password."""
    upstream.require_basic("envproxy", PASSWORD)
    toml = """
        [auth]
        read = "token"

        [auth.tokens.ci]
        secret = "env:CI_TOKEN"

        [pypi.upstreams.pypi]
        username = "envproxy"
        password = "env:UPSTREAM_PASSWORD"
    """
    environ = {"CI_TOKEN": TOKEN, "UPSTREAM_PASSWORD": PASSWORD}
    async with running_proxy(tmp_path, upstream=upstream, toml=toml, environ=environ) as running:
        yield running


def with_token(proxy: Proxy, token: str) -> str:
    """The index URL with the token in its userinfo."""
    return proxy.simple().replace("://", f"://__token__:{token}@")


@pytest.mark.parametrize("client", [Pip, Uv, UvProject, Poetry, Pdm, Pipenv], indirect=True)
async def test_a_token_in_the_index_url_opens_the_proxy_and_goes_no_further(
    client: Client, guarded: Proxy, upstream: FakeIndex
) -> None:
    outcome = await client.install("alpha", with_token(guarded, TOKEN))
    assert outcome.installed == {"alpha": "1.0", "beta": "2.1"}, outcome.output
    asked_as = {request.headers["Authorization"] for request in upstream.requests}
    assert asked_as == {"Basic " + b64encode(f"envproxy:{PASSWORD}".encode()).decode()}
    assert PASSWORD not in outcome.output


@pytest.mark.parametrize("kind", [Pip, Uv])
async def test_a_token_in_netrc_opens_the_proxy(
    kind: type[Client], tmp_path: Path, room: Path, guarded: Proxy
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login __token__ password {TOKEN}\n")
    outcome = await kind(room, environ={"NETRC": str(netrc)}).install("alpha", guarded.simple())
    assert outcome.installed == {"alpha": "1.0", "beta": "2.1"}, outcome.output


@pytest.mark.parametrize(
    ("client", "said"),
    [(Pip, "No matching distribution found for alpha"), (Uv, "401 Unauthorized"), (Pdm, "Unable to find candidates")],
    indirect=["client"],
)
async def test_without_a_token_clients_are_refused_and_upstream_is_not_asked(
    client: Client, said: str, guarded: Proxy, upstream: FakeIndex
) -> None:
    outcome = await client.install("alpha", guarded.simple())
    assert not outcome.ok
    assert said in outcome.output
    assert upstream.requests == []


@pytest.mark.parametrize("client", [Pip, Uv], indirect=True)
async def test_a_wrong_token_opens_nothing(client: Client, guarded: Proxy, upstream: FakeIndex) -> None:
    outcome = await client.install("alpha", with_token(guarded, "guessed"))
    assert not outcome.ok
    assert upstream.requests == []
