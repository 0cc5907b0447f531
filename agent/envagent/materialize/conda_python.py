"""The Python that conda brings: what it says of itself, and a place where it runs before its environment is there.

It is run once per node out of a scratch prefix (its package and what that depends on, linked from their trees; a
dynamic linker finds its libraries there); the answer is kept in the store as a tree of one small file, whose key
names the package, so gc and kill -9 treat it as any other tree. The same scratch prefix compiles bytecode.
"""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from envagent.materialize.interpreter import Interpreter, describe
from envagent.materialize.link import link_files, make_directories, make_links
from envagent.store.manifest import Entry, Manifest
from envagent.store.node import Tree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envagent.materialize.plan import Plan, Source
    from envagent.store.node import Build, NodeStore

_ANSWER = "interpreter.json"


class CondaPython:
    """The Python of the plan: its parts are in the store, `trees` by sha256; its scratch prefix is below `work`."""

    def __init__(self, plan: Plan, trees: Mapping[str, Tree], store: NodeStore, work: Path) -> None:
        self._plan = plan
        self._trees = trees
        self._store = store
        self._work = work
        self._scratch = work / "python"

    def asked(self) -> tuple[Interpreter, Tree]:
        """What it says of itself, and the tree that says so; `executable` is where `runnable` puts it.

        Raises PrefixRefused where it does not run; OSError passes.
        """
        package = self._plan.conda_python
        assert package is not None
        reserved = self._store.reserve(f"{self._plan.key(package)}-described", self._work, wait=True)
        assert reserved is not None
        tree = reserved if isinstance(reserved, Tree) else self._describe(reserved)
        said = json.loads((tree.files / _ANSWER).read_bytes())
        return Interpreter(**{**said, "executable": self._executable}), tree

    def runnable(self) -> None:
        """Have it at its place in the scratch prefix."""
        if self._scratch.exists():
            return
        self._scratch.mkdir()
        for source in self._plan.python_parts:
            self._link(self._trees[source.sha256])

    @property
    def _executable(self) -> Path:
        return self._scratch / "bin" / "python"

    def _describe(self, build: Build) -> Tree:
        try:
            self.runnable()
            said = asdict(replace(describe(self._executable), executable=Path("bin/python")))
            data = json.dumps(said, default=str, sort_keys=True).encode()
            (build.files / _ANSWER).write_bytes(data)
            (build.files / _ANSWER).chmod(0o444)
            entry = Entry(_ANSWER, len(data), executable=False, digest=hashlib.sha256(data).digest())
            return build.publish(Manifest.of([], [entry]))
        finally:
            build.release()

    def _link(self, tree: Tree) -> None:
        """Lay a tree over the scratch prefix; of two files the first stays, which is as good here."""
        manifest = tree.manifest
        make_directories(self._scratch, manifest.directories)
        there = {path for path in (*manifest.paths, *manifest.links) if os.path.lexists(self._scratch / path)}
        link_files(tree.files, self._scratch, manifest.paths, "hardlink", skip=there)
        make_links(self._scratch, {path: target for path, target in manifest.links.items() if path not in there})


class EarlyQuestion:
    """Asks the Python of a plan as soon as its parts are built, while others are; the answer is in the store then."""

    def __init__(self, plan: Plan, store: NodeStore, work: Path) -> None:
        self._plan = plan
        self._store = store
        self._work = work
        self._wanted = {source.sha256 for source in plan.python_parts}
        found = {source.sha256: store.find(plan.key(source)) for source in plan.python_parts}
        self._trees = {sha256: tree for sha256, tree in found.items() if tree}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ask")
        self._asked: Future[tuple[Interpreter, Tree]] | None = None

    def add(self, source: Source, tree: Tree) -> None:
        """The tree of a package is there."""
        if source.sha256 in self._wanted:
            self._trees[source.sha256] = tree
            if len(self._trees) == len(self._wanted):
                self._asked = self._thread.submit(CondaPython(self._plan, self._trees, self._store, self._work).asked)

    def wait(self) -> None:
        """Until it has answered, if it was asked. Raises as `CondaPython.asked`."""
        if self._asked:
            self._asked.result()

    def close(self) -> None:
        """Ask nothing any more; what was asked is waited for."""
        self._thread.shutdown()
