"""Who owns a name where an index has several sources: the rule that keeps a private name private.

`corp` stands before `pypi` in the index `main`; that a name was looked up in `pypi` is seen by its requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from envproxy.engine.freshness import ABSENT_IN_OUTAGE_S
from fixtures.proxy import LocalProxy, running_proxy
from fixtures.upstream import FakeIndex, Hang, Status, Style
from fixtures.wheels import make_wheel
from fixtures.wire import JSON, Ask, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from fixtures.clock import FakeClock
    from fixtures.faults import Fault
    from fixtures.wire import Reply

TOML = """
[pypi.upstreams.corp]
url = "{corp}"
[pypi.hosted.team]
[pypi.indexes.main]
sources = ["corp", "pypi"]
owners = {{ "corp-*" = "corp", "public-*" = "pypi" }}
[pypi.indexes.mirror]
sources = ["pypi"]
[pypi.indexes.private]
sources = ["corp"]
[pypi.indexes.house]
sources = ["team", "corp", "pypi"]
"""


@pytest.fixture
async def corp() -> AsyncIterator[FakeIndex]:
    async with FakeIndex() as index:
        yield index


def run(
    home: Path, upstream: FakeIndex, corp: FakeIndex, clock: FakeClock
) -> AbstractAsyncContextManager[LocalProxy]:
    return running_proxy(home, upstream=upstream, toml=TOML.format(corp=corp.url), clock=clock)


@pytest.fixture
async def proxy(tmp_path: Path, upstream: FakeIndex, corp: FakeIndex, clock: FakeClock) -> AsyncIterator[LocalProxy]:
    async with run(tmp_path, upstream, corp, clock) as running:
        yield running


async def page(ask: Ask, project: str, index: str = "main") -> Reply:
    return await ask(f"/pypi/{index}/simple/{project}/", JSON)


async def versions(ask: Ask, project: str, index: str = "main") -> list[str]:
    answer = await page(ask, project, index)
    return answer.json()["versions"] if answer.status == 200 else []


async def test_a_name_in_an_earlier_source_is_never_looked_up_in_a_later_one(
    ask: Ask, upstream: FakeIndex, corp: FakeIndex, clock: FakeClock
) -> None:
    corp.add(make_wheel("alpha", "1.0"))
    upstream.add(make_wheel("alpha", "99.0"))
    for _ in range(3):
        assert await versions(ask, "alpha") == ["1.0"]
        clock.advance(901)
    assert upstream.requests == []


async def test_what_earlier_sources_do_not_have_comes_from_the_next(
    ask: Ask, upstream: FakeIndex, corp: FakeIndex
) -> None:
    upstream.add(make_wheel("alpha", "1.0"))
    assert await versions(ask, "alpha") == ["1.0"]
    assert (corp.count(), upstream.count()) == (1, 1)


async def test_a_name_in_no_source_is_absent_once_all_said_so(ask: Ask, upstream: FakeIndex, corp: FakeIndex) -> None:
    answer = await page(ask, "nobody")
    assert (answer.status, answer.cache) == (404, "negative")
    assert (corp.count(), upstream.count()) == (1, 1)


@pytest.mark.parametrize(
    "fault", [Status(500), Status(401), Status(403), Status(429), Hang()], ids=["500", "401", "403", "429", "hang"]
)
async def test_while_an_earlier_source_cannot_be_asked_no_later_one_stands_in(
    ask: Ask, proxy: LocalProxy, upstream: FakeIndex, corp: FakeIndex, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envproxy.pypi.source.PAGE_DEADLINE_S", 0.01)
    upstream.add(make_wheel("alpha", "99.0"))
    corp.fail("*", fault)
    answer = await page(ask, "alpha")
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "corp" in answer.reason
    assert upstream.requests == []


async def test_an_earlier_source_that_is_down_is_503_too(ask: Ask, upstream: FakeIndex, corp: FakeIndex) -> None:
    upstream.add(make_wheel("alpha", "99.0"))
    await corp.stop()
    assert (await page(ask, "alpha")).status == 503
    assert upstream.requests == []


async def test_an_outage_of_the_later_source_is_no_absence_either(
    ask: Ask, upstream: FakeIndex, corp: FakeIndex
) -> None:
    await upstream.stop()
    assert (await page(ask, "alpha")).status == 503
    corp.add(make_wheel("beta", "1.0"))
    assert await versions(ask, "beta") == ["1.0"]


async def test_a_name_that_appears_in_an_earlier_source_moves_there_within_a_minute(
    ask: Ask, upstream: FakeIndex, corp: FakeIndex, clock: FakeClock
) -> None:
    upstream.add(make_wheel("alpha", "99.0"))
    first = await page(ask, "alpha")
    assert first.headers["Cache-Control"] == "public, max-age=60"
    corp.add(make_wheel("alpha", "1.0"))
    clock.advance(61)
    assert await versions(ask, "alpha") == ["1.0"]
    assert upstream.count() == 1


async def test_a_name_taken_away_from_the_earlier_source_is_not_given_to_the_later_one(
    tmp_path: Path, upstream: FakeIndex, corp: FakeIndex, clock: FakeClock
) -> None:
    corp.add(make_wheel("alpha", "1.0"))
    upstream.add(make_wheel("alpha", "99.0"))
    async with run(tmp_path, upstream, corp, clock) as proxy, wire(proxy.url) as ask:
        assert await versions(ask, "alpha") == ["1.0"]
        corp.remove_project("alpha")
        clock.advance(901)
        assert (await page(ask, "alpha")).status == 404
    async with run(tmp_path, upstream, corp, clock) as proxy, wire(proxy.url) as ask:
        clock.advance(86400 * 30)
        assert (await page(ask, "alpha")).status == 404
        corp.add(make_wheel("alpha", "1.1"))
        clock.advance(901)
        assert await versions(ask, "alpha") == ["1.1"]
    assert upstream.requests == []


async def test_a_pinned_name_is_looked_up_in_its_source_only(ask: Ask, upstream: FakeIndex, corp: FakeIndex) -> None:
    upstream.add(make_wheel("corp-tool", "99.0"), make_wheel("public-tool", "1.0"))
    corp.add(make_wheel("public-tool", "99.0"))
    assert (await page(ask, "corp-tool")).status == 404
    assert await versions(ask, "public-tool") == ["1.0"]
    assert [seen.path for seen in corp.requests] == ["/simple/corp-tool/"]
    assert [seen.path for seen in upstream.requests] == ["/simple/public-tool/"]


async def test_a_pinned_name_does_not_suffer_from_an_outage_of_the_others(
    ask: Ask, upstream: FakeIndex, corp: FakeIndex
) -> None:
    upstream.add(make_wheel("public-tool", "1.0"))
    await corp.stop()
    assert await versions(ask, "public-tool") == ["1.0"]


async def test_a_cached_file_of_a_name_that_is_pinned_elsewhere_is_not_served(
    ask: Ask, upstream: FakeIndex, proxy: LocalProxy
) -> None:
    wheel = make_wheel("corp-tool", "99.0")
    upstream.add(wheel)
    files = f"files/corp-tool/{wheel.sha256}/{wheel.filename}"
    assert (await ask(f"/pypi/mirror/{files}")).status == 200
    await proxy.settled()
    assert (await ask(f"/pypi/main/{files}")).status == 404


async def test_indexes_of_one_proxy_are_separate_and_share_what_they_can(
    ask: Ask, proxy: LocalProxy, upstream: FakeIndex, corp: FakeIndex
) -> None:
    private, public = make_wheel("alpha", "1.0"), make_wheel("alpha", "99.0")
    corp.add(private)
    upstream.add(public)
    assert await versions(ask, "alpha", "main") == ["1.0"]
    assert await versions(ask, "alpha", "private") == ["1.0"]
    assert await versions(ask, "alpha", "mirror") == ["99.0"]
    assert (corp.count(), upstream.count()) == (1, 1)
    assert (await ask(f"/pypi/mirror/files/alpha/{private.sha256}/{private.filename}")).status == 404
    assert (await ask(f"/pypi/private/files/alpha/{private.sha256}/{private.filename}")).body == private.data
    await proxy.settled()
    assert (await ask(f"/pypi/main/files/alpha/{private.sha256}/{private.filename}")).cache == "hit"


async def test_an_absence_in_an_earlier_source_outlives_a_restart_for_an_outage_of_a_day(
    tmp_path: Path, upstream: FakeIndex, corp: FakeIndex, clock: FakeClock
) -> None:
    upstream.add(make_wheel("alpha", "1.0"))
    async with run(tmp_path, upstream, corp, clock) as proxy, wire(proxy.url) as ask:
        assert await versions(ask, "alpha") == ["1.0"]
    await corp.stop()
    async with run(tmp_path, upstream, corp, clock) as proxy, wire(proxy.url) as ask:
        clock.advance(3600)
        answer = await page(ask, "alpha")
        assert (answer.status, answer.cache, answer.headers["Cache-Control"]) == (200, "stale", "no-cache")
    async with run(tmp_path, upstream, corp, clock) as proxy, wire(proxy.url) as ask:
        clock.advance(ABSENT_IN_OUTAGE_S)
        assert (await page(ask, "alpha")).status == 503  # nobody can say any more that corp does not have it


async def test_a_hosted_repository_in_front_passes_on_what_it_never_had(
    ask: Ask, upstream: FakeIndex, corp: FakeIndex
) -> None:
    upstream.add(make_wheel("alpha", "1.0"))
    assert await versions(ask, "alpha", "house") == ["1.0"]
    assert (corp.count(), upstream.count()) == (1, 1)


async def test_a_403_for_unknown_names_can_be_declared_an_absence(
    tmp_path: Path, upstream: FakeIndex, corp: FakeIndex, clock: FakeClock
) -> None:
    corp.style = Style(unknown_is=403)
    upstream.add(make_wheel("alpha", "1.0"))
    toml = TOML.format(corp=corp.url).replace("[pypi.hosted", "forbidden-is-absent = true\n[pypi.hosted")
    async with running_proxy(tmp_path, upstream=upstream, toml=toml, clock=clock) as proxy, wire(proxy.url) as ask:
        assert await versions(ask, "alpha") == ["1.0"]
