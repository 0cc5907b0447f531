"""What a channel is to the URLs of the Conda face, be it mirrored or hosted here.

`place` is a subdir below the channel, labels included. A definite absence is NoSuchThing; UpstreamError is what
cannot be told now. Clients forget neither: a 404 for a shard index costs some of them shards for ever, so it is said
only when it is true.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from envproxy.engine.download import Download
from envproxy.engine.known import CacheResult

from .channel import Filename
from .making import FlatForm
from .packages import Package, Remote
from .subdirs import Piece


@dataclass(frozen=True, slots=True)
class Listing:
    """A blob that may be replaced: fresh until that moment (seconds since the epoch), and how it was come by."""

    sha256: str
    fresh_until: float
    result: CacheResult


class Channel(Protocol):
    """Raises NoSuchThing, UpstreamError, StorageFull. `ask` goes past freshness, for a moment."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""

    async def index(self, place: str, *, ask: bool) -> Listing:
        """The shard index (CEP 16)."""

    async def flat(self, place: str, form: FlatForm, *, ask: bool) -> Listing:
        """Flat repodata (CEP 36)."""

    async def shard(self, place: str, digest: bytes) -> Piece | Download:
        """The shard of that digest."""

    async def package(self, place: str, name: Filename, demanded: str | None) -> Package:
        """A package; `demanded` is the SHA-256 that the client wants it to have. Raises PolicyRefused."""

    async def look(self, place: str, name: Filename, demanded: str | None) -> Package | Remote:
        """Where that package is, without fetching it. Raises PolicyRefused."""

    async def file(self, path: str, *, ask: bool) -> Listing:
        """Any other file, by its path below the channel."""

    async def renew(self, place: str) -> None:
        """Bring back what was evicted of a place."""

    def forget_package(self, place: str, name: Filename, sha256: str) -> None:
        """The store turned out not to have that package any more."""

    def forget(self) -> None:
        """Drop what is in memory: the catalog changed behind our back."""
