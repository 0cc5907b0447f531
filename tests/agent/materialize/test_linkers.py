"""Many files at once into one directory: by several processes, by one, and where links are not to be had."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

from envagent.errors import EnvagentError
from envagent.materialize import children, linkers
from envagent.materialize.link import link_files
from envagent.materialize.linkers import Linkers, Lot

# The tests themselves may run beside a thread of their runner, which a copy does not need.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

_FOLDERS = ["a", "a/b", "a/b/c", "d", "d/e"]
_FIRST = [f"a/b/c/{number}" for number in range(7)] + ["d/one"]
_SECOND = ["d/e/two", "a/three"]


@pytest.fixture(params=["here", "by copies", "by programs"])
def ways(request, monkeypatch):
    """The ways in which files are linked."""
    monkeypatch.setattr(linkers, "_PROCESSES_FROM_FILES", 2000 if request.param == "here" else 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    monkeypatch.setattr(children, "_is_alone", lambda: request.param == "by copies")


def _trees(root):
    for name, paths in (("first", _FIRST), ("second", _SECOND)):
        for path in paths:
            (root / name / path).parent.mkdir(parents=True, exist_ok=True)
            (root / name / path).write_text(f"{path} of {name}")
    return [Lot(root / "first", _FIRST), Lot(root / "second", _SECOND)]


def _fill(lots, target):
    target.mkdir(exist_ok=True)
    with Linkers(target, "hardlink", files=len(_FIRST) + len(_SECOND)) as filling:
        filling.make_directories(_FOLDERS)
        filling.link(lots)


@pytest.mark.usefixtures("ways")
def test_every_file_is_linked_to_its_place(tmp_path):
    lots = _trees(tmp_path)
    _fill(lots, tmp_path / "target")
    for source, paths in lots:
        assert all((tmp_path / "target" / path).samefile(source / path) for path in paths)
    assert sum(path.is_file() for path in (tmp_path / "target").rglob("*")) == len(_FIRST) + len(_SECOND)


@pytest.mark.usefixtures("ways")
def test_directories_that_are_there_are_kept(tmp_path):
    (tmp_path / "target/a").mkdir(parents=True)
    (tmp_path / "target/a/mine").write_text("mine")
    _fill(_trees(tmp_path), tmp_path / "target")
    assert (tmp_path / "target/a/mine").read_text() == "mine"


@pytest.mark.usefixtures("ways")
def test_a_directory_that_cannot_be_made_is_said_as_what_it_is(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target/a").write_text("a file")
    with pytest.raises(NotADirectoryError):
        _fill(_trees(tmp_path), tmp_path / "target")


@pytest.mark.usefixtures("ways")
def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "target/d").mkdir(parents=True)
    (tmp_path / "target/d/one").write_text("mine")
    with pytest.raises(FileExistsError):
        _fill(_trees(tmp_path), tmp_path / "target")
    assert (tmp_path / "target/d/one").read_text() == "mine"


@pytest.mark.usefixtures("ways")
def test_across_filesystems_files_are_copied(tmp_path):
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second filesystem to write to")
    with tempfile.TemporaryDirectory(dir=memory) as elsewhere:
        _fill(_trees(Path(elsewhere)), tmp_path / "target")
    assert (tmp_path / "target/d/e/two").read_text() == "d/e/two of second"
    assert (tmp_path / "target/a/b/c/6").read_text() == "a/b/c/6 of first"


def test_a_process_that_was_killed_is_said_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(linkers, "_PROCESSES_FROM_FILES", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    (tmp_path / "target").mkdir()
    with Linkers(tmp_path / "target", "hardlink", files=1) as filling:
        os.kill(filling._linkers[0]._child.pid, signal.SIGKILL)
        filling._linkers[0]._child.wait()
        with pytest.raises(EnvagentError, match=r"a process that links files ended \(status -9\)"):
            filling.make_directories(_FOLDERS)


def test_a_reflink_copies_no_bytes_and_is_private(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / "source/file").write_bytes(b"shared" * 10_000)
    copied = link_files(tmp_path / "source", tmp_path / "target", ["file"], "reflink")
    with (tmp_path / "target/file").open("r+b") as file:
        file.write(b"edited")
    assert (tmp_path / "source/file").read_bytes() == b"shared" * 10_000
    assert (tmp_path / "target/file").read_bytes() == b"edited" + b"shared" * 9_999
    if copied:
        pytest.skip("this filesystem has no reflinks: the file was copied instead")
