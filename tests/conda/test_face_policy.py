"""A policy hides packages in every form of repodata, and refuses them by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fixtures.channel import FakeChannel
from fixtures.clock import FakeClock
from fixtures.conda_packages import TIMESTAMP, make_conda
from fixtures.proxy import running_proxy
from fixtures.repodata import FLAT_ONLY, Style
from fixtures.visitor import Visitor, visiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

POLICY = "conda.channels.demo.policy"
OLD, NEW, EVIL = make_conda("tool", "1.0"), make_conda("tool", "2.0"), make_conda("evil-thing")


@pytest.fixture
async def upstream() -> AsyncIterator[FakeChannel]:
    async with FakeChannel() as channel:
        channel.add(OLD, NEW, EVIL)
        yield channel


async def listed(visitor: Visitor) -> set[str]:
    """The packages that clients see, which all forms of repodata agree on."""
    flat = set(json.loads((await visitor.get("noarch/repodata.json")).body)["packages.conda"])
    names = (await visitor.index()).shards
    sharded = {filename for name in names for filename in (await visitor.shard(name))["packages.conda"]}
    assert flat == sharded
    return flat


@pytest.mark.parametrize("style", [Style(), FLAT_ONLY], ids=["all", "flat"])
async def test_denied_packages_are_in_no_form_of_repodata_and_are_refused(
    upstream: FakeChannel, tmp_path: Path, style: Style
) -> None:
    upstream.style = style
    settings = {**upstream.settings, f"{POLICY}.deny": "evil-*, tool >=2"}
    async with running_proxy(tmp_path, settings=settings) as proxy, visiting(proxy.channel()) as visitor:
        assert await listed(visitor) == {OLD.filename}
        assert (await visitor.get(OLD.path)).body == OLD.data
        for package in (NEW, EVIL):
            refused = await visitor.get(package.path, x_expected_sha256=package.sha256)
            assert (refused.status, "denied on this channel" in refused.says) == (403, True)
        assert upstream.count("GET", "*/evil-thing-*") == 0


async def test_a_rule_on_build_numbers_hides_and_refuses(upstream: FakeChannel, tmp_path: Path) -> None:
    rebuilt = make_conda("tool", "1.0", build="h1", build_number=1)
    upstream.add(rebuilt)
    settings = {**upstream.settings, f"{POLICY}.deny": 'tool[build_number=">=1"]'}
    async with running_proxy(tmp_path, settings=settings) as proxy, visiting(proxy.channel()) as visitor:
        assert await listed(visitor) == {OLD.filename, NEW.filename, EVIL.filename}
        assert (await visitor.get(rebuilt.path)).status == 403
        assert (await visitor.get(OLD.path)).status == 200


async def test_a_cooldown_ends_when_the_clock_says_so(upstream: FakeChannel, tmp_path: Path) -> None:
    young = make_conda("tool", "3.0", extra={"timestamp": TIMESTAMP + 7 * 24 * 3_600_000})
    upstream.add(young)
    settings = {**upstream.settings, f"{POLICY}.min-age": "3d"}
    clock = FakeClock()
    async with (
        running_proxy(tmp_path, settings=settings, clock=clock) as proxy,
        visiting(proxy.channel()) as visitor,
    ):
        assert young.filename not in await listed(visitor)
        assert (await visitor.get(young.path)).status == 403
        clock.advance(3 * 24 * 3600)
        await visitor.index(cache_control="no-cache")
        assert young.filename in await listed(visitor)
        assert (await visitor.get(young.path)).body == young.data


async def test_a_file_that_would_list_what_is_hidden_is_not_passed_on(upstream: FakeChannel, tmp_path: Path) -> None:
    upstream.put("noarch/current_repodata.json", b'{"packages": {}}')
    settings = {**upstream.settings, f"{POLICY}.deny": "evil-*"}
    async with running_proxy(tmp_path, settings=settings) as proxy, visiting(proxy.channel()) as visitor:
        assert (await visitor.get("noarch/current_repodata.json")).status == 404


async def test_a_policy_that_changed_holds_after_a_restart(upstream: FakeChannel, tmp_path: Path) -> None:
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        assert len(await listed(visitor)) == 3
        await visitor.get(EVIL.path)
    settings = {**upstream.settings, f"{POLICY}.deny": "evil-*"}
    async with running_proxy(tmp_path, settings=settings) as proxy, visiting(proxy.channel()) as visitor:
        assert await listed(visitor) == {OLD.filename, NEW.filename}
        assert (await visitor.get(EVIL.path)).status == 403


async def test_a_policy_on_a_channel_with_shards_alone(upstream: FakeChannel, tmp_path: Path) -> None:
    upstream.style = Style(forms=("shards",), packages_at="off-host", shards_at="off-host")
    settings = {**upstream.settings, f"{POLICY}.deny": "evil-*"}
    async with running_proxy(tmp_path, settings=settings) as proxy, visiting(proxy.channel()) as visitor:
        assert await listed(visitor) == {OLD.filename, NEW.filename}
        assert (await visitor.get(OLD.path)).body == OLD.data
    assert {seen.port for seen in upstream.requests if "/tool-" in seen.path} == {upstream.files_port}
