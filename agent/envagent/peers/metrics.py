"""What a node of the swarm counts, for Prometheus: the series that a proxy does not have.

The rest of `/metrics` is that of the node's own cache engine (docs/metrics.md lists both). Read in another thread
than that of the event loop, so nothing here walks what the loop may be changing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from envagent.peers.pieces import Counts

SOURCES: Final = ("origin", "peer")


@dataclass(frozen=True, slots=True)
class Now:
    """A node at this moment: numbers of peers known, of artifacts on their way and of pieces being sent."""

    peers: int
    downloads: int
    uploads: int
    has_directory: bool


class NodeMetrics(Collector):
    """A collector for a registry; `now` is asked whenever somebody looks."""

    def __init__(self, counts: Counts, now: Callable[[], Now]) -> None:
        self._counts = counts
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now (called by the registry)."""
        counts, now = self._counts, self._now()
        received = CounterMetricFamily(
            "envmesh_node_received_bytes", "Bytes of pieces that came to this node", labels=["source"]
        )
        for source, size in zip(SOURCES, (counts.origin_bytes, counts.peer_bytes_down), strict=True):
            received.add_metric([source], size)
        yield received
        yield CounterMetricFamily("envmesh_node_sent_bytes", "Bytes that peers took", counts.peer_bytes_up)
        yield CounterMetricFamily("envmesh_node_wrong_pieces", "Pieces with a wrong hash", counts.pieces_wrong)
        yield CounterMetricFamily(
            "envmesh_node_back_to_source", "Pieces taken from the proxy without a lease", counts.back_to_source
        )
        yield GaugeMetricFamily("envmesh_node_peers", "Peers that are known", now.peers)
        yield GaugeMetricFamily("envmesh_node_downloads", "Artifacts on their way", now.downloads)
        yield GaugeMetricFamily("envmesh_node_uploads", "Pieces being sent to peers", now.uploads)
        yield GaugeMetricFamily("envmesh_node_directory", "1 while a directory answers", int(now.has_directory))
