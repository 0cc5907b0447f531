"""Packages that no index lists: served if upstream has them, as long as they are packages, and bound to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixtures.channel import FakeChannel
from fixtures.conda_packages import make_conda
from fixtures.faults import RawBody, Status
from fixtures.proxy import running_proxy
from fixtures.repodata import FLAT_ONLY
from fixtures.visitor import visiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def upstream() -> AsyncIterator[FakeChannel]:
    async with FakeChannel(FLAT_ONLY) as channel:
        channel.add(make_conda("alpha"))
        yield channel


async def test_a_package_that_nobody_states_a_digest_for_is_not_kept_for_ever(
    upstream: FakeChannel, tmp_path: Path
) -> None:
    unlisted = make_conda("unlisted")
    upstream.put(unlisted.path, unlisted.data)
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        assert (await visitor.get(unlisted.path)).headers["Cache-Control"] == "no-cache"
        await proxy.settled()
        again = await visitor.get(unlisted.path)
        assert (again.headers["Cache-Control"], again.headers["ETag"]) == ("no-cache", f'"{unlisted.sha256}"')
        demanded = await visitor.get(unlisted.path, x_expected_sha256=unlisted.sha256)
        assert "immutable" in demanded.headers["Cache-Control"]


@pytest.mark.parametrize("form", [".conda", ".tar.bz2"])
@pytest.mark.parametrize("page", [b"<html>please log in</html>", b""], ids=["a page", "nothing"])
async def test_what_no_index_lists_is_an_archive_or_no_package(
    upstream: FakeChannel, tmp_path: Path, form: str, page: bytes
) -> None:
    unlisted = make_conda("unlisted", form=form)
    upstream.put(unlisted.path, unlisted.data)
    upstream.fail("*/unlisted-*", RawBody(page, "text/html"), times=1)
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        refused = await visitor.get(unlisted.path)
        assert (refused.status, "something else" in refused.says) == (503, True)
        assert (await visitor.get(unlisted.path)).body == unlisted.data


async def test_head_of_what_no_index_describes_is_asked_upstream(upstream: FakeChannel, tmp_path: Path) -> None:
    upstream.put("noarch/unlisted-1.0-0.conda", b"some bytes")
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        head = await visitor.get("noarch/unlisted-1.0-0.conda", method="HEAD")
        assert (head.status, head.headers["Content-Length"], "ETag" in head.headers) == (200, "10", False)
        upstream.fail("*/unlisted-*", Status(405), times=1)
        head = await visitor.get("noarch/unlisted-1.0-0.conda", method="HEAD")
        assert (head.status, "Content-Length" in head.headers) == (200, False)
        upstream.fail("*/unlisted-*", Status(500))
        assert (await visitor.get("noarch/unlisted-1.0-0.conda", method="HEAD")).status == 503
    assert upstream.count("GET", "*.conda") == 0
