"""A real Prometheus scrapes a live proxy and three nodes: every panel shows something, every rule can be evaluated.

The work is a day of them in small: cold and warm installs, a crowd, a refusal, wrong bytes, an outage. It is done
twice, since a rate needs two values. Then panels are asked again after each scrape until none is silent: nothing
waits for a time, and a panel that stays silent is named.
"""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from fixtures.channel import FakeChannel
from fixtures.clock import FakeClock
from fixtures.conda_packages import make_conda
from fixtures.node import SECRET, SWARM, NodeProcess, running_nodes
from fixtures.prometheus import NEEDS_PROMETHEUS, Prometheus, promtool, running_prometheus
from fixtures.proxy import LocalProxy, running_proxy
from fixtures.upstream import FakeIndex, WrongBytes
from fixtures.visitor import visiting
from fixtures.wheels import make_wheel
from fixtures.wire import JSON, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fixtures.wire import Ask

pytestmark = NEEDS_PROMETHEUS

GRAFANA = Path(__file__).parents[2] / "grafana"
RULES = sorted((GRAFANA / "alerts").glob("*.yaml"))
PANELS = [
    pytest.param(panel, id=f"{file.stem}: {panel['title']}")
    for file in sorted((GRAFANA / "dashboards").glob("*.json"))
    for panel in json.loads(file.read_text("utf-8"))["panels"]
    if panel["type"] != "row"
]
EVERYTHING = {"$job": ".+", "$instance": ".+", "$upstream": ".+", "$__rate_interval": "1m"}
SCRAPES = 30  # after which what is still silent will stay so
LONG_PAST_S = 86400.0
SETTLED_S = 60.0  # after this the directory of the swarm does not wait any more for what nodes may say
DENIED = '[pypi.indexes.main.policy]\ndeny = ["evil"]\n'


def scrapes_of(proxy: LocalProxy) -> asyncio.Queue[None]:
    """Has an item for every time that the metrics were read."""
    scrapes = asyncio.Queue[None]()
    loop, render = asyncio.get_running_loop(), proxy.parts.metrics.render

    def counted(accept: str) -> tuple[bytes, str]:
        loop.call_soon_threadsafe(scrapes.put_nowait, None)
        return render(accept)

    proxy.parts.metrics.render = counted  # type: ignore[method-assign]
    return scrapes


async def stored(proxy: LocalProxy, prometheus: Prometheus, scrapes: asyncio.Queue[None]) -> None:
    """Wait until Prometheus has seen what the proxy counts now."""
    host = proxy.url.removeprefix("http://")
    counted = [proxy.parts.metrics.cache_requests.total()]
    while await prometheus.query(f'sum(envmesh_cache_requests_total{{instance="{host}"}})') != counted:
        await scrapes.get()


async def share(nodes: list[NodeProcess], ask: Ask, index: FakeIndex, name: str) -> None:
    """All nodes want the same wheel."""
    wheel = make_wheel(name, "1.0", payload_size=100_000)
    index.add(wheel)
    path = (await ask(f"/pypi/main/simple/{name}/", JSON)).file_path(wheel.filename)
    assert await asyncio.gather(*(node.get(path) for node in nodes)) == [wheel.sha256] * len(nodes)


