"""Relocatable Pythons of a lock: trees in the store that environments run from."""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import zstandard

from envagent.errors import ArtifactRefused, PrefixRefused
from envagent.lock.model import InterpreterArchive
from envagent.materialize.plan import Plan
from envagent.materialize.prefix import materialize
from envagent.materialize.standalone import obtain, tree_key
from envagent.materialize.verify import check_files, verify
from envagent.store.gc import collect
from envagent.store.node import NodeStore
from fixtures.conda_packages import File
from fixtures.conda_pythons import CannotMoveError
from fixtures.environments import wheel_file
from fixtures.raw_wheels import RawWheel
from fixtures.standalone import FAKE, archive, make_standalone

if TYPE_CHECKING:
    from pathlib import Path

    from envagent.materialize.interpreter import Interpreter


@dataclass(frozen=True)
class Installed:
    """A real Python, in a store."""

    store: NodeStore
    package: InterpreterArchive
    python: Interpreter


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    try:
        standalone = make_standalone()
    except CannotMoveError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("standalone")
    store = NodeStore(folder / "store")
    package = _package(standalone.data, version=standalone.version)
    return Installed(store, package, obtain(package, store, lambda _: _written(folder, standalone.data)))


def _package(data: bytes, *, version: str = "9.9.9", sha256: str = "") -> InterpreterArchive:
    return InterpreterArchive(
        name="cpython",
        version=version,
        filename="cpython.tar.gz",
        url="https://files.example.org/cpython.tar.gz",
        size=len(data),
        sha256=sha256 or hashlib.sha256(data).hexdigest(),
    )


def _written(folder: Path, data: bytes) -> Path:
    path = folder / "cpython.tar.gz"
    path.write_bytes(data)
    return path


def _never(_: InterpreterArchive) -> Path:
    raise AssertionError("the archive was asked for")


def _output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_an_environment_runs_from_the_archive_and_keeps_it_in_the_store(tmp_path, installed):
    store, package, python = installed.store, installed.package, installed.python
    assert (python.version, python.tree) == (package.version, tree_key(package.sha256))
    assert python.executable.is_relative_to(store.root)

    plan = Plan((wheel_file(RawWheel().add("demo_pkg/__init__.py", b"x = 1\n"), tmp_path / "w"),), python)
    prefix = materialize(plan, store, tmp_path / "env")
    said = _output(prefix.python, "-c", "import sys, ssl, json, demo_pkg; print(sys.prefix, sys.base_prefix)")
    assert said == f"{prefix.path} {python.executable.parents[1]}"
    assert verify(prefix.path) == []
    assert collect(store, now=0).trees == 0


def test_a_python_finds_its_bytecode_and_writes_nothing_into_the_store(installed):
    tree = installed.store.find(installed.python.tree)
    before = {str(path) for path in tree.files.rglob("*")}
    _output(installed.python.executable, "-c", "import asyncio, email, http.client, unittest.mock")
    assert {str(path) for path in tree.files.rglob("*")} == before
    assert {path for path in before if path.endswith(".pyc")}
    assert check_files(tree.files, [(entry, "") for entry in tree.manifest.entries()]) == []
    files = [path for path in tree.files.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sorted(str(path.relative_to(tree.files)) for path in files) == tree.manifest.paths


@pytest.mark.parametrize("data", [FAKE, zstandard.compress(gzip.decompress(FAKE))], ids=["gzip", "zstd"])
def test_an_archive_is_asked_for_once_and_its_python_runs_from_the_store(data, tmp_path):
    store = NodeStore(tmp_path / "store")
    python = obtain(_package(data), store, lambda _: _written(tmp_path, data))
    tree = store.find(python.tree)
    assert python.executable == tree.files / "python" / "bin" / "python3"
    assert tree.manifest.links == {"python/bin/python3": "python9.9"}
    assert obtain(_package(data), NodeStore(tmp_path / "store"), _never) == python


def test_the_version_that_the_lock_says_must_be_the_one_that_runs(tmp_path):
    with pytest.raises(ArtifactRefused, match=r"it is Python 9\.9\.9, not 3\.2\.1"):
        obtain(_package(FAKE, version="3.2.1"), NodeStore(tmp_path / "s"), lambda _: _written(tmp_path, FAKE))


def _links(**targets: str) -> bytes:
    return archive({path.replace("__", "/"): File(target=target) for path, target in targets.items()})


def _escaping() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("python/../../evil"), io.BytesIO())
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "neither"),
        (b"MZ not an archive", "neither"),
        (gzip.compress(b"not a tar" * 100), "cannot be unpacked"),
        (archive({"bin/python3": File(b"#!/bin/sh\n" * 10_000, executable=True)})[:-200], "cannot be unpacked"),
        (b"\x1f\x8b\x08\x00" + b"\xff" * 60, "cannot be unpacked"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 60, "cannot be unpacked"),
        (_escaping(), "component"),
        (_links(bin__python3="../../../../bin/sh"), "leaves the package"),
        (_links(bin__python3="/bin/sh"), "leaves the package"),
        (archive({"bin/other": File(b"")}), "0 files bin/python3"),
        (archive({"bin/python3": File(b"#!/bin/sh\nexit 1\n", executable=True)}), "does not run on this machine"),
        (_links(bin__python3="missing"), "does not run on this machine"),
    ],
    ids=[
        "empty", "no archive", "no tar", "cut off", "broken gzip", "broken zstd", "a way up", "a link out",
        "an absolute link", "no Python", "a Python that fails", "a Python that is not there",
    ],
)  # fmt: skip
def test_a_hostile_or_damaged_archive_is_refused_and_leaves_nothing(data, problem, tmp_path):
    store = NodeStore(tmp_path / "store")
    with pytest.raises(ArtifactRefused, match=problem):
        obtain(_package(data), store, lambda _: _written(tmp_path, data))
    assert list(store.trees()) == []
    assert list((store.root / "work").iterdir()) == []
    assert not (tmp_path / "evil").exists()


def test_another_sha256_than_the_lock_has_is_said_first(tmp_path):
    with pytest.raises(ArtifactRefused, match=r"its sha256 is [0-9a-f]{64}, not aaaa"):
        obtain(_package(b"junk", sha256="a" * 64), NodeStore(tmp_path / "s"), lambda _: _written(tmp_path, b"junk"))


def test_a_plan_whose_interpreter_has_left_the_store_is_refused(tmp_path):
    store = NodeStore(tmp_path / "store")
    python = obtain(_package(FAKE), store, lambda _: _written(tmp_path, FAKE))
    assert collect(store, now=0).trees == 1
    with pytest.raises(PrefixRefused, match="removed from the store"):
        materialize(Plan((), python), store, tmp_path / "env")
    assert not (tmp_path / "env").exists()
