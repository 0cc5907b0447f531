"""What the swarm tells whoever is watching: a `SwarmReporter` with empty methods, as in engine/report.py."""

from __future__ import annotations

from typing import Literal

from .messages import Wrong

Why = Literal["leased", "unleased"]
"""A node fetched a piece from the proxy with a lease, or without one: directory or peers were lost."""


class SwarmReporter:
    """Receives events; every method does nothing unless overridden and must neither block nor raise."""

    def size_changed(self, nodes: int, artifacts: int) -> None:
        """So many nodes are alive now, and hold or want so many artifacts."""

    def leased(self, count: int, again: int) -> None:
        """`count` pieces were leased, `again` of them not for the first time."""

    def leases_ended(self, expired: int, broken_off: int) -> None:
        """Leases ended with their time, or because the transfer broke off."""

    def offered(self, count: int) -> None:
        """`count` pieces were offered from peers."""

    def faulted(self, wrong: Wrong) -> None:
        """A node says that a peer did this."""

    def banned(self, node: str, sha256: str) -> None:
        """A node is banned from an artifact, for wrong bytes."""

    def sent(self, why: Why, count: int) -> None:
        """The proxy sent `count` bytes of a piece."""

    def turned_away(self) -> None:
        """A node wanted a piece without a lease and has to come back later."""
