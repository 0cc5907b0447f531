"""How a job is done, the same in this process and in another: archives are read, files written, errors answered."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from envagent.errors import ArtifactRefused
from envagent.materialize.job import Answer, CondaInstall, Digest, Done, Failed, Install, Job, Refused, Unpack
from envagent.materialize.member import Damaged, write


def perform(job: Job) -> Answer:
    """Do it."""
    try:
        return Done(_done(job))
    except ArtifactRefused as refused:
        return Refused(refused.filename, refused.problem, refused.hint)
    except Damaged as damaged:
        return Failed(str(damaged))
    except OSError as error:
        return Failed(error.strerror or str(error), error.errno or 5, str(error.filename or ""))


def _done(job: Job) -> list[bytes]:
    match job:
        case Unpack():
            return _unpack(job)
        case Digest():
            return [digest(job.path)]
        case Install():
            from envagent.materialize.install import install  # noqa: PLC0415  # it hands out jobs itself

            return [install(job)]
        case CondaInstall():
            from envagent.materialize import conda_install  # noqa: PLC0415  # most environments have no conda packages

            return [conda_install.perform(job)]


def digest(path: str) -> bytes:
    """The SHA-256 of a whole file. OSError passes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _unpack(job: Unpack) -> list[bytes]:
    fd = os.open(job.archive, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return [
            write(fd, member, f"{job.root}/{target}", prove=job.prove)
            for member, target in zip(job.members, job.targets, strict=True)
        ]
    finally:
        os.close(fd)
