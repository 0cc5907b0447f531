"""Environments that are one mount: the same files as with links, read-only, and refused where one may not mount."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from envagent.errors import PrefixRefused
from envagent.materialize import overlay
from envagent.materialize.prefix import materialize
from envagent.materialize.ready import read_ready
from envagent.materialize.verify import verify
from envagent.store.node import NodeStore
from fixtures.environments import plan_of, site_packages, tree
from fixtures.raw_wheels import RawWheel

_MODULE = f"{site_packages()}/demo_pkg/__init__.py"


@pytest.fixture
def mounts(tmp_path):
    """A directory to mount in; whatever is mounted there at the end is taken away."""
    probes = [tmp_path / "probe-1", tmp_path / "probe-2"]
    for probe in probes:
        probe.mkdir()
    try:
        overlay._mount(probes[0], [(b"lowerdir+", bytes(probe)) for probe in probes], 0)
    except OSError as error:
        pytest.skip(f"this process may not mount an overlay ({error.strerror})")
    overlay.unmount(probes[0])
    yield tmp_path
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        place = Path(line.split()[1])
        if place.is_relative_to(tmp_path):
            overlay.unmount(place)


def _demo(text=b"VALUE = 1\n"):
    return RawWheel().add("demo_pkg/__init__.py", text).add("demo_pkg/data/table.txt", b"a b\n")


def _lay(root, plan, name="env"):
    return materialize(plan, NodeStore(root / "store"), root / name, link_mode="overlay").path


def _run(prefix, code):
    return subprocess.run([prefix / "bin/python", "-c", code], capture_output=True, text=True, check=True).stdout


def test_it_has_the_files_that_links_would_have_made(mounts):
    plan = plan_of(mounts / "w", _demo(), RawWheel("other"))
    linked = materialize(plan, NodeStore(mounts / "store"), mounts / "linked").path
    laid = _lay(mounts, plan)
    same = {path: found for path, found in tree(linked).items() if not path.startswith((".envmesh/ready", "bin/act"))}
    assert same.items() <= tree(laid).items()
    assert verify(laid) == []
    assert _run(laid, "import demo_pkg; print(demo_pkg.VALUE, demo_pkg.__cached__)").startswith(f"1 {laid}/lib/")


def test_it_is_read_only(mounts):
    laid = _lay(mounts, plan_of(mounts / "w", _demo()))
    with pytest.raises(OSError, match="Read-only") as refused:
        (laid / _MODULE).write_bytes(b"edited")
    assert refused.value.errno == errno.EROFS


def test_a_writable_one_keeps_edits_beside_it_and_no_tree_has_them(mounts):
    store, plan = NodeStore(mounts / "store"), plan_of(mounts / "w", _demo())
    laid = materialize(plan, store, mounts / "env", link_mode="writable-overlay").path
    (laid / _MODULE).unlink()
    (laid / _MODULE).write_bytes(b"VALUE = 2\n")
    ready = read_ready(laid)
    assert Path(ready.edits, "upper", _MODULE).read_bytes() == b"VALUE = 2\n"
    assert (store.find(ready.parts[0].key).files / _MODULE).read_bytes() == b"VALUE = 1\n"
    assert [(finding.path, finding.is_edit) for finding in verify(laid)] == [(_MODULE, True)]


def test_of_two_wheels_with_one_file_the_later_wins_and_the_bytecode_of_the_other_is_hidden(mounts):
    # The later one does not compile: without hiding, the earlier one's bytecode would be taken for its own.
    later = RawWheel("other").add("demo_pkg/__init__.py", b"VALUE = 2 +\n")
    laid = _lay(mounts, plan_of(mounts / "w", _demo(), later))
    assert (laid / _MODULE).read_bytes() == b"VALUE = 2 +\n"
    assert list((laid / _MODULE).parent.rglob("__init__.*.pyc")) == []
    assert verify(laid) == []


def test_after_a_reboot_the_same_plan_mounts_it_again(mounts):
    plan = plan_of(mounts / "w", _demo())
    laid = _lay(mounts, plan)
    overlay.unmount(laid)
    assert not (laid / _MODULE).exists()
    again = materialize(plan, NodeStore(mounts / "store"), laid)
    assert not again.is_new
    assert (laid / _MODULE).exists()


def test_where_trees_are_gone_it_is_made_again(mounts):
    plan = plan_of(mounts / "w", _demo())
    laid = _lay(mounts, plan)
    overlay.unmount(laid)
    shutil.rmtree(mounts / "store")
    again = materialize(plan, NodeStore(mounts / "store"), laid, link_mode="overlay")
    assert again.is_new
    assert verify(laid) == []


def test_more_layers_than_the_kernel_takes_are_refused(mounts, monkeypatch):
    monkeypatch.setattr(overlay, "MAX_LAYERS", 2)
    with pytest.raises(PrefixRefused, match="more than the 2 of an overlay"):
        _lay(mounts, plan_of(mounts / "w", _demo(), RawWheel("other")))
    assert not (mounts / "env").exists()


@pytest.mark.parametrize("mode", ["overlay", "writable-overlay"])
def test_where_one_may_not_mount_it_is_refused_and_nothing_is_left(tmp_path, monkeypatch, mode):
    def forbidden(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(overlay, "_mount", forbidden)
    plan, store = plan_of(tmp_path / "w", _demo()), NodeStore(tmp_path / "store")
    (tmp_path / "envs").mkdir()
    with pytest.raises(PrefixRefused, match="no overlay can be mounted") as refused:
        materialize(plan, store, tmp_path / "envs" / "env", link_mode=mode)
    assert "hardlinks" in refused.value.hint
    assert list((tmp_path / "envs").iterdir()) == []


_INSIDE = """
import sys
from pathlib import Path
from envagent.errors import PrefixRefused
from envagent.materialize import overlay
from envagent.materialize.ready import read_ready
from envagent.store.node import NodeStore
try:
    overlay.enter_namespace()
except PrefixRefused as refused:
    sys.exit(f"skip {refused}")
overlay.mount(Path(sys.argv[1]), NodeStore(Path(sys.argv[2])), read_ready(Path(sys.argv[1])))
print(Path(sys.argv[1], sys.argv[3]).read_text())
"""


def test_in_a_namespace_of_its_own_nobody_else_sees_the_mount(mounts):
    laid = _lay(mounts, plan_of(mounts / "w", _demo()))
    overlay.unmount(laid)
    inside = subprocess.run(
        [sys.executable, "-c", _INSIDE, laid, mounts / "store", _MODULE],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if inside.stderr.startswith("skip"):
        pytest.skip(inside.stderr)
    assert (inside.returncode, inside.stdout) == (0, "VALUE = 1\n\n"), inside.stderr
    assert not overlay.is_mounted(laid)
