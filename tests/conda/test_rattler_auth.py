"""Credentials go where they belong: from py-rattler to the proxy, from the proxy to the channel, and no further."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import aiohttp
import pytest
from rattler.exceptions import GatewayError

from fixtures.channel import FakeChannel
from fixtures.conda_packages import chain
from fixtures.machine import Machine, installed
from fixtures.proxy import running_proxy
from fixtures.repodata import SHARD_INDEX, Style

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SECRET = "opensesame-4711"
ENVIRON = {"SECRET": SECRET}
KINDS = {
    "bearer": {"BearerToken": SECRET},
    "basic": {"BasicHTTP": {"username": "ann", "password": SECRET}},
    "token": {"CondaToken": SECRET},
}


@pytest.fixture
async def upstream() -> AsyncIterator[FakeChannel]:
    async with FakeChannel() as channel:
        channel.add(*chain(3))
        yield channel


def credentials(monkeypatch: pytest.MonkeyPatch, home: Path, kind: str) -> None:
    """Give py-rattler the secret for this host, in the file where it looks."""
    store = home / "credentials.json"
    store.write_text(json.dumps({"127.0.0.1": KINDS[kind]}))
    monkeypatch.setenv("RATTLER_AUTH_FILE", str(store))


def protect(upstream: FakeChannel, kind: str) -> dict[str, str]:
    """Ask for the secret upstream; the settings with which the proxy has it."""
    setting = f"conda.channels.{upstream.name}"
    match kind:
        case "bearer":
            upstream.require_bearer(SECRET)
            return {f"{setting}.bearer": "env:SECRET"}
        case "basic":
            upstream.require_basic("ann", SECRET)
            return {f"{setting}.username": "ann", f"{setting}.password": "env:SECRET"}
        case _:
            upstream.require_token(SECRET)
            return {f"{setting}.token": "env:SECRET"}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_protected_channel_is_installed_from_directly(
    upstream: FakeChannel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """What py-rattler sends is what the fixture asks for, so the tests below mean something."""
    protect(upstream, kind)
    with pytest.raises(GatewayError):
        await Machine(tmp_path / "stranger").solve(upstream.url, "link-01")
    credentials(monkeypatch, tmp_path, kind)
    prefix = await Machine(tmp_path / "known").create(upstream.url, "link-01")
    assert len(installed(prefix)) == 3


@pytest.mark.parametrize("kind", KINDS)
async def test_a_protected_proxy_takes_the_token_in_any_form_and_keeps_it_to_itself(
    upstream: FakeChannel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    settings = {**upstream.settings, "auth.read": "token", "auth.tokens.ci.secret": "env:SECRET"}
    async with running_proxy(tmp_path, settings=settings, environ=ENVIRON) as proxy:
        with pytest.raises(GatewayError):
            await Machine(tmp_path / "stranger").solve(proxy.channel(), "link-01")
        credentials(monkeypatch, tmp_path, kind)
        prefix = await Machine(tmp_path / "known").create(proxy.channel(), "link-01")
    assert len(installed(prefix)) == 3
    assert not [seen for seen in upstream.requests if SECRET in f"{seen.path}{dict(seen.headers)}"]


@pytest.mark.parametrize("kind", KINDS)
async def test_the_secret_of_a_channel_is_in_nothing_that_clients_get_or_the_proxy_keeps(
    upstream: FakeChannel, tmp_path: Path, kind: str
) -> None:
    upstream.style = Style(packages_at="absolute", shards_at="absolute")
    settings = {**upstream.settings, **protect(upstream, kind)}
    served = []
    async with running_proxy(tmp_path, settings=settings, environ=ENVIRON) as proxy:
        prefix = await Machine(tmp_path / "one").create(proxy.channel(), "link-01")
        async with aiohttp.ClientSession() as session:
            for path in ("repodata.json", SHARD_INDEX, "no-such-1.0-0.conda"):
                async with session.get(f"{proxy.channel()}/noarch/{path}") as response:
                    served.append(f"{dict(response.headers)}".encode() + await response.read())
    assert len(installed(prefix)) == 3
    places = [tmp_path / "one", tmp_path / "data"]
    kept = [path.read_bytes() for place in places for path in place.rglob("*") if path.is_file()]
    assert not [data for data in [*served, *kept] if SECRET.encode() in data]


async def test_the_secret_of_a_channel_does_not_follow_its_packages_to_another_host(
    upstream: FakeChannel, tmp_path: Path
) -> None:
    upstream.style = Style(packages_at="off-host", shards_at="off-host")
    settings = {**upstream.settings, **protect(upstream, "bearer")}
    async with running_proxy(tmp_path, settings=settings, environ=ENVIRON) as proxy:
        await Machine(tmp_path / "one").create(proxy.channel(), "link-01")
    off_host = [seen for seen in upstream.requests if seen.port == upstream.files_port]
    assert len([seen for seen in off_host if seen.path.endswith(".conda")]) == 3
    assert not [seen for seen in off_host if "Authorization" in seen.headers]
