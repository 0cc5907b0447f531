"""What was looked up lately, so that the next who asks costs no look-up: at most so many entries, the last used ones.

It holds nothing that could not be looked up again, and knows nothing of its truth: whoever keeps something here drops
it when it turns out to be wrong.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MOST = 20_000  # entries, a few hundred bytes each


class Remembered(Generic[K, V]):
    """At most `most` values by key; of more, those that were not asked for longest are forgotten."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._values: OrderedDict[K, V] = OrderedDict()

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def recall(self, key: K) -> V | None:
        """The value, None if it is not remembered."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def keep(self, key: K, value: V) -> V:
        """Remember the value, and give it back."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._most:
            self._values.popitem(last=False)
        return value

    def drop(self, key: K) -> None:
        """Forget one, if it is there."""
        self._values.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        self._values.clear()
