"""Ready-made pages in memory: the least recently used go once their bytes pass the budget.

What falls off is rebuilt from the catalog at the next request; nothing is lost but a few milliseconds.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from envproxy.engine.freshness import Span

from .render import Rendition

ENTRY_BYTES = 600  # what an entry costs beside its rendition


@dataclass(slots=True, eq=False)
class Ready:
    """A project as one index shows it.

    `rendition` is None when the index shows nothing: then `refusal` says why a policy hides it, or it is absent.
    `basis` names what it was made from; `flips_at` is when a policy verdict changes by the clock alone; `status` is
    the project's marker (PEP 792). Who builds a representation holds `building`. `heads` are the rendered heads of
    its answers by (status, ETag, cache result), good for the second `heads_at`.
    """

    basis: tuple[str, ...]
    owner: str | None
    span: Span
    made_at: float
    rendition: Rendition | None = None
    refusal: str | None = None
    rule: str = ""
    status: str = "active"
    flips_at: float | None = None
    stale: str | None = None
    shared_s: float = 600.0
    building: asyncio.Lock = field(default_factory=asyncio.Lock)
    heads: dict[tuple[int, str, str], bytes] = field(default_factory=dict)
    heads_at: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of memory it holds, nearly."""
        return ENTRY_BYTES + (self.rendition.nbytes if self.rendition is not None else 0)


class Shelf:
    """Pages by (index, project), within `limit_bytes`."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._pages: OrderedDict[tuple[str, str], Ready] = OrderedDict()
        self._weights: dict[tuple[str, str], int] = {}
        self.nbytes = 0
        self.edition = 0  # counts what was forgotten: a page read before that must not be put after it

    def __len__(self) -> int:
        return len(self._pages)

    def get(self, index: str, project: str) -> Ready | None:
        """The page, if it is ready-made."""
        ready = self._pages.get((index, project))
        if ready is not None:
            self._pages.move_to_end((index, project))
        return ready

    def put(self, index: str, project: str, ready: Ready) -> None:
        """Add or weigh again (a rendition grows as its variants are built), then trim to the budget."""
        key = (index, project)
        self.nbytes += ready.nbytes - self._weights.get(key, 0)
        self._weights[key] = ready.nbytes
        self._pages[key] = ready
        self._pages.move_to_end(key)
        while self.nbytes > self._limit_bytes and len(self._pages) > 1:
            oldest, _ = self._pages.popitem(last=False)
            self.nbytes -= self._weights.pop(oldest)

    def forget(self, project: str | None = None) -> None:
        """Drop `project` in every index, or everything."""
        self.edition += 1
        for key in [key for key in self._pages if project is None or key[1] == project]:
            del self._pages[key]
            self.nbytes -= self._weights.pop(key)
