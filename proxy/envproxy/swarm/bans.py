"""Who is banned from one artifact for sending wrong bytes of it: whom enough others accused within one ban's length.

One accuser could lie, so it takes several each time: a ban uses up the accusations that led to it, and older ones
count no more. Pure; time comes in, in seconds of any clock that does not run backwards.
"""

from __future__ import annotations


class Bans:
    """`accusers` different nodes within `ban_s` seconds ban a node for `ban_s` seconds."""

    def __init__(self, accusers: int, ban_s: float) -> None:
        self._accusers = accusers
        self._ban_s = ban_s
        self._said: dict[str, dict[str, float]] = {}  # when each accuser of a node said so last
        self._until: dict[str, float] = {}

    def accuse(self, peer: str, accuser: str, now: float) -> bool:
        """A node says that another sends wrong bytes; whether that one is banned from now on."""
        self._forget(now)
        if peer in self._until:
            return False
        said = self._said.setdefault(peer, {})
        said[accuser] = now
        if len(said) < self._accusers:
            return False
        del self._said[peer]
        self._until[peer] = now + self._ban_s
        return True

    def at(self, now: float) -> frozenset[str]:
        """Who is banned."""
        return frozenset(peer for peer, until in self._until.items() if until > now)

    def _forget(self, now: float) -> None:
        """Drop bans that are over, and accusations too old to count."""
        self._until = {peer: until for peer, until in self._until.items() if until > now}
        recent = {
            peer: {accuser: at for accuser, at in said.items() if at > now - self._ban_s}
            for peer, said in self._said.items()
        }
        self._said = {peer: said for peer, said in recent.items() if said}
