"""A relocatable CPython of a lock (python-build-standalone's `install_only` form), as a tree in the node store.

It runs where it lies: environments are virtual ones of it (PEP 405) and keep its tree by their reference. The archive
is verified against its sha256 and unpacked by the rules of untar.py. Its standard library
is compiled once, before the tree is published, for a Python that finds no bytecode writes it, into the store. What is
left uncompiled (tests, anything under `python -O`) it may still write: such files are in no manifest and go with the
tree. `sysconfig` goes on telling the prefix that it was built for; building extension modules is not what it is for.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import zstandard

from envagent.errors import ArtifactRefused, PrefixRefused
from envagent.materialize.interpreter import describe
from envagent.materialize.member import Damaged
from envagent.materialize.paths import directories
from envagent.materialize.untar import untar
from envagent.store.manifest import Entry, Manifest
from envagent.store.node import Build, Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from envagent.lock.model import InterpreterArchive
    from envagent.materialize.interpreter import Interpreter
    from envagent.materialize.tar_stream import Readable
    from envagent.store.node import NodeStore

_LAYOUT = 1  # of these trees: another number makes other trees
_PYTHON = re.compile(r"(?:[^/]+/)?bin/python3")
_UNCOMPILED = r"/(tests?|idle_test)/"  # with files that are wrong on purpose
_TIMEOUT_S = 600


def tree_key(sha256: str) -> str:
    """The store's name of the tree of an archive."""
    return f"{sha256}-interpreter-{_LAYOUT}"


def obtain(archive: InterpreterArchive, store: NodeStore, fetch: Callable[[InterpreterArchive], Path]) -> Interpreter:
    """The Python in the archive, from the store or built there now (blocking).

    `fetch` gives the file of the archive, and is called only if the store lacks its tree. Keep the store in use until
    an environment refers to the tree. Raises ArtifactRefused; OSError and what `fetch` raises pass.
    """
    key = tree_key(archive.sha256)
    with store.in_use() as work:
        tree = store.find(key) or _built(archive, fetch(archive), store.reserve(key, work, wait=True))
        said = _asked(archive, tree.files, [*tree.manifest.paths, *tree.manifest.links])
    if said.version != archive.version:
        raise ArtifactRefused(
            archive.filename, f"it is Python {said.version}, not {archive.version}", hint="lock it again"
        )
    return replace(said, tree=key)


def _built(archive: InterpreterArchive, path: Path, reserved: Tree | Build | None) -> Tree:
    assert reserved is not None, "it was waited for"
    if isinstance(reserved, Tree):
        return reserved
    try:
        _check_digest(archive, path)
        return reserved.publish(_fill(archive, path, reserved.files))
    finally:
        reserved.release()


def _check_digest(archive: InterpreterArchive, path: Path) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != archive.sha256:
        raise ArtifactRefused(archive.filename, f"its sha256 is {found}, not {archive.sha256}")


def _fill(archive: InterpreterArchive, path: Path, root: Path) -> Manifest:
    """Unpack and compile; what is there then."""
    try:
        contents = untar(path, root, _tar)
    except Damaged as damaged:
        raise ArtifactRefused(archive.filename, str(damaged)) from None
    python = _asked(archive, root, [*contents.files, *contents.links])
    _compile(archive, python, root)
    entries = [
        Entry(name, file.size, file.executable, file.sha256)
        for name, file in contents.files.items()
        if not name.endswith(".pyc")
    ]
    entries += [_compiled(root, path) for path in root.rglob("*.pyc")]  # shipped ones may have been stale
    folders = directories([*(entry.path for entry in entries), *contents.links])
    return Manifest.of(folders, entries, contents.links.items())


@contextmanager
def _tar(file: IO[bytes]) -> Iterator[Iterator[Readable]]:
    """The one tar stream of the archive."""
    magic = file.read(4)
    file.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        with gzip.open(file) as tar:
            yield iter([tar])
    elif magic == b"\x28\xb5\x2f\xfd":
        stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        yield iter([cast("Readable", stream)])
    else:
        raise Damaged("it is neither a .tar.gz nor a .tar.zst")


def _asked(archive: InterpreterArchive, root: Path, paths: Iterable[str]) -> Interpreter:
    """What its Python says of itself."""
    found = [path for path in paths if _PYTHON.fullmatch(path)]
    if len(found) != 1:
        raise ArtifactRefused(archive.filename, f"it has {len(found)} files bin/python3, and one is what it is for")
    try:
        return describe(root / found[0])
    except PrefixRefused as refused:
        raise ArtifactRefused(
            archive.filename, f"its Python does not run on this machine: {refused.message}"
        ) from None


def _compile(archive: InterpreterArchive, python: Interpreter, root: Path) -> None:
    """Write the bytecode of the standard library beside it (PEP 552, unchecked hash); it names no place."""
    library = python.executable.parents[1] / "lib" / python.library
    command: list[str | Path] = [
        python.executable, "-I", "-B", "-m", "compileall", "-q", "-j", str(len(os.sched_getaffinity(0))),
        "-x", _UNCOMPILED, "-s", root.resolve(), "--invalidation-mode", "unchecked-hash", library,
    ]  # fmt: skip
    try:
        subprocess.run(command, capture_output=True, check=True, timeout=_TIMEOUT_S, text=True)  # noqa: S603
    except subprocess.SubprocessError as error:
        said = str(getattr(error, "stdout", "") or error).strip()[-500:]
        raise ArtifactRefused(archive.filename, f"its Python cannot compile its own library: {said}") from None


def _compiled(root: Path, path: Path) -> Entry:
    path.chmod(0o444)
    data = path.read_bytes()
    return Entry(path.relative_to(root).as_posix(), len(data), executable=False, digest=hashlib.sha256(data).digest())
