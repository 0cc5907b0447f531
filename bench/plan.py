"""What a run is to do, and what a benchmark gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .compare import Finding


@dataclass(frozen=True, slots=True)
class Plan:
    """`rounds` of everything that is compared. `quick` is for seeing that it works: nothing follows from its numbers.

    `scratch` is on the disk that the cache would be on: a file system in memory would make fsync free.
    """

    scratch: Path
    rounds: int
    quick: bool
    live: bool

    @property
    def load_s(self) -> int:
        """How long each load of wrk runs, in seconds."""
        return 2 if self.quick else 5

    @property
    def cold_bytes(self) -> int:
        """The size of a file that nobody asked for yet."""
        return 4_000_000 if self.quick else 16_000_000

    def place(self, name: str) -> Path:
        """A fresh directory in the scratch."""
        taken = len(list(self.scratch.glob(f"{name}-*")))
        place = self.scratch / f"{name}-{taken}"
        place.mkdir()
        return place


@dataclass(slots=True)
class Result:
    """What one benchmark found; `notes` are what a reader must know beside the numbers, skipped peers for one."""

    title: str
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
