"""What a node of the swarm says of itself: `envagent status` and `envagent peers` show it."""

from __future__ import annotations

import msgspec


class Moving(msgspec.Struct, frozen=True):
    """An artifact on its way: how many of its `count` pieces are here, and which are under way. `size` in bytes."""

    sha256: str
    path: str
    size: int
    here: int
    count: int
    pieces: list[int]


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """A peer: the bytes that were taken from it, its failures in a row, whether it is banned for an artifact."""

    node: str
    address: str
    zone: str
    taken_bytes: int
    failures: int
    is_banned: bool


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One node. `artifacts` are whole and have `size` bytes together; the other bytes moved since it started.

    `directory` is "" while none answers; `back_to_source` are pieces taken from the proxy without a lease.
    """

    node: str
    address: str
    proxy: str
    zone: str
    tenant: str
    directory: str
    artifacts: int
    size: int
    moving: list[Moving]
    uploads: int
    origin_bytes: int
    peer_bytes_down: int
    peer_bytes_up: int
    pieces_wrong: int
    back_to_source: int
    peers: list[Holder]
