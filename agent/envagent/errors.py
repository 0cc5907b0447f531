"""Every error that envagent raises on purpose, in one small tree.

Each class knows the exit code of the command that ends with it, so the one place that turns errors into a last line
on stderr needs no table: 1 something failed here, 2 asked for what cannot be done, 3 an input was refused. Messages
say what failed and on which name; `hint` says what to try. A refused document carries *all* its problems, each with
its place in the document.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


_NAMED = 20  # files in a message about many


class EnvagentError(Exception):
    """The root: `exit_code` is what the command ends with."""

    exit_code: int = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


# --- the caller's fault: exit code 2 --------------------------------------------------------------------


class UsageError(EnvagentError):
    """What was asked for does not exist or needs one more word from the caller."""

    exit_code = 2


class ConfigRefused(UsageError):
    """Settings that cannot be. Carries all of them, each with its place and hint."""

    def __init__(self, faults: Sequence[UsageError]) -> None:
        self.faults = tuple(faults)
        if len(faults) == 1:
            super().__init__(faults[0].message, hint=faults[0].hint)
            return
        lines = [f"  {fault.message}" + (f" ({fault.hint})" if fault.hint else "") for fault in faults]
        super().__init__("\n".join([f"{len(faults)} settings cannot be as they are:", *lines]))


class CannotExport(UsageError):
    """The foreign format has no place for something that must not be left out; the message names it."""


class NoPlaceFor(CannotExport):
    """Files that a format of one kind of package cannot hold. Names all of them; `holds` says what it is for."""

    def __init__(self, form: str, filenames: Sequence[str], *, holds: str) -> None:
        lines = [f"{len(filenames)} files:", *(f"  {filename}" for filename in filenames)]
        what = filenames[0] if len(filenames) == 1 else "\n".join(lines)
        super().__init__(
            f"{form} has no place for {what}", hint=f"{holds}; --partial leaves out other kinds of packages"
        )


class PrefixRefused(UsageError):
    """The environment cannot be made at that path, or not with that interpreter; what is there was left alone."""


class Unresolvable(UsageError):
    """No set of packages meets the request; the message is the solver's explanation, in its own words."""


# --- the network's fault: exit code 1 -------------------------------------------------------------------


class SourceUnreachable(EnvagentError):
    """The proxy, an index or a channel did not answer, or not as one does; nothing is known of what it has."""


class AccessRefused(EnvagentError):
    """The proxy wants a token or a secret of the swarm, or one that may do this; upstream is not asked instead."""


class BuildFailed(EnvagentError):
    """No wheel could be made of a source on this machine; the message has the words of the build."""


class FetchFailed(EnvagentError):
    """Artifacts that neither this machine nor any source has. Carries all of them, each with the reason.

    The message names some: a server that is down has hundreds.
    """

    def __init__(self, problems: Iterable[Problem], *, hint: str = "") -> None:
        self.problems = tuple(problems)
        count = "1 file" if len(self.problems) == 1 else f"{len(self.problems)} files"
        lines = [f"{count} could not be fetched:", *(f"  {problem}" for problem in self.problems[:_NAMED])]
        if others := len(self.problems[_NAMED:]):
            lines.append(f"  and {others} more")
        super().__init__("\n".join(lines), hint=hint)


class DaemonFailed(EnvagentError):
    """The daemon did not finish what it was asked; the same command again goes on where it was."""


class RefusedByDaemon(EnvagentError):
    """What the daemon raised, in its words and with its exit code."""

    def __init__(self, message: str, *, hint: str, exit_code: int) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


# --- the disk's fault: exit code 1 ----------------------------------------------------------------------


class DiskRefused(EnvagentError):
    """The disk is full, read-only or not ours to write; nothing half-made is left behind."""


class TreeDamaged(DiskRefused):
    """The tree `key` has lost its manifest or a file: nobody can use it, and it may be discarded and built anew."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"the tree {key} of the store has lost files", hint="is the disk failing? try envagent scrub"
        )
        self.key = key


# --- the input's fault: exit code 3 ---------------------------------------------------------------------


class Problem(NamedTuple):
    """One thing wrong in a document: `where` is its path (`$.environments.default`), `what` the rule it broke."""

    where: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" ({self.hint})" if self.hint else "")


class LockRefused(EnvagentError):
    """The document is not a lock that may be acted on. Nothing of it was used."""

    exit_code = 3

    def __init__(self, name: str, problems: Iterable[Problem]) -> None:
        self.name = name
        self.problems = tuple(dict.fromkeys(problems))
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"{name} is refused, {count}:", *(f"  {problem}" for problem in self.problems)]))


class LockIncomplete(LockRefused):
    """The document is sound, but some entries lack a sha256 or a size and nobody could supply them."""


class ArtifactRefused(EnvagentError):
    """A wheel or package is damaged, hostile, not what its name or digest promises, or for another machine."""

    exit_code = 3

    def __init__(self, filename: str, problem: str, *, hint: str = "") -> None:
        super().__init__(f"{filename} is refused: {problem}", hint=hint)
        self.filename = filename
        self.problem = problem
