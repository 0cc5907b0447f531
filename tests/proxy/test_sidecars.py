"""Metadata sidecars, in each of the ways in which one can be had, and what pages say of them (PEP 658)."""

from __future__ import annotations

import asyncio
import hashlib
import io
import resource
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fixtures.proxy import running_proxy
from fixtures.upstream import Cut, Delay, FakeIndex, RawBody, Status, Style
from fixtures.wheels import Dist, make_sdist, make_wheel
from fixtures.wire import HTML, JSON, wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fixtures.clock import FakeClock
    from fixtures.proxy import LocalProxy
    from fixtures.wire import Ask

ALPHA = "/pypi/main/simple/alpha/"


@pytest.fixture
def wheel(upstream: FakeIndex) -> Dist:
    wheel = make_wheel("alpha", "1.0", requires=["beta>=2"], payload_size=300_000)
    upstream.add(wheel)
    return wheel


def path_of(dist: Dist, digest: str | None = None) -> str:
    return f"/pypi/main/files/{dist.project}/{digest or dist.sha256}/{dist.filename}.metadata"


def digest_of(metadata: bytes) -> str:
    return hashlib.sha256(metadata).hexdigest()


async def announced(ask: Ask, dist: Dist) -> object:
    [file] = [file for file in (await ask(ALPHA, JSON)).json()["files"] if file["filename"] == dist.filename]
    return file.get("core-metadata")


# --- where it comes from --------------------------------------------------------------------------------


async def test_upstreams_sidecar_is_relayed_byte_for_byte(ask: Ask, wheel: Dist, upstream: FakeIndex) -> None:
    answer = await ask(path_of(wheel))
    assert (answer.status, answer.cache, answer.body) == (200, "miss", wheel.metadata)
    assert answer.headers["ETag"] == f'"{digest_of(wheel.metadata)}"'
    assert answer.headers["Cache-Control"] == "public, max-age=365000000, immutable"
    assert "Content-Encoding" not in answer.headers
    assert [seen.path for seen in upstream.requests] == ["/simple/alpha/", f"/files/alpha/{wheel.filename}.metadata"]


@pytest.mark.parametrize(
    "sidecars",
    ["advertised", "no-digest", "unadvertised", "none", "advertised-missing", "wrong-bytes"],
)
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no-ranges"])
async def test_whatever_upstream_offers_the_right_metadata_comes(
    ask: Ask, wheel: Dist, upstream: FakeIndex, sidecars: str, ranges: bool
) -> None:
    upstream.style = Style(sidecars=sidecars, ranges=ranges)
    answer = await ask(path_of(wheel))
    assert (answer.status, answer.body) == (200, wheel.metadata)


@pytest.mark.parametrize("lengths", [True, False], ids=["which it tells", "which it keeps to itself"])
async def test_without_a_size_on_the_page_the_wheel_is_asked_for_its_length(
    ask: Ask, wheel: Dist, upstream: FakeIndex, lengths: bool
) -> None:
    upstream.style = Style(sidecars="none", sizes="none", lengths=lengths)
    assert (await ask(path_of(wheel))).body == wheel.metadata


async def test_ranges_take_little_of_a_large_wheel(ask: Ask, upstream: FakeIndex, proxy: LocalProxy) -> None:
    upstream.style = Style(sidecars="none")
    wheel = make_wheel("alpha", "1.0", payload_size=5_000_000)
    upstream.add(wheel)
    assert (await ask(path_of(wheel))).body == wheel.metadata
    assert await asyncio.to_thread(proxy.parts.store.size, wheel.sha256) is None
    assert proxy.parts.metrics.upstream_bytes[("pypi",)]._value.get() < 300_000


async def test_a_size_that_the_page_states_wrongly_does_not_matter(
    ask: Ask, wheel: Dist, upstream: FakeIndex
) -> None:
    upstream.style = Style(sidecars="none", sizes="wrong")
    assert (await ask(path_of(wheel))).body == wheel.metadata


async def test_without_ranges_the_whole_wheel_is_fetched_and_kept(ask: Ask, wheel: Dist, upstream: FakeIndex) -> None:
    upstream.style = Style(sidecars="none", ranges=False)
    assert (await ask(path_of(wheel))).body == wheel.metadata
    before = upstream.count()
    assert (await ask(path_of(wheel).removesuffix(".metadata"))).body == wheel.data
    assert upstream.count() == before


async def test_a_cached_wheel_needs_no_upstream_for_its_metadata(
    ask: Ask, wheel: Dist, upstream: FakeIndex, proxy: LocalProxy
) -> None:
    await ask(path_of(wheel).removesuffix(".metadata"))
    await proxy.settled()
    await upstream.stop()
    assert (await ask(path_of(wheel))).body == wheel.metadata


