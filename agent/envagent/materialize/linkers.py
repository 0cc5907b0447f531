"""Filling a directory with the files of many trees: by several processes where there are many, here where few.

The order is that of a caller who writes files of its own in between: first every directory, then every file. What a
process could not do (another filesystem, no links left) is done again here, as link.py does it. Nothing is
overwritten.
"""

from __future__ import annotations

import marshal
import os
import sys
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar, cast

from envagent.errors import EnvagentError
from envagent.materialize import linker
from envagent.materialize.children import begin
from envagent.materialize.link import link_files, make_directories

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from envagent.materialize.link import LinkMode

_PROCESSES_FROM_FILES = 2000  # some 20 ms of links: below it a process costs more than it saves
_MAX_PROCESSES = 8  # the directories' locks are shared
_T = TypeVar("_T")


class Lot(NamedTuple):
    """Files of one tree: `paths` below `source`."""

    source: Path
    paths: list[str]


class Linkers:
    """Fills `target`, which exists; `files` is about how many there will be. A context manager."""

    def __init__(self, target: Path, mode: LinkMode, *, files: int) -> None:
        self._target = target
        self._mode = mode
        shared = mode == "hardlink" and files >= _PROCESSES_FROM_FILES
        count = min(len(os.sched_getaffinity(0)), _MAX_PROCESSES) if shared else 0
        self._linkers = [_Linker(target) for _ in range(count if count > 1 else 0)]

    def make_directories(self, directories: list[str]) -> None:
        """Make each, parents first; those that exist are kept. OSError passes."""
        rest = directories
        if self._linkers:
            for process, part in zip(self._linkers, _parts(directories, len(self._linkers)), strict=True):
                process.send(part)
            rest = [directory for process in self._linkers for directory in process.receive()]
        make_directories(self._target, rest)

    def link(self, lots: Sequence[Lot]) -> None:
        """Put each file at its path, once. OSError passes."""
        rest = list(lots)
        if self._linkers:
            for process, part in zip(self._linkers, _shares(lots, len(self._linkers)), strict=True):
                process.send([(str(source), paths) for source, paths in part])
            rest = [Lot(Path(source), paths) for process in self._linkers for source, paths in process.receive()]
        for lot in rest:
            link_files(lot.source, self._target, lot.paths, self._mode)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._linkers:
            process.close()


class _Linker:
    """One process; it ends when its stdin does."""

    def __init__(self, target: Path) -> None:
        program = [sys.executable, "-I", "-S", linker.__file__, str(target)]
        self._child = begin(partial(linker.serve, str(target)), program)

    def send(self, said: list[str] | list[tuple[str, list[str]]]) -> None:
        """Ask for something; `receive` has the answer."""
        with suppress(BrokenPipeError):  # `receive` says why
            marshal.dump(said, self._child.stdin)
            self._child.stdin.flush()

    def receive(self) -> list[Any]:
        """What it could not do of it. Raises EnvagentError if the process ended."""
        try:
            return cast("list[Any]", marshal.load(self._child.stdout))  # noqa: S302  # our own process wrote it
        except EOFError:
            raise EnvagentError(
                f"a process that links files ended (status {self._child.wait()})",
                hint="the machine may be short of memory",
            ) from None

    def close(self) -> None:
        """Let it end."""
        self._child.close()


def _shares(lots: Sequence[Lot], count: int) -> list[list[Lot]]:
    """About as many files for each of `count`; neighbours stay together, for they are in the same directories."""
    each = -(-sum(len(lot.paths) for lot in lots) // count) or 1
    shares: list[list[Lot]] = [[] for _ in range(count)]
    given = 0
    for source, paths in lots:
        rest = paths
        while rest:
            room = each - given % each
            shares[given // each].append(Lot(source, rest[:room]))
            given += len(rest[:room])
            rest = rest[room:]
    return shares


def _parts(items: Sequence[_T], count: int) -> Iterator[list[_T]]:
    rest = iter(items)
    for _ in range(count):
        yield list(islice(rest, -(-len(items) // count)))
