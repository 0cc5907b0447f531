"""The Python that conda brings: what it says of itself, and a place where it runs before its environment is there.

It is run once per node out of a scratch prefix (its package and what that depends on, linked from their trees; a
dynamic linker finds its libraries there); the answer is kept in the store as a tree of one small file, whose key
names the package, so gc and kill -9 treat it as any other tree. The same scratch prefix compiles bytecode.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from envagent.materialize.conda_order import closure
from envagent.materialize.interpreter import Interpreter, describe
from envagent.materialize.link import link_files, make_directories, make_links
from envagent.store.manifest import Entry, Manifest
from envagent.store.node import Tree

if TYPE_CHECKING:
    from envagent.materialize.plan import CondaFile, Plan
    from envagent.store.node import Build, NodeStore

_ANSWER = "interpreter.json"


class CondaPython:
    """The Python of the plan, whose conda packages' `trees` are in the store; its scratch prefix is below `work`."""

    def __init__(self, plan: Plan, trees: list[Tree], store: NodeStore, work: Path) -> None:
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
        names = closure("python", [source.package for source in self._plan.conda])
        for source, tree in zip(self._plan.conda, self._trees, strict=True):
            if source.package.name in names:
                self._link(source, tree)

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

    def _link(self, source: CondaFile, tree: Tree) -> None:
        """Lay a tree over the scratch prefix; of two files the first stays, which is as good here."""
        manifest = tree.manifest
        make_directories(self._scratch, manifest.directories)
        there = {path for path in (*manifest.paths, *manifest.links) if os.path.lexists(self._scratch / path)}
        link_files(tree.files, self._scratch, manifest.paths, "hardlink", skip=there)
        make_links(self._scratch, {path: target for path, target in manifest.links.items() if path not in there})
