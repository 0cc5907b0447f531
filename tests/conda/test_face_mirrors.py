"""Mirrors of one channel: what one does not have, or has wrong, comes from the next."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from typing import TYPE_CHECKING

import aiohttp
import pytest

from fixtures.channel import FakeChannel
from fixtures.conda_packages import File, make_conda
from fixtures.faults import RawBody, WrongBytes
from fixtures.proxy import running_proxy
from fixtures.repodata import FLAT_ONLY, SHARDS_ONLY, Style
from fixtures.visitor import visiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ALPHA = make_conda("alpha")
LARGE = make_conda("large", files={"share/noise": File(random.Random(7).randbytes(600_000))})
PAGE = RawBody(b"<html>please log in</html>", "text/html")


@pytest.fixture
async def bad() -> AsyncIterator[FakeChannel]:
    """The mirror that is asked first."""
    async with FakeChannel() as channel:
        channel.add(ALPHA, LARGE)
        yield channel


@pytest.fixture
async def good() -> AsyncIterator[FakeChannel]:
    async with FakeChannel(name="second") as channel:
        channel.add(ALPHA, LARGE)
        yield channel


@pytest.fixture
def settings(bad: FakeChannel, good: FakeChannel) -> dict[str, str]:
    return {"conda.channels.demo.url": f"{bad.url}, {good.url}"}


@pytest.mark.parametrize("fault", [WrongBytes(), PAGE], ids=["wrong bytes", "a page"])
async def test_a_package_that_one_mirror_has_wrong_comes_from_the_next(
    bad: FakeChannel, settings: dict[str, str], tmp_path: Path, fault: WrongBytes | RawBody
) -> None:
    bad.fail("*.conda", fault)
    async with running_proxy(tmp_path, settings=settings) as proxy, visiting(proxy.channel()) as visitor:
        reply = await visitor.get(ALPHA.path)
        assert (reply.status, reply.body) == (200, ALPHA.data)


async def test_an_unlisted_package_comes_from_a_mirror_that_has_it(
    bad: FakeChannel, good: FakeChannel, settings: dict[str, str], tmp_path: Path
) -> None:
    unlisted = make_conda("unlisted")
    bad.put(unlisted.path, b"<html>please log in</html>")
    good.put(unlisted.path, unlisted.data)
    async with running_proxy(tmp_path, settings=settings) as proxy, visiting(proxy.channel()) as visitor:
        assert (await visitor.get(unlisted.path)).body == unlisted.data


async def test_a_package_of_which_some_bytes_were_sent_comes_from_the_next_mirror_the_next_time(
    bad: FakeChannel, settings: dict[str, str], tmp_path: Path
) -> None:
    bad.fail("*/large-*", WrongBytes())
    async with running_proxy(tmp_path, settings=settings) as proxy, visiting(proxy.channel()) as visitor:
        with suppress(aiohttp.ClientError):  # the connection breaks, unless all was here before a byte was sent
            assert (await visitor.get(LARGE.path)).status == 503
        assert (await visitor.get(LARGE.path)).body == LARGE.data
    assert bad.count("GET", "*/large-*") == 1


async def test_a_shard_that_one_mirror_has_wrong_comes_from_the_next(
    bad: FakeChannel, settings: dict[str, str], tmp_path: Path
) -> None:
    bad.fail("*/shards/*", PAGE)
    async with running_proxy(tmp_path, settings=settings) as proxy, visiting(proxy.channel()) as visitor:
        assert list((await visitor.shard("alpha"))["packages.conda"]) == [ALPHA.filename]


async def test_each_mirror_is_asked_once_when_none_has_a_package_right(
    bad: FakeChannel, good: FakeChannel, settings: dict[str, str], tmp_path: Path
) -> None:
    for channel in (bad, good):
        channel.fail("*.conda", WrongBytes(), times=1)
    async with running_proxy(tmp_path, settings=settings) as proxy, visiting(proxy.channel()) as visitor:
        assert (await visitor.get(ALPHA.path)).status == 503
        assert (bad.count("GET", "*.conda"), good.count("GET", "*.conda")) == (1, 1)
        assert (await visitor.get(ALPHA.path)).body == ALPHA.data


async def test_a_mirror_that_lacks_what_another_has_wrong_makes_no_absence(
    bad: FakeChannel, good: FakeChannel, settings: dict[str, str], tmp_path: Path
) -> None:
    bad.fail("*.conda", WrongBytes())
    good.vanish(ALPHA)
    async with running_proxy(tmp_path, settings=settings) as proxy, visiting(proxy.channel()) as visitor:
        assert (await visitor.get(ALPHA.path)).status == 503
        assert bad.count("GET", "*.conda") == 2


@pytest.mark.parametrize("policy", [{}, {"conda.channels.demo.policy.deny": "evil"}], ids=["open", "with a policy"])
@pytest.mark.parametrize(
    ("style", "wrong"),
    [(Style(), "*"), (FLAT_ONLY, "*"), (SHARDS_ONLY, "*.msgpack.zst")],
    ids=["all", "flat", "shards"],
)
async def test_listings_that_one_mirror_has_wrong_come_from_the_next(
    bad: FakeChannel,
    good: FakeChannel,
    settings: dict[str, str],
    tmp_path: Path,
    style: Style,
    wrong: str,
    policy: dict[str, str],
) -> None:
    bad.style = good.style = style
    bad.fail(wrong, PAGE)
    async with (
        running_proxy(tmp_path, settings={**settings, **policy}) as proxy,
        visiting(proxy.channel()) as visitor,
    ):
        assert set((await visitor.index()).shards) == {"alpha", "large"}
        assert set(json.loads((await visitor.get("noarch/repodata.json")).body)["packages.conda"]) == {
            ALPHA.filename,
            LARGE.filename,
        }
        assert (await visitor.get(ALPHA.path)).body == ALPHA.data


async def test_a_file_beside_packages_comes_from_the_mirror_that_has_it_right(
    bad: FakeChannel, good: FakeChannel, settings: dict[str, str], tmp_path: Path
) -> None:
    bad.put("noarch/run_exports.json", b"<html>please log in</html>")
    good.put("noarch/run_exports.json", b'{"info": {}}')
    async with running_proxy(tmp_path, settings=settings) as proxy, visiting(proxy.channel()) as visitor:
        assert (await visitor.get("noarch/run_exports.json")).body == b'{"info": {}}'


async def test_a_listing_that_no_mirror_has_right_is_asked_for_once_at_each(
    bad: FakeChannel, good: FakeChannel, settings: dict[str, str], tmp_path: Path
) -> None:
    for channel in (bad, good):
        channel.put("noarch/run_exports.json", b"<html>please log in</html>")
    async with running_proxy(tmp_path, settings=settings) as proxy, visiting(proxy.channel()) as visitor:
        assert (await visitor.get("noarch/run_exports.json")).status == 503
    assert [channel.count("GET", "*/run_exports.json") for channel in (bad, good)] == [1, 1]
