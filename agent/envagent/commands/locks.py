"""What commands share that read or write a lock: files in, files or stdout out, machines from the command line."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from envagent import machine as here
from envagent.errors import UsageError
from envagent.lock.formats import import_bytes, needs_machines
from envagent.lock.model import Interpreter
from envagent.recall import PYTHON

if TYPE_CHECKING:
    from argparse import Namespace

    from envagent.lock.model import Lock, Target


def lock_of(path: str, args: Namespace) -> Lock:
    """The lock in the file, whatever its format, complete in itself. Raises LockRefused, UsageError."""
    from envagent.lock.complete import Nobody  # noqa: PLC0415  # materialize does without

    place = file_at(path)
    data = place.read_bytes()  # once: it may be a pipe
    return import_bytes(data, place.name, Nobody(), machines=machines(data, place.name, args))


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


def machines(data: bytes, name: str, args: Namespace) -> tuple[Target, ...]:
    """Targets without packages that a file is to be read for: none if it names its own and nobody else does.

    What `--platform` and `--python` leave open is this machine, as `envagent lock` takes it, and the minor version of
    the Python that runs this. Raises UsageError, LockRefused.
    """
    if not (args.platform or args.python or needs_machines(data, name)):
        return ()
    from envagent.resolve.machines import machine, this_machine  # noqa: PLC0415  # materialize needs neither

    python = Interpreter("system", version=args.python or PYTHON.rpartition(".")[0])
    named = [machine(words) for words in args.platform]
    platform = here.platform(os.uname())
    return tuple(
        replace(target, interpreter=python) for target in named or [this_machine(platform, here.detect({"__glibc"}))]
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