async def test_metadata_that_upstream_announces_and_has_is_relayed_even_if_the_cached_wheel_says_otherwise(
    ask: Ask, wheel: Dist, upstream: FakeIndex, proxy: LocalProxy
) -> None:
    await ask(path_of(wheel).removesuffix(".metadata"))
    await proxy.settled()
    patched = wheel.metadata.replace(b"beta>=2", b"beta>=2,<3")
    upstream.style = Style(extra_file_keys={"core-metadata": {"sha256": digest_of(patched)}})
    upstream.fail("*.metadata", RawBody(patched, "text/plain"))
    await proxy.parts.catalog.forget_page("pypi", "alpha")
    proxy.parts.indexes["main"].sources[0]._standings.clear()
    proxy.parts.shelf.forget()
    assert (await ask(path_of(wheel))).body == patched


@pytest.mark.parametrize("hashes", ["none", "md5"])
async def test_a_wheel_without_a_sha256_has_metadata_too(
    ask: Ask, wheel: Dist, upstream: FakeIndex, hashes: str
) -> None:
    upstream.style = Style(hashes=hashes, sidecars="none")
    answers = [await ask(path_of(wheel, "unhashed")) for _ in range(2)]
    assert [(answer.body, answer.cache) for answer in answers] == [(wheel.metadata, "miss"), (wheel.metadata, "hit")]


@pytest.mark.parametrize("fault", [Status(500), Status(403), Cut(10)], ids=repr)
async def test_a_sidecar_that_upstream_fails_to_send_is_made_from_the_wheel(
    ask: Ask, wheel: Dist, upstream: FakeIndex, fault: Status | Cut
) -> None:
    upstream.fail("*.metadata", fault)
    assert (await ask(path_of(wheel))).body == wheel.metadata


async def test_an_error_page_with_status_200_is_no_metadata(ask: Ask, wheel: Dist, upstream: FakeIndex) -> None:
    upstream.style = Style(sidecars="no-digest")
    upstream.fail("*.metadata", RawBody(b"<html>Sorry</html>", "text/html"))
    assert (await ask(path_of(wheel))).body == wheel.metadata


async def test_a_host_without_sidecars_is_not_asked_for_each_of_its_wheels(ask: Ask, upstream: FakeIndex) -> None:
    upstream.style = Style(sidecars="none")
    wheels = [make_wheel("alpha", f"1.{minor}") for minor in range(4)]
    upstream.add(*wheels)
    assert [(await ask(path_of(wheel))).body for wheel in wheels] == [wheel.metadata for wheel in wheels]
    assert upstream.count(path="*.metadata") == 1


async def test_with_upstream_down_and_nothing_at_hand_it_is_503(ask: Ask, wheel: Dist, upstream: FakeIndex) -> None:
    await ask(ALPHA)
    await upstream.stop()
    answer = await ask(path_of(wheel))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")


# --- once -----------------------------------------------------------------------------------------------


async def test_many_at_once_are_one_flight(ask: Ask, wheel: Dist, upstream: FakeIndex) -> None:
    opened = asyncio.Event()
    upstream.fail("*.metadata", Delay(opened))
    asking = [asyncio.create_task(ask(path_of(wheel))) for _ in range(12)]
    await upstream.arrived("*.metadata")
    opened.set()
    assert {answer.body for answer in await asyncio.gather(*asking)} == {wheel.metadata}
    assert upstream.count(path="*.metadata") == 1


async def test_the_second_request_costs_upstream_nothing_and_is_a_hit(
    ask: Ask, wheel: Dist, upstream: FakeIndex, proxy: LocalProxy
) -> None:
    await ask(path_of(wheel))
    before = upstream.count()
    for forget in (lambda: None, proxy.parts.files.forget):
        forget()
        again = await ask(path_of(wheel))
        assert (again.cache, again.body) == ("hit", wheel.metadata)
    assert (await ask(path_of(wheel), {"If-None-Match": again.headers["ETag"]})).status == 304
    assert upstream.count() == before


async def test_metadata_outlives_a_restart_and_an_outage(tmp_path: Path, wheel: Dist, upstream: FakeIndex) -> None:
    async with running_proxy(tmp_path, upstream=upstream) as proxy, wire(proxy.url) as ask:
        await ask(path_of(wheel))
    await upstream.stop()
    async with running_proxy(tmp_path, upstream=upstream) as proxy, wire(proxy.url) as ask:
        answer = await ask(path_of(wheel))
    assert (answer.cache, answer.body) == ("hit", wheel.metadata)


async def test_metadata_of_a_cached_wheel_is_served_after_the_wheel_left_its_page(
    ask: Ask, wheel: Dist, upstream: FakeIndex, proxy: LocalProxy, clock: FakeClock
) -> None:
    upstream.add(make_wheel("alpha", "2.0"))
    await ask(path_of(wheel))
    await ask(path_of(wheel).removesuffix(".metadata"))
    await proxy.settled()
    upstream.remove(wheel.filename)
    clock.advance(901)
    await ask(ALPHA)
    proxy.parts.files.forget()
    assert (await ask(path_of(wheel))).body == wheel.metadata


