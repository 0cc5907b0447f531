"""Bytecode, compiled once per artifact and interpreter and kept in the store as a tree of its own.

Compiling 150 wheels takes 25 CPU-seconds and linking the result a tenth of one; without it the first import of every
environment pays. The target interpreter compiles (compiler.py), in batches over many wheels, as many at a time as
there are cores. A pyc names no prefix: the import system fixes the file name of code objects when it loads them.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from envagent.errors import PrefixRefused
from envagent.materialize.layout import compiled_path, site_packages
from envagent.materialize.paths import directories
from envagent.materialize.progress import Progress
from envagent.store.manifest import Entry, Manifest
from envagent.store.node import Build, Tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from envagent.materialize.interpreter import Interpreter
    from envagent.materialize.plan import Plan, Source
    from envagent.materialize.progress import Report
    from envagent.store.node import NodeStore

_COMPILER = Path(__file__).with_name("compiler.py")
_WHEELS_AT_ONCE = 64  # each reservation holds a lock open
_FILES_AT_ONCE = 150  # for a process that takes 20 ms to start and some 300 to compile them
_TIMEOUT_S = 600
_DISK_REFUSED = 74  # how compiler.py ends then
_T = TypeVar("_T")


def obtain_bytecode(
    plan: Plan, sources: Sequence[Source], trees: Sequence[Tree], store: NodeStore, work: Path, report: Report
) -> list[Tree]:
    """The tree of compiled modules of every package of `sources`, in their order; `trees` are the packages' own.

    What another process is compiling is waited for. Raises PrefixRefused where the interpreter cannot compile;
    OSError passes, the compiler's too.
    """
    found = [store.find(plan.bytecode_key(source)) for source in sources]
    missing = [index for index, tree in enumerate(found) if tree is None]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="compile") as threads:
        compiler = _Compiler(plan, sources, store, work, threads)
        elsewhere = []
        for batch in _batches(missing, _WHEELS_AT_ONCE):
            some = compiler.run({index: trees[index] for index in batch}, wait=False)
            found = [some.get(index, tree) for index, tree in enumerate(found)]
            elsewhere += [index for index in batch if index not in some]
            report(Progress("compile", sources[batch[-1]].filename, len(found) - found.count(None), len(found)))
        for index in elsewhere:
            found[index] = compiler.run({index: trees[index]}, wait=True)[index]
    return [tree for tree in found if tree is not None]


class _Module(NamedTuple):
    source: str
    target: str


class _Compiler:
    def __init__(
        self, plan: Plan, sources: Sequence[Source], store: NodeStore, work: Path, threads: ThreadPoolExecutor
    ) -> None:
        self._plan = plan
        self._sources = sources
        self._store = store
        self._work = work
        self._threads = threads

    def run(self, trees: dict[int, Tree], *, wait: bool) -> dict[int, Tree]:
        """The compiled trees of these, without those that another process is compiling unless told to wait."""
        done: dict[int, Tree] = {}
        builds: dict[int, Build] = {}
        try:
            for index in trees:
                key = self._plan.bytecode_key(self._sources[index])
                reserved = self._store.reserve(key, self._work, wait=wait)
                if isinstance(reserved, Tree):
                    done[index] = reserved
                elif reserved is not None:
                    builds[index] = reserved
            self._compile([(trees[index], builds[index]) for index in builds])
            done |= {index: _publish(build) for index, build in builds.items()}
        finally:
            for build in builds.values():
                build.release()
        return done

    def _compile(self, pairs: list[tuple[Tree, Build]]) -> None:
        python = self._plan.interpreter
        modules = []
        for tree, build in pairs:
            found = list(_modules(tree.manifest, python))
            for folder in directories(module.target for module in found):
                (build.files / folder).mkdir()
            modules += [(f"{tree.files}/{here}", f"{build.files}/{there}", here) for here, there in found]
        for _ in self._threads.map(lambda batch: _run(python, batch), _batches(modules, _FILES_AT_ONCE)):
            pass


def _modules(manifest: Manifest, python: Interpreter) -> Iterator[_Module]:
    """The modules to compile: not those whose bytecode came in the wheel."""
    shipped = set(manifest.paths)
    site = f"{site_packages(python.library)}/"
    for path in manifest.paths:
        if path.endswith(".py") and path.startswith(site):
            target = compiled_path(path, python.cache_tag)
            if target not in shipped:
                yield _Module(path, target)


def _run(python: Interpreter, batch: list[tuple[str, str, str]]) -> None:
    """Compile a batch; where one source brings the compiler down, the others of its batch are compiled alone."""
    command = [str(python.executable), "-I", "-S", str(_COMPILER)]
    try:
        subprocess.run(  # noqa: S603  # the interpreter that the caller chose
            command, input=json.dumps(batch).encode(), capture_output=True, check=True, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        problem = f"{python.executable} did not compile modules within {_TIMEOUT_S} s"
        raise PrefixRefused(problem, hint="--no-bytecode leaves compiled modules out") from None
    except subprocess.CalledProcessError as error:
        if error.returncode == _DISK_REFUSED:
            raise OSError(*json.loads(error.stdout)) from None
        if error.returncode > 0:
            said = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise PrefixRefused(f"{python.executable} could not compile modules: {said}") from None
        for module in batch if len(batch) > 1 else []:
            Path(module[1]).unlink(missing_ok=True)
            _run(python, [module])


def _publish(build: Build) -> Tree:
    entries = []
    for path in sorted(build.files.rglob("*.pyc")):
        path.chmod(0o444)
        data = path.read_bytes()
        entries.append(
            Entry(
                str(path.relative_to(build.files)), len(data), executable=False, digest=hashlib.sha256(data).digest()
            )
        )
    return build.publish(Manifest.of(directories(entry.path for entry in entries), entries))


def _batches(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
