"""Every metric of the proxy, declared in one place and kept on the registry it is given.

A metric has a closed set of values for each label, or the label holds names from the configuration (upstreams,
indexes): nothing a client sends becomes a label, so the number of series is bounded. Series whose labels are all
closed exist from the start, for an alert on an increase never sees a series that is born at one. Children are
resolved once and then looked up in a dict; what is counted of every request is in tallies.py.

Names, labels and meanings are in docs/metrics.md; a test holds the two together. Who counts what is not decided here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import product
from typing import Final, Generic, TypedDict, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from envproxy.tallies import BUCKETS, HttpTallies

Metric = TypeVar("Metric", bound=MetricWrapperBase)

ECOSYSTEMS: Final = ("pypi", "conda", "files")
KINDS: Final = ("index", "metadata", "artifact")
RESULTS: Final = ("hit", "miss", "revalidated", "stale", "bypass", "negative")
OUTCOMES: Final = ("ok", "not_modified", "4xx", "5xx", "timeout", "connect", "bad_body", "breaker_open")
STALE_CAUSES: Final = ("4xx", "5xx", "timeout", "connect", "bad_body", "breaker_open")
EVICTIONS: Final = ("budget", "floor")
DIGEST_SOURCES: Final = ("upstream", "peer", "disk", "blobstore")
BYTE_SOURCES: Final = ("memory", "disk", "upstream")
RULES: Final = ("deny", "allow", "freeze", "min-age", "removed", "quarantined")
LEASE_EVENTS: Final = ("granted", "duplicate", "expired", "broken_off")
ORIGIN_REASONS: Final = ("leased", "unleased")
WRONGS: Final = ("bad_hash", "unreachable", "slow")
CONFIGURED: Final = ()  # any value: a name from the configuration, not from a request

_LAG_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 5)


class Family(dict[tuple[str, ...], Metric], Generic[Metric]):
    """One metric with labels: `family["main", "ok"].inc()`, label values in the order of `labels`.

    Raises ValueError for a value outside its label's closed set: a misspelt word would be a series of its own.
    """

    def __init__(self, metric: Metric, labels: Mapping[str, tuple[str, ...]]) -> None:
        super().__init__()
        self._metric = metric
        self.labels = labels

    def __missing__(self, values: tuple[str, ...]) -> Metric:
        for (label, closed), value in zip(self.labels.items(), values, strict=True):
            if closed and value not in closed:
                raise ValueError(f"{value!r} is not one of {label}: {', '.join(closed)}")
        child = self[values] = self._metric.labels(*values)
        return child

    def total(self, **where: str) -> float:
        """The sum over the children whose labels have the values `where` (of a histogram, nothing sensible)."""
        wanted = [(list(self.labels).index(label), value) for label, value in where.items()]
        return sum(
            _value(child) for values, child in self.items() if all(values[place] == value for place, value in wanted)
        )


class Stats(TypedDict):
    """What /api/stats shows: counts since the process started. Keys are stable; docs/metrics.md explains them."""

    requests: int
    response_bytes: int
    cache: dict[str, dict[str, int]]
    ecosystems: dict[str, dict[str, dict[str, int]]]
    cache_bytes: int
    cache_limit_bytes: int
    bytes_served: dict[str, int]
    upstream_requests: dict[str, int]
    upstream_bytes: dict[str, int]
    coalesced_waiters: int
    stale_served: int
    digest_mismatches: int
    evictions: int
    policy_refusals: int


class Metrics:
    """The metrics as attributes, named as in docs/metrics.md without prefix and `_total`."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        component: str = "proxy",
        version: str = "unknown",
        revision: str = "unknown",
    ) -> None:
        # A timestamp beside every series doubles the page and nobody reads it. (The library lacks this annotation.)
        disable_created_metrics()  # type: ignore[no-untyped-call]
        ProcessCollector(registry=registry)
        self.http = HttpTallies(component)
        registry.register(self.http)
        self._registry = registry
        self._declare_cache()
        self._declare_upstream()
        self._declare_swarm()
        self._declare_rest()
        self.build_info[version, revision].set(1)

    def _declare_cache(self) -> None:
        self.cache_requests = self._counters(
            "cache_requests",
            "Look-ups in the cache",
            {"ecosystem": ECOSYSTEMS, "kind": KINDS, "result": RESULTS},
        )
        self.cache_bytes = self._gauge("cache_bytes", "Bytes of blobs on disk")
        self.cache_limit_bytes = self._gauge("cache_limit_bytes", "The byte budget of the cache")
        self.cache_entries = self._gauges("cache_entries", "Things in the cache", {"kind": KINDS})
        self.evictions = self._counters("evictions", "Blobs evicted", {"reason": EVICTIONS})
        self.disk_free_bytes = self._gauge("disk_free_bytes", "Free space where the cache lives")
        self.disk_write_failures = self._counter("disk_write_failures", "Writes the disk refused")
        self.bytes_served = self._counters("bytes_served", "Bytes served by origin", {"source": BYTE_SOURCES})
        self.digest_mismatch = self._counters(
            "digest_mismatch", "Bytes that were not what their digest names", {"source": DIGEST_SOURCES}
        )
        self.quarantined = self._counter("quarantined", "Blobs set aside because they no longer match")
        self.scrub_checked = self._counter("scrub_checked", "Blobs read again and compared with their digest")
        self.last_scrub_timestamp_seconds = self._gauge(
            "last_scrub_timestamp_seconds", "When the last scrub ended, seconds since the epoch"
        )

    def _declare_upstream(self) -> None:
        upstream = {"upstream": CONFIGURED}
        self.upstream_requests = self._counters(
            "upstream_requests", "Requests sent upstream", {**upstream, "outcome": OUTCOMES}
        )
        self.upstream_seconds = self._histograms(
            "upstream_seconds", "Time to the first byte from upstream", upstream, BUCKETS
        )
        self.upstream_bytes = self._counters("upstream_bytes", "Bytes of bodies from upstream", upstream)
        self.breaker_state = self._gauges("breaker_state", "1 while the circuit breaker is open", upstream)
        self.stale_served = self._counters(
            "stale_served", "Stale answers, upstream failing", {**upstream, "cause": STALE_CAUSES}
        )
        self.coalesced_waiters = self._counter("coalesced_waiters", "Requests that joined another's flight")
        self.flights_inflight = self._gauge("flights_inflight", "Fetches from upstream in the air")

    def _declare_swarm(self) -> None:
        self.swarm_nodes = self._gauge("swarm_nodes", "Agents of the swarm that are alive")
        self.swarm_artifacts = self._gauge("swarm_artifacts", "Artifacts that agents hold or want, for each tenant")
        self.swarm_leases = self._counters(
            "swarm_leases", "Leases of pieces, by what became of them", {"event": LEASE_EVENTS}
        )
        self.swarm_offers = self._counter("swarm_offers", "Pieces that were offered from peers")
        self.swarm_origin_bytes = self._counters(
            "swarm_origin_bytes", "Bytes of pieces that the proxy sent", {"reason": ORIGIN_REASONS}
        )
        self.swarm_turned_away = self._counter("swarm_turned_away", "Requests for pieces beyond the allowance")
        self.swarm_faults = self._counters("swarm_faults", "Faults of peers that agents reported", {"wrong": WRONGS})
        self.swarm_bans = self._counter("swarm_bans", "Bans of a node from an artifact, for wrong bytes")

    def _declare_rest(self) -> None:
        self.policy_refusals = self._counters(
            "policy_refusals", "Requests refused by policy", {"index": CONFIGURED, "rule": RULES}
        )
        self.build_info = self._gauges("build_info", "Always 1", {"version": CONFIGURED, "revision": CONFIGURED})
        self.event_loop_lag_seconds = Histogram(
            "envmesh_event_loop_lag_seconds",
            "How late the event loop wakes up",
            registry=self._registry,
            buckets=_LAG_BUCKETS,
        )

    def _counter(self, name: str, meaning: str) -> Counter:
        return Counter(f"envmesh_{name}_total", meaning, registry=self._registry)

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(f"envmesh_{name}", meaning, registry=self._registry)

    def _counters(self, name: str, meaning: str, labels: Mapping[str, tuple[str, ...]]) -> Family[Counter]:
        counter = Counter(f"envmesh_{name}_total", meaning, tuple(labels), registry=self._registry)
        return _from_the_start(Family(counter, labels))

    def _gauges(self, name: str, meaning: str, labels: Mapping[str, tuple[str, ...]]) -> Family[Gauge]:
        gauge = Gauge(f"envmesh_{name}", meaning, tuple(labels), registry=self._registry)
        return _from_the_start(Family(gauge, labels))

    def _histograms(
        self, name: str, meaning: str, labels: Mapping[str, tuple[str, ...]], buckets: tuple[float, ...]
    ) -> Family[Histogram]:
        histogram = Histogram(f"envmesh_{name}", meaning, tuple(labels), registry=self._registry, buckets=buckets)
        return Family(histogram, labels)

    def show(self, collector: Collector) -> None:
        """Expose also what `collector` has; it is asked in another thread than the event loop's."""
        self._registry.register(collector)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The exposition for /metrics and its content type, in the format that `Accept` prefers."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def snapshot(self) -> Stats:
        """The counts a person asks for first."""
        return Stats(
            requests=self.http.requests,
            response_bytes=sum(self.http.response_bytes.values()),
            cache=self._looked_up(),
            ecosystems={ecosystem: self._looked_up(ecosystem=ecosystem) for ecosystem in ECOSYSTEMS},
            cache_bytes=int(_value(self.cache_bytes)),
            cache_limit_bytes=int(_value(self.cache_limit_bytes)),
            bytes_served={source: int(self.bytes_served.total(source=source)) for source in BYTE_SOURCES},
            upstream_requests=_by_first_label(self.upstream_requests),
            upstream_bytes=_by_first_label(self.upstream_bytes),
            coalesced_waiters=int(_value(self.coalesced_waiters)),
            stale_served=int(self.stale_served.total()),
            digest_mismatches=int(self.digest_mismatch.total()),
            evictions=int(self.evictions.total()),
            policy_refusals=int(self.policy_refusals.total()),
        )

    def _looked_up(self, **where: str) -> dict[str, dict[str, int]]:
        """Look-ups by kind, then by result."""
        return {
            kind: {result: int(self.cache_requests.total(kind=kind, result=result, **where)) for result in RESULTS}
            for kind in KINDS
        }


async def watch_loop_lag(
    metrics: Metrics,
    interval_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Measure, until cancelled, how much later than asked the event loop resumes a sleeper."""
    while True:
        asleep_at = clock()
        await sleep(interval_s)
        metrics.event_loop_lag_seconds.observe(max(0.0, clock() - asleep_at - interval_s))


def _from_the_start(family: Family[Metric]) -> Family[Metric]:
    if all(family.labels.values()):
        for values in product(*family.labels.values()):
            family[values]
    return family


def _value(metric: MetricWrapperBase) -> float:
    return next(iter(metric.collect())).samples[0].value


def _by_first_label(family: Family[Counter]) -> dict[str, int]:
    label = next(iter(family.labels))
    return {name: int(family.total(**{label: name})) for name in sorted({values[0] for values in family})}
