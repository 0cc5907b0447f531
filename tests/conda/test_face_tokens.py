"""Tokens in paths, as Conda clients put them: towards the proxy, towards upstream, and never where they can leak."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import zstandard

from envproxy.app import build
from envproxy.config import load
from envproxy.logs import redact
from fixtures.channel import FakeChannel
from fixtures.conda_packages import make_conda
from fixtures.proxy import running_proxy
from fixtures.repodata import SHARD_INDEX, Style
from fixtures.visitor import visiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ALPHA = make_conda("alpha")
ENVIRON = {"CLIENT": "client-token-1", "UPSTREAM": "upstream-token-2"}
PROTECTED = {"auth.read": "token", "auth.tokens.ci.secret": "env:CLIENT"}


@pytest.fixture
async def upstream() -> AsyncIterator[FakeChannel]:
    async with FakeChannel() as channel:
        channel.add(ALPHA)
        yield channel


@pytest.mark.parametrize("form", ["{origin}/t/client-token-1/conda/demo", "{origin}/conda/t/client-token-1/demo"])
async def test_a_token_in_the_path_opens_a_protected_proxy(upstream: FakeChannel, tmp_path: Path, form: str) -> None:
    settings = {**upstream.settings, **PROTECTED}
    async with running_proxy(tmp_path, settings=settings, environ=ENVIRON) as proxy:
        async with visiting(form.format(origin=proxy.url)) as visitor:
            assert (await visitor.shard("alpha"))["packages.conda"]
            assert (await visitor.get(ALPHA.path)).body == ALPHA.data
            assert (await visitor.get("notices.json")).status == 404
            # conda sends what netrc has for the host beside the token
            assert (await visitor.get(ALPHA.path, authorization="Basic bmV0cmM6cHc=")).status == 200
        for wrong in (proxy.channel(), form.format(origin=proxy.url).replace("client-token-1", "guess")):
            async with visiting(wrong) as visitor:
                assert (await visitor.get(f"noarch/{SHARD_INDEX}")).status == 401


async def test_an_open_proxy_takes_any_token(upstream: FakeChannel, tmp_path: Path) -> None:
    async with (
        running_proxy(tmp_path, settings=upstream.settings) as proxy,
        visiting(f"{proxy.url}/t/whatever/conda/demo") as visitor,
    ):
        assert (await visitor.get(ALPHA.path)).body == ALPHA.data


@pytest.mark.parametrize("at", ["here", "absolute", "root-relative"])
async def test_a_token_for_upstream_goes_into_every_path_there_and_nowhere_else(
    upstream: FakeChannel, tmp_path: Path, at: str
) -> None:
    upstream.style = Style(forms=("shards",), packages_at=at, shards_at="below" if at == "here" else at)
    upstream.require_token("upstream-token-2")
    settings = {**upstream.settings, "conda.channels.demo.token": "env:UPSTREAM"}
    async with (
        running_proxy(tmp_path, settings=settings, environ=ENVIRON) as proxy,
        visiting(proxy.channel()) as visitor,
    ):
        digest = (await visitor.index()).shards["alpha"]
        paths = [f"noarch/{SHARD_INDEX}", f"noarch/shards/{digest}.msgpack.zst", "noarch/repodata.json", ALPHA.path]
        replies = [await visitor.get(path) for path in [*paths, "linux-64/repodata.json"]]
        assert [reply.status for reply in replies] == [200, 200, 200, 200, 404]
        assert not [reply for reply in replies if b"upstream-token-2" in reply.body + repr(reply.headers).encode()]
    assert {seen.path.split("/")[2] for seen in upstream.requests} == {"upstream-token-2"}


@pytest.mark.parametrize("forms", [("json",), ("zst", "bz2"), ("shards",), ("json", "zst", "shards")], ids=repr)
async def test_a_token_that_upstream_repeats_is_in_nothing_that_clients_get(
    upstream: FakeChannel, tmp_path: Path, forms: tuple[str, ...]
) -> None:
    own = upstream.tokened_url("upstream-token-2")
    upstream.style = Style(forms=forms, info={"base_url": f"{own}/noarch/", "home": own})
    upstream.add(ALPHA.lying(url=f"{own}/{ALPHA.path}"))
    upstream.require_token("upstream-token-2")
    passed = ["noarch/current_repodata.json", "noarch/run_exports.json", "rss.xml", f"{ALPHA.path}.sigs"]
    there = rb"http:\/\/host\/t\/upstream-token-2\/x"
    for path in passed:
        upstream.put(path, b'{"info": {"home": "%s"}, "there": "%s"}' % (own.encode(), there))
    settings = {**upstream.settings, "conda.channels.demo.token": "env:UPSTREAM"}
    async with (
        running_proxy(tmp_path, settings=settings, environ=ENVIRON) as proxy,
        visiting(proxy.channel()) as visitor,
    ):
        flat = json.loads((await visitor.get("noarch/repodata.json")).body)
        packed = await visitor.get("noarch/repodata.json.zst")
        shard = (await visitor.shard("alpha"))["packages.conda"][ALPHA.filename]
        for record in (flat["packages.conda"][ALPHA.filename], shard):
            assert record["url"] == f"{upstream.url}/{ALPHA.path}"
        assert flat["info"]["home"] == (await visitor.index()).info["home"] == upstream.url
        assert b"upstream-token-2" not in zstandard.ZstdDecompressor().decompressobj().decompress(packed.body)
        for path in passed:
            assert json.loads((await visitor.get(path)).body) == {
                "info": {"home": upstream.url},
                "there": "http://host/x",
            }
        assert (await visitor.get("noarch/repodata.json.bz2")).status == 404
        assert (await visitor.get(ALPHA.path)).body == ALPHA.data


async def test_a_token_stays_away_from_other_hosts(upstream: FakeChannel, tmp_path: Path) -> None:
    upstream.style = Style(forms=("shards",), packages_at="off-host", shards_at="below")
    settings = {**upstream.settings, "conda.channels.demo.token": "env:UPSTREAM"}
    upstream.require_token("upstream-token-2")
    async with (
        running_proxy(tmp_path, settings=settings, environ=ENVIRON) as proxy,
        visiting(proxy.channel()) as visitor,
    ):
        await visitor.get(ALPHA.path)
    [package] = [seen for seen in upstream.requests if seen.path.endswith(".conda")]
    assert (package.port, "token" in package.path) == (upstream.files_port, False)


async def test_a_failure_upstream_is_told_without_the_token(upstream: FakeChannel, tmp_path: Path) -> None:
    settings = {**upstream.settings, "conda.channels.demo.token": "env:UPSTREAM"}
    upstream.require_token("another")
    async with (
        running_proxy(tmp_path, settings=settings, environ=ENVIRON) as proxy,
        visiting(proxy.channel()) as visitor,
    ):
        reply = await visitor.get(f"noarch/{SHARD_INDEX}")
        assert (reply.status, b"upstream-token-2" in reply.body) == (503, False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/t/abc/conda/demo/noarch/repodata.json", "/t/***/conda/demo/noarch/repodata.json"),
        ("/conda/t/abc/demo/noarch/repodata.json", "/conda/t/***/demo/noarch/repodata.json"),
        ("http://conda.example.org/t/abc/demo is down", "http://conda.example.org/t/***/demo is down"),
        ("/pypi/main/simple/t/", "/pypi/main/simple/t/"),
    ],
)
def test_no_log_line_shows_a_token_in_a_path(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_a_policy_with_rules_that_are_none_stops_the_start(tmp_path: Path) -> None:
    from envproxy.errors import ConfigError

    config = load(None, environ={}, overrides={"conda.channels.conda-forge.policy.deny": ">=3"})
    with pytest.raises(ConfigError) as caught:
        build(config)
    assert [problem.where for problem in caught.value.problems] == ["conda.channels.conda-forge.policy.deny"]
