"""Environments that are there already: found, judged after a crash of the machine, moved away where they are broken.

The mark (ready.py) says what a prefix holds. Invariant: what is moved away was judged under the lock of its place, by
the mark that it had then, so nobody loses an environment that another process has made since. Making one is for
prefix.py.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from envagent.errors import PrefixRefused
from envagent.materialize import edits, overlay
from envagent.materialize.ready import read_ready
from envagent.store.flock import held

if TYPE_CHECKING:
    from envagent.materialize.plan import Plan
    from envagent.materialize.ready import Ready
    from envagent.store.node import NodeStore


def find(plan: Plan, store: NodeStore, place: Path) -> Ready | None:
    """The environment, where it is there already and right. Raises PrefixRefused where something else is."""
    ready = _mark(plan, place)
    if ready is None:
        return None
    if not ready.layered and _is_certain(store, place, ready):
        return ready
    with held(lock_of(store, place)):
        return find_alone(plan, store, place)


def find_alone(plan: Plan, store: NodeStore, place: Path) -> Ready | None:
    """As `find`, for who holds the lock of the place: what is not whole is moved out of the way.

    The mark is read again: another process may have made the environment anew since.
    """
    ready = _mark(plan, place)
    if ready is None:
        return None
    if ready.layered and not _is_laid(store, place, ready):
        return None
    if not _is_certain(store, place, ready) and not _survived(store, place, ready):
        return None
    return ready


def _mark(plan: Plan, place: Path) -> Ready | None:
    """The mark of the environment, None where nothing is. Raises PrefixRefused where something else is."""
    ready = read_ready(place)
    if ready is None:
        if place.is_symlink() or (place.exists() and not _is_empty_directory(place)):
            raise PrefixRefused(
                f"{place} exists and is not an environment made by envagent", hint="remove it or choose another path"
            )
        return None
    if ready.identity != plan.identity:
        raise PrefixRefused(
            f"{place} holds another environment ({ready.identity[:12]}, not {plan.identity[:12]})",
            hint="environments are never changed: remove it or choose another path",
        )
    return ready


def _is_certain(store: NodeStore, place: Path, ready: Ready) -> bool:
    """Whether no crash of the machine can have touched it."""
    return ready.boot == store.boot_id or name_in_journal(place, ready.identity) in store.journal.names()


def _is_laid(store: NodeStore, place: Path, ready: Ready) -> bool:
    """Whether the trees lie under a prefix that has only its own files; one whose trees are gone is removed."""
    if overlay.is_mounted(place):
        return True
    if all(store.find(part.key) for part in ready.parts + ready.bytecode):
        lay(store, place, ready)
        return True
    remove(place)
    return False


def lay(store: NodeStore, place: Path, ready: Ready) -> None:
    """Mount the trees under the prefix, and its edits over them where it is writable. Raises PrefixRefused."""
    upper = Path(ready.edits) if ready.edits else None
    is_new = upper is not None and not upper.exists()
    try:
        if upper:
            edits.hold(upper)
        overlay.mount(place, store, ready, upper=upper)
    except PrefixRefused:
        if upper and is_new:
            shutil.rmtree(upper)
        raise


def _survived(store: NodeStore, place: Path, ready: Ready) -> bool:
    """Whether a prefix of before the last boot is whole; one that is not is moved out of the way."""
    from envagent.materialize.verify import verify  # noqa: PLC0415  # once per boot

    if all(finding.is_edit for finding in verify(place)):
        store.journal.note([name_in_journal(place, ready.identity)])
        return True
    if overlay.is_mounted(place):
        overlay.unmount(place)
    remove(place)
    return False


def remove(place: Path) -> None:
    """Move it out of the way, at once, and then unlink it."""
    broken = place.with_name(draft_name(place))
    place.rename(broken)
    shutil.rmtree(broken)


def name_in_journal(prefix: Path, identity: str) -> str:
    """What the journal calls a prefix that is known to be on the disk."""
    return f"prefix-{hashlib.sha256(str(prefix).encode()).hexdigest()[:32]}-{identity}"


def durable_with(store: NodeStore, prefix: Path, identity: str) -> frozenset[str]:
    """What the journal may say of a prefix once the store's disk was synced: nothing of one on another disk.

    That one is verified when it is asked for after the next boot. OSError passes.
    """
    is_beside = prefix.parent.stat().st_dev == store.root.stat().st_dev
    return frozenset({name_in_journal(prefix, identity)}) if is_beside else frozenset()


def lock_of(store: NodeStore, place: Path) -> Path:
    """What is held to make an environment at the place, or to remove one."""
    return store.root / "locks" / f"prefix-{hashlib.sha256(str(place).encode()).hexdigest()}"


def draft_name(place: Path, random: str = "") -> str:
    """A name beside the place for what is no environment yet, or no more; what is left over is swept (prefix.py)."""
    # Not the name itself: that may be as long as names get.
    return f".envmesh-{hashlib.sha256(place.name.encode()).hexdigest()[:12]}-{random or os.urandom(4).hex()}"


def _is_empty_directory(path: Path) -> bool:
    return path.is_dir() and next(path.iterdir(), None) is None
