"""What a file of a collection may be called, and which digest its name or the request for it demands.

Pure. A path is what follows `/files/<name>/`, decoded once: it stays below the collection's URL upstream, for names
that mean something else to another reader (`..`, empty parts, backslashes) are refused, never repaired.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from envproxy.errors import ClientError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class FilePath:
    """`folder` is "" for what lies at the root of the collection."""

    folder: str
    name: str

    @classmethod
    def parse(cls, text: str) -> FilePath:
        """Raises ClientError for a path that is none, or that is a directory's."""
        parts = text.split("/")
        if {"", ".", ".."}.intersection(parts) or "\\" in text or not text.isprintable() or len(text) > _LONGEST:
            raise ClientError(
                f"{text[:80]!r} is not the path of a file", hint="directories are not listed here; name one file"
            )
        return cls("/".join(parts[:-1]), parts[-1])

    @property
    def text(self) -> str:
        """The path as it was parsed."""
        return f"{self.folder}/{self.name}" if self.folder else self.name

    @property
    def quoted(self) -> str:
        """For a URL. A plus is quoted: some file hosts take a bare one for a space."""
        return quote(self.text)

    def beside(self, name: str) -> FilePath:
        """Another file of the same folder."""
        return FilePath(self.folder, name)

    @property
    def digest(self) -> str | None:
        """The SHA-256 that the file must have, where its name is one, as on pyenv's mirrors."""
        return self.name if _SHA256.fullmatch(self.name) else None


def demanded(path: FilePath, stated: str | None) -> str | None:
    """The SHA-256 that the file must have: `stated` by the client, or its name. Raises ClientError."""
    wanted = stated.lower() if stated else None
    if wanted and not _SHA256.fullmatch(wanted):
        raise ClientError(f"{wanted[:80]!r} is not a SHA-256", hint="64 hexadecimal digits")
    if wanted and path.digest and wanted != path.digest:
        raise ClientError(f"the file {path.digest} cannot have the SHA-256 {wanted}")
    return wanted or path.digest


def digest_in(sums: str, name: str) -> str | None:
    """What a file of checksums says of `name`: lines as sha256sum writes them, or one digest alone."""
    for line in sums.splitlines():
        digest, _, listed = line.strip().partition(" ")
        if _SHA256.fullmatch(digest.lower()) and listed.strip().removeprefix("*") in ("", name):
            return digest.lower()
    return None
