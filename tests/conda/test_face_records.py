"""A package is verified and judged by its record, in whichever section and under whatever key that stands."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from fixtures.channel import FakeChannel
from fixtures.clock import FakeClock
from fixtures.conda_packages import make_conda
from fixtures.faults import WrongBytes
from fixtures.proxy import running_proxy
from fixtures.repodata import FLAT_ONLY, SHARDS_ONLY
from fixtures.visitor import visiting

if TYPE_CHECKING:
    from pathlib import Path

GAMMA, OLD_FORM = make_conda("gamma"), make_conda("gamma", form=".tar.bz2")
ODD_KEYS: dict[str, tuple[str, dict[str, Any]]] = {
    "v3": ("gamma-1.0-0.conda", {"v3": {"conda": {"gamma-1.0-0": GAMMA.record}}}),
    "upper case": ("Gamma-1.0-0.conda", {"packages.conda": {"Gamma-1.0-0.conda": GAMMA.record}}),
    "another name": ("delta-1.0-0.conda", {"packages.conda": {"delta-1.0-0.conda": GAMMA.record}}),
}


def put_repodata(upstream: FakeChannel, **sections: Any) -> None:
    """Flat repodata of noarch."""
    document = json.dumps({"info": {"subdir": "noarch"}, "packages": {}, "packages.conda": {}, **sections}).encode()
    upstream.put("noarch/repodata.json", document)
    upstream.put("noarch/repodata.json.zst", zstandard.compress(document))


@pytest.mark.parametrize(("filename", "sections"), ODD_KEYS.values(), ids=ODD_KEYS.keys())
async def test_the_digest_in_repodata_binds_under_any_key(
    tmp_path: Path, filename: str, sections: dict[str, Any]
) -> None:
    async with FakeChannel(FLAT_ONLY) as upstream:
        put_repodata(upstream, **sections)
        upstream.put(f"noarch/{filename}", GAMMA.data)
        upstream.fail("*.conda", WrongBytes(), times=1)
        async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
            assert (await visitor.get(f"noarch/{filename}")).status == 503
            reply = await visitor.get(f"noarch/{filename}")
            assert (reply.body, reply.headers["ETag"]) == (GAMMA.data, f'"{GAMMA.sha256}"')


async def test_two_forms_of_one_key_are_two_packages(tmp_path: Path) -> None:
    async with FakeChannel(FLAT_ONLY) as upstream:
        put_repodata(
            upstream,
            v3={"conda": {"gamma-1.0-0": GAMMA.record}, "tar.bz2": {"gamma-1.0-0": OLD_FORM.record}},
        )
        for package in (GAMMA, OLD_FORM):
            upstream.put(package.path, package.data)
        async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
            for package in (GAMMA, OLD_FORM):
                assert (await visitor.get(package.path)).headers["ETag"] == f'"{package.sha256}"'


async def test_a_filename_in_upper_case_is_found_in_a_shard_of_upstream(tmp_path: Path) -> None:
    shouted = replace(GAMMA, filename="Gamma-1.0-0.conda")
    async with FakeChannel(SHARDS_ONLY) as upstream:
        upstream.add(shouted)
        upstream.fail("*.conda", WrongBytes(), times=1)
        async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
            assert (await visitor.get(shouted.path)).status == 503
            assert (await visitor.get(shouted.path)).body == GAMMA.data


async def test_the_age_of_a_package_is_that_in_its_record_under_any_key(tmp_path: Path) -> None:
    async with FakeChannel(FLAT_ONLY) as upstream:
        put_repodata(upstream, v3={"conda": {"gamma-1.0-0": GAMMA.record}})
        upstream.put(GAMMA.path, GAMMA.data)
        settings = {**upstream.settings, "conda.channels.demo.policy.min-age": "7d"}
        clock = FakeClock()
        clock.advance(30 * 24 * 3600)
        async with (
            running_proxy(tmp_path, settings=settings, clock=clock) as proxy,
            visiting(proxy.channel()) as visitor,
        ):
            assert (await visitor.get(GAMMA.path)).body == GAMMA.data


async def test_a_rule_goes_by_the_name_in_the_record(tmp_path: Path) -> None:
    async with FakeChannel(FLAT_ONLY) as upstream:
        put_repodata(upstream, **{"packages.conda": {"delta-1.0-0.conda": GAMMA.record}})
        upstream.put("noarch/delta-1.0-0.conda", GAMMA.data)
        settings = {**upstream.settings, "conda.channels.demo.policy.allow": "gamma"}
        async with running_proxy(tmp_path, settings=settings) as proxy, visiting(proxy.channel()) as visitor:
            assert (await visitor.get("noarch/delta-1.0-0.conda")).body == GAMMA.data
