"""Files through the face: their headers, where they come from, and what happens once they leave their page."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest

from envproxy.pypi.entries import ProjectFile
from envproxy.pypi.page import Page
from fixtures.proxy import running_proxy
from fixtures.upstream import Delay, FakeIndex, Gate, Status, Style
from fixtures.wheels import Dist, make_sdist, make_wheel
from fixtures.wire import JSON, wire

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.clock import FakeClock
    from fixtures.proxy import LocalProxy
    from fixtures.wire import Ask

ALPHA = "/pypi/main/simple/alpha/"
REFUSE_REMOVED = '[pypi.indexes.main]\nsources = ["pypi"]\npolicy.removed = "refuse"\n'


@pytest.fixture
def wheel(upstream: FakeIndex) -> Dist:
    wheel = make_wheel("alpha", "1.0", payload_size=300_000)
    upstream.add(wheel)
    return wheel


def path_of(dist: Dist, digest: str | None = None) -> str:
    return f"/pypi/main/files/{dist.project}/{digest or dist.sha256}/{dist.filename}"


async def cache(ask: Ask, proxy: LocalProxy, dist: Dist) -> None:
    """Download once; the last byte goes out a moment before the catalog knows of the file."""
    await ask(path_of(dist))
    await proxy.settled()


# --- headers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["cold", "warm"])
async def test_a_file_says_what_clients_need_to_keep_and_to_range_it(
    ask: Ask, wheel: Dist, state: str, proxy: LocalProxy
) -> None:
    if state == "warm":
        await cache(ask, proxy, wheel)
    answer = await ask(path_of(wheel))
    assert (answer.status, answer.body) == (200, wheel.data)
    assert answer.cache == {"cold": "miss", "warm": "hit"}[state]
    said = {name.lower(): value for name, value in answer.headers.items() if name not in ("Date", "Server")}
    assert said == {
        "content-type": "application/octet-stream",
        "content-length": str(len(wheel.data)),
        "accept-ranges": "bytes",
        "etag": f'"{wheel.sha256}"',
        "cache-control": "public, max-age=365000000, immutable",
        "x-envmesh-cache": answer.cache,
    }


async def test_a_compressed_archive_has_no_content_encoding_even_for_a_client_that_takes_gzip(
    ask: Ask, upstream: FakeIndex
) -> None:
    sdist = make_sdist("alpha", "1.0")
    upstream.add(sdist)
    for _ in ("cold", "warm"):
        answer = await ask(path_of(sdist), {"Accept-Encoding": "gzip, deflate"})
        assert ("Content-Encoding" in answer.headers, answer.body) == (False, sdist.data)
        assert answer.headers["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize("state", ["cold", "warm"])
async def test_head_of_a_file_tells_length_and_ranges(ask: Ask, wheel: Dist, proxy: LocalProxy, state: str) -> None:
    if state == "warm":
        await cache(ask, proxy, wheel)
    head = await ask(path_of(wheel), method="HEAD")
    got = await ask(path_of(wheel))
    assert (head.status, head.body) == (200, b"")
    assert {**head.headers, "Date": ""} == {**got.headers, "Date": ""}


async def test_head_of_a_file_that_is_not_here_fetches_nothing(ask: Ask, wheel: Dist, upstream: FakeIndex) -> None:
    await ask(path_of(wheel), method="HEAD")
    assert upstream.count("GET", "/files/*") == 0


@pytest.mark.parametrize("state", ["cold", "warm"])
@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("bytes=0-9", 0, 10), ("bytes=-100", -100, None), ("bytes=200000-", 200_000, None)],
    ids=["closed", "suffix", "open"],
)
async def test_single_ranges_are_206(
    ask: Ask, wheel: Dist, state: str, asked: str, start: int, stop: int | None, proxy: LocalProxy
) -> None:
    if state == "warm":
        await cache(ask, proxy, wheel)
    answer = await ask(path_of(wheel), {"Range": asked})
    assert (answer.status, answer.body) == (206, wheel.data[start:stop])


@pytest.mark.parametrize("state", ["cold", "warm"])
async def test_who_has_the_file_gets_304(ask: Ask, wheel: Dist, state: str, proxy: LocalProxy) -> None:
    if state == "warm":
        await cache(ask, proxy, wheel)
    assert (await ask(path_of(wheel), {"If-None-Match": f'"{wheel.sha256}"'})).status == 304


# --- where it comes from --------------------------------------------------------------------------------


async def test_a_cached_file_needs_no_upstream_at_all(
    ask: Ask, wheel: Dist, upstream: FakeIndex, clock: FakeClock, proxy: LocalProxy
) -> None:
    await cache(ask, proxy, wheel)
    await upstream.stop()
    clock.advance(10 * 86400)
    assert (await ask(path_of(wheel))).body == wheel.data


async def test_a_file_is_found_without_a_visit_to_its_page_as_a_lock_file_does(ask: Ask, wheel: Dist) -> None:
    answer = await ask(path_of(wheel))
    assert (answer.status, answer.body) == (200, wheel.data)


async def test_twelve_at_once_are_one_request_upstream(ask: Ask, wheel: Dist, upstream: FakeIndex) -> None:
    half_way = asyncio.Event()
    upstream.fail("/files/*", Gate(100_000, half_way))
    asking = [asyncio.create_task(ask(path_of(wheel))) for _ in range(12)]
    await upstream.arrived("/files/*")
    half_way.set()
    assert [answer.body == wheel.data for answer in await asyncio.gather(*asking)] == [True] * 12
    assert upstream.count(path="/files/*") == 1


async def test_the_same_file_in_two_projects_is_downloaded_once(
    ask: Ask, upstream: FakeIndex, wheel: Dist, proxy: LocalProxy
) -> None:
    await cache(ask, proxy, wheel)
    beta = Dist("beta", "1.0", "beta-1.0.zip", wheel.data, b"")
    upstream.add(beta)
    answer = await ask(path_of(beta))
    assert (answer.cache, answer.body) == ("hit", wheel.data)
    assert upstream.count(path="/files/*") == 1


async def test_a_file_whose_index_gives_no_hash_is_served_and_then_known(
    ask: Ask, upstream: FakeIndex, wheel: Dist, proxy: LocalProxy
) -> None:
    upstream.style = Style(hashes="none")
    path = (await ask(ALPHA, JSON)).file_path(wheel.filename)
    assert path == path_of(wheel, "unhashed")
    cold = await ask(path)
    await proxy.settled()
    warm = await ask(path)
    assert (cold.body, warm.body) == (wheel.data, wheel.data)
    assert warm.headers["ETag"] == f'"{wheel.sha256}"'
    assert upstream.count(path="/files/*") == 1


async def test_a_weaker_hash_is_checked_too(ask: Ask, upstream: FakeIndex, wheel: Dist) -> None:
    upstream.style = Style(hashes="md5")
    path = (await ask(ALPHA, JSON)).file_path(wheel.filename)
    assert (await ask(path)).body == wheel.data
    [file] = (await ask(ALPHA, JSON)).json()["files"]
    assert file["hashes"] == {"md5": hashlib.md5(wheel.data).hexdigest()}


async def test_after_a_restart_the_file_is_still_there_with_upstream_down(
    tmp_path: Path, upstream: FakeIndex, wheel: Dist
) -> None:
    async with running_proxy(tmp_path, upstream=upstream) as proxy, wire(proxy.url) as ask:
        await cache(ask, proxy, wheel)
    await upstream.stop()
    async with running_proxy(tmp_path, upstream=upstream) as proxy, wire(proxy.url) as ask:
        answer = await ask(path_of(wheel))
    assert (answer.status, answer.cache, answer.body) == (200, "hit", wheel.data)


async def test_what_was_evicted_is_fetched_again(ask: Ask, wheel: Dist, proxy: LocalProxy) -> None:
    await cache(ask, proxy, wheel)
    await asyncio.to_thread(proxy.parts.store.delete, wheel.sha256)
    answer = await ask(path_of(wheel))
    assert (answer.cache, answer.body) == ("miss", wheel.data)


# --- files that are not, or no longer, on their page ----------------------------------------------------


async def test_a_file_that_no_page_lists_is_404(ask: Ask, wheel: Dist) -> None:
    other = make_wheel("alpha", "2.0")
    answer = await ask(path_of(other))
    assert (answer.status, answer.json()["detail"]) == (404, f"no source of index main lists {other.filename}")


async def test_another_digest_than_the_listed_one_is_404_and_says_which_it_is(ask: Ask, wheel: Dist) -> None:
    answer = await ask(path_of(wheel, "0" * 64))
    assert answer.status == 404
    assert wheel.sha256 in answer.json()["hint"]


async def test_a_file_under_another_projects_name_is_404(
    ask: Ask, wheel: Dist, upstream: FakeIndex, proxy: LocalProxy
) -> None:
    upstream.add(make_wheel("beta", "1.0"))
    await cache(ask, proxy, wheel)
    assert (await ask(f"/pypi/main/files/beta/{wheel.sha256}/{wheel.filename}")).status == 404


async def test_a_listed_file_that_upstream_does_not_have_is_404(ask: Ask, wheel: Dist, upstream: FakeIndex) -> None:
    upstream.fail("/files/*", Status(404))
    answer = await ask(path_of(wheel))
    assert (answer.status, answer.json()["title"]) == (404, "Not found")


async def test_a_listed_file_that_upstream_fails_to_send_is_503(ask: Ask, wheel: Dist, upstream: FakeIndex) -> None:
    upstream.fail("/files/*", Status(403))
    answer = await ask(path_of(wheel))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")


async def test_a_removed_file_leaves_the_page_but_not_the_locks_that_name_it(
    ask: Ask, wheel: Dist, upstream: FakeIndex, clock: FakeClock, proxy: LocalProxy
) -> None:
    kept = make_wheel("alpha", "2.0")
    upstream.add(kept)
    await cache(ask, proxy, wheel)
    upstream.remove(wheel.filename)
    clock.advance(901)
    assert [file["filename"] for file in (await ask(ALPHA, JSON)).json()["files"]] == [kept.filename]
    assert (await ask(path_of(wheel))).body == wheel.data
    # Nobody can vouch for it any more, so what was not cached before stays away.
    upstream.remove(kept.filename)
    clock.advance(901)
    assert (await ask(path_of(kept))).status == 404


def spy_on(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The file names for which a page is searched from now on."""
    searched: list[str] = []
    find = Page.find

    def spied(page: Page, filename: str) -> ProjectFile | None:
        searched.append(filename)
        return find(page, filename)

    monkeypatch.setattr(Page, "find", spied)
    return searched


