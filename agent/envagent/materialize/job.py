"""What a worker is asked to do, how it does it, and what it answers; the same in this process and in another.

A job names everything by path and moves bytes; whether a file belongs there was decided before. Answers carry errors
as values, for they cross a pipe.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

from envagent.materialize.member import Damaged, Member, write


class Unpack(msgspec.Struct, frozen=True, array_like=True, tag="unpack"):
    """Write `members` of the archive to `targets` (relative to `root`); the answer is their SHA-256 digests."""

    archive: str
    root: str
    members: list[Member]
    targets: list[str]


class Digest(msgspec.Struct, frozen=True, array_like=True, tag="digest"):
    """The SHA-256 of a whole file."""

    path: str


class CondaInstall(msgspec.Struct, frozen=True, array_like=True, tag="conda"):
    """Unpack the conda package `stem` to the tree at `root` (conda_install.py); the answer is its manifest."""

    archive: str
    root: str
    stem: str
    library: str


Job = Unpack | Digest | CondaInstall


class Done(msgspec.Struct, frozen=True, array_like=True, tag="done"):
    """The digests, or the manifest, that the job was about."""

    digests: list[bytes]


class Failed(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """Why not: `code` is the errno of a disk that refused, or 0 where the archive is damaged."""

    reason: str
    code: int = 0
    path: str = ""

    def error(self) -> Exception:
        """The exception that it was."""
        return OSError(self.code, self.reason, self.path) if self.code else Damaged(self.reason)


Answer = Done | Failed


def perform(job: Job) -> Answer:
    """Do it."""
    try:
        return Done(_perform(job))
    except Damaged as damaged:
        return Failed(str(damaged))
    except OSError as error:
        return Failed(error.strerror or str(error), error.errno or 5, str(error.filename or ""))


def _perform(job: Job) -> list[bytes]:
    if isinstance(job, Unpack):
        return _unpack(job)
    if isinstance(job, Digest):
        return [_sha256(job.path)]
    from envagent.materialize import conda_install  # noqa: PLC0415  # most environments have no conda packages

    return [conda_install.perform(job)]


def _sha256(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _unpack(job: Unpack) -> list[bytes]:
    fd = os.open(job.archive, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return [
            write(fd, member, f"{job.root}/{target}") for member, target in zip(job.members, job.targets, strict=True)
        ]
    finally:
        os.close(fd)
