"""What `materialize` tells while it works: plain values to whoever draws bars or writes lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

Stage = Literal["unpack", "compile", "link"]


class Progress(NamedTuple):
    """`name` is done, the `done`th of `total` in this stage."""

    stage: Stage
    name: str
    done: int
    total: int


Report = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """Tell nobody."""
