"""What commands share that read or write a lock: files in, files or stdout out, machines from the command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from envagent.errors import UsageError
from envagent.lock.model import Interpreter, Target

if TYPE_CHECKING:
    from argparse import Namespace

    from envagent.lock.model import Lock


def lock_of(path: str, args: Namespace) -> Lock:
    """The lock in the file, whatever its format. Raises LockRefused, UsageError."""
    from envagent.lock.formats import read  # noqa: PLC0415  # imports what each format needs

    return read(file_at(path), machines=machines(args.platform, args.python))


def file_at(path: str, *, hint: str = "name a lock, such as lock.json") -> Path:
    """The path of a file that is there and may be read. Raises UsageError."""
    found = Path(path)
    if found.is_dir():
        raise UsageError(f"{path} is a directory", hint=hint)
    if not found.exists():
        raise UsageError(f"there is no file {path}", hint=hint)
    if not os.access(found, os.R_OK, effective_ids=True):
        raise UsageError(f"{path} cannot be read: permission is denied", hint="it is another user's")
    return found


def machines(platforms: list[str], python: str | None) -> tuple[Target, ...]:
    """Targets without packages, of `--platform` and `--python`; none if neither is given. Raises UsageError."""
    if not platforms and python is None:
        return ()
    if python is None or not platforms:
        raise UsageError(
            "a machine has a platform and a Python version", hint="give both: --platform linux-64 --python 3.12"
        )
    return tuple(
        Target(platform=platform, interpreter=Interpreter("system", version=python)) for platform in platforms
    )


def check_output(path: str | None) -> None:
    """Refuse a place where no file can be, before there is work that would be lost. Raises UsageError."""
    if path is None:
        return
    if Path(path).is_dir():
        raise UsageError(f"-o {path} is a directory", hint="name a file in it")
    if not Path(path).absolute().parent.is_dir():
        raise UsageError(f"there is no directory {Path(path).parent} for -o {path}", hint="make it first")


def write_out(data: bytes, path: str | None) -> None:
    """Write to the file at once, so that no reader sees half of it; or to stdout without one. Raises UsageError.

    A symbolic link stays one, and what is no file, such as a pipe or /dev/null, is written to.
    """
    if path is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    check_output(path)
    place = Path(path).resolve()
    if place.exists() and not place.is_file():
        place.write_bytes(data)
        return
    fresh = place.with_name(f".{place.name}.{os.urandom(4).hex()}")
    try:
        fresh.write_bytes(data)
        fresh.replace(place)
    except OSError as error:
        error.filename = path  # the other name says nothing to anybody
        raise
    finally:
        fresh.unlink(missing_ok=True)