async def test_an_index_may_refuse_removed_files(
    tmp_path: Path, upstream: FakeIndex, wheel: Dist, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.add(make_wheel("alpha", "2.0"))
    async with (
        running_proxy(tmp_path, upstream=upstream, toml=REFUSE_REMOVED, clock=clock) as proxy,
        wire(proxy.url) as ask,
    ):
        await cache(ask, proxy, wheel)
        pages_searched = spy_on(monkeypatch)
        assert [(await ask(path_of(wheel))).status for _ in range(3)] == [200] * 3
        assert len(pages_searched) == 1
        assert (await ask(path_of(wheel) + ".metadata")).status == 200
        await proxy.settled()
        upstream.remove(wheel.filename)
        clock.advance(901)
        refused = await ask(path_of(wheel))
        assert refused.status == 403
        assert refused.reason == refused.json()["detail"]
        assert "was removed upstream" in refused.reason
        assert (await ask(path_of(wheel) + ".metadata")).status == 403


async def test_a_download_for_another_index_gives_none_to_one_from_which_the_file_was_removed(
    tmp_path: Path, upstream: FakeIndex, wheel: Dist, clock: FakeClock
) -> None:
    async with FakeIndex() as other:
        other.add(wheel)
        upstream.add(make_wheel("alpha", "2.0"))
        toml = (
            f'{REFUSE_REMOVED}[pypi.upstreams.other]\nurl = "{other.url}"\n[pypi.indexes.lax]\nsources = ["other"]\n'
        )
        async with (
            running_proxy(tmp_path, upstream=upstream, toml=toml, clock=clock) as proxy,
            wire(proxy.url) as ask,
        ):
            await cache(ask, proxy, wheel)
            await asyncio.to_thread(proxy.parts.store.delete, wheel.sha256)
            upstream.remove(wheel.filename)
            clock.advance(901)
            for _ in range(2):  # the second sees what the first had looked at
                await ask(ALPHA)
                await proxy.settled()
            half_way = asyncio.Event()
            other.fail("/files/*", Gate(100_000, half_way))
            allowed = asyncio.create_task(ask(path_of(wheel).replace("/main/", "/lax/")))
            await other.arrived("/files/*")
            assert (await ask(path_of(wheel))).status == 404
            half_way.set()
            assert (await allowed).body == wheel.data


async def test_an_index_that_refuses_removed_files_still_serves_what_is_listed_while_upstream_is_down(
    tmp_path: Path, upstream: FakeIndex, wheel: Dist, clock: FakeClock
) -> None:
    async with (
        running_proxy(tmp_path, upstream=upstream, toml=REFUSE_REMOVED, clock=clock) as proxy,
        wire(proxy.url) as ask,
    ):
        await cache(ask, proxy, wheel)
        await upstream.stop()
        clock.advance(86400)
        assert (await ask(path_of(wheel))).status == 200


async def test_a_file_of_a_quarantined_project_is_refused_as_soon_as_we_know_it(
    tmp_path: Path, upstream: FakeIndex, wheel: Dist, clock: FakeClock
) -> None:
    async with running_proxy(tmp_path, upstream=upstream, clock=clock) as proxy, wire(proxy.url) as ask:
        await cache(ask, proxy, wheel)
        upstream.set_status("alpha", "quarantined")
        clock.advance(601)
        # A direct request does not wait for the page, but it has it looked at.
        assert (await ask(path_of(wheel))).status == 200
        await proxy.settled()
        refused = await ask(path_of(wheel))
        assert (refused.status, "upstream quarantined alpha" in refused.reason) == (403, True)
        proxy.parts.shelf.forget()
        assert (await ask(path_of(wheel))).status == 403
    async with running_proxy(tmp_path, upstream=upstream, clock=clock) as proxy, wire(proxy.url) as ask:
        assert (await ask(path_of(wheel))).status == 403


async def test_an_index_may_keep_files_of_quarantined_projects(
    tmp_path: Path, upstream: FakeIndex, wheel: Dist, clock: FakeClock
) -> None:
    toml = '[pypi.indexes.main]\nsources = ["pypi"]\npolicy.quarantined = "keep"\n'
    async with (
        running_proxy(tmp_path, upstream=upstream, toml=toml, clock=clock) as proxy,
        wire(proxy.url) as ask,
    ):
        await cache(ask, proxy, wheel)
        upstream.set_status("alpha", "quarantined")
        clock.advance(901)
        await ask(ALPHA)
        assert (await ask(path_of(wheel))).status == 200


async def test_a_direct_request_for_a_cached_file_refreshes_its_page_behind_at_most_once_a_freshness(
    ask: Ask, wheel: Dist, upstream: FakeIndex, clock: FakeClock, proxy: LocalProxy
) -> None:
    await cache(ask, proxy, wheel)
    clock.advance(601)
    looked_at = asyncio.Event()
    upstream.fail("/simple/alpha/", Delay(looked_at), times=1)
    assert [(await ask(path_of(wheel))).status for _ in range(3)] == [200] * 3  # though its page is not answered
    looked_at.set()
    await proxy.settled()
    proxy.parts.shelf.forget()
    assert [(await ask(path_of(wheel))).status for _ in range(3)] == [200] * 3
    await proxy.settled()
    assert upstream.count(path="/simple/alpha/") == 2


async def test_refreshing_behind_a_file_does_not_render_a_page_that_nobody_reads(
    ask: Ask, wheel: Dist, proxy: LocalProxy
) -> None:
    await cache(ask, proxy, wheel)
    proxy.parts.shelf.forget()
    await cache(ask, proxy, wheel)
    assert len(proxy.parts.shelf) == 0


async def test_a_file_replaced_under_its_name_is_told_from_the_first_by_its_url(
    ask: Ask, wheel: Dist, upstream: FakeIndex, clock: FakeClock, proxy: LocalProxy
) -> None:
    await cache(ask, proxy, wheel)
    other = make_wheel("alpha", "1.0", payload_size=1000)
    upstream.add(other)
    clock.advance(901)
    new_path = (await ask(ALPHA, JSON)).file_path(wheel.filename)
    assert new_path == path_of(other)
    assert (await ask(new_path)).body == other.data
    assert (await ask(path_of(wheel))).body == wheel.data