async def work(proxy: LocalProxy, ask: Ask, index: FakeIndex, channel: FakeChannel, clock: FakeClock) -> None:
    """One day. May be done again on the next."""
    today = f"v{clock.now:.0f}"
    good, bad = make_wheel(f"good-{today}", "1.0"), make_wheel(f"bad-{today}", "1.0")
    index.add(good, bad, make_wheel("evil", "1.0"), make_wheel("known", "1.0"))
    index.fail(f"/files/bad-{today}/*", WrongBytes())
    package = make_conda(f"good-{today}")
    channel.add(package)
    for _ in ("cold", "warm"):
        page = await ask(f"/pypi/main/simple/{good.project}/", JSON)
        await ask(page.file_path(good.filename) + ".metadata")
        await ask(page.file_path(good.filename))
        await proxy.settled()
        async with visiting(proxy.channel()) as visitor:
            await visitor.get("noarch/repodata.json.zst")
            await visitor.get(f"noarch/{package.filename}")
        await proxy.settled()
    await asyncio.gather(*(ask(f"/pypi/main/simple/known/?{number}", JSON) for number in range(4)))
    assert (await ask("/pypi/main/simple/evil/", JSON)).status == 403
    page = await ask(f"/pypi/main/simple/{bad.project}/", JSON)
    with suppress(aiohttp.ClientError):  # broken off or refused, whichever comes first
        assert (await ask(page.file_path(bad.filename))).status == 503
    await proxy.parts.catalog.add_scrub(clock(), checked=2, corrupt=0)
    await index.stop()
    clock.advance(LONG_PAST_S)
    assert (await ask("/pypi/main/simple/known/", JSON)).status == 200
    await proxy.settled()
    for name in ("one", "two", "three", "four"):
        assert (await ask(f"/pypi/main/simple/{name}/", JSON)).status == 503
    await index.start()
    clock.advance(LONG_PAST_S)


@pytest.fixture
async def index() -> AsyncIterator[FakeIndex]:
    async with FakeIndex() as index:
        yield index


@pytest.fixture
async def channel() -> AsyncIterator[FakeChannel]:
    async with FakeChannel() as channel:
        yield channel


async def test_no_panel_is_silent_and_no_rule_fails(tmp_path: Path, index: FakeIndex, channel: FakeChannel) -> None:
    clock = FakeClock()
    settings = {**channel.settings, **SWARM}
    async with (
        running_proxy(tmp_path, upstream=index, toml=DENIED, settings=settings, environ=SECRET, clock=clock) as proxy,
        running_nodes(tmp_path, proxy.url, 3) as nodes,
        running_prometheus(tmp_path, proxy.url, *(node.url for node in nodes), rules=RULES) as prometheus,
        wire(proxy.url) as ask,
    ):
        scrapes = scrapes_of(proxy)
        clock.advance(SETTLED_S)
        for shared in ("first", "second"):
            await stored(proxy, prometheus, scrapes)
            await share(nodes, ask, index, shared)
            await work(proxy, ask, index, channel, clock)
        silent = {
            f"{param.id} {target['refId']}": _asked(target["expr"])
            for param in PANELS
            for target in param.values[0]["targets"]
        }
        pending: list[dict[str, Any]] = []
        for _ in range(SCRAPES):
            await scrapes.get()
            silent = {name: expr for name, expr in silent.items() if not await prometheus.query(expr)}
            pending = [rule for rule in await prometheus.rules() if rule["health"] != "ok"]
            if not silent and not pending:
                break
        assert silent == {}
        assert pending == []


async def test_promtool_finds_nothing_wrong_with_the_metrics_of_a_proxy_at_work(
    tmp_path: Path, index: FakeIndex, channel: FakeChannel
) -> None:
    clock = FakeClock()
    async with (
        running_proxy(tmp_path, upstream=index, toml=DENIED, settings=channel.settings, clock=clock) as proxy,
        wire(proxy.url) as ask,
    ):
        await work(proxy, ask, index, channel, clock)
        page = (await ask("/metrics")).body
    assert await promtool("check", "metrics", stdin=page) == (0, "")


async def test_a_node_counts_as_an_agent_and_promtool_finds_nothing_wrong_with_it(
    tmp_path: Path, index: FakeIndex
) -> None:
    async with (
        running_proxy(tmp_path, upstream=index, settings=SWARM, environ=SECRET) as proxy,
        running_nodes(tmp_path, proxy.url, 1) as [node],
        wire(node.url) as ask,
    ):
        await ask("/metrics")
        page = (await ask("/metrics")).body
    assert set(re.findall(rb'component="(\w+)"', page)) == {b"agent"}
    assert await promtool("check", "metrics", stdin=page) == (0, "")


def _asked(expr: str) -> str:
    for variable, value in EVERYTHING.items():
        expr = expr.replace(variable, value)
    return expr
