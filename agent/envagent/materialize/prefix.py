"""Environments: assembled from trees under a temporary name, renamed into place, never edited afterwards.

`materialize` is the way in. Invariants: a prefix with the mark (ready.py) is whole; the same plan again is a lookup;
another plan, or a directory that is not ours, is refused and left alone; a failure or a kill -9 leaves no prefix and
nothing that the next run does not sweep.
"""

from __future__ import annotations

import errno
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from envagent import disk
from envagent.errors import PrefixRefused, TreeDamaged
from envagent.materialize import standing, venv
from envagent.materialize.assemble import assemble
from envagent.materialize.layout import lacks_bytecode
from envagent.materialize.progress import silent
from envagent.materialize.ready import FOLDER, read_ready
from envagent.materialize.trees import obtain_trees
from envagent.store.flock import acquire, held
from envagent.store.references import References

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envagent.materialize.conda_python import CondaPython
    from envagent.materialize.link import LinkMode
    from envagent.materialize.overlap import Clobber
    from envagent.materialize.plan import Plan
    from envagent.materialize.progress import Report
    from envagent.materialize.ready import Ready
    from envagent.store.node import NodeStore, Tree

Bytecode = Literal["compile", "later", "stored", "none"]
"""Compile what the store lacks, now or behind the caller's back; link only what it has; or leave bytecode out."""

Proof = Literal["now", "later"]
"""When every file is held against its RECORD. The archive's own sha256 and each CRC-32 are always checked first."""


class Prefix(NamedTuple):
    """An environment at `path`. `is_new` tells whether this call made it.

    `link_scripts` are conda packages with a script to run after installing: none was run. `is_writable` tells whether
    it is an overlay that keeps edits.
    """

    path: Path
    identity: str
    is_new: bool
    clobbers: tuple[Clobber, ...]
    link_scripts: tuple[str, ...] = ()
    is_writable: bool = False

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.path / "bin" / "python"


def materialize(
    plan: Plan,
    store: NodeStore,
    prefix: Path,
    *,
    link_mode: LinkMode = "hardlink",
    bytecode: Bytecode = "compile",
    proof: Proof = "now",
    report: Report = silent,
    cores: int = 0,
) -> Prefix:
    """Make the environment of `plan` at `prefix`, or find it there (blocking).

    `cores` is how many to use, 0 for all. Raises ArtifactRefused, PrefixRefused or DiskRefused, of which TreeDamaged
    names a tree to discard before the next try; then nothing is at `prefix` that was not before. It does not wait for
    the disk: `NodeStore.settle` makes what it built durable. What is to be done later, another process begins as soon
    as the prefix is there (behind.py).
    """
    place = _checked(prefix)
    with disk.errors_in_words():
        if ready := standing.find(plan, store, place):
            return _prefix(place, ready, is_new=False)
        plan.check()
        with _parents(place), held(standing.lock_of(store, place)):
            if ready := standing.find_alone(plan, store, place):
                return _prefix(place, ready, is_new=False)
            with store.in_use() as work:
                trees = obtain_trees(plan, store, work, report, cores=cores, prove=proof == "now")
                unproven = store.fresh if proof == "later" else frozenset()
                parts = _with_python(plan, trees, store, work)
                _compile(parts, store, work, report, bytecode)
                made = _publish(parts, store, place, link_mode)
            store.sweep()
            if unproven or parts.uncompiled:
                _leave_behind(parts, store, place, unproven)
            return made


def existing(plan: Plan, store: NodeStore, prefix: Path) -> Prefix | None:
    """The environment of `plan`, where it is there already (blocking); its files need not be on this machine.

    Raises PrefixRefused where something else is, or nothing can be.
    """
    place = _checked(prefix)
    with disk.errors_in_words():
        ready = standing.find(plan, store, place)
    return _prefix(place, ready, is_new=False) if ready else None


def note_use(plan: Plan, store: NodeStore, prefix: Path) -> None:
    """The environment of `plan` at `prefix` is asked for now, and keeps its trees.

    Where the store knows nothing of it (it came with an image, or is older than the store), its mark tells the trees.
    """
    references = References(store.root)
    try:
        references.touch(prefix)
    except FileNotFoundError:
        if ready := read_ready(prefix):
            used = [part.key for part in ready.parts + ready.bytecode]
            base = [plan.given.tree] if plan.given and plan.given.tree else []
            references.note_prefix(prefix, prefix / FOLDER, used + base)


def _checked(prefix: Path) -> Path:
    place = prefix.absolute()
    if problem := venv.fault_of_path(place):
        raise PrefixRefused(f"no environment can be made at {place}: {problem}", hint="choose another path")
    return place


@dataclass
class _Parts:
    """What a draft is made of: the trees in the plan's order, with bytecode for some, and others to keep for it."""

    plan: Plan
    trees: list[Tree]
    python: CondaPython | None = None
    also: tuple[Tree, ...] = ()
    compiled: list[Tree | None] = field(default_factory=list)
    uncompiled: list[int] = field(default_factory=list)

    @property
    def used(self) -> list[Tree]:
        """Every tree that must not go."""
        return [*self.trees, *self.also, *(tree for tree in self.compiled if tree)]


