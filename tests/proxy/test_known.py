"""What is known of a key and of its failures, without anything around it."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass

import pytest

from envproxy.engine.flights import Flights, Tasks
from envproxy.engine.known import Freshness
from envproxy.errors import Cause, UpstreamError
from fixtures.clock import FakeClock
from fixtures.patience import until
from fixtures.reports import Reports


@dataclass(frozen=True)
class Standing:
    checked_at: float
    fresh_until: float
    is_known: bool = True


class Body:
    """Something large, by way of which upstream is found to fail."""


class Origin:
    """An upstream that fails; `bodies` are those that it failed with."""

    def __init__(self, last: Standing | None) -> None:
        self.last = last
        self.bodies: list[weakref.ref[Body]] = []

    async def load(self, _key: str) -> Standing | None:
        return self.last

    async def refresh(self, key: str, _last: Standing | None) -> Standing:
        body = Body()
        self.bodies.append(weakref.ref(body))
        raise UpstreamError(f"{key} came as a {body}", cause="bad_body")


class Told(Reports):
    """The causes for which something was served stale."""

    def __init__(self) -> None:
        super().__init__()
        self.causes: list[Cause] = []

    def stale_served(self, upstream: str, cause: Cause) -> None:
        self.causes.append(cause)


def knowing(origin: Origin, reports: Reports, clock: FakeClock) -> Freshness[str, Standing]:
    flights = Flights[str, Standing](Tasks(), reports, name="page")
    return Freshness("upstream", flights, origin.load, origin.refresh, reporter=reports, clock=clock)


async def test_a_failure_is_remembered_without_what_it_was_found_in(reports: Reports, clock: FakeClock) -> None:
    origin = Origin(None)
    known = knowing(origin, reports, clock)
    with pytest.raises(UpstreamError):
        await known.get("six")
    await until(lambda: gc.collect() and origin.bodies[0]() is None)


async def test_what_is_served_because_a_refresh_failed_says_why_it_failed(clock: FakeClock) -> None:
    reports, origin = Told(), Origin(Standing(clock() - 20.0, clock() - 10.0))
    known = knowing(origin, reports, clock)
    assert await known.get("six") == (origin.last, "stale")
    await until(lambda: origin.bodies)
    assert await known.get("six") == (origin.last, "stale")
    assert reports.causes == ["bad_body"]
