"""The second dashboard: what upstreams do to the proxy, and whether its disk and its process bear it."""

from typing import Final

from grafana.dashboard import PROXIES, Dashboard, Panel, Query, Row, Variable, by, chosen, quantiles, rate

_UPSTREAM: Final = 'upstream=~"$upstream"'
_FAILURES: Final = 'outcome=~"5xx|timeout|connect|bad_body|breaker_open"'
_SENT: Final = f"sum by (upstream) ({rate('envmesh_upstream_requests_total', _UPSTREAM)})"
_FAILED: Final = f"sum by (upstream) ({rate('envmesh_upstream_requests_total', _FAILURES, _UPSTREAM)})"

_UPSTREAMS: Final = Row(
    "Upstreams",
    (
        Panel(
            "Requests by outcome",
            "breaker_open: not sent, while the upstream is left alone. 4xx includes names it does not know.",
            "reqps",
            (by(rate("envmesh_upstream_requests_total", _UPSTREAM), "upstream", "outcome"),),
        ),
        Panel(
            "Failing",
            "The share of requests that an upstream failed: errors, timeouts, refused connections, broken bodies.",
            "percentunit",
            (
                Query(
                    # An upstream that never failed has no series of failures: zero times all of its requests.
                    f"({_FAILED} or 0 * {_SENT}) / {_SENT}",
                    "{{upstream}}",
                ),
            ),
            most=1,
        ),
        Panel(
            "Left alone",
            "1 while the circuit breaker is open: stale answers go out at once instead of after a timeout.",
            "short",
            (by(chosen("envmesh_breaker_state", _UPSTREAM), "upstream", how="max"),),
            most=1,
        ),
        Panel(
            "Time to the first byte",
            "How long upstreams take to begin a body, all of those chosen together.",
            "s",
            quantiles("envmesh_upstream_seconds", _UPSTREAM),
        ),
        Panel(
            "Bytes received",
            "Bodies from upstream: what the cache did not spare it.",
            "Bps",
            (by(rate("envmesh_upstream_bytes_total", _UPSTREAM), "upstream"),),
        ),
        Panel(
            "Flights",
            "Fetches in the air, and requests a second that joined one instead of asking upstream again.",
            "short",
            (
                Query(f"sum({chosen('envmesh_flights_inflight')})", "in the air"),
                Query(f"sum({rate('envmesh_coalesced_waiters_total')})", "joined a second"),
            ),
        ),
    ),
)

_STORAGE: Final = Row(
    "Storage",
    (
        Panel(
            "Cache and its budget",
            "Bytes of blobs on disk, and the limit at which the least useful are evicted.",
            "bytes",
            (
                Query(f"sum by (instance) ({chosen('envmesh_cache_bytes')})", "{{instance}} used"),
                Query(f"sum by (instance) ({chosen('envmesh_cache_limit_bytes')})", "{{instance}} budget"),
            ),
        ),
        Panel(
            "Free space",
            "Of the file system that holds the cache. Below store.min-free blobs are evicted to make room.",
            "bytes",
            (by(chosen("envmesh_disk_free_bytes"), "instance", how="min"),),
        ),
        Panel(
            "Blobs",
            "Files, metadata and lists of projects on disk.",
            "short",
            (by(chosen("envmesh_cache_entries"), "kind"),),
        ),
        Panel(
            "Evictions",
            "Blobs a second. budget: as designed. floor: the disk is smaller than the budget, or others fill it.",
            "cps",
            (by(rate("envmesh_evictions_total"), "reason"),),
        ),
        Panel(
            "Writes refused",
            "Writes a second that the disk refused; the bytes went to the client all the same, uncached.",
            "cps",
            (by(rate("envmesh_disk_write_failures_total"), "instance"),),
        ),
        Panel(
            "Quarantined",
            "Blobs a second that scrubs set aside: they are not what their digest names, so the disk changes bytes.",
            "cps",
            (by(rate("envmesh_quarantined_total"), "instance"),),
        ),
        Panel(
            "Scrubbed",
            "Blobs that scrubs read again and compared, counted when a scrub ends.",
            "cps",
            (by(rate("envmesh_scrub_checked_total"), "instance"),),
            width=12,
        ),
        Panel(
            "Time since the last scrub",
            "Nothing before the first: `envproxy scrub` runs when somebody starts it.",
            "s",
            (
                Query(
                    f"time() - max by (instance) ({chosen('envmesh_last_scrub_timestamp_seconds')} != 0)",
                    "{{instance}}",
                ),
            ),
            width=12,
        ),
    ),
)

_PROCESS: Final = Row(
    "Process",
    (
        Panel(
            "Event loop lag",
            "How late the event loop wakes: above half a second something blocks it, and every client waits.",
            "s",
            quantiles("envmesh_event_loop_lag_seconds"),
        ),
        Panel(
            "CPU",
            "Cores in use.",
            "short",
            (by(rate("process_cpu_seconds_total"), "instance"),),
        ),
        Panel(
            "Memory",
            "Resident.",
            "bytes",
            (by(chosen("process_resident_memory_bytes"), "instance"),),
        ),
        Panel(
            "Open files",
            "The share of the file descriptors that the process may have. Every client takes one or two.",
            "percentunit",
            (
                Query(
                    f"sum by (instance) ({chosen('process_open_fds')}) / "
                    f"sum by (instance) ({chosen('process_max_fds')})",
                    "{{instance}}",
                ),
            ),
            most=1,
        ),
        Panel(
            "Time since start",
            "A line that falls to zero is a restart.",
            "s",
            (Query(f"time() - max by (instance) ({chosen('process_start_time_seconds')})", "{{instance}}"),),
        ),
        Panel(
            "Versions",
            "How many processes run which version.",
            "short",
            (by(chosen("envmesh_build_info"), "version", "revision", how="count"),),
        ),
    ),
)

UPSTREAMS: Final = Dashboard(
    "upstreams",
    "envmesh / Upstreams and storage",
    "What upstreams do to the proxy, and whether its disk and its process bear it.",
    (*PROXIES, Variable("upstream", 'envmesh_upstream_requests_total{job=~"$job"}')),
    (_UPSTREAMS, _STORAGE, _PROCESS),
)
