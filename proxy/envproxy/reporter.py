"""Counts what the engine reports: the one place where its events become metrics.

The engine knows no metric and the metrics know no engine, so either can be read and tested without the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envproxy.engine.report import DigestSource, Outcome, Reporter, Shortage

if TYPE_CHECKING:
    from envproxy.metrics import Metrics


class CountingReporter(Reporter):
    """The `Reporter` of a running proxy."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def upstream_answered(self, upstream: str, outcome: Outcome, seconds: float) -> None:
        """Count by outcome; a request that the breaker spared upstream says nothing about its speed."""
        self._metrics.upstream_requests[upstream, outcome].inc()
        if outcome != "breaker_open":
            self._metrics.upstream_seconds[(upstream,)].observe(seconds)

    def upstream_sent(self, upstream: str, count: int) -> None:
        """Count bytes."""
        self._metrics.upstream_bytes[(upstream,)].inc(count)

    def breaker_changed(self, upstream: str, *, is_open: bool) -> None:
        """Show the state."""
        self._metrics.breaker_state[(upstream,)].set(int(is_open))

    def stale_served(self, upstream: str, cause: str) -> None:
        """Count by cause."""
        self._metrics.stale_served[upstream, cause].inc()

    def coalesced(self) -> None:
        """Count one upstream request that was not needed."""
        self._metrics.coalesced_waiters.inc()

    def flights_changed(self, change: int) -> None:
        """Follow the number of flights."""
        self._metrics.flights_inflight.inc(change)

    def digest_mismatch(self, source: DigestSource) -> None:
        """Count by source."""
        self._metrics.digest_mismatch[(source,)].inc()

    def disk_refused(self) -> None:
        """Count one failed write."""
        self._metrics.disk_write_failures.inc()

    def evicted(self, count: int, reason: Shortage) -> None:
        """Count by reason."""
        self._metrics.evictions[(reason,)].inc(count)
