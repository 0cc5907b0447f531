"""Counts what the swarm reports: its events become metrics here, and a ban a line of the log."""

from __future__ import annotations

import logging

from envproxy.metrics import Metrics

from .messages import Wrong
from .report import SwarmReporter, Why

_log = logging.getLogger(__name__)


class CountingSwarmReporter(SwarmReporter):
    """The `SwarmReporter` of a running proxy."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def size_changed(self, nodes: int, artifacts: int) -> None:
        """Show the size."""
        self._metrics.swarm_nodes.set(nodes)
        self._metrics.swarm_artifacts.set(artifacts)

    def leased(self, count: int, again: int) -> None:
        """Count leases; those of pieces that were leased before are also duplicates."""
        self._metrics.swarm_leases[("granted",)].inc(count)
        self._metrics.swarm_leases[("duplicate",)].inc(again)

    def leases_ended(self, expired: int, broken_off: int) -> None:
        """Count by how they ended."""
        self._metrics.swarm_leases[("expired",)].inc(expired)
        self._metrics.swarm_leases[("broken_off",)].inc(broken_off)

    def offered(self, count: int) -> None:
        """Count pieces."""
        self._metrics.swarm_offers.inc(count)

    def faulted(self, wrong: Wrong) -> None:
        """Count by fault."""
        self._metrics.swarm_faults[(wrong,)].inc()

    def banned(self, node: str, sha256: str) -> None:
        """Count, and name the node: its disk or its owner wants looking at."""
        self._metrics.swarm_bans.inc()
        _log.warning("agents say that %s sends wrong bytes of %s: it is not offered any more", node, sha256)

    def sent(self, why: Why, count: int) -> None:
        """Count bytes."""
        self._metrics.swarm_origin_bytes[(why,)].inc(count)

    def turned_away(self) -> None:
        """Count requests."""
        self._metrics.swarm_turned_away.inc()
