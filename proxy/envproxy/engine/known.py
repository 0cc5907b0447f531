"""What is known of each key, and how it stays fresh: nobody waits for a refresh who can be served something.

A value past its freshness goes out at once, and is refreshed behind the client's back; a failing refresh is tried
again after `RETRY_S` and leaves the value in place. Only who finds nothing waits. What a value is, where it is kept
and how upstream is asked come in as functions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from typing import Generic, Literal, Protocol, TypeVar

from envproxy.errors import Cause, EnvproxyError, UpstreamError

from .flights import Flights
from .freshness import RETRY_S
from .remembered import Remembered
from .report import Reporter

FIRST_WAIT_S = 50.0  # for something never seen; conda gives up reading after 60 s
ASK_WAIT_S = 3.0  # for a refresh that the client asked for (Cache-Control: no-cache), or of an absence
ABSENT_HOLDS_S = 7 * 24 * 3600.0  # in an outage; no other channel can take the name, as it could with PyPI
_REMEMBERED = 5_000  # values in memory, a few hundred bytes each

CacheResult = Literal["hit", "miss", "stale", "revalidated", "negative"]


class Value(Protocol):
    """What is kept: times in seconds since the epoch."""

    @property
    def is_known(self) -> bool:
        """Whether there is something to serve; else upstream says that there is not."""

    @property
    def checked_at(self) -> float:
        """When upstream last said so."""

    @property
    def fresh_until(self) -> float:
        """When it is to be asked again."""


K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Value)


class Freshness(Generic[K, V]):
    """See the module. `load` reads the last value from the catalog, `refresh` asks upstream, given the last value."""

    def __init__(
        self,
        name: str,
        flights: Flights[K, V],
        load: Callable[[K], Awaitable[V | None]],
        refresh: Callable[[K, V | None], Awaitable[V]],
        *,
        reporter: Reporter,
        clock: Callable[[], float],
    ) -> None:
        self._name = name
        self._flights = flights
        self._load = load
        self._refresh = refresh
        self._reporter = reporter
        self._clock = clock
        self._values = Remembered[K, V](_REMEMBERED)
        self._asking: set[K] = set()
        self._failures = Remembered[K, tuple[Cause | None, float]](_REMEMBERED)  # see `_failure`

    async def get(self, key: K, *, ask: bool = False) -> tuple[V, CacheResult]:
        """The value, and how it was come by; `ask` waits a little for upstream. Raises UpstreamError."""
        last = self._values.recall(key)
        if last is None and (last := await self._load(key)) is not None:
            self._values.keep(key, last)
        now = self._clock()
        if last is not None and not ask and now < last.fresh_until:
            return last, "hit" if last.is_known else "negative"
        if last is None or not last.is_known:
            return await self._first(key, last)
        cause, retry_at = self._failure(key)
        if now >= retry_at:
            flight = self._flights.start(key, lambda: self._ask(key, last))
            if ask and (value := await _within(flight, ASK_WAIT_S)) is not None:
                return value, "revalidated"
        return last, self._as_it_is(cause, last, now)

    async def renew(self, key: K) -> V:
        """The value after a refresh, for what a known one can no longer serve. Raises UpstreamError."""
        value, _ = await self._first(key, self._values.recall(key))
        return value

    def forget(self) -> None:
        """Drop what is in memory: the catalog changed behind our back."""
        self._values.clear()

    def expire(self, key: K) -> None:
        """Refresh behind the clients' backs, now: the value turned out not to be right any more."""
        last = self._values.recall(key)
        _, retry_at = self._failure(key)
        if last is not None and self._clock() >= max(retry_at, last.checked_at + RETRY_S):
            _ = self._flights.start(key, lambda: self._ask(key, last))

    async def _first(self, key: K, last: V | None) -> tuple[V, CacheResult]:
        """Nothing can be served: wait. An absence that was known holds if upstream cannot be asked."""
        holds = last is not None and not last.is_known and self._clock() - last.checked_at < ABSENT_HOLDS_S
        if last is not None and holds and self._clock() < self._failure(key)[1]:
            return last, "negative"
        try:
            async with asyncio.timeout(ASK_WAIT_S if holds else FIRST_WAIT_S):
                value = await self._joined(key, last)
        except TimeoutError:
            failure = UpstreamError(f"{self._name} is still busy with {key}", cause="timeout", retry_after_s=10)
        except UpstreamError as error:
            failure = error
        else:
            return value, "miss" if value.is_known else "negative"
        if last is not None and holds:
            return last, "negative"
        raise failure

    async def _joined(self, key: K, last: V | None) -> V:
        """The result of a flight. The failure of one that began before us is not ours: then there is another."""
        if key in self._asking:
            with suppress(UpstreamError):
                return await self._flights.join(key, lambda: self._ask(key, last))
        return await self._flights.join(key, lambda: self._ask(key, last))

    async def _ask(self, key: K, last: V | None) -> V:
        self._asking.add(key)
        try:
            value = await self._refresh(key, last)
        except EnvproxyError as error:
            cause = error.cause if isinstance(error, UpstreamError) else None
            self._failures.keep(key, (cause, self._clock() + RETRY_S))
            raise
        finally:
            self._asking.discard(key)
        self._failures.drop(key)
        return self._values.keep(key, value)

    def _as_it_is(self, cause: Cause | None, last: V, now: float) -> CacheResult:
        if cause is not None:
            self._reporter.stale_served(self._name, cause)
        return "stale" if now >= last.fresh_until else "hit"

    def _failure(self, key: K) -> tuple[Cause | None, float]:
        """Why the last refresh failed, if that was upstream's fault, and when to try again."""
        return self._failures.recall(key) or (None, 0.0)


async def _within(flight: asyncio.Task[V], seconds: float) -> V | None:
    """The result of a flight if it comes in time and brings one."""
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.shield(flight)
    except (TimeoutError, EnvproxyError):
        return None
