"""What the engine tells whoever is watching: a `Reporter` with empty methods.

The engine decides and moves bytes; it neither logs nor counts. `metrics.py` overrides these methods, tests may too.
"""

from __future__ import annotations

from typing import Literal

Outcome = Literal["ok", "not_modified", "4xx", "5xx", "timeout", "connect", "bad_body", "breaker_open"]
DigestSource = Literal["upstream", "peer", "disk", "blobstore"]
Shortage = Literal["budget", "floor"]


class Reporter:
    """Receives events; every method does nothing unless overridden and must neither block nor raise."""

    def upstream_answered(self, upstream: str, outcome: Outcome, seconds: float) -> None:
        """One request to `upstream` ended with `outcome` after `seconds` (to the first byte of the body)."""

    def upstream_sent(self, upstream: str, count: int) -> None:
        """`count` body bytes arrived from `upstream`."""

    def breaker_changed(self, upstream: str, *, is_open: bool) -> None:
        """The circuit breaker towards `upstream` opened or closed."""

    def stale_served(self, upstream: str, cause: str) -> None:
        """Something past its freshness was served because of `cause` (an `UpstreamError.cause`)."""

    def coalesced(self) -> None:
        """A request joined a flight that another one had started."""

    def flights_changed(self, change: int) -> None:
        """`change` (+1 or -1) flights are in the air."""

    def digest_mismatch(self, source: DigestSource) -> None:
        """Bytes from `source` did not match their digest."""

    def disk_refused(self) -> None:
        """The disk had no room for a write."""

    def evicted(self, count: int, reason: Shortage) -> None:
        """`count` blobs were evicted: the byte budget was used up, or the free-space floor of the disk reached."""
