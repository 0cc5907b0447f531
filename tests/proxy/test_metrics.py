"""The metrics: that the page, the documentation and the code say the same, and that no label runs away."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from envagent.peers.metrics import NodeMetrics, Now
from envagent.peers.pieces import Counts
from envproxy.engine.report import DigestSource, Outcome
from envproxy.metrics import DIGEST_SOURCES, ECOSYSTEMS, OUTCOMES, RULES, Family, Metrics, watch_loop_lag
from envproxy.policy import RuleKind
from envproxy.reporter import CountingReporter
from envproxy.tallies import LABELS as HTTP_LABELS

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry, version="1.2.3", revision="abc")


def documented(heading: str) -> list[list[str]]:
    """The cells of the table below `heading`, without its head."""
    section = DOCUMENT.read_text("utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_the_documentation_names_every_metric_with_its_type_and_no_other(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    exposed = {
        (family.name + ("_total" if family.type == "counter" else ""), family.type)
        for family in registry.collect()
        if not family.name.startswith("process_")
    }
    assert {(name.strip("`"), kind) for name, kind, _, _ in documented("Metrics")} == exposed


def test_the_documentation_names_what_a_node_has_besides(registry: CollectorRegistry) -> None:
    now = Now(peers=0, downloads=0, uploads=0, has_directory=True)
    registry.register(NodeMetrics(Counts(), lambda: now))
    exposed = {
        (family.name + ("_total" if family.type == "counter" else ""), family.type) for family in registry.collect()
    }
    assert {(name.strip("`"), kind) for name, kind, _, _ in documented("Nodes")} == exposed


def test_the_documentation_lists_the_labels_and_their_values(metrics: Metrics) -> None:
    declared = {
        f"envmesh_{attribute}": {label: set(values) for label, values in family.labels.items()}
        for attribute, family in vars(metrics).items()
        if isinstance(family, Family)
    } | {
        f"envmesh_{name}": {label: set(values) for label, values in labels.items()}
        for name, labels in HTTP_LABELS.items()
    }
    in_document = {}
    for name, _, labels, _ in documented("Metrics"):
        found = re.findall(r"`(\w+)`(?: \(([^)]*)\))?", labels)
        if found:
            values = {label: set(words.split(", ")) - {""} for label, words in found}
            in_document[name.strip("`").removesuffix("_total")] = values
    assert in_document == declared


def test_the_documentation_explains_every_key_of_the_statistics(metrics: Metrics) -> None:
    assert [key.strip("`") for key, _ in documented("Statistics")] == list(metrics.snapshot())


def test_the_label_values_are_the_words_of_those_who_count() -> None:
    assert set(get_args(Outcome)) == set(OUTCOMES)
    assert set(get_args(DigestSource)) == set(DIGEST_SOURCES)
    assert set(get_args(RuleKind)) - {"", "allow-anyway"} == set(RULES)  # neither refuses


def test_a_label_value_outside_its_closed_set_is_refused(metrics: Metrics) -> None:
    with pytest.raises(ValueError, match="'hti' is not one of result: hit, miss"):
        metrics.cache_requests["pypi", "index", "hti"].inc()
    assert metrics.cache_requests.total() == 0


def test_series_that_an_alert_waits_for_exist_before_the_first_event(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    assert registry.get_sample_value("envmesh_digest_mismatch_total", {"source": "disk"}) == 0
    labels = {"ecosystem": "pypi", "kind": "artifact", "result": "stale"}
    assert registry.get_sample_value("envmesh_cache_requests_total", labels) == 0


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=1.0.0", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ],
)
def test_the_page_comes_in_the_format_that_is_asked_for(metrics: Metrics, accept: str, content_type: str) -> None:
    body, said = metrics.render(accept)
    assert said.startswith(content_type)
    assert b'envmesh_build_info{revision="abc",version="1.2.3"} 1.0\n' in body
    assert b"_created" not in body


def test_the_page_parses_and_shows_the_process(metrics: Metrics) -> None:
    body, _ = metrics.render("")
    names = {family.name for family in text_string_to_metric_families(body.decode())}
    assert {"envmesh_cache_requests", "process_resident_memory_bytes"} <= names


def test_what_the_engine_reports_is_counted(registry: CollectorRegistry, metrics: Metrics) -> None:
    reporter = CountingReporter(metrics)
    reporter.upstream_answered("main", "ok", 0.2)
    reporter.upstream_answered("main", "breaker_open", 0.0)
    reporter.upstream_sent("main", 500)
    reporter.breaker_changed("main", is_open=True)
    reporter.stale_served("main", "timeout")
    reporter.coalesced()
    reporter.flights_changed(+1)
    reporter.flights_changed(+1)
    reporter.flights_changed(-1)
    reporter.digest_mismatch("upstream")
    reporter.disk_refused()
    reporter.evicted(3, "floor")
    expected = {
        ("envmesh_upstream_requests_total", "upstream=main outcome=ok"): 1,
        ("envmesh_upstream_requests_total", "upstream=main outcome=breaker_open"): 1,
        ("envmesh_upstream_seconds_count", "upstream=main"): 1,
        ("envmesh_upstream_bytes_total", "upstream=main"): 500,
        ("envmesh_breaker_state", "upstream=main"): 1,
        ("envmesh_stale_served_total", "upstream=main cause=timeout"): 1,
        ("envmesh_coalesced_waiters_total", ""): 1,
        ("envmesh_flights_inflight", ""): 1,
        ("envmesh_digest_mismatch_total", "source=upstream"): 1,
        ("envmesh_disk_write_failures_total", ""): 1,
        ("envmesh_evictions_total", "reason=floor"): 3,
    }
    counted = {
        (name, labels): registry.get_sample_value(name, dict(pair.split("=") for pair in labels.split()))
        for name, labels in expected
    }
    assert counted == expected


def test_the_statistics_sum_over_labels(metrics: Metrics) -> None:
    metrics.http.add("project", "GET", "2xx", seconds=0.1, size=400)
    metrics.http.add("project", "GET", "2xx", seconds=0.1, size=400)
    metrics.http.add("file", "GET", "aborted", seconds=0.1, size=200)
    metrics.cache_requests["pypi", "index", "hit"].inc(5)
    metrics.cache_requests["conda", "artifact", "miss"].inc(7)
    metrics.cache_bytes.set(4096)
    metrics.cache_limit_bytes.set(8192)
    metrics.bytes_served[("disk",)].inc(900)
    metrics.upstream_requests["pypi", "ok"].inc(3)
    metrics.upstream_requests["pypi", "5xx"].inc()
    metrics.upstream_requests["corp", "ok"].inc()
    metrics.upstream_bytes[("pypi",)].inc(100)
    metrics.policy_refusals["main", "deny"].inc()
    results = {"hit": 0, "miss": 0, "revalidated": 0, "stale": 0, "bypass": 0, "negative": 0}
    nothing = {"index": results, "metadata": results, "artifact": results}
    snapshot = metrics.snapshot()
    assert snapshot.pop("ecosystems") == {
        **dict.fromkeys(ECOSYSTEMS, nothing),
        "pypi": {**nothing, "index": {**results, "hit": 5}},
        "conda": {**nothing, "artifact": {**results, "miss": 7}},
    }
    assert snapshot == {
        "requests": 3,
        "response_bytes": 1000,
        "cache": {"index": {**results, "hit": 5}, "metadata": results, "artifact": {**results, "miss": 7}},
        "cache_bytes": 4096,
        "cache_limit_bytes": 8192,
        "bytes_served": {"memory": 0, "disk": 900, "upstream": 0},
        "upstream_requests": {"corp": 1, "pypi": 4},
        "upstream_bytes": {"pypi": 100},
        "coalesced_waiters": 0,
        "stale_served": 0,
        "digest_mismatches": 0,
        "evictions": 0,
        "policy_refusals": 1,
    }


def test_requests_are_counted_with_their_times_in_buckets(registry: CollectorRegistry, metrics: Metrics) -> None:
    for seconds in (0.001, 0.002, 0.3, 61.0):
        metrics.http.add("project", "GET", "2xx", seconds=seconds, size=100)
    labels = {"component": "proxy", "route": "project", "method": "GET", "status_class": "2xx"}
    buckets = {
        bound: registry.get_sample_value("envmesh_http_request_seconds_bucket", {**labels, "le": bound})
        for bound in ("0.001", "0.005", "0.25", "0.5", "60.0", "+Inf")
    }
    assert buckets == {"0.001": 1, "0.005": 2, "0.25": 2, "0.5": 3, "60.0": 3, "+Inf": 4}
    assert registry.get_sample_value("envmesh_http_request_seconds_sum", labels) == pytest.approx(61.303)
    assert registry.get_sample_value("envmesh_http_requests_total", labels) == 4
    assert registry.get_sample_value("envmesh_response_bytes_total", {"route": "project"}) == 400


async def test_the_loop_lag_is_how_much_too_late_a_sleeper_wakes(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    delays, now = [0.0, 0.3], 100.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        if not delays:
            raise asyncio.CancelledError
        now += seconds + delays.pop()

    with pytest.raises(asyncio.CancelledError):
        await watch_loop_lag(metrics, 1.0, clock=lambda: now, sleep=sleep)
    assert registry.get_sample_value("envmesh_event_loop_lag_seconds_count") == 2
    assert registry.get_sample_value("envmesh_event_loop_lag_seconds_sum") == pytest.approx(0.3)
    assert registry.get_sample_value("envmesh_event_loop_lag_seconds_bucket", {"le": "0.25"}) == 1
