"""What the bytes of an artifact must be: the digests that its index promises.

Pure: it names the digest to compute beside SHA-256, which is always computed, and says what is wrong. An index that
promises nothing, or only digests that nobody can compute, gets what it asked for: the length is all that is checked,
and that files of the kind begin so, lest the page of some gateway be kept as one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

_KNOWN = ("sha512", "blake2b", "sha384", "sha3_256", "sha224", "blake2s", "sha1", "md5")  # strongest first


@dataclass(frozen=True, slots=True)
class Expected:
    """Digests in lower-case hex by algorithm, as the index gave them (possibly none).

    `magic` is what files of the kind begin with, for want of a digest to check.
    """

    hashes: Mapping[str, str] = field(default_factory=dict)
    magic: bytes = b""

    @property
    def sha256(self) -> str | None:
        """The SHA-256 to demand, if the index gave one."""
        return self.hashes.get("sha256")

    @property
    def other(self) -> str | None:
        """Without a SHA-256: the strongest other algorithm that Python knows, to be checked instead."""
        return None if self.sha256 else next((name for name in _KNOWN if name in self.hashes), None)

    @property
    def vouches(self) -> bool:
        """Whether any digest will tell right bytes from wrong ones."""
        return self.sha256 is not None or self.other is not None

    def hasher(self) -> hashlib._Hash | None:
        """What computes `other`."""
        return hashlib.new(self.other, usedforsecurity=False) if self.other else None

    def admits(self, chunk: bytes, position: int) -> bool:
        """Whether a file without a digest may go on with `chunk` at `position`; b"" asks whether it may end there."""
        if self.vouches:
            return True
        rest = self.magic[position:]
        return chunk.startswith(rest[: len(chunk)] if chunk else rest)

    def mismatch(self, found: Mapping[str, str]) -> str | None:
        """What is wrong with bytes that have these digests, None if nothing is."""
        for algorithm, digest in found.items():
            wanted = self.hashes.get(algorithm, digest)
            if digest != wanted:
                return f"{algorithm} {digest}, not {wanted}"
        return None
