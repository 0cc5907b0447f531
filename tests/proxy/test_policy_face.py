"""Policy as clients meet it: thinner pages, refusals with a reason, and verdicts that the clock alone changes.

The clock starts at noon of 8 March 2024; fixture wheels were uploaded at noon of 1 March unless they say otherwise.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from fixtures.proxy import LocalProxy, running_proxy
from fixtures.upstream import FakeIndex, Style
from fixtures.wheels import Dist, make_wheel
from fixtures.wire import HTML, JSON, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from fixtures.clock import FakeClock
    from fixtures.wire import Ask, Reply

    Serve = Callable[[str], AbstractAsyncContextManager[tuple[Ask, LocalProxy]]]

ALPHA = "/pypi/main/simple/alpha/"
DAY_S = 86400
OLD = "2024-02-01T12:00:00.000000Z"
YOUNG = "2024-03-06T12:00:00.000000Z"  # two days before the clock


@pytest.fixture
def serve(tmp_path: Path, upstream: FakeIndex, clock: FakeClock) -> Serve:
    @asynccontextmanager
    async def serve(policy: str) -> AsyncIterator[tuple[Ask, LocalProxy]]:
        toml = f'[pypi.indexes.main]\nsources = ["pypi"]\n[pypi.indexes.main.policy]\n{policy}\n'
        async with (
            running_proxy(tmp_path, upstream=upstream, toml=toml, clock=clock) as proxy,
            wire(proxy.url) as ask,
        ):
            yield ask, proxy

    return serve


def path_of(dist: Dist) -> str:
    return f"/pypi/main/files/{dist.project}/{dist.sha256}/{dist.filename}"


def names(page: Reply) -> list[str]:
    return [file["filename"] for file in page.json()["files"]]


def check_refusal(answer: Reply, *, because: str) -> None:
    """403 with the same sentence as reason phrase and in the problem document (RFC 9457)."""
    document = answer.json()
    assert (answer.status, answer.headers["Content-Type"]) == (403, "application/problem+json")
    assert because in answer.reason
    assert (document["status"], document["title"], document["type"]) == (
        403,
        "Refused by policy",
        "urn:envmesh:problem:refused-by-policy",
    )
    assert document["detail"].startswith(answer.reason)
    assert answer.headers["Cache-Control"] == "no-store"


# --- cooldown -------------------------------------------------------------------------------------------


async def test_a_young_file_is_not_shown_and_its_version_is_not_listed(serve: Serve, upstream: FakeIndex) -> None:
    old, young = make_wheel("alpha", "1.0", upload_time=OLD), make_wheel("alpha", "2.0", upload_time=YOUNG)
    upstream.add(old, young)
    async with serve('min-age = "7d"') as (ask, _):
        page = await ask(ALPHA, JSON)
        assert (names(page), page.json()["versions"]) == ([old.filename], ["1.0"])
        assert young.filename not in (await ask(ALPHA, HTML)).body.decode()


async def test_a_file_appears_at_the_moment_it_is_old_enough_and_no_cache_outlives_that(
    serve: Serve, upstream: FakeIndex, clock: FakeClock
) -> None:
    old, young = make_wheel("alpha", "1.0", upload_time=OLD), make_wheel("alpha", "2.0", upload_time=YOUNG)
    upstream.add(old, young)
    async with serve('min-age = "7d"') as (ask, _):
        clock.advance(5 * DAY_S - 100)
        before = await ask(ALPHA, JSON)
        assert (names(before), before.headers["Cache-Control"]) == ([old.filename], "public, max-age=100")
        clock.advance(99)
        assert (await ask(ALPHA, JSON)).headers["Cache-Control"] == "public, max-age=1"
        asked = upstream.count()
        clock.advance(1)
        after = await ask(ALPHA, JSON)
        assert names(after) == [old.filename, young.filename]
        assert after.headers["ETag"] != before.headers["ETag"]
        assert (after.cache, upstream.count()) == ("hit", asked)
        assert after.headers["Cache-Control"] == "public, max-age=500"


async def test_a_young_file_is_refused_directly_with_the_moment_from_which_it_may_be_had(
    serve: Serve, upstream: FakeIndex, clock: FakeClock
) -> None:
    young = make_wheel("alpha", "2.0", upload_time=YOUNG)
    upstream.add(make_wheel("alpha", "1.0", upload_time=OLD), young)
    async with serve('min-age = "7d"') as (ask, _):
        for path in (path_of(young), path_of(young) + ".metadata"):
            check_refusal(await ask(path), because="alpha 2.0 was published 2 days ago; this index waits 7 days")
            check_refusal(await ask(path, method="GET"), because="visible from 2024-03-13 12:00 UTC")
            assert (await ask(path, method="HEAD")).status == 403
        assert upstream.count(path="/files/*") == 0
        clock.advance(5 * DAY_S)
        assert (await ask(path_of(young))).body == young.data


async def test_when_all_files_are_too_young_the_page_is_refused_and_not_emptied(
    serve: Serve, upstream: FakeIndex, clock: FakeClock
) -> None:
    upstream.add(
        make_wheel("alpha", "1.0", upload_time=YOUNG),
        make_wheel("alpha", "2.0", upload_time="2024-03-07T12:00:00.000000Z"),
    )
    async with serve('min-age = "7d"') as (ask, _):
        refused = await ask(ALPHA, JSON)
        check_refusal(refused, because="all 2 files of alpha are hidden; for one, alpha-1.0")
        clock.advance(5 * DAY_S)
        assert (await ask(ALPHA, JSON)).json()["versions"] == ["1.0"]


@pytest.mark.parametrize(
    ("policy", "rule"), [('min-age = "7d"', "min-age"), ("freeze = 2024-03-01", "freeze")], ids=["min-age", "freeze"]
)
async def test_without_an_upload_time_a_rule_about_time_fails_closed(
    serve: Serve, upstream: FakeIndex, policy: str, rule: str
) -> None:
    upstream.style = Style(upload_times=False)
    wheel = make_wheel("alpha", "1.0")
    upstream.add(wheel)
    async with serve(policy) as (ask, _):
        check_refusal(await ask(ALPHA, JSON), because=f"no upload time upstream, so {rule} cannot be checked")
        check_refusal(await ask(path_of(wheel)), because=f"no upload time upstream, so {rule} cannot be checked")


async def test_a_file_that_was_cached_without_a_date_is_served_once_its_page_gives_one(
    tmp_path: Path, serve: Serve, upstream: FakeIndex, clock: FakeClock
) -> None:
    upstream.style = Style(upload_times=False)
    wheel = make_wheel("alpha", "1.0", upload_time=OLD)
    upstream.add(wheel)
    async with serve("") as (ask, proxy):
        assert (await ask(path_of(wheel))).status == 200
        await proxy.settled()
    async with serve('min-age = "7d"') as (ask, _):
        check_refusal(await ask(path_of(wheel)), because="no upload time upstream")
        upstream.style = Style()
        clock.advance(901)
        assert (await ask(path_of(wheel))).body == wheel.data
        upstream.remove(wheel.filename)  # the date is remembered, also after the file left its page
        clock.advance(901)
        assert (await ask(path_of(wheel))).body == wheel.data


# --- freeze ---------------------------------------------------------------------------------------------


async def test_a_frozen_index_shows_what_was_there_then(serve: Serve, upstream: FakeIndex, clock: FakeClock) -> None:
    then, later = make_wheel("alpha", "1.0", upload_time=OLD), make_wheel("alpha", "2.0", upload_time=YOUNG)
    upstream.add(then, later)
    async with serve("freeze = 2024-03-01") as (ask, _):
        assert names(await ask(ALPHA, JSON)) == [then.filename]
        check_refusal(await ask(path_of(later)), because="after this index froze at 2024-03-01 00:00 UTC")
        clock.advance(365 * DAY_S)
        assert names(await ask(ALPHA, JSON)) == [then.filename]


# --- names and versions ---------------------------------------------------------------------------------


async def test_a_denied_name_is_refused_without_asking_upstream(serve: Serve, upstream: FakeIndex) -> None:
    wheel = make_wheel("evil-one", "1.0")
    upstream.add(wheel)
    async with serve('deny = ["evil-*"]') as (ask, _):
        first, second = [await ask("/pypi/main/simple/evil-one/", JSON) for _ in range(2)]
        check_refusal(first, because="evil-one is denied on this index: the deny rule evil-* covers it")
        assert (first.cache, second.cache) == ("miss", "hit")
        check_refusal(await ask(path_of(wheel)), because="the deny rule evil-* covers it")
        check_refusal(await ask(path_of(wheel) + ".metadata"), because="the deny rule evil-* covers it")
        assert upstream.requests == []


async def test_denied_versions_are_hidden_and_the_others_shown(serve: Serve, upstream: FakeIndex) -> None:
    bad, good = make_wheel("alpha", "1.3"), make_wheel("alpha", "1.4")
    upstream.add(bad, good)
    async with serve('deny = ["alpha==1.3"]') as (ask, _):
        page = await ask(ALPHA, JSON)
        assert (names(page), page.json()["versions"]) == ([good.filename], ["1.4"])
        check_refusal(await ask(path_of(bad)), because="alpha 1.3 is denied on this index")


async def test_with_an_allow_list_everything_else_is_refused(serve: Serve, upstream: FakeIndex) -> None:
    upstream.add(make_wheel("alpha", "1.0"), make_wheel("alpha", "2.0"), make_wheel("beta", "1.0"))
    async with serve('allow = ["alpha<2"]') as (ask, _):
        assert (await ask(ALPHA, JSON)).json()["versions"] == ["1.0"]
        check_refusal(await ask("/pypi/main/simple/beta/", JSON), because="beta is not on the allow list")
        assert upstream.count(path="/simple/beta/") == 0


async def test_a_waiver_lifts_the_rules_about_time_and_no_other(serve: Serve, upstream: FakeIndex) -> None:
    urgent, denied = make_wheel("alpha", "2.0", upload_time=YOUNG), make_wheel("alpha", "3.0", upload_time=YOUNG)
    upstream.add(make_wheel("alpha", "1.0", upload_time=OLD), urgent, denied)
    policy = 'min-age = "7d"\nallow-anyway = ["alpha>=2"]\ndeny = ["alpha==3.0"]'
    async with serve(policy) as (ask, _):
        assert (await ask(ALPHA, JSON)).json()["versions"] == ["1.0", "2.0"]
        assert (await ask(path_of(urgent))).body == urgent.data
        check_refusal(await ask(path_of(denied)), because="alpha 3.0 is denied")


async def test_versions_are_upstreams_own_as_long_as_nothing_is_hidden(serve: Serve, upstream: FakeIndex) -> None:
    upstream.style = Style(extra_keys={"versions": ["1.0", "9.9"]})
    upstream.add(make_wheel("alpha", "1.0", upload_time=OLD))
    async with serve('min-age = "7d"') as (ask, _):
        assert (await ask(ALPHA, JSON)).json()["versions"] == ["1.0", "9.9"]


# --- and the rest of the face ---------------------------------------------------------------------------


async def test_a_file_cached_before_the_policy_changed_is_refused_now(serve: Serve, upstream: FakeIndex) -> None:
    wheel = make_wheel("alpha", "1.0")
    upstream.add(wheel)
    async with serve("") as (ask, proxy):
        await ask(path_of(wheel))
        await proxy.settled()
    async with serve('deny = ["alpha"]') as (ask, _):
        check_refusal(await ask(path_of(wheel)), because="the deny rule alpha covers it")


async def test_each_index_has_its_own_policy_over_the_same_files(
    tmp_path: Path, upstream: FakeIndex, clock: FakeClock
) -> None:
    wheel = make_wheel("alpha", "1.0")
    upstream.add(wheel)
    toml = (
        '[pypi.indexes.open]\nsources = ["pypi"]\n[pypi.indexes.main]\nsources = ["pypi"]\npolicy.deny = ["alpha"]\n'
    )
    async with running_proxy(tmp_path, upstream=upstream, toml=toml, clock=clock) as proxy, wire(proxy.url) as ask:
        assert (await ask(path_of(wheel).replace("main", "open"))).status == 200
        assert (await ask(path_of(wheel))).status == 403


async def test_refusals_are_counted_by_index_and_rule(serve: Serve, upstream: FakeIndex) -> None:
    wheel = make_wheel("alpha", "2.0", upload_time=YOUNG)
    upstream.add(wheel)
    async with serve('min-age = "7d"') as (ask, _):
        await ask(ALPHA, JSON)
        await ask(path_of(wheel))
        said = (await ask("/metrics")).body.decode()
        assert 'envmesh_policy_refusals_total{index="main",rule="min-age"} 2.0' in said
