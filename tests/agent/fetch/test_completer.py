"""Sizes and digests for foreign locks: of the proxy where it has the index or channel, else of these themselves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from envagent.errors import SourceUnreachable
from envagent.fetch.completer import NetworkCompleter
from envagent.fetch.sources import Sources
from envagent.lock.complete import KnownFile, Wanted
from fixtures.channel import FakeChannel
from fixtures.conda_packages import make_conda
from fixtures.proxy import running_proxy
from fixtures.repodata import FLAT_ONLY
from fixtures.upstream import FakeIndex, Status, Style
from fixtures.wheels import Dist, make_sdist, make_wheel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from fixtures.proxy import LocalProxy

WHEEL, SDIST = make_wheel("alpha", "1.0", requires_python=">=3.8"), make_sdist("alpha", "1.0")
LATER, BETA = make_wheel("alpha", "1.0.1"), make_wheel("beta", "1.0")


@pytest.fixture
async def upstream() -> AsyncIterator[FakeIndex]:
    async with FakeIndex(Style(links="off-host")) as index:
        index.add(WHEEL, SDIST, LATER, BETA)
        yield index


@pytest.fixture
async def proxy(tmp_path: Path, upstream: FakeIndex) -> AsyncIterator[LocalProxy]:
    async with running_proxy(tmp_path, upstream=upstream) as running:
        yield running


async def find(sources: Sources, *wanted: Wanted, token: str = "") -> list[Sequence[KnownFile]]:
    found = await asyncio.to_thread(NetworkCompleter(sources, token).find, wanted)
    return [sorted(found.get(one, ()), key=lambda file: file.filename) for one in wanted]


def known(upstream: FakeIndex, dist: Dist) -> KnownFile:
    url = upstream.file_url(dist.filename)
    return KnownFile(dist.filename, url, len(dist.data), dist.sha256, dist.requires_python or "")


ALPHA = Wanted("pypi", "main", "alpha", "1.0")


@pytest.mark.parametrize("index", ["main", "", "url"])
async def test_a_release_is_asked_of_the_proxy_and_has_upstreams_urls(
    upstream: FakeIndex, proxy: LocalProxy, index: str
) -> None:
    wanted = Wanted("pypi", upstream.url if index == "url" else index, "alpha", "1.0")
    [files] = await find(Sources(proxy.url, fallback=False), wanted)
    assert files == [known(upstream, WHEEL), known(upstream, SDIST)]


async def test_without_a_proxy_the_index_itself_is_asked(upstream: FakeIndex) -> None:
    [files, others] = await find(
        Sources(), Wanted("pypi", upstream.url.rstrip("/"), "alpha", "1"), Wanted("pypi", upstream.url, "nobody", "1")
    )
    assert files == [known(upstream, WHEEL), known(upstream, SDIST)]
    assert others == []


async def test_a_page_is_asked_for_once_however_many_releases_are_wanted(upstream: FakeIndex) -> None:
    wanted = [Wanted("pypi", upstream.url, "alpha", version) for version in ("1.0", "1.0.1", "9.9")]
    answers = await find(Sources(), *wanted)
    assert [len(files) for files in answers] == [2, 1, 0]
    assert upstream.count() == 1


@pytest.mark.parametrize("through_proxy", [True, False])
async def test_an_index_without_sizes_is_helped_out(
    upstream: FakeIndex, proxy: LocalProxy, through_proxy: bool
) -> None:
    upstream.style = Style(links="off-host", sizes="none", formats=("html",))
    sources = Sources(proxy.url, fallback=False) if through_proxy else Sources()
    [files] = await find(sources, Wanted("pypi", upstream.url, "beta", "1.0"))
    assert files == [known(upstream, BETA)]


async def test_a_file_of_no_index_is_known_by_its_url_alone(upstream: FakeIndex, proxy: LocalProxy) -> None:
    url = upstream.file_url(BETA.filename)
    fork = f"http://127.0.0.1:{upstream.port}/files/beta/{BETA.filename}"
    listed, alone = await find(
        Sources(proxy.url), Wanted("pypi", "", "beta", "1.0", url), Wanted("pypi", "", "beta", "1.0", fork)
    )
    assert listed == [known(upstream, BETA)]
    assert alone == [KnownFile(BETA.filename, fork, len(BETA.data), "")]


async def test_an_index_that_the_proxy_does_not_have_is_asked_only_if_that_is_allowed(
    upstream: FakeIndex, tmp_path: Path
) -> None:
    wanted = Wanted("pypi", upstream.url, "beta", "1.0")
    async with running_proxy(tmp_path) as proxy:
        assert await find(Sources(proxy.url, fallback=True), wanted) == [[known(upstream, BETA)]]
        assert await find(Sources(proxy.url, fallback=False), wanted) == [[]]


async def test_an_index_that_fails_is_no_index_without_the_file(upstream: FakeIndex) -> None:
    upstream.fail("/simple/alpha/", Status(500))
    with pytest.raises(SourceUnreachable, match="answered 500 for alpha"):
        await find(Sources(), Wanted("pypi", upstream.url, "alpha", "1.0"))


async def test_only_an_index_beside_the_main_one_may_refuse_what_it_does_not_have(upstream: FakeIndex) -> None:
    upstream.fail("/simple/alpha/", Status(403))
    assert await find(Sources(), Wanted("pypi", upstream.url, "alpha", "1.0", beside=True)) == [[]]
    with pytest.raises(SourceUnreachable, match="answered 403 for alpha"):
        await find(Sources(), Wanted("pypi", upstream.url, "alpha", "1.0"))


# --- conda ----------------------------------------------------------------------------------------------

TOKEN = """
[auth]
read = "token"
[auth.tokens.node]
secret = "env:NODE"
"""


@pytest.mark.parametrize("style", [None, FLAT_ONLY], ids=["shards", "flat"])
async def test_a_conda_package_is_found_in_its_channel(style: object) -> None:
    gamma = make_conda("gamma")
    async with FakeChannel(style) as channel:  # type: ignore[arg-type]
        channel.add(gamma, make_conda("gamma", "2.0"))
        url = f"{channel.url}/{gamma.path}"
        wanted = Wanted("conda", channel.url, "gamma", "1.0", url)
        gone = Wanted("conda", channel.url, "gamma", "3.0", url.replace("1.0", "3.0"))
        answers = await find(Sources(), wanted, gone)
    assert answers == [[KnownFile(gamma.filename, url, len(gamma.data), gamma.sha256, md5=gamma.record["md5"])], []]


async def test_a_conda_package_is_asked_of_the_proxy_with_its_token(tmp_path: Path) -> None:
    gamma = make_conda("gamma")
    environ = {"NODE": "open-sesame"}
    async with (
        FakeChannel() as channel,
        running_proxy(tmp_path, settings=channel.settings, toml=TOKEN, environ=environ) as proxy,
    ):
        channel.add(gamma)
        url = f"{channel.url}/{gamma.path}"
        wanted = Wanted("conda", "demo", "gamma", "1.0", url)
        answers = await find(Sources(proxy.url, fallback=False), wanted, token="open-sesame")
        agents = {seen.headers["User-Agent"].partition("/")[0] for seen in channel.requests}
    assert answers == [[KnownFile(gamma.filename, url, len(gamma.data), gamma.sha256, md5=gamma.record["md5"])]]
    assert agents == {"envproxy"}


async def test_a_channel_that_fails_is_told_with_the_reason_and_without_the_token(tmp_path: Path) -> None:
    async with (
        FakeChannel() as channel,
        running_proxy(tmp_path, settings=channel.settings, toml=TOKEN, environ={"NODE": "open-sesame"}) as proxy,
    ):
        channel.fail("*", Status(500))
        wanted = Wanted("conda", "demo", "gamma", "1.0", f"{channel.url}/noarch/gamma-1.0-0.conda")
        with pytest.raises(SourceUnreachable, match=r"demo does not answer: .*503 demo answered 500") as raised:
            await find(Sources(proxy.url, fallback=False), wanted, token="open-sesame")
    assert "open-sesame" not in str(raised.value)
