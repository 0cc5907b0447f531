"""The main job with every client: install through the proxy, again from its cache, and again without an upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixtures.clients import Pdm, Pip, Pipenv, Poetry, Uv, UvProject
from fixtures.proxy import proxy_process

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.clients import Client
    from fixtures.clock import FakeClock
    from fixtures.proxy import Proxy
    from fixtures.upstream import FakeIndex

DAY = 24 * 3600

pytestmark = pytest.mark.clients
every_client = pytest.mark.parametrize("client", [Pip, Uv, UvProject, Poetry, Pdm, Pipenv], indirect=True)


@every_client
async def test_a_project_installs_with_its_dependency(client: Client, proxy: Proxy) -> None:
    outcome = await client.install("alpha", proxy.simple())
    assert outcome.installed == {"alpha": "1.0", "beta": "2.1"}, outcome.output
    assert outcome.ok


@every_client
async def test_what_is_cached_installs_without_a_request_to_upstream(
    client: Client, warm_proxy: Proxy, upstream: FakeIndex
) -> None:
    upstream.requests.clear()
    outcome = await client.install("alpha", warm_proxy.simple())
    assert outcome.installed == {"alpha": "1.0", "beta": "2.1"}, outcome.output
    assert upstream.requests == []


@every_client
async def test_what_is_cached_installs_a_day_into_an_outage(
    client: Client, warm_proxy: Proxy, upstream: FakeIndex, clock: FakeClock
) -> None:
    await upstream.stop()
    clock.advance(DAY)
    outcome = await client.install("alpha", warm_proxy.simple())
    assert outcome.installed == {"alpha": "1.0", "beta": "2.1"}, outcome.output
    assert outcome.ok


async def test_a_proxy_that_was_killed_comes_back_with_what_it_had_though_upstream_is_down(
    tmp_path: Path, room: Path, upstream: FakeIndex
) -> None:
    async with proxy_process(tmp_path, upstream=upstream) as proxy:
        outcome = await Uv(room).install("alpha", proxy.simple())
        assert outcome.ok, outcome.output
        await proxy.settled()  # a client has its last bytes when they are verified, just before they are on disk
        await proxy.kill()
    await upstream.stop()
    async with proxy_process(tmp_path, upstream=upstream) as proxy:
        outcome = await Uv(room).install("alpha", proxy.simple())
        assert outcome.installed == {"alpha": "1.0", "beta": "2.1"}, outcome.output
        assert await proxy.stop() == 0
