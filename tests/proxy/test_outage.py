"""What clients get while upstream fails: the last good answer as soon as there is one, and never an absence.

An upstream that hangs is waited for only as long as the tests allow: `patience_s` of the source is set to nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from envproxy.engine.freshness import BEHIND_S, RETRY_S
from fixtures.proxy import LocalProxy, running_proxy
from fixtures.upstream import Cut, Delay, FakeIndex, Hang, HangAfter, RawBody, Redirect, Refuse, Status
from fixtures.wheels import Dist, make_wheel
from fixtures.wire import JSON, wire

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.clock import FakeClock
    from fixtures.faults import Fault
    from fixtures.wire import Ask

ALPHA = "/pypi/main/simple/alpha/"
LONG_PAST_S = 86400.0

FAULTS = [
    pytest.param(Status(500), id="500"),
    pytest.param(Status(429), id="429"),
    pytest.param(Status(401), id="credentials no longer good"),
    pytest.param(Status(403), id="403"),
    pytest.param(Redirect("/simple/alpha/"), id="redirected in circles"),
    pytest.param(Refuse(), id="connections reset"),
    pytest.param(Cut(50), id="bodies cut"),
    pytest.param(Hang(), id="silent"),
    pytest.param(HangAfter(50), id="silent in the middle"),
    pytest.param(RawBody(b'{"meta": {"api-version": "1.4"}, "name": "alp', "application/json"), id="truncated JSON"),
    pytest.param(RawBody(b"<html><h1>Welcome, please pay</h1></html>", "text/html"), id="a portal page"),
    pytest.param(RawBody(b"", "text/html"), id="nothing"),
]


@pytest.fixture
def wheel(upstream: FakeIndex) -> Dist:
    wheel = make_wheel("alpha", "1.0")
    upstream.add(wheel)
    return wheel


def impatient(proxy: LocalProxy) -> None:
    for source in proxy.parts.indexes["main"].sources:
        source.patience_s = 0.0


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_page_that_we_have_goes_out_stale_whatever_upstream_does(
    ask: Ask, proxy: LocalProxy, upstream: FakeIndex, wheel: Dist, clock: FakeClock, fault: Fault
) -> None:
    fresh = await ask(ALPHA, JSON)
    impatient(proxy)
    upstream.fail("*", fault)
    clock.advance(LONG_PAST_S)
    stale = await ask(ALPHA, JSON)
    assert (stale.status, stale.cache, stale.body) == (200, "stale", fresh.body)
    assert stale.headers["ETag"] == fresh.headers["ETag"]
    assert stale.headers["Cache-Control"] == "no-cache"  # so that a recovery is noticed


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_page_that_we_never_had_is_503_whatever_upstream_does(
    ask: Ask, upstream: FakeIndex, wheel: Dist, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(fault, Hang | HangAfter):
        monkeypatch.setattr("envproxy.pypi.source.PAGE_DEADLINE_S", 0.01)
    upstream.fail("*", fault)
    answer = await ask(ALPHA, JSON)
    assert answer.status == 503
    assert 0 < int(answer.headers["Retry-After"]) <= 120
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"].startswith(answer.reason[:40])


async def test_an_upstream_that_is_gone_altogether_is_stale_too(
    ask: Ask, upstream: FakeIndex, wheel: Dist, clock: FakeClock
) -> None:
    fresh = await ask(ALPHA, JSON)
    await upstream.stop()
    clock.advance(LONG_PAST_S)
    assert (await ask(ALPHA, JSON)).body == fresh.body


async def test_during_an_outage_upstream_is_tried_again_only_so_often_and_nobody_waits_for_it(
    ask: Ask, proxy: LocalProxy, upstream: FakeIndex, wheel: Dist, clock: FakeClock
) -> None:
    await ask(ALPHA, JSON)
    upstream.fail("*", Status(503))
    clock.advance(LONG_PAST_S)
    await ask(ALPHA, JSON)
    tried = upstream.count()
    assert [(await ask(ALPHA, JSON)).cache for _ in range(5)] == ["stale"] * 5
    assert upstream.count() == tried
    clock.advance(RETRY_S)
    upstream.clear_faults()
    upstream.fail("*", Hang())
    assert (await ask(ALPHA, JSON)).cache == "stale"  # at once, though upstream now says nothing
    await upstream.arrived("/simple/alpha/", times=tried + 1)


async def test_the_end_of_an_outage_is_noticed_by_the_next_request_but_one(
    ask: Ask, proxy: LocalProxy, upstream: FakeIndex, wheel: Dist, clock: FakeClock
) -> None:
    await ask(ALPHA, JSON)
    upstream.fail("*", Status(500))
    clock.advance(LONG_PAST_S)
    await ask(ALPHA, JSON)
    upstream.clear_faults()
    upstream.add(make_wheel("alpha", "2.0"))
    clock.advance(RETRY_S)
    assert (await ask(ALPHA, JSON)).cache == "stale"
    await proxy.settled()
    answer = await ask(ALPHA, JSON)
    assert (answer.cache, answer.json()["versions"]) == ("hit", ["1.0", "2.0"])


async def test_long_after_a_failed_try_upstream_is_asked_first_again(
    ask: Ask, upstream: FakeIndex, wheel: Dist, clock: FakeClock
) -> None:
    await ask(ALPHA, JSON)
    upstream.fail("*", Status(500))
    clock.advance(LONG_PAST_S)
    await ask(ALPHA, JSON)
    upstream.clear_faults()
    upstream.add(make_wheel("alpha", "2.0"))
    clock.advance(RETRY_S + BEHIND_S)
    assert (await ask(ALPHA, JSON)).json()["versions"] == ["1.0", "2.0"]


async def test_a_slow_answer_is_used_by_whoever_comes_after_it(
    ask: Ask, proxy: LocalProxy, upstream: FakeIndex, wheel: Dist, clock: FakeClock
) -> None:
    await ask(ALPHA, JSON)
    impatient(proxy)
    answered = asyncio.Event()
    upstream.fail("*", Delay(answered), times=1)
    upstream.add(make_wheel("alpha", "2.0"))
    clock.advance(LONG_PAST_S)
    assert (await ask(ALPHA, JSON)).cache == "stale"
    answered.set()
    await proxy.settled()
    clock.advance(RETRY_S)
    await ask(ALPHA, JSON)
    await proxy.settled()
    assert (await ask(ALPHA, JSON)).json()["versions"] == ["1.0", "2.0"]
    assert upstream.count() == 2


async def test_a_known_absence_holds_during_an_outage_and_then_fades(
    ask: Ask, upstream: FakeIndex, clock: FakeClock
) -> None:
    assert (await ask("/pypi/main/simple/nobody/", JSON)).cache == "negative"
    await upstream.stop()
    clock.advance(3600)
    held = await ask("/pypi/main/simple/nobody/", JSON)
    assert (held.status, held.cache, held.headers["Cache-Control"]) == (404, "stale", "no-cache")
    clock.advance(7 * 86400)
    assert (await ask("/pypi/main/simple/nobody/", JSON)).status == 503


async def test_a_removal_that_we_know_of_is_undone_neither_by_an_outage_nor_by_a_restart(
    tmp_path: Path, upstream: FakeIndex, wheel: Dist, clock: FakeClock
) -> None:
    async with running_proxy(tmp_path, upstream=upstream, clock=clock) as proxy, wire(proxy.url) as ask:
        await ask(ALPHA, JSON)
        upstream.remove_project("alpha")
        clock.advance(901)
        assert (await ask(ALPHA, JSON)).status == 404
        await upstream.stop()
        clock.advance(LONG_PAST_S)
        assert (await ask(ALPHA, JSON)).status == 404
    async with running_proxy(tmp_path, upstream=upstream, clock=clock) as proxy, wire(proxy.url) as ask:
        assert (await ask(ALPHA, JSON)).status == 404


async def test_a_proxy_that_starts_without_network_serves_what_it_had(
    tmp_path: Path, upstream: FakeIndex, wheel: Dist, clock: FakeClock
) -> None:
    async with running_proxy(tmp_path, upstream=upstream, clock=clock) as proxy, wire(proxy.url) as ask:
        before = await ask(ALPHA, JSON)
    await upstream.stop()
    clock.advance(300)
    async with running_proxy(tmp_path, upstream=upstream, clock=clock) as proxy, wire(proxy.url) as ask:
        fresh = await ask(ALPHA, JSON)
        assert (fresh.cache, fresh.body) == ("hit", before.body)
        assert fresh.headers["Cache-Control"] == "public, max-age=300"
    clock.advance(400)
    async with running_proxy(tmp_path, upstream=upstream, clock=clock) as proxy, wire(proxy.url) as ask:
        impatient(proxy)
        behind = await ask(ALPHA, JSON)
        assert (behind.cache, behind.body, behind.headers["Cache-Control"]) == ("stale", before.body, "no-cache")
        await proxy.settled()
    clock.advance(LONG_PAST_S)
    async with running_proxy(tmp_path, upstream=upstream, clock=clock) as proxy, wire(proxy.url) as ask:
        stale = await ask(ALPHA, JSON)
        assert (stale.cache, stale.body, stale.headers["ETag"]) == ("stale", before.body, before.headers["ETag"])
        assert (await ask("/pypi/main/simple/never-seen/", JSON)).status == 503


async def test_after_a_restart_a_refresh_is_still_conditional(
    tmp_path: Path, upstream: FakeIndex, wheel: Dist, clock: FakeClock
) -> None:
    async with running_proxy(tmp_path, upstream=upstream, clock=clock) as proxy, wire(proxy.url) as ask:
        await ask(ALPHA, JSON)
    clock.advance(LONG_PAST_S)
    async with running_proxy(tmp_path, upstream=upstream, clock=clock) as proxy, wire(proxy.url) as ask:
        assert (await ask(ALPHA, JSON)).status == 200
    assert "If-None-Match" in upstream.requests[-1].headers


async def test_stale_answers_are_counted_by_cause(
    ask: Ask, proxy: LocalProxy, upstream: FakeIndex, wheel: Dist, clock: FakeClock
) -> None:
    await ask(ALPHA, JSON)
    upstream.fail("*", Status(500))
    clock.advance(LONG_PAST_S)
    await ask(ALPHA, JSON)
    assert 'envmesh_stale_served_total{cause="5xx",upstream="pypi"} 1.0' in (await ask("/metrics")).body.decode()
    assert (await ask("/api/stats")).json()["stale_served"] == 1
