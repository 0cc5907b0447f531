"""What must stay in the store: trees of prefixes that still exist, and trees that someone leased for a while.

A prefix is noted with a witness, a file inside it: when that is gone (whoever removed the prefix), so is the
reference. A lease ends by its time. Both are one small file each, replaced by rename.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator


_S = TypeVar("_S", bound=msgspec.Struct)


class PrefixReference(msgspec.Struct, frozen=True):
    """The prefix at `path` uses the trees `keys`, as long as the file `witness` exists."""

    path: str
    witness: str
    keys: list[str]


class Lease(msgspec.Struct, frozen=True):
    """`holder` wants the trees `keys` kept until `until` (seconds since the epoch)."""

    holder: str
    keys: list[str]
    until: float


class References:
    """The files under `prefixes/` and `leases/` of a store's root."""

    def __init__(self, root: Path) -> None:
        self._prefixes = root / "prefixes"
        self._leases = root / "leases"

    def note_prefix(self, prefix: Path, witness: Path, keys: Iterable[str]) -> None:
        """The prefix uses these trees from now on, and no others."""
        _replace(self._prefixes / _name(str(prefix)), PrefixReference(str(prefix), str(witness), sorted(set(keys))))

    def lease(self, holder: str, keys: Iterable[str], *, until: float) -> None:
        """Keep the trees for `holder`, whose former lease this replaces."""
        _replace(self._leases / _name(holder), Lease(holder, sorted(set(keys)), until))

    def prefixes(self) -> Iterator[PrefixReference]:
        """Those that still exist; the others are forgotten."""
        for path in sorted(self._prefixes.iterdir()):
            if (reference := _read(path, PrefixReference)) and Path(reference.witness).exists():
                yield reference
            else:
                path.unlink(missing_ok=True)

    def place(self, prefix: Path) -> Path:
        """The file that notes the prefix; its mtime is when the prefix was last made or asked for."""
        return self._prefixes / _name(str(prefix))

    def touch(self, prefix: Path) -> None:
        """The prefix is asked for now."""
        os.utime(self.place(prefix))

    def keys(self, *, now: float, without: Collection[Path] = ()) -> set[str]:
        """Every tree that a lease wants kept, or a prefix not in `without`; `now` in seconds since the epoch."""
        kept = (reference for reference in self.prefixes() if Path(reference.path) not in without)
        wanted = {key for reference in kept for key in reference.keys}
        for path in sorted(self._leases.iterdir()):
            lease = _read(path, Lease)
            if lease and lease.until > now:
                wanted.update(lease.keys)
            else:
                path.unlink(missing_ok=True)
        return wanted


def _name(of: str) -> str:
    return hashlib.sha256(of.encode(errors="surrogateescape")).hexdigest()


def _replace(path: Path, value: msgspec.Struct) -> None:
    fresh = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    fresh.write_bytes(msgspec.json.encode(value))
    fresh.replace(path)


def _read(path: Path, kind: type[_S]) -> _S | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
