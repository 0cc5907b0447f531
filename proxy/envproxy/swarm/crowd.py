"""The holders of one artifact in one zone, any of whom can be drawn at random.

Sets of pieces are whole numbers (bitmap.py). `union` and the members' bitmaps are kept up to date with each change;
drawing costs the same however many there are, unless a piece is rare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from random import Random
from typing import Final

_GLANCE: Final = 32  # members looked at before all of them are
_ENOUGH: Final = 3  # of them that have something wanted


class Crowd:
    """See the module. `has` is one bitmap a member."""

    def __init__(self) -> None:
        self.has: dict[str, int] = {}
        self.union = 0
        self._names: list[str] = []
        self._place: dict[str, int] = {}

    def set(self, name: str, bitmap: int) -> None:
        """A member has these pieces now, and no others; with none it is no member."""
        before = self.has.get(name, 0)
        if bitmap == before:
            return
        if not bitmap:
            self._remove(name)
        elif not before:
            self._place[name] = len(self._names)
            self._names.append(name)
        if bitmap:
            self.has[name] = bitmap
        if before & ~bitmap:
            self.union = self.without(frozenset())
        else:
            self.union |= bitmap

    def without(self, others: frozenset[str]) -> int:
        """What the members other than these have between them."""
        union = 0
        for name, bitmap in self.has.items():
            if name not in others:
                union |= bitmap
        return union

    def draw(self, wanted: int, count: int, random: Random, admits: Callable[[str], bool]) -> list[str]:
        """Up to `count` members that are admitted and have one of the wanted pieces, from a random one on.

        At least _ENOUGH if there are so many.
        """
        first = int(random.random() * len(self._names))
        found = self._among(islice(self._from(first), _GLANCE), wanted, count, admits)
        if len(found) < _ENOUGH and len(self._names) > _GLANCE:
            return self._among(self._from(first), wanted, count, admits)
        return found

    def _from(self, first: int) -> Iterator[str]:
        """All members, once around."""
        return chain(islice(self._names, first, None), islice(self._names, first))

    def _among(self, names: Iterable[str], wanted: int, count: int, admits: Callable[[str], bool]) -> list[str]:
        has = self.has
        return list(islice((name for name in names if has[name] & wanted and admits(name)), count))

    def _remove(self, name: str) -> None:
        """The last one takes its place."""
        del self.has[name]
        place, last = self._place.pop(name), self._names.pop()
        if last != name:
            self._names[place], self._place[last] = last, place
