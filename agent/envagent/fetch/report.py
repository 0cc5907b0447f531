"""What `fetch` tells while it works, to whoever draws bars, writes lines or unpacks as files come.

Called on the thread that fetches; a method must return at once and must not raise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from envagent.lock.model import Package


class Report:
    """Receives events; every method does nothing unless overridden."""

    def missing(self, files: int, size: int) -> None:
        """So many files, of `size` bytes together, are not here yet and will be downloaded."""

    def received(self, count: int) -> None:
        """`count` more bytes came. Negative if bytes turned out to be wrong and come again."""

    def troubled(self, name: str, why: str) -> None:
        """A source of the file `name` failed or has another file; the next source, or the same again, is tried."""

    def arrived(self, package: Package, path: Path) -> None:
        """The package is here, verified: at once for what was here before, in the order of arrival for the rest."""
