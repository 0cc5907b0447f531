"""What the catalog knows of blobs: how large, how recently used, and which must stay.

A row is bookkeeping, not truth: the file in the store is. A row without its file is a miss and goes at the next
eviction or scrub, a file without its row is adopted by a scrub. Files of hosted indexes pin their blobs by being
there; only deleting the file unpins them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from .database import Database
from .store import StoredBlob

BlobKind = Literal["artifact", "metadata", "listing"]


@dataclass(frozen=True, slots=True)
class BlobRow:
    """One blob: `size` in bytes, times in seconds since the epoch, `uses` since it was stored."""

    sha256: str
    size: int
    kind: BlobKind
    stored_at: float
    last_used: float
    uses: int


@dataclass(frozen=True, slots=True)
class Pin:
    """A reason why a blob must not be evicted. `pinned_at` is in seconds since the epoch."""

    sha256: str
    reason: str
    pinned_at: float


class Blobs(Database):
    """The tables `blobs` and `pins`."""

    async def add_blob(self, sha256: str, size: int, kind: BlobKind, at: float) -> None:
        """Note a blob that the store has made visible; one already known was used just now."""
        await self._write(
            """
            INSERT INTO blobs (sha256, size, kind, stored_at, last_used, uses) VALUES (?, ?, ?, ?, ?, 0)
            ON CONFLICT DO UPDATE SET
                size = excluded.size, kind = excluded.kind, last_used = max(last_used, excluded.last_used)
            """,
            sha256, size, kind, at, at,
        )  # fmt: skip

    async def adopt(self, blobs: Iterable[StoredBlob]) -> int:
        """Note blobs found in the store, as artifacts last used when they were written; return how many were new."""
        return await self._write_many(
            """
            INSERT OR IGNORE INTO blobs (sha256, size, kind, stored_at, last_used, uses)
            VALUES (?, ?, 'artifact', ?, ?, 0)
            """,
            [(blob.sha256, blob.size, blob.mtime, blob.mtime) for blob in blobs],
        )

    async def touch_blobs(self, last_used: Mapping[str, float]) -> None:
        """Note one use of each blob at its time; unknown ones are ignored."""
        await self._write_many(
            "UPDATE blobs SET last_used = max(last_used, ?), uses = uses + 1 WHERE sha256 = ?",
            [(at, sha256) for sha256, at in last_used.items()],
        )

    async def forget_blob(self, sha256: str) -> None:
        """Drop the row, after its file has gone."""
        await self._write("DELETE FROM blobs WHERE sha256 = ?", sha256)

    async def blob_rows(self) -> list[BlobRow]:
        """Every blob."""
        rows = await self._rows("SELECT sha256, size, kind, stored_at, last_used, uses FROM blobs")
        return [BlobRow(*row) for row in rows]

    async def totals(self) -> dict[BlobKind, tuple[int, int]]:
        """How many blobs of each kind there are, and their bytes."""
        rows = await self._rows("SELECT kind, count(*), sum(size) FROM blobs GROUP BY kind")
        return {kind: (number, size) for kind, number, size in rows}

    async def pin(self, sha256: str, reason: str, at: float) -> None:
        """Keep the blob from eviction, for `reason`; for the same reason again is fine."""
        await self._write(
            "INSERT OR IGNORE INTO pins (sha256, reason, pinned_at) VALUES (?, ?, ?)", sha256, reason, at
        )

    async def unpin(self, sha256: str) -> bool:
        """Drop what `pin` said of the blob, return whether it said anything. A hosted file goes on pinning it."""
        return await self._write("DELETE FROM pins WHERE sha256 = ?", sha256) > 0

    async def is_pinned(self, sha256: str) -> bool:
        """Whether there is a reason, of those that `pins` lists, why the blob must stay."""
        row = await self._row(
            """
            SELECT 1 FROM pins WHERE sha256 = ?1
            UNION ALL SELECT 1 FROM hosted_files WHERE ?1 IN (sha256, metadata_sha256)
            UNION ALL SELECT 1 FROM hosted_packages WHERE sha256 = ?1 AND deleted = 0
            LIMIT 1
            """,
            sha256,
        )
        return row is not None

    async def pins(self) -> list[Pin]:
        """Every pin, those of hosted files (reason `hosted:<index>`, since their upload) among them."""
        rows = await self._rows(
            """
            WITH uploads AS (
                SELECT sha256, metadata_sha256, 'hosted:' || source AS reason,
                    CAST(coalesce(unixepoch(upload_time), 0) AS REAL) AS pinned_at
                FROM hosted_files
                UNION ALL SELECT sha256, NULL, 'hosted:' || channel, uploaded_at FROM hosted_packages
                WHERE deleted = 0
            )
            SELECT sha256, reason, pinned_at FROM pins
            UNION SELECT sha256, reason, pinned_at FROM uploads
            UNION SELECT metadata_sha256, reason, pinned_at FROM uploads WHERE metadata_sha256 IS NOT NULL
            ORDER BY 1, 2
            """
        )
        return [Pin(*row) for row in rows]
