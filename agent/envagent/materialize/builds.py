"""Building the trees that the store lacks, each by one process on the node.

Other processes may want the same trees at the same moment. What another one is building is left to it and waited for
last, when this one holds no reservation, so that two processes never wait for each other. Where the archives come
from, and whether all are there yet (intake.py), is no matter here.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from envagent.materialize import install
from envagent.materialize.plan import CondaFile
from envagent.materialize.progress import Progress
from envagent.materialize.workers import Workers
from envagent.store.node import Build, Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

    from envagent.materialize import conda_install
    from envagent.materialize.conda_python import EarlyQuestion
    from envagent.materialize.plan import Plan, Source
    from envagent.materialize.progress import Report
    from envagent.store.node import NodeStore

_PROCESSES_FROM_BYTES = 16 << 20  # of packages: below it a worker process costs more than it saves
_MAX_AT_ONCE = 64  # builds begun and not finished: each holds a lock open


def build_trees(
    plan: Plan,
    missing: Sequence[Source],
    store: NodeStore,
    work: Path,
    report: Report,
    *,
    cores: int = 0,
    prove: bool = True,
) -> dict[str, Tree]:
    """The tree of every package of `missing`, by sha256; `cores` is how many to use, 0 for all.

    Those that a conda Python runs from come first, so that it can be asked early, and of all others the largest.

    Without `prove` what RECORD promises of files is believed, and `scrub` has it yet to prove.

    Raises ArtifactRefused; OSError passes.
    """
    sizes = {source.sha256: source.path.stat().st_size for source in missing}
    with (
        workers_for(plan, sum(sizes.values()), cores) as workers,
        Builds(plan, store, work, workers, report, len(missing), prove=prove) as builds,
    ):
        first = {source.sha256 for source in plan.python_parts}
        for source in sorted(missing, key=lambda it: (it.sha256 in first, sizes[it.sha256]), reverse=True):
            builds.begin(source)
        return builds.finish()


def workers_for(plan: Plan, size: int, cores: int = 0) -> Workers:
    """Those for packages of `size` bytes together; `cores` is how many to use, 0 for all that may be used."""
    if plan.conda:
        from envagent.materialize import conda_install  # noqa: F401, PLC0415  # once here, and not in each copy of it
    return Workers(cores or len(os.sched_getaffinity(0)), processes=size >= _PROCESSES_FROM_BYTES)


@dataclass
class Builds:
    """The trees that this process builds, `total` of them; a context manager, which lets go of what is unfinished.

    `wake` is called, from any thread, when `publish_ready` may have something to do.
    """

    plan: Plan
    store: NodeStore
    work: Path
    workers: Workers
    report: Report
    total: int
    prove: bool = True
    wake: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        self._begun: deque[install.Unpacking | conda_install.Unpacking] = deque()
        self._elsewhere: list[Source] = []
        self._done: dict[str, Tree] = {}
        self._question: EarlyQuestion | None = None

    def __enter__(self) -> Self:
        if self.plan.conda_python:
            from envagent.materialize.conda_python import EarlyQuestion  # noqa: PLC0415  # only for conda

            self._question = EarlyQuestion(self.plan, self.store, self.work)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for unpacking in self._begun:
            unpacking.build.release()
        if self._question:
            self._question.close()

    def begin(self, source: Source) -> None:
        """Hand a package to the workers, or leave it to the process that is at it. Raises as `finish`."""
        if not self._begin(source, wait=False):
            self._elsewhere.append(source)

    def publish_ready(self) -> None:
        """Publish what is whole, in the order in which it was begun. Raises as `finish`."""
        while self._begun and all(part.done() for part in self._begun[0].parts):
            self._publish()

    def finish(self) -> dict[str, Tree]:
        """Every tree, by sha256 (blocking). Raises ArtifactRefused, and PrefixRefused of a Python that does not run;
        OSError passes.
        """
        self._publish_all()
        for source in self._elsewhere:
            self._begin(source, wait=True)
            self._publish_all()
        if self._question:
            self._question.wait()
        return self._done

    def _begin(self, source: Source, *, wait: bool) -> bool:
        if len(self._begun) >= _MAX_AT_ONCE:
            self._publish()
        reserved = self.store.reserve(self.plan.key(source), self.work, wait=wait)
        if isinstance(reserved, Build):
            try:
                self._begun.append(self._start(source, reserved))
            except BaseException:
                reserved.release()
                raise
        elif reserved is not None:
            self._add(source, reserved)
        return reserved is not None

    def _start(self, source: Source, build: Build) -> install.Unpacking | conda_install.Unpacking:
        _read_ahead(source.path)
        unpacking = self._unpacking(source, build)
        if wake := self.wake:
            for part in unpacking.parts:
                part.add_done_callback(lambda _: wake())
        return unpacking

    def _unpacking(self, source: Source, build: Build) -> install.Unpacking | conda_install.Unpacking:
        if isinstance(source, CondaFile):
            from envagent.materialize import conda_install  # noqa: PLC0415  # zstandard, tarfile: only for conda

            return conda_install.start(source, self.plan.library, build, self.workers)
        return install.start(source, self.plan.library, build, self.workers, prove=self.prove)

    def _publish_all(self) -> None:
        while self._begun:
            self._publish()

    def _publish(self) -> None:
        unpacking = self._begun[0]
        tree = unpacking.finish()
        self._begun.popleft()
        self._add(unpacking.source, tree)

    def _add(self, source: Source, tree: Tree) -> None:
        self._done[source.sha256] = tree
        if self._question:
            self._question.add(source, tree)
        self.report(Progress("unpack", source.filename, len(self._done), self.total))


def _read_ahead(path: Path) -> None:
    """Have the kernel get the file from the disk by the time that a worker comes to it. OSError passes."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(fd)