async def test_metadata_that_was_evicted_is_made_again(ask: Ask, wheel: Dist, proxy: LocalProxy) -> None:
    await ask(path_of(wheel))
    await proxy.settled()
    await ask(path_of(wheel))
    await asyncio.to_thread(proxy.parts.store.delete, digest_of(wheel.metadata))
    answer = await ask(path_of(wheel))
    assert (answer.cache, answer.body) == ("miss", wheel.metadata)


@contextmanager
def file_size_limit(limit_bytes: int) -> Iterator[None]:
    """The disk takes no file larger than this: what the store sees of a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_on_a_full_disk_metadata_still_goes_out(ask: Ask, upstream: FakeIndex, proxy: LocalProxy) -> None:
    wheel = make_wheel("alpha", "1.0", requires=[f"beta-{number}>=1" for number in range(100_000)])
    upstream.add(wheel)
    await ask(ALPHA)
    with file_size_limit(len(wheel.metadata) // 2):
        answers = [await ask(path_of(wheel)) for _ in range(2)]
    assert [(answer.status, answer.body == wheel.metadata) for answer in answers] == [(200, True), (200, True)]
    assert await asyncio.to_thread(proxy.parts.store.size, digest_of(wheel.metadata)) is None


# --- what pages say -------------------------------------------------------------------------------------


async def test_a_digest_that_upstream_announces_is_handed_on(ask: Ask, wheel: Dist) -> None:
    assert await announced(ask, wheel) == {"sha256": digest_of(wheel.metadata)}
    assert f'data-core-metadata="sha256={digest_of(wheel.metadata)}"' in (await ask(ALPHA, HTML)).body.decode()


async def test_a_digest_that_we_found_ourselves_is_on_the_next_page(
    ask: Ask, wheel: Dist, upstream: FakeIndex, proxy: LocalProxy
) -> None:
    upstream.style = Style(sidecars="none")
    assert await announced(ask, wheel) is True
    await ask(path_of(wheel))
    proxy.parts.shelf.forget()  # as when the page changes, or falls off the shelf
    assert await announced(ask, wheel) == {"sha256": digest_of(wheel.metadata)}


async def test_a_wrong_digest_on_the_page_fails_once_and_the_next_page_is_right(
    ask: Ask, wheel: Dist, upstream: FakeIndex
) -> None:
    upstream.style = Style(sidecars="wrong-hash")
    before = await ask(ALPHA, JSON)
    answer = await ask(path_of(wheel))
    assert answer.status == 503
    assert "run the install again" in answer.json()["hint"]
    assert await announced(ask, wheel) == {"sha256": digest_of(wheel.metadata)}
    assert (await ask(ALPHA, JSON)).headers["ETag"] != before.headers["ETag"]
    assert (await ask(path_of(wheel))).body == wheel.metadata


async def test_a_wheel_that_lies_about_its_name_has_no_metadata_and_is_announced_no_more(
    ask: Ask, upstream: FakeIndex
) -> None:
    upstream.style = Style(sidecars="none")
    liar, honest = make_wheel("alpha", "1.0", lie_about_name="omega"), make_wheel("alpha", "1.1")
    upstream.add(liar, honest)
    assert (await announced(ask, liar), await announced(ask, honest)) == (True, True)
    answer = await ask(path_of(liar))
    assert (answer.status, "calls itself 'omega'" in answer.json()["detail"]) == (404, True)
    assert (await announced(ask, liar), await announced(ask, honest)) == (None, True)
    before = upstream.count()
    assert (await ask(path_of(liar))).status == 404
    assert upstream.count() == before


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no-ranges"])
async def test_a_wheel_without_metadata_is_announced_no_more(ask: Ask, upstream: FakeIndex, ranges: bool) -> None:
    upstream.style = Style(sidecars="none", ranges=ranges)
    empty = io.BytesIO()
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("alpha/__init__.py", b"")
    bare = replace(make_wheel("alpha", "1.0"), data=empty.getvalue())
    upstream.add(bare)
    assert await announced(ask, bare) is True
    answer = await ask(path_of(bare))
    assert (answer.status, answer.json()["detail"]) == (404, f"{bare.filename} has no METADATA")
    assert await announced(ask, bare) is None


async def test_a_wheel_that_upstream_lacks_today_is_not_taken_for_one_without_metadata(
    ask: Ask, wheel: Dist, upstream: FakeIndex
) -> None:
    upstream.fail("/files/*", Status(404))
    assert (await ask(path_of(wheel))).status == 404
    upstream.clear_faults()
    assert await announced(ask, wheel) == {"sha256": digest_of(wheel.metadata)}
    assert (await ask(path_of(wheel))).body == wheel.metadata


async def test_only_wheels_have_sidecars(ask: Ask, upstream: FakeIndex) -> None:
    sdist = make_sdist("alpha", "1.0")
    upstream.add(sdist)
    answer = await ask(path_of(sdist))
    assert (answer.status, answer.json()["detail"]) == (
        404,
        "only wheels have metadata sidecars, alpha-1.0.tar.gz is none",
    )
