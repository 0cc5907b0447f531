"""The third dashboard: what the swarm takes off the proxy, and how its nodes fare."""

from typing import Final

from grafana.dashboard import PROXIES, Dashboard, Panel, Query, Row, by, chosen, rate, share

_RECEIVED: Final = "envmesh_node_received_bytes_total"

_DIRECTORY: Final = Row(
    "Directory: what the proxy knows and gives",
    (
        Panel(
            "Nodes",
            "Agents that the directory has heard of lately. A line that halves is a network that fell apart.",
            "short",
            (by(chosen("envmesh_swarm_nodes"), "instance", how="max"),),
        ),
        Panel(
            "Artifacts",
            "Artifacts that nodes hold or want.",
            "short",
            (by(chosen("envmesh_swarm_artifacts"), "instance", how="max"),),
        ),
        Panel(
            "Pieces given",
            "A lease sends one node to the proxy, an offer sends it to its peers: offers are what the swarm saves.",
            "cps",
            (
                by(rate("envmesh_swarm_leases_total"), "event"),
                Query(f"sum({rate('envmesh_swarm_offers_total')})", "offered"),
            ),
        ),
        Panel(
            "Pieces sent by the proxy",
            "leased: the one copy that the swarm needs. unleased: a node that found neither directory nor peers.",
            "Bps",
            (by(rate("envmesh_swarm_origin_bytes_total"), "reason"),),
        ),
        Panel(
            "Faults of peers",
            "What nodes report of one another. bad_hash: wrong bytes, which nobody keeps.",
            "cps",
            (by(rate("envmesh_swarm_faults_total"), "wrong"),),
        ),
        Panel(
            "Turned away and banned",
            "Requests without a lease beyond swarm.unleased, and nodes that two others got wrong bytes from.",
            "cps",
            (
                Query(f"sum({rate('envmesh_swarm_turned_away_total')})", "turned away"),
                Query(f"sum({rate('envmesh_swarm_bans_total')})", "banned"),
            ),
        ),
    ),
)

_NODES: Final = Row(
    "Nodes",
    (
        Panel(
            "Share from peers",
            "The share of the bytes that nodes received from one another and not from the proxy.",
            "percentunit",
            (Query(share(rate(_RECEIVED, 'source="peer"'), rate(_RECEIVED)), "from peers"),),
            most=1,
        ),
        Panel(
            "Bytes received",
            "By all nodes, from the proxy (origin) and from peers.",
            "Bps",
            (by(rate(_RECEIVED), "source"),),
        ),
        Panel(
            "Bytes given to peers",
            "By each node: one that gives much more than the others is a hot spot.",
            "Bps",
            (by(rate("envmesh_node_sent_bytes_total"), "instance"),),
        ),
        Panel(
            "Wrong pieces",
            "Pieces that did not have the hash that the proxy names, by the node that received and dropped them.",
            "cps",
            (by(rate("envmesh_node_wrong_pieces_total"), "instance"),),
        ),
        Panel(
            "Back to the source",
            "Pieces that a node took from the proxy without a lease: no directory answered, or no peer was left.",
            "cps",
            (by(rate("envmesh_node_back_to_source_total"), "instance"),),
        ),
        Panel(
            "Without a directory",
            "Nodes that are on their own: they go on with the peers they know.",
            "short",
            (Query(f"sum(1 - {chosen('envmesh_node_directory')})", "on their own"),),
        ),
        Panel(
            "On their way",
            "Artifacts that nodes are getting, and pieces that they are sending.",
            "short",
            (
                Query(f"sum({chosen('envmesh_node_downloads')})", "artifacts coming"),
                Query(f"sum({chosen('envmesh_node_uploads')})", "pieces going"),
            ),
            width=12,
        ),
        Panel(
            "Peers known",
            "By each node.",
            "short",
            (by(chosen("envmesh_node_peers"), "instance"),),
            width=12,
        ),
    ),
)

SWARM: Final = Dashboard(
    "swarm",
    "envmesh / Swarm and nodes",
    "What the swarm takes off the proxy, and how its nodes fare.",
    PROXIES,
    (_DIRECTORY, _NODES),
)
