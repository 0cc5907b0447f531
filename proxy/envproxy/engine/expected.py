"""What the bytes of an artifact must be: the digests that its index promises.

Pure: it names the digest to compute beside SHA-256, which is always computed, and says what is wrong. An index that
promises nothing, or only digests that nobody can compute, gets what it asked for: the length is all that is checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_KNOWN = ("sha512", "blake2b", "sha384", "sha3_256", "sha224", "blake2s", "sha1", "md5")  # strongest first


@dataclass(frozen=True, slots=True)
class Expected:
    """Digests in lower-case hex by algorithm, as the index gave them (possibly none)."""

    hashes: Mapping[str, str] = field(default_factory=dict)

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

    def mismatch(self, found: Mapping[str, str]) -> str | None:
        """What is wrong with bytes that have these digests, None if nothing is."""
        for algorithm, digest in found.items():
            wanted = self.hashes.get(algorithm, digest)
            if digest != wanted:
                return f"{algorithm} {digest}, not {wanted}"
        return None
