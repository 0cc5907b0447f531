"""Compares the store with its names and with the catalog, and puts right what differs.

A blob whose bytes no longer have its name as their SHA-256 (a failing disk, a stray hand) is quarantined and
forgotten, so that the next request fetches it anew; a hosted file has no upstream and must be uploaded again. Runs
beside a serving proxy: what comes or goes meanwhile is left alone.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .catalog import Catalog
from .store import BlobStore


@dataclass(frozen=True, slots=True)
class ScrubReport:
    """How many blobs were read, and the SHA-256 names of those found corrupt, missing from disk, or unknown."""

    checked: int
    corrupt: list[str]
    missing: list[str]
    adopted: list[str]


async def scrub(store: BlobStore, catalog: Catalog, *, on_progress: Callable[[int, int], None]) -> ScrubReport:
    """Read every blob; `on_progress` is told how many are done and how many there are."""
    found = await asyncio.to_thread(lambda: list(store.walk()))
    corrupt: list[str] = []
    for done, blob in enumerate(found, start=1):
        if await asyncio.to_thread(_quarantined, store, blob.sha256):
            await catalog.forget_blob(blob.sha256)
            corrupt.append(blob.sha256)
        on_progress(done, len(found))
    known = {row.sha256 for row in await catalog.blob_rows()}
    present = {blob.sha256: blob for blob in await asyncio.to_thread(lambda: list(store.walk()))}
    missing = sorted(known - present.keys())
    for sha256 in missing:
        await catalog.forget_blob(sha256)
    adopted = sorted(present.keys() - known)
    await catalog.adopt(present[sha256] for sha256 in adopted)
    return ScrubReport(len(found), corrupt, missing, adopted)


def _quarantined(store: BlobStore, sha256: str) -> bool:
    """Read one blob and move it aside if it is not what its name says."""
    try:
        sound = _sha256_of(store.path(sha256)) == sha256
        if not sound:
            store.quarantine(sha256)
    except FileNotFoundError:  # evicted meanwhile
        return False
    return not sound


def _sha256_of(path: Path) -> str | None:
    """The digest of a file, None where the disk cannot read it any more."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return None