def _with_python(plan: Plan, trees: list[Tree], store: NodeStore, work: Path) -> _Parts:
    """The parts, with the plan of a conda Python completed by what that says of itself. Raises ArtifactRefused."""
    if plan.conda_python is None:
        return _Parts(plan, trees, also=_base(plan, store))
    from envagent.materialize.conda_python import CondaPython  # noqa: PLC0415  # most have none

    python = CondaPython(
        plan, {source.sha256: tree for source, tree in zip(plan.conda, trees, strict=False)}, store, work
    )
    said, tree = python.asked()
    completed = replace(plan, given=said)
    completed.check()
    return _Parts(completed, trees, python, (tree,))


def _base(plan: Plan, store: NodeStore) -> tuple[Tree, ...]:
    """The tree that the given interpreter runs from, if it is one of the store's. Raises PrefixRefused."""
    if plan.given is None or not plan.given.tree:
        return ()
    tree = store.find(plan.given.tree)
    if tree is None:
        raise PrefixRefused(f"{plan.given.executable} was removed from the store meanwhile", hint="try again")
    return (tree,)


def _compile(parts: _Parts, store: NodeStore, work: Path, report: Report, wanted: Bytecode) -> None:
    """Fill in the bytecode of wheels, and of conda's packages that bring modules without."""
    plan = parts.plan
    parts.compiled = [None] * len(parts.trees)
    if wanted == "none" or not plan.library:
        return
    candidates = [index for index, tree in enumerate(parts.trees) if _is_compiled(plan, index, tree)]
    for index in candidates:
        parts.compiled[index] = store.find(plan.bytecode_key(plan.sources[index]))
    missing = [index for index in candidates if parts.compiled[index] is None]
    if wanted == "later":
        parts.uncompiled = missing
    if wanted != "compile" or not missing:
        return
    from envagent.materialize.bytecode import obtain_bytecode  # noqa: PLC0415  # slow to import, needed once per wheel

    if parts.python:
        parts.python.runnable()
    sources, trees = [plan.sources[i] for i in missing], [parts.trees[i] for i in missing]
    for index, tree in zip(missing, obtain_bytecode(plan, sources, trees, store, work, report), strict=True):
        parts.compiled[index] = tree


def _leave_behind(parts: _Parts, store: NodeStore, place: Path, unproven: frozenset[str]) -> None:
    from envagent.materialize import behind  # noqa: PLC0415  # only where something was built

    errand = behind.Errand(
        store=store.root.absolute(),
        place=place,
        plan=parts.plan,
        prove=unproven,
        compile=tuple(parts.plan.sources[index] for index in parts.uncompiled),
        durable=store.fresh | standing.durable_with(store, place, parts.plan.identity),
    )
    behind.start(errand)


def _is_compiled(plan: Plan, index: int, tree: Tree) -> bool:
    is_wheel = index >= len(plan.conda)
    return is_wheel or lacks_bytecode(tree.manifest.paths, plan.library, plan.interpreter.cache_tag)


def _publish(parts: _Parts, store: NodeStore, place: Path, mode: LinkMode) -> Prefix:
    with _draft(place) as draft:
        try:
            ready = assemble(
                parts.plan, draft, place, parts.trees, parts.compiled, mode, boot=store.boot_id, kept=store.root
            )
        except FileNotFoundError:
            if damaged := next((tree for tree in parts.used if not tree.is_whole), None):
                raise TreeDamaged(damaged.key) from None
            raise
        for tree in parts.used:
            store.touch(tree)
        References(store.root).note_prefix(place, place / FOLDER, [tree.key for tree in parts.used])
        # One that was here before may be known to be on the disk; this one is not.
        store.journal.forget({standing.name_in_journal(place, ready.identity)} & store.journal.names())
        try:
            draft.rename(place)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
                raise
            raise PrefixRefused(f"{place} was made by someone else meanwhile; it is left alone") from None
    if ready.layered:
        _lay(store, place, ready)
    return _prefix(place, ready, is_new=True)


def _lay(store: NodeStore, place: Path, ready: Ready) -> None:
    try:
        standing.lay(store, place, ready)
    except PrefixRefused:
        standing.remove(place)
        raise


def _prefix(place: Path, ready: Ready, *, is_new: bool) -> Prefix:
    return Prefix(
        place, ready.identity, is_new, tuple(ready.clobbers), tuple(ready.link_scripts), is_writable=bool(ready.edits)
    )


@contextmanager
def _parents(place: Path) -> Iterator[None]:
    """Make the directories above the place; where the block fails, they go again, unless others use them."""
    made = [folder for folder in place.parents if not folder.exists()]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


@contextmanager
def _draft(place: Path) -> Iterator[Path]:
    """A directory beside the place, gone at the end unless it was renamed; those of dead processes go first."""
    for orphan in place.parent.glob(standing.draft_name(place, "*")):
        if lock := acquire(orphan, wait=False):
            shutil.rmtree(orphan, ignore_errors=True)
            lock.release()
    draft = place.with_name(standing.draft_name(place))
    try:
        draft.mkdir(parents=True)  # somebody who failed may have removed the directory that both had need of
    except OSError as error:
        error.filename = str(place)  # the draft's own name says nothing to anybody
        raise
    lock = acquire(draft)
    assert lock is not None
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        lock.release()
