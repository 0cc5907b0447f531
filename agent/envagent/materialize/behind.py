"""What nobody needs to wait for, done by a process of its own once the prefix is there: proofs and bytecode.

Trees that were made with `prove="later"` hold the digests that RECORD promises; here every file is read and hashed,
and a tree of which RECORD lied is taken out of the store (scrub.py). Bytecode is compiled into the store, where the
next environment finds it, and added to this one beside what the interpreter itself may have cached there meanwhile.
The process is nobody's child for long, gives way to everybody else, and leaves a line in the store's `behind.log`.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from envagent import detached
from envagent.errors import EnvagentError
from envagent.materialize.bytecode import obtain_bytecode
from envagent.materialize.link import link_files, make_directories
from envagent.materialize.progress import silent
from envagent.materialize.ready import read_ready
from envagent.materialize.scrub import scrub
from envagent.store.node import NodeStore

if TYPE_CHECKING:
    from envagent.materialize.plan import Plan, Source
    from envagent.store.node import Tree

_MAX_LOG_BYTES = 1 << 20
_NICENESS = 10


@dataclass(frozen=True, slots=True)
class Errand:
    """For the prefix at `place`: trees to prove, packages of its plan to compile, and names to note as durable."""

    store: Path
    place: Path
    plan: Plan
    prove: frozenset[str] = frozenset()
    compile: tuple[Source, ...] = ()
    durable: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Done:
    """What came of it: packages compiled, what was poisoned, why it ended early, and the CPU seconds of it all."""

    prefix: str
    compiled: int
    poisoned: list[str]
    problem: str
    cpu_s: float


def start(errand: Errand) -> None:
    """Let a process do it, and return at once; this process need not live so long. OSError passes."""
    with os.fdopen(os.memfd_create("errand"), "w+b") as file:
        pickle.dump(errand, file)
        file.seek(0)
        detached.start("envagent.materialize.behind", str(file.fileno()), files=[file.fileno()])


def perform(errand: Errand) -> Done:
    """Do it here, and note it in the store."""
    store = NodeStore(errand.store)
    poisoned, compiled, problem = [], 0, ""
    try:
        poisoned = [str(found) for found in scrub(store, errand.prove)] if errand.prove else []
        compiled = _compile(errand, store)
        store.settle(set(errand.durable))
    except (EnvagentError, OSError) as error:
        problem = str(error)
    times = os.times()
    cpu_s = times.user + times.system + times.children_user + times.children_system
    done = Done(str(errand.place), compiled, poisoned, problem, round(cpu_s, 2))
    _note(store, done)
    return done


def _compile(errand: Errand, store: NodeStore) -> int:
    python = replace(errand.plan.interpreter, executable=errand.place / "bin" / "python")
    plan = replace(errand.plan, given=python)
    with store.in_use() as work:
        found = [(source, tree) for source in errand.compile if (tree := store.find(plan.key(source)))]
        sources, trees = [source for source, _ in found], [tree for _, tree in found]
        compiled = obtain_bytecode(plan, sources, trees, store, work, silent)
        ready = read_ready(errand.place)
        if ready and not ready.layered:
            for tree in compiled:
                _add(tree, errand.place, set(ready.absent))
    return len(compiled)


def _add(tree: Tree, place: Path, absent: set[str]) -> None:
    """Link the modules into the prefix, where the interpreter has not put its own."""
    make_directories(place, tree.manifest.directories)
    for path in tree.manifest.paths:
        if path not in absent:
            try:
                link_files(tree.files, place, [path], "hardlink")
            except FileExistsError:
                continue


def _note(store: NodeStore, done: Done) -> None:
    log = store.root / "behind.log"
    if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
        log.unlink(missing_ok=True)
    with log.open("a") as file:
        file.write(json.dumps({name: getattr(done, name) for name in Done.__slots__}) + "\n")


def main() -> None:
    """Do what the open file says that the first argument names."""
    os.nice(_NICENESS)
    with os.fdopen(int(sys.argv[1]), "rb") as file:
        errand = pickle.load(file)  # noqa: S301  # our own process wrote it
    perform(errand)


if __name__ == "__main__":
    main()
