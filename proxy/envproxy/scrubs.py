"""Counts what scrubs find. A scrub is a process of its own and leaves its result in the catalog, where this looks.

Counters start at zero with the process, so scrubs that ended before it only tell when the last one was.
"""

from __future__ import annotations

from .engine.catalog import Catalog
from .metrics import Metrics


class ScrubCounts:
    """Keeps the metrics of scrubs up to date with the catalog."""

    def __init__(self, catalog: Catalog, metrics: Metrics) -> None:
        self._catalog = catalog
        self._metrics = metrics
        self._seen: int | None = None

    async def look(self) -> None:
        """Count the scrubs that ended since the last look; the first look counts none. Raises sqlite3.Error."""
        rows = await self._catalog.scrubs(after=self._seen or 0)
        if rows:
            self._metrics.last_scrub_timestamp_seconds.set(rows[-1].ended_at)
        if self._seen is not None:
            self._metrics.scrub_checked.inc(sum(row.checked for row in rows))
            corrupt = sum(row.corrupt for row in rows)
            self._metrics.quarantined.inc(corrupt)
            self._metrics.digest_mismatch[("disk",)].inc(corrupt)
        self._seen = rows[-1].number if rows else self._seen or 0
