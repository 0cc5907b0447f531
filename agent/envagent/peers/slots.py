"""Uploads at a time: so many together, and for one address never all of them.

Whoever finds no slot free is sent away at once, to ask another. Invariant: one machine, however many connections it
opens and however slowly it reads, leaves a slot for the others. Of addresses and not of names, which anybody can make
up: nodes behind one address share what one may have. How long an upload may take is not decided here.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from envproxy.errors import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Iterator

RETRY_S = 1


class Slots:
    """`count` uploads at a time, of which one address may have all but one."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._most = max(1, count - 1)
        self._taken: Counter[str] = Counter()

    @property
    def busy(self) -> int:
        """How many are taken."""
        return self._taken.total()

    @contextmanager
    def one(self, address: str) -> Iterator[None]:
        """A slot for the time of a block. Raises UpstreamError, which is a 503, if there is none for that address."""
        if self.busy >= self._count:
            raise UpstreamError("all upload slots are taken", cause="connect", retry_after_s=RETRY_S)
        if self._taken[address] >= self._most:
            raise UpstreamError(
                f"{address} takes {self._most} pieces already", cause="connect", retry_after_s=RETRY_S
            )
        self._taken[address] += 1
        try:
            yield
        finally:
            self._taken[address] -= 1
            if not self._taken[address]:
                del self._taken[address]
