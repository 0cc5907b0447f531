"""Warm pages take the shortest way, and nobody can tell but by the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import ClientSession

from envproxy.app import FRONT, build
from envproxy.config import load
from fixtures.proxy import running_proxy
from fixtures.upstream import FakeIndex
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "/pypi/main/simple/alpha/"


async def test_a_page_is_counted_and_looks_the_same_on_either_way(tmp_path: Path) -> None:
    async with (
        FakeIndex() as upstream,
        running_proxy(tmp_path, upstream=upstream) as proxy,
        ClientSession() as http,
    ):
        upstream.add(make_wheel("alpha", "1.0"))
        seen = []
        for _ in range(3):
            async with http.get(proxy.url + PAGE) as answer:
                headers = {name: answer.headers[name] for name in ("ETag", "Vary", "Content-Type", "Content-Length")}
                seen.append((answer.headers["X-Envmesh-Cache"], headers, await answer.read()))
        async with http.get(proxy.url + PAGE, headers={"If-None-Match": seen[0][1]["ETag"]}) as answer:
            assert answer.status == 304
        assert [cache for cache, _, _ in seen] == ["miss", "hit", "hit"]
        assert seen[0][1:] == seen[1][1:] == seen[2][1:]
        stats = proxy.parts.metrics.snapshot()
        assert stats["cache"]["index"] == {**stats["cache"]["index"], "miss": 1, "hit": 3}
        assert stats["requests"] == 4


async def test_what_the_catalog_forgot_is_not_served_from_the_front(tmp_path: Path) -> None:
    async with (
        FakeIndex() as upstream,
        running_proxy(tmp_path, upstream=upstream) as proxy,
        ClientSession() as http,
    ):
        upstream.add(make_wheel("alpha", "1.0"))
        for _ in range(2):
            async with http.get(proxy.url + PAGE) as answer:
                assert answer.status == 200
        proxy.parts.shelf.forget("alpha")
        upstream.remove_project("alpha")
        async with http.get(proxy.url + PAGE, headers={"Cache-Control": "no-cache"}) as answer:
            assert answer.status == 404


def test_a_proxy_that_wants_tokens_has_no_shorter_way(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        f'[server]\ndata = "{tmp_path}"\n[auth]\nread = "token"\n[auth.tokens.ci]\nsecret = "env:T"\n'
    )
    assert FRONT not in build(load(tmp_path / "c.toml", environ={"T": "let-me-in"}))
    assert FRONT in build(load(None, environ={}))
