"""`envagent status`, `peers` and `trace`: what a node of the swarm holds, whom it knows, where pieces came from."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from envagent.config import config_of
from envagent.daemon.client import asked
from envagent.errors import UsageError
from envagent.peers.events import Event, read_events
from envagent.peers.status import Holder, NodeStatus
from envproxy.commands.output import counted, print_json, print_table, say, shown_size

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

_SHOWN = 12  # characters of a digest
_WAYS = {"got": "from", "wrong": "wrong bytes from", "failed": "nothing from", "sent": "to", "whole": "by"}


def status(args: Namespace) -> int:
    """Print what is held and what moves."""
    found = _node(args)
    if args.json:
        print_json(msgspec.to_builtins(found))
        return 0
    say(
        f"{found.node} at {found.address}, "
        f"{'known to' if found.directory else 'without'} the directory of {found.proxy}"
    )
    say(
        f"holds {counted(found.artifacts, 'artifact')}, {shown_size(found.size)}; "
        f"gives {counted(found.uploads, 'piece')} now"
    )
    say(
        f"took {shown_size(found.origin_bytes)} from the proxy and {shown_size(found.peer_bytes_down)} from peers, "
        f"gave them {shown_size(found.peer_bytes_up)}"
    )
    rows = [
        (one.sha256[:_SHOWN], one.path.rpartition("/")[2], shown_size(one.size), f"{one.here}/{one.count}")
        for one in found.moving
    ]
    print_table(("moving", "name", "size", "pieces"), rows)
    return 0


def peers(args: Namespace) -> int:
    """Print the peers, those that gave most first."""
    found = sorted(_node(args).peers, key=lambda peer: -peer.taken_bytes)
    if args.json:
        print_json(msgspec.to_builtins(found))
    else:
        rows = [(peer.node, peer.address, peer.zone, shown_size(peer.taken_bytes), _conduct(peer)) for peer in found]
        print_table(("peer", "address", "zone", "taken", "conduct"), rows)
    return 0


def trace(args: Namespace) -> int:
    """Print the way of each piece, and what everybody gave. Raises UsageError for what is not in the log."""
    events = [one for one in read_events(config_of(args).swarm_events) if one.sha256.startswith(args.artifact)]
    digests = {one.sha256 for one in events}
    if len(digests) != 1:
        what = "nothing" if not digests else f"{len(digests)} artifacts"
        raise UsageError(
            f"the log has {what} of {args.artifact!r}", hint="name more of its SHA-256, or another --data"
        )
    if args.json:
        print_json(msgspec.to_builtins(events))
        return 0
    print_table(("at", "piece", "what", "size", "seconds"), [_row(one) for one in events])
    for who, size in _given(events).most_common():
        say(f"{shown_size(size)} from {who}")
    return 0


def _node(args: Namespace) -> NodeStatus:
    """What the daemon says. Raises UsageError where there is none, or none of a swarm."""
    config = config_of(args)
    answer = asked(config, "/swarm")
    if answer is None:
        who = "no daemon" if asked(config, "/status") is None else "a daemon that is no node of a swarm"
        raise UsageError(
            f"{who} serves {config.data}", hint="start one: envagent serve --proxy URL --listen HOST:PORT"
        )
    return msgspec.json.decode(answer, type=NodeStatus)


def _conduct(peer: Holder) -> str:
    if peer.is_banned:
        return "gave wrong bytes"
    return f"failed {counted(peer.failures, 'time')}" if peer.failures else "good"


def _row(event: Event) -> tuple[str, str, str, str, str]:
    at = datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds")
    way = f"{_WAYS[event.what]} {event.of or 'the proxy'}"
    return at, str(event.piece), way, shown_size(event.bytes), f"{event.seconds:.3f}"


def _given(events: Sequence[Event]) -> Counter[str]:
    sizes: Counter[str] = Counter()
    for event in events:
        if event.what == "got":
            sizes[event.of or "the proxy"] += event.bytes
    return sizes
