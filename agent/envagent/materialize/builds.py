"""Building the trees that the store lacks: largest first, each by one process on the node.

Other processes may want the same trees at the same moment. What another one is building is left to it and waited for
last, when this one holds no reservation, so that two processes never wait for each other.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envagent.materialize import install
from envagent.materialize.plan import CondaFile
from envagent.materialize.progress import Progress
from envagent.materialize.workers import Workers
from envagent.store.node import Build, Tree

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from envagent.materialize import conda_install
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
    """The tree of every package of `missing`, by sha256; `cores` is how many to use, 0 for all that may be used.

    Without `prove` what RECORD promises of files is believed, and `scrub` has it yet to prove.

    Raises ArtifactRefused; OSError passes.
    """
    sizes = {source.sha256: source.path.stat().st_size for source in missing}
    ordered = sorted(missing, key=lambda source: sizes[source.sha256], reverse=True)
    count = cores or len(os.sched_getaffinity(0))
    with Workers(count, processes=sum(sizes.values()) >= _PROCESSES_FROM_BYTES) as workers:
        builds = _Builds(plan, store, work, workers, report, prove)
        try:
            return builds.run(ordered)
        finally:
            builds.let_go()


@dataclass
class _Builds:
    plan: Plan
    store: NodeStore
    work: Path
    workers: Workers
    report: Report
    prove: bool

    def __post_init__(self) -> None:
        self._begun: deque[install.Unpacking | conda_install.Unpacking] = deque()
        self._done: dict[str, Tree] = {}
        self._total = 0

    def run(self, sources: list[Source]) -> dict[str, Tree]:
        """Build them all."""
        self._total = len(sources)
        elsewhere = [source for source in sources if not self._begin(source, wait=False)]
        while self._begun:
            self._finish()
        for source in elsewhere:
            self._begin(source, wait=True)
            while self._begun:
                self._finish()
        return self._done

    def let_go(self) -> None:
        """Release what was begun and will not be finished."""
        for unpacking in self._begun:
            unpacking.build.release()

    def _begin(self, source: Source, *, wait: bool) -> bool:
        if len(self._begun) >= _MAX_AT_ONCE:
            self._finish()
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
        if isinstance(source, CondaFile):
            from envagent.materialize import conda_install  # noqa: PLC0415  # zstandard, tarfile: only for conda

            return conda_install.start(source, self.plan.library, build, self.workers)
        return install.start(source, self.plan.library, build, self.workers, prove=self.prove)

    def _finish(self) -> None:
        unpacking = self._begun[0]
        tree = unpacking.finish()
        self._begun.popleft()
        self._add(unpacking.source, tree)

    def _add(self, source: Source, tree: Tree) -> None:
        self._done[source.sha256] = tree
        self.report(Progress("unpack", source.filename, len(self._done), self._total))
