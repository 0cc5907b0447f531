"""Flat repodata in the form that upstream does not have, or that a hosted channel does not start from."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from envproxy.conda.making import Convert
from envproxy.conda.worker import Workshop
from fixtures.channel import FakeChannel
from fixtures.conda_packages import chain
from fixtures.proxy import running_proxy
from fixtures.repodata import JSON_ONLY, Style
from fixtures.visitor import visiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from envproxy.conda.making import Job, Made

ZST_ONLY = Style(forms=("zst",))
JSON, ZST = "noarch/repodata.json", "noarch/repodata.json.zst"


@pytest.fixture
async def upstream() -> AsyncIterator[FakeChannel]:
    async with FakeChannel() as channel:
        channel.add(*chain(3))
        yield channel


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[Convert]:
    """Grows with each conversion that begins."""
    begun: list[Convert] = []
    do = Workshop.do

    async def noted(self: Workshop, job: Job) -> Made:
        if isinstance(job, Convert):
            begun.append(job)
        return await do(self, job)

    monkeypatch.setattr(Workshop, "do", noted)
    return begun


@pytest.mark.parametrize(("style", "path"), [(ZST_ONLY, JSON), (JSON_ONLY, ZST)], ids=["json", "zst"])
async def test_a_form_that_upstream_lacks_is_made_once_for_all_who_ask(
    upstream: FakeChannel, tmp_path: Path, conversions: list[Convert], style: Style, path: str
) -> None:
    upstream.style = style
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        replies = await asyncio.gather(*(visitor.get(path) for _ in range(8)))
        assert {(reply.status, reply.body) for reply in replies} == {(200, replies[0].body)}
        again = await visitor.get(path)
        assert (await visitor.get(path, method="HEAD")).status == 200
        assert (await visitor.get(path, if_none_match=again.headers["ETag"])).status == 304
        assert len(conversions) == 1
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        assert (await visitor.get(path)).body == again.body
        assert len(conversions) == 1


async def test_a_form_is_made_again_when_upstream_changed_or_it_was_evicted(
    upstream: FakeChannel, tmp_path: Path, conversions: list[Convert]
) -> None:
    upstream.style = ZST_ONLY
    first, second, third = chain(3)
    upstream.remove(third)
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy, visiting(proxy.channel()) as visitor:
        reply = await visitor.get(JSON)
        await asyncio.to_thread(proxy.parts.store.delete, reply.headers["ETag"].strip('"'))
        assert (await visitor.get(JSON)).body == reply.body
        assert len(conversions) == 2
        upstream.add(third)
        listed = json.loads((await visitor.get(JSON, cache_control="no-cache")).body)["packages.conda"]
        assert sorted(listed) == [first.filename, second.filename, third.filename]
        assert len(conversions) == 3
