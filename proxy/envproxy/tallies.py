"""What is counted of every request, kept in plain numbers and turned into metrics when somebody asks.

The warm page path counts on each request and has microseconds to spare, so a request costs one look-up and a few
additions on the event loop. The metric objects of prometheus-client take a lock for each number, which was a third of
the cost of observing a request; its custom collectors are made for this case.

Labels are closed sets: routes have known names, and a method that nobody knows is "other".
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from functools import cache
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

COMPONENTS: Final = ("proxy", "agent")
ROUTES: Final = (
    "project", "file", "metadata", "listing", "upload",
    "repodata", "shard", "package",
    "swarm", "piece",
    "health", "metrics", "stats", "other",
)  # fmt: skip
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "other")
# aborted: the client went away, or the connection was reset because the bytes were not to be trusted
STATUS_CLASSES: Final = ("2xx", "3xx", "4xx", "5xx", "aborted")

_EXCHANGE: Final = {"component": COMPONENTS, "route": ROUTES, "method": METHODS, "status_class": STATUS_CLASSES}
LABELS: Final = {
    "http_requests": _EXCHANGE,
    "http_request_seconds": _EXCHANGE,
    "http_inflight": {"route": ROUTES},
    "response_bytes": {"route": ROUTES},
}

# Seconds, from a warm page to a large wheel over a slow line.
BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_BOUNDS: Final = (*map(str, BUCKETS), "+Inf")


class Tally:
    """The requests of one route, method and status class: how many took how long."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0


class HttpTallies(Collector):
    """All tallies of a process; a collector for a registry. Only `collect` may be called in another thread."""

    def __init__(self, component: str) -> None:
        self.inflight = dict.fromkeys(ROUTES, 0)
        self.response_bytes = dict.fromkeys(ROUTES, 0)
        self._component = component
        self._tallies: dict[tuple[str, str, str], Tally] = {}

    @property
    def requests(self) -> int:
        """All requests so far."""
        return sum(sum(tally.counts) for tally in self._tallies.values())

    def add(self, route: str, method: str, status_class: str, seconds: float, size: int) -> None:
        """Count one request, `size` bytes of body sent within `seconds`."""
        tally = self._tallies.get((route, method, status_class)) or self._begin(route, method, status_class)
        tally.counts[bisect_left(BUCKETS, seconds)] += 1
        tally.seconds += seconds
        self.response_bytes[route] += size

    def _begin(self, route: str, method: str, status_class: str) -> Tally:
        known = method if method in METHODS else "other"
        return self._tallies.setdefault((route, known, status_class), Tally())

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now (called by the registry)."""
        requests = CounterMetricFamily("envmesh_http_requests", "Requests answered", labels=list(_EXCHANGE))
        seconds = HistogramMetricFamily(
            "envmesh_http_request_seconds", "Time to the last byte of the answer", labels=list(_EXCHANGE)
        )
        for key, tally in list(self._tallies.items()):  # a copy in one step: /metrics is rendered in a thread
            labels = (self._component, *key)
            running = list(accumulate(tally.counts))
            requests.add_metric(labels, running[-1])
            seconds.add_metric(labels, list(zip(_BOUNDS, running, strict=True)), tally.seconds)
        inflight = GaugeMetricFamily("envmesh_http_inflight", "Requests being answered", labels=["route"])
        sent = CounterMetricFamily("envmesh_response_bytes", "Bytes of bodies sent", labels=["route"])
        for route in ROUTES:
            inflight.add_metric([route], self.inflight[route])
            sent.add_metric([route], self.response_bytes[route])
        yield from (requests, seconds, inflight, sent)


@cache
def route_label(name: str | None) -> str:
    """The label of a route: its name up to the first dot, so that `project.redirect` counts as `project`."""
    label = name.partition(".")[0] if name else "other"
    return label if label in ROUTES else "other"
