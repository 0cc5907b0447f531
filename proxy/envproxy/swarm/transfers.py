"""The pieces of one artifact that are on their way from node to node, as the directory dealt them out.

A node that takes a piece says so in each of its wishes until it is there (`Want.moving`), so at any time it is known
how many pieces a node gives: whom to ask next depends on it, within milliseconds. Of a node that found its giver busy
and asks another, the first one is counted. Nothing in here decides or expires.
"""

from __future__ import annotations

from collections import Counter


class Transfers:
    """See the module. `giving` counts what each node gives of all artifacts, and is kept up to date here."""

    def __init__(self, giving: Counter[str]) -> None:
        self._giving = giving
        self._givers: dict[str, dict[int, str]] = {}  # of each piece, by who takes it

    def begin(self, taker: str, piece: int, giver: str) -> None:
        """`taker` was told to ask `giver`."""
        self._givers.setdefault(taker, {})[piece] = giver
        self._giving[giver] += 1

    def settle(self, taker: str, moving: int) -> None:
        """Of all that `taker` was told to ask for, only the set `moving` is on its way still."""
        givers = self._givers.pop(taker, {})
        for piece in [piece for piece in givers if not moving >> piece & 1]:
            giver = givers.pop(piece)
            self._giving[giver] -= 1
            if not self._giving[giver]:
                del self._giving[giver]
        if givers:
            self._givers[taker] = givers
