"""Environments without a link per file: one overlay mount of the trees, in a few milliseconds.

The prefix on the disk holds only its own files and the mark; the trees of the node store are laid under them by the
newer mount API, which takes each layer by a call of its own (Linux 6.8; the options of mount(2) end after some 40).
Later packages lie above earlier ones, all packages above all bytecode, the prefix's own files on top: the same files
win as with links. It is mounted read-only, or what is written goes to a directory of the environment (edits.py): no
tree can be edited through it.

Mounting needs CAP_SYS_ADMIN, or a user namespace (user_namespaces(7)) whose mounts nobody outside it sees. Nothing
here survives a reboot; the next `materialize` of the same plan mounts again.
"""

from __future__ import annotations

import errno
import os
import stat
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from envagent.errors import PrefixRefused
from envagent.materialize.edits import UPPER, WORK

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Iterable

    from envagent.materialize.ready import Part, Ready
    from envagent.store.node import NodeStore

MAX_LAYERS = 500
"""OVL_MAX_STACK of the kernel: one more is EINVAL."""

# Numbers since 424 are the same on every architecture.
_MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 429, 430, 431, 432
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6  # enum fsconfig_command
_CLOEXEC = 1
_READ_ONLY, _NO_SUID, _NO_DEVICES = 0x1, 0x2, 0x4  # MOUNT_ATTR_
_AT_FDCWD = -100
_FROM_EMPTY_PATH = 0x4  # MOVE_MOUNT_F_EMPTY_PATH
_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000  # CLONE_
_DETACH = 2  # MNT_DETACH
_INSTEAD = "use hardlinks (the default), or `envagent run`, which mounts in a namespace of its own"


def mount(place: Path, store: NodeStore, ready: Ready, *, upper: Path | None = None) -> None:
    """Lay the trees of the prefix under it. With `upper`, which is held (edits.py), it is writable: edits go there.

    Raises PrefixRefused where this process may not mount, where trees are gone, or there are too many.
    """
    layers = [place, *reversed(_trees(store, ready.bytecode + ready.parts))]
    if len(layers) > MAX_LAYERS:
        raise PrefixRefused(
            f"{place} has {len(layers)} layers, more than the {MAX_LAYERS} of an overlay", hint=_INSTEAD
        )
    options = [(b"lowerdir+", os.fsencode(layer)) for layer in layers]
    if upper:
        options += _writable(upper)
    try:
        _mount(place, options, _NO_DEVICES | _NO_SUID | (0 if upper else _READ_ONLY))
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENODEV, errno.EINVAL}:
            raise
        raise PrefixRefused(f"no overlay can be mounted at {place} ({error.strerror})", hint=_INSTEAD) from None


def is_mounted(place: Path) -> bool:
    """Whether something is mounted at the prefix."""
    return place.is_mount()


def unmount(place: Path) -> None:
    """Take the mount away; who has files of it open keeps them. OSError passes."""
    if _libc().umount2(os.fsencode(place), _DETACH) != 0:
        raise _error(place)


def hide(layer: Path, paths: Iterable[str]) -> None:
    """Make files of layers below vanish (whiteouts: devices 0/0, which anyone may make). OSError passes."""
    for path in paths:
        (layer / path).parent.mkdir(parents=True, exist_ok=True)
        os.mknod(layer / path, stat.S_IFCHR, os.makedev(0, 0))


def enter_namespace() -> None:
    """Give this process user and mount namespaces of its own, where it may mount; for good, and for its children.

    The process must have one thread. Raises PrefixRefused where the machine does not allow it.
    """
    user, group = os.geteuid(), os.getegid()
    if _libc().unshare(_NEW_USER | _NEW_MOUNTS) != 0:
        raise PrefixRefused(
            f"this process may not have a user namespace ({_error(Path('/')).strerror})",
            hint="use hardlinks (the default)",
        )
    Path("/proc/self/setgroups").write_text("deny")  # else no gid_map without privileges
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _trees(store: NodeStore, parts: Iterable[Part]) -> list[Path]:
    found = []
    for part in parts:
        tree = store.find(part.key)
        if tree is None:
            raise PrefixRefused(f"{part.source} is in the store no more", hint="materialize the environment again")
        found.append(tree.files)
    return found


def _writable(upper: Path) -> list[tuple[bytes, bytes]]:
    # Its own notes in extended attributes that a user namespace may write (overlayfs: "userxattr").
    return [
        (b"upperdir", os.fsencode(upper / UPPER)),
        (b"workdir", os.fsencode(upper / WORK)),
        (b"userxattr", b""),
    ]


def _mount(place: Path, options: list[tuple[bytes, bytes]], attributes: int) -> None:
    context = _call(place, _FSOPEN, b"overlay", _CLOEXEC)
    try:
        for key, value in options:
            _call(place, _FSCONFIG, context, _SET_STRING if value else _SET_FLAG, key, value or None, 0)
        _call(place, _FSCONFIG, context, _CREATE, None, None, 0)
        mounted = _call(place, _FSMOUNT, context, _CLOEXEC, attributes)
    finally:
        os.close(context)
    try:
        _call(place, _MOVE_MOUNT, mounted, b"", _AT_FDCWD, os.fsencode(place), _FROM_EMPTY_PATH)
    finally:
        os.close(mounted)


def _call(place: Path, number: int, *arguments: bytes | int | None) -> int:
    import ctypes  # noqa: PLC0415  # as in _libc

    values = [ctypes.c_long(value) if isinstance(value, int) else ctypes.c_char_p(value) for value in arguments]
    result: int = _libc().syscall(ctypes.c_long(number), *values)
    if result < 0:
        raise _error(place)
    return result


@cache
def _libc() -> ctypes.CDLL:
    import ctypes  # noqa: PLC0415  # slow to import, and most prefixes are made of links

    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


def _error(place: Path) -> OSError:
    import ctypes  # noqa: PLC0415  # as in _libc

    code = ctypes.get_errno()
    return OSError(code, os.strerror(code), str(place))
