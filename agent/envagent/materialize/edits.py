"""What was edited in a writable overlay: the upper directory, beside the prefix, which holds that and nothing else.

Its name is made of the prefix's and of the plan, so edits outlive the mount, a reboot and trees that are made anew,
and never come to another environment. Invariant: one mount at a time, for two of them over one upper directory are
undefined (Linux, overlayfs.rst); the lock lasts as long as the process that mounted, and what that becomes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from pathlib import Path

from envagent.errors import PrefixRefused

UPPER, WORK = "upper", "work"


def directory(place: Path, identity: str) -> Path:
    """Where the edits of the environment at the place are; it need not be there."""
    return place.with_name(f".envmesh-edits-{hashlib.sha256(place.name.encode()).hexdigest()[:12]}-{identity[:12]}")


def hold(edits: Path) -> None:
    """Make the directories where they are not there, and keep others from mounting them, until this process and what
    it becomes (execve(2)) have ended. Raises PrefixRefused where another has them; OSError passes.
    """
    for name in (UPPER, WORK):
        (edits / name).mkdir(parents=True, exist_ok=True)
    lock = os.open(edits, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise PrefixRefused(
            f"the edits in {edits} are in use by another command",
            hint="a writable overlay is mounted by one command at a time: wait for it",
        ) from None
    os.set_inheritable(lock, True)


def has(edits: Path, path: str) -> bool:
    """Whether it is an edit that decides what is at the path: a file of its own, a whiteout, or a folder that was
    replaced (overlayfs.rst), there or above.
    """
    place = edits / UPPER
    for part in Path(path).parts:
        place /= part
        try:
            mode = place.lstat().st_mode
        except FileNotFoundError:
            return False
        if not stat.S_ISDIR(mode) or _is_opaque(place):
            return True
    return True


def put_away(edits: Path, place: Path) -> None:
    """Move the edits to another place, from where they can be removed by whoever owns them. OSError passes."""
    own = edits / WORK / WORK
    if own.exists():
        own.chmod(0o700)  # the kernel made it with no rights at all
    edits.rename(place)


def _is_opaque(folder: Path) -> bool:
    try:
        return os.getxattr(folder, "user.overlay.opaque") == b"y"
    except OSError:  # ENODATA, or a filesystem that has no such attributes
        return False
