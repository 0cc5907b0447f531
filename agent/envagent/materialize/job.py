"""What a worker is asked to do and what it answers: values that cross a pipe, errors among them.

A job names everything by path. How it is done is work.py's; whether a file belongs there was decided before.
"""

from __future__ import annotations

import msgspec

from envagent.errors import ArtifactRefused
from envagent.materialize.member import Damaged, Member


class Unpack(msgspec.Struct, frozen=True, array_like=True, tag="unpack"):
    """Write `members` of the archive to `targets` (relative to `root`); the answer is their SHA-256 digests.

    Without `prove` these are what RECORD promises.
    """

    archive: str
    root: str
    members: list[Member]
    targets: list[str]
    prove: bool


class Digest(msgspec.Struct, frozen=True, array_like=True, tag="digest"):
    """The answer is the SHA-256 of a whole file."""

    path: str


class Install(msgspec.Struct, frozen=True, array_like=True, tag="install"):
    """Make the whole tree of a wheel below `root`, for the interpreter's `library`; the answer is its manifest.

    `verified` is whether the archive is known to have that sha256.
    """

    archive: str
    filename: str
    sha256: str
    library: str
    root: str
    prove: bool
    verified: bool = False


class CondaInstall(msgspec.Struct, frozen=True, array_like=True, tag="conda"):
    """Make the tree of the conda package `stem` at `root` (conda_install.py); the answer is its manifest.

    `verified` is whether the archive is known to have that sha256.
    """

    archive: str
    filename: str
    sha256: str
    library: str
    root: str
    stem: str
    verified: bool = False


Job = Unpack | Digest | Install | CondaInstall


class Done(msgspec.Struct, frozen=True, array_like=True, tag="done"):
    """What was asked for."""

    answer: list[bytes]

    def result(self) -> list[bytes]:
        """The answer."""
        return self.answer


class Failed(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """Why not: `code` is the errno of a disk that refused, or 0 where the archive is damaged."""

    reason: str
    code: int = 0
    path: str = ""

    def result(self) -> list[bytes]:
        """Raise it."""
        raise OSError(self.code, self.reason, self.path) if self.code else Damaged(self.reason)


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """The package is not to be installed; a person is told why."""

    filename: str
    problem: str
    hint: str

    def result(self) -> list[bytes]:
        """Raise it."""
        raise ArtifactRefused(self.filename, self.problem, hint=self.hint)


Answer = Done | Failed | Refused
