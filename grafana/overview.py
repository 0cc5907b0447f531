"""The first dashboard: does the proxy earn its keep, and is anybody suffering."""

from typing import Final

from grafana.dashboard import PROXIES, Dashboard, Panel, Query, Row, by, chosen, quantiles, rate, share

# Probes, scrapes and the talk of nodes come at a steady pace and would hide what clients see.
_CLIENTS: Final = 'route!~"health|metrics|stats|swarm|piece"'
_ARTIFACTS: Final = 'kind="artifact"'
_HIT: Final = 'result="hit"'
_DECIDED: Final = 'result=~"hit|miss"'  # the rest had no choice: absent, stale, bypassed

_AT_A_GLANCE: Final = Row(
    "At a glance",
    (
        Panel(
            "Upstream offload",
            "The share of all bytes that clients got without asking upstream for them.",
            "percentunit",
            (
                Query(
                    "1 - "
                    + share(
                        rate("envmesh_bytes_served_total", 'source="upstream"'), rate("envmesh_bytes_served_total")
                    ),
                    "offload",
                ),
            ),
            kind="stat", width=4, most=1,
        ),
        Panel(
            "Files from the cache",
            "Hits among the files, wheels and packages that clients asked for.",
            "percentunit",
            (
                Query(
                    share(
                        rate("envmesh_cache_requests_total", _ARTIFACTS, _HIT),
                        rate("envmesh_cache_requests_total", _ARTIFACTS, _DECIDED),
                    ),
                    "hits",
                ),
            ),
            kind="stat", width=4, most=1,
        ),
        Panel(
            "Requests",
            "Requests of clients a second; probes, scrapes and nodes of the swarm are not counted.",
            "reqps",
            (Query(f"sum({rate('envmesh_http_requests_total', _CLIENTS)})", "requests"),),
            kind="stat", width=4,
        ),
        Panel(
            "Errors",
            "The share of requests answered 5xx. While an upstream is down: names that are not cached.",
            "percentunit",
            (
                Query(
                    share(
                        rate("envmesh_http_requests_total", _CLIENTS, 'status_class="5xx"'),
                        rate("envmesh_http_requests_total", _CLIENTS),
                    ),
                    "errors",
                ),
            ),
            kind="stat", width=4, most=1,
        ),
        Panel(
            "Stale answers",
            "Answers a second past their freshness, because an upstream failed: correct when they were cached.",
            "reqps",
            (Query(f"sum({rate('envmesh_stale_served_total')}) or vector(0)", "stale"),),
            kind="stat", width=4,
        ),
        Panel(
            "Firing alerts",
            "Alerts of grafana/alerts that fire now, of all proxies.",
            "short",
            (Query('count(ALERTS{alertname=~"Envmesh.+",alertstate="firing"}) or vector(0)', "firing"),),
            kind="stat", width=4,
        ),
    ),
)  # fmt: skip

_REQUESTS: Final = Row(
    "Requests: rate, errors, duration",
    (
        Panel(
            "Requests by route",
            "What clients ask for: pages, listings, files and metadata; repodata and packages of channels.",
            "reqps",
            (by(rate("envmesh_http_requests_total", _CLIENTS), "route"),),
        ),
        Panel(
            "Requests by status",
            "aborted: the client went away, or the connection was reset because the rest was not to be trusted.",
            "reqps",
            (by(rate("envmesh_http_requests_total", _CLIENTS), "status_class"),),
        ),
        Panel(
            "Duration",
            "Until the last byte was handed to the system, so a large file takes as long as its client reads.",
            "s",
            quantiles("envmesh_http_request_seconds", _CLIENTS),
        ),
        Panel(
            "In flight",
            "Requests being answered now.",
            "short",
            (by(chosen("envmesh_http_inflight", _CLIENTS), "route"),),
        ),
        Panel(
            "Bytes sent",
            "Bodies of answers, by route.",
            "Bps",
            (by(rate("envmesh_response_bytes_total", _CLIENTS), "route"),),
        ),
        Panel(
            "Refused by policy",
            "Requests answered 403 by a rule of an index.",
            "reqps",
            (by(rate("envmesh_policy_refusals_total"), "index", "rule"),),
        ),
    ),
)

_CACHE: Final = Row(
    "Cache",
    (
        Panel(
            "Hit ratio",
            "Hits among hits and misses, by ecosystem and kind. A kind that nobody asks for has none.",
            "percentunit",
            (
                Query(
                    f"sum by (ecosystem, kind) ({rate('envmesh_cache_requests_total', _HIT)}) / "
                    f"sum by (ecosystem, kind) ({rate('envmesh_cache_requests_total', _DECIDED)})",
                    "{{ecosystem}} {{kind}}",
                ),
            ),
            most=1,
        ),
        Panel(
            "Look-ups by result",
            "negative: known to be absent. stale: past its freshness. revalidated: upstream confirmed it.",
            "reqps",
            (by(rate("envmesh_cache_requests_total"), "result"),),
        ),
        Panel(
            "Bytes by where they came from",
            "Memory holds ready-made pages, disk what was cached; the rest came from upstream while it was sent.",
            "Bps",
            (by(rate("envmesh_bytes_served_total"), "source"),),
        ),
        Panel(
            "Stale answers by upstream",
            "Which upstream failed, and how, when a stale answer had to do.",
            "reqps",
            (by(rate("envmesh_stale_served_total"), "upstream", "cause"),),
        ),
        Panel(
            "Wrong bytes",
            "What was not what its digest names, a second. None of it reached a client as a complete file.",
            "cps",
            (by(rate("envmesh_digest_mismatch_total"), "source"),),
        ),
        Panel(
            "Alerts",
            "Alerts that fire, over time, of all proxies.",
            "short",
            (Query('sum by (alertname) (ALERTS{alertname=~"Envmesh.+",alertstate="firing"})', "{{alertname}}"),),
        ),
    ),
)

OVERVIEW: Final = Dashboard(
    "overview",
    "envmesh / Overview",
    "Whether the proxy earns its keep: offload, hits, requests, errors, stale answers and alerts.",
    PROXIES,
    (_AT_A_GLANCE, _REQUESTS, _CACHE),
)
