"""Environments: made whole or not at all, found again, never changed, and working."""

from __future__ import annotations

import base64
import csv
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import distributions
from pathlib import Path

import pytest

from envagent.errors import ArtifactRefused, DiskRefused, PrefixRefused
from envagent.materialize.interpreter import describe
from envagent.materialize.plan import Plan
from envagent.materialize.prefix import materialize
from envagent.materialize.ready import read_ready
from envagent.materialize.standing import durable_with
from envagent.materialize.verify import Finding, verify
from envagent.store.flock import acquire
from envagent.store.node import NodeStore
from fixtures.environments import plan_of, python, site_packages, tree, wheel_file
from fixtures.raw_wheels import RawWheel

_MAIN = b'"""The demo."""\nimport sys\n\n\ndef main():\n    print(sys.prefix, *sys.argv[1:])\n'


def _demo() -> RawWheel:
    raw = RawWheel().add("demo_pkg/__init__.py", _MAIN)
    raw.add(f"{raw.info}/entry_points.txt", b"[console_scripts]\ndemo = demo_pkg:main\n")
    raw.add(
        f"{raw.data}/scripts/own.py",
        b'#!python\n"""My words."""\nfrom __future__ import annotations\nprint(__doc__)\n',
    )
    raw.add(f"{raw.data}/scripts/own.sh", b"#!/bin/sh\necho shell\n")
    return raw.add(f"{raw.data}/data/share/demo/x.txt", b"data").add(f"{raw.data}/headers/demo.h", b"//\n")


def _output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("name", ["env", "with space", "ünï-çødé", "x" * 200])
def test_scripts_run_the_interpreter_of_their_prefix_wherever_it_is(tmp_path, name):
    place = tmp_path / name
    materialize(plan_of(tmp_path / "w", _demo()), NodeStore(tmp_path / "store"), place)
    assert _output(place / "bin" / "demo", "a", "b c") == f"{place} a b c"
    assert _output(place / "bin" / "own.py") == "My words."
    assert _output(place / "bin" / "own.sh") == "shell"
    (tmp_path / "link").symlink_to(place / "bin" / "demo")
    assert _output(tmp_path / "link") == str(place)


def test_activation_puts_the_environment_on_the_path(tmp_path):
    place = tmp_path / "with space"
    materialize(plan_of(tmp_path / "w", _demo()), NodeStore(tmp_path / "store"), place)
    assert _output("sh", "-c", f'. "{place}/bin/activate" && command -v python && demo') == (
        f"{place}/bin/python\n{place}"
    )


def test_an_environment_sees_its_own_packages_and_no_others(tmp_path):
    prefix = materialize(plan_of(tmp_path / "w", _demo()), NodeStore(tmp_path / "store"), tmp_path / "env")
    found = _output(
        prefix.python, "-c", "from importlib.metadata import distributions as d; print([x.name for x in d()])"
    )
    assert found == "['demo_pkg']"


def test_pip_and_uv_find_nothing_wrong(tmp_path):
    plan = plan_of(tmp_path / "w", _demo(), RawWheel(name="other"))
    prefix = materialize(plan, NodeStore(tmp_path / "store"), tmp_path / "env")
    pip = [sys.executable, "-m", "pip", "--python", str(prefix.python)]
    assert _output(*pip, "check") == "No broken requirements found."
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "pip", "check", "-q", "--python", prefix.python], check=True)
    assert "demo_pkg" in _output(*pip, "list", "--format", "json")


def test_the_installed_record_is_true_of_every_file_that_it_lists(tmp_path):
    raw = _demo()
    wheels = (wheel_file(raw, tmp_path / "w", requested=True, direct_url='{"url": "https://example.org/x"}'),)
    prefix = materialize(Plan(wheels, python()), NodeStore(tmp_path / "store"), tmp_path / "env", bytecode="none")
    site = prefix.path / site_packages()
    rows = list(csv.reader((site / raw.info / "RECORD").read_text().splitlines()))
    for path, digest, size in rows:
        data = (site / path).read_bytes()
        if path != f"{raw.info}/RECORD":
            encoded = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            assert (digest, size) == (f"sha256={encoded}", str(len(data)))
    listed = {os.path.normpath(site / path) for path, _, _ in rows}
    ours = {".envmesh", "pyvenv.cfg"}
    present = {
        str(prefix.path / path)
        for path in tree(prefix.path)
        if path.split("/")[0] not in ours and "ctivate" not in path
    }
    assert listed == present
    [found] = distributions(path=[str(site)])
    assert found.read_text("INSTALLER") == "envagent\n"
    assert found.read_text("REQUESTED") == ""
    assert json.loads(found.read_text("direct_url.json") or "")["url"] == "https://example.org/x"


def test_the_same_plan_again_is_a_lookup(tmp_path):
    store, plan = NodeStore(tmp_path / "store"), plan_of(tmp_path / "w", _demo())
    first = materialize(plan, store, tmp_path / "env")
    before = (tmp_path / "env").stat().st_ino
    plan.wheels[0].path.unlink()
    again = materialize(plan, store, tmp_path / "env")
    assert (first.is_new, again.is_new) == (True, False)
    assert (tmp_path / "env").stat().st_ino == before


def test_a_second_prefix_shares_the_files_of_the_first_and_needs_no_wheel(tmp_path):
    store, plan = NodeStore(tmp_path / "store"), plan_of(tmp_path / "w", _demo())
    materialize(plan, store, tmp_path / "one")
    plan.wheels[0].path.unlink()
    materialize(plan, store, tmp_path / "two")
    module = f"{site_packages()}/demo_pkg/__init__.py"
    assert (tmp_path / "one" / module).samefile(tmp_path / "two" / module)


@pytest.mark.parametrize("mode", ["copy", "reflink"])
def test_private_files_cannot_reach_the_store(tmp_path, mode):
    store, plan = NodeStore(tmp_path / "store"), plan_of(tmp_path / "w", _demo())
    materialize(plan, store, tmp_path / "one", link_mode=mode)
    module = tmp_path / "one" / site_packages() / "demo_pkg/__init__.py"
    module.write_bytes(b"edited")
    two = materialize(plan, store, tmp_path / "two")
    assert verify(two.path) == []
    assert [(f.path, f.what) for f in verify(tmp_path / "one")] == [
        (f"{site_packages()}/demo_pkg/__init__.py", "edited")
    ]


def test_hardlinked_files_are_read_only(tmp_path):
    materialize(plan_of(tmp_path / "w", _demo()), NodeStore(tmp_path / "store"), tmp_path / "env")
    assert (tmp_path / "env" / site_packages() / "demo_pkg/__init__.py").stat().st_mode & 0o777 == 0o444
    assert (tmp_path / "env/bin/demo").stat().st_mode & 0o777 == 0o555


def test_where_links_run_out_the_file_is_copied(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.EMLINK, "Too many links")

    monkeypatch.setattr(os, "link", full)
    prefix = materialize(plan_of(tmp_path / "w", _demo()), NodeStore(tmp_path / "store"), tmp_path / "env")
    assert verify(prefix.path) == []


def test_bytecode_is_compiled_once_and_used_as_it_is(tmp_path):
    store, plan = NodeStore(tmp_path / "store"), plan_of(tmp_path / "w", _demo().add("demo_pkg/py2.py", b"print 1\n"))
    one, two = (materialize(plan, store, tmp_path / name) for name in ("one", "two"))
    compiled = f"{site_packages()}/demo_pkg/__pycache__/__init__.{python().cache_tag}.pyc"
    assert (one.path / compiled).samefile(two.path / compiled)
    assert (one.path / compiled).read_bytes()[4:8] == (0b01).to_bytes(4, "little")  # PEP 552: unchecked hash
    code = "import demo_pkg; print(demo_pkg.__cached__, demo_pkg.main.__code__.co_filename)"
    assert (
        _output(two.python, "-c", code) == f"{two.path / compiled} {two.path / site_packages()}/demo_pkg/__init__.py"
    )
    assert not list(two.path.rglob("py2*.pyc"))


def test_a_compiler_that_does_not_end_is_ended_and_named(tmp_path, monkeypatch):
    stuck = tmp_path / "python"
    stuck.write_text("#!/bin/sh\nread never < pipe\n")
    stuck.chmod(0o755)
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("envagent.materialize.bytecode._TIMEOUT_S", 0.01)
    plan = plan_of(tmp_path / "w", _demo())
    plan = replace(plan, given=replace(python(), executable=stuck))
    with pytest.raises(PrefixRefused, match="did not compile modules within"):
        materialize(plan, NodeStore(tmp_path / "store"), tmp_path / "env")
    assert not (tmp_path / "env").exists()


def test_bytecode_may_be_left_out_or_taken_only_from_the_store(tmp_path):
    store, plan = NodeStore(tmp_path / "store"), plan_of(tmp_path / "w", _demo())
    for name, bytecode, count in (("a", "none", 0), ("b", "stored", 0), ("c", "compile", 1), ("d", "stored", 1)):
        prefix = materialize(plan, store, tmp_path / name, bytecode=bytecode)
        assert len(list(prefix.path.rglob("*.pyc"))) == count, name


def test_an_edit_through_a_hardlink_is_found_in_every_environment(tmp_path):
    store, plan = NodeStore(tmp_path / "store"), plan_of(tmp_path / "w", _demo())
    one, two = (materialize(plan, store, tmp_path / name) for name in ("one", "two"))
    module = f"{site_packages()}/demo_pkg/__init__.py"
    (one.path / module).chmod(0o644)
    (one.path / module).write_bytes(b"poison")
    assert verify(two.path) == [Finding(module, "edited", "demo_pkg-1.0-py3-none-any.whl")]


def test_missing_files_changed_modes_links_and_own_files_are_found(tmp_path):
    prefix = materialize(plan_of(tmp_path / "w", _demo()), NodeStore(tmp_path / "store"), tmp_path / "env").path
    assert verify(prefix) == []
    (prefix / "share/demo/x.txt").unlink()
    (prefix / "bin/demo").chmod(0o444)
    (prefix / "pyvenv.cfg").write_text("home = /elsewhere\n")
    (prefix / "bin/python3").unlink()
    assert [(finding.path, finding.what) for finding in verify(prefix)] == [
        ("bin/demo", "mode"),
        ("bin/python3", "edited"),
        ("pyvenv.cfg", "edited"),
        ("share/demo/x.txt", "missing"),
    ]


def test_a_manifest_that_was_edited_with_its_files_is_found(tmp_path):
    plan, store = plan_of(tmp_path / "w", _demo()), NodeStore(tmp_path / "store")
    prefix = materialize(plan, store, tmp_path / "env", link_mode="copy").path
    ready = read_ready(prefix)
    assert ready is not None
    manifest = prefix / ".envmesh" / ready.parts[0].key
    manifest.write_bytes(manifest.read_bytes()[:-1])
    assert [finding.path for finding in verify(prefix)] == [f".envmesh/{ready.parts[0].key}"]


# --- two wheels, one path -------------------------------------------------------------------------------


def test_of_two_wheels_with_one_file_the_later_wins_and_it_is_told(tmp_path):
    one = RawWheel(name="one").add("shared/__init__.py", b"").add("shared/x.py", b"who = 'one'\n")
    two = RawWheel(name="two").add("shared/__init__.py", b"").add("shared/x.py", b"who = 'two'\n")
    prefix = materialize(plan_of(tmp_path / "w", one, two), NodeStore(tmp_path / "store"), tmp_path / "env")
    assert [str(clobber) for clobber in prefix.clobbers] == [
        f"{site_packages()}/shared/x.py of one-1.0-py3-none-any.whl is replaced by that of two-1.0-py3-none-any.whl"
    ]
    assert _output(prefix.python, "-c", "import shared.x; print(shared.x.who)") == "two"
    assert verify(prefix.path) == []


def test_the_bytecode_of_a_replaced_module_is_left_out(tmp_path):
    one = RawWheel(name="one").add("shared/x.py", b"who = 'one'\n")
    two = RawWheel(name="two").add("shared/x.py", b"print 'not for this Python'\n")
    prefix = materialize(plan_of(tmp_path / "w", one, two), NodeStore(tmp_path / "store"), tmp_path / "env")
    assert list(prefix.path.rglob("x.*.pyc")) == []
    assert verify(prefix.path) == []


def test_bytecode_that_came_in_a_wheel_stays(tmp_path):
    compiled = f"demo_pkg/__pycache__/x.{python().cache_tag}.pyc"
    raw = RawWheel().add("demo_pkg/x.py", b"x = 1\n").add(compiled, b"theirs")
    prefix = materialize(plan_of(tmp_path / "w", raw), NodeStore(tmp_path / "store"), tmp_path / "env")
    assert (prefix.path / site_packages() / compiled).read_bytes() == b"theirs"


def test_a_file_here_and_a_directory_there_is_refused(tmp_path):
    one, two = RawWheel(name="one").add("x", b""), RawWheel(name="two").add("x/y.py", b"")
    with pytest.raises(ArtifactRefused, match="is a file in it and a directory in two"):
        materialize(plan_of(tmp_path / "w", one, two), NodeStore(tmp_path / "store"), tmp_path / "env")


@pytest.mark.parametrize("path", ["pyvenv.cfg", "bin/python", "bin/activate", ".envmesh/ready.json", "lib64/x"])
def test_a_wheel_cannot_replace_what_makes_the_environment(tmp_path, path):
    raw = RawWheel()
    raw.add(f"{raw.data}/data/{path}", b"evil")
    with pytest.raises(ArtifactRefused, match="belongs to the environment itself"):
        materialize(plan_of(tmp_path / "w", raw), NodeStore(tmp_path / "store"), tmp_path / "env")
    assert not (tmp_path / "env").exists()


# --- refusals leave nothing behind ----------------------------------------------------------------------


def _refused(tmp_path, plan, kind=ArtifactRefused) -> str:
    store = NodeStore(tmp_path / "store")
    with pytest.raises(kind) as caught:
        materialize(plan, store, tmp_path / "envs" / "env")
    assert not list((tmp_path / "envs").glob("*")) + list((tmp_path / "envs").glob(".*"))
    assert not list((tmp_path / "store/work").iterdir())
    return caught.value.message


def test_a_wheel_with_another_digest_is_refused(tmp_path):
    plan = plan_of(tmp_path / "w", _demo())
    lying = Plan((replace(plan.wheels[0], sha256="0" * 64),), plan.interpreter)
    assert f"{'0' * 64} was asked for" in _refused(tmp_path, lying)


def test_a_damaged_wheel_is_refused_for_its_digest_before_its_damage(tmp_path):
    plan = plan_of(tmp_path / "w", _demo())
    path = plan.wheels[0].path
    path.write_bytes(path.read_bytes()[:-30])
    assert "was asked for" in _refused(tmp_path, plan)


def test_a_record_that_lies_is_refused_by_the_name_of_the_file(tmp_path):
    raw = _demo()
    raw.record = raw._record(raw.members()[:-1]).replace(
        b"demo_pkg/__init__.py,sha256=", b"demo_pkg/__init__.py,sha256=A"
    )
    lie = raw.record.index(b"sha256=A") + len(b"sha256=A")
    end = raw.record.index(b",", lie)
    raw.record = raw.record[: end - 1] + raw.record[end:]
    assert "RECORD lies about demo_pkg/__init__.py: its sha256 is another" in _refused(
        tmp_path, plan_of(tmp_path / "w", raw)
    )


def test_good_wheels_beside_a_bad_one_are_kept_for_the_next_run(tmp_path):
    good, bad = RawWheel(name="good").add("good/big.bin", os.urandom(4000)), RawWheel(name="bad", format_version="9")
    _refused(tmp_path, plan_of(tmp_path / "w", good, bad))
    prefix = materialize(plan_of(tmp_path / "w", good), NodeStore(tmp_path / "store"), tmp_path / "envs/env")
    assert verify(prefix.path) == []


@pytest.mark.parametrize("tag", ["cp311-cp311-win_amd64", "cp36-cp36m-manylinux1_x86_64", "py2-none-any"])
def test_a_wheel_for_another_machine_or_python_is_refused(tmp_path, tag):
    plan = plan_of(tmp_path / "w", RawWheel(tag=tag))
    assert f"is not for cpython {python().version} on this machine" in _refused(tmp_path, plan)


def test_one_project_twice_is_refused(tmp_path):
    plan = plan_of(tmp_path / "w", RawWheel(name="a_b"), RawWheel(name="a.b", version="2.0"))
    assert "the plan also has a_b-1.0" in _refused(tmp_path, plan)


@pytest.mark.parametrize("name", ['a"b', "a$b", "a:b", "a`b", "a\nb"])
def test_a_path_that_shells_read_in_another_way_is_refused(tmp_path, name):
    with pytest.raises(PrefixRefused, match="shells and PATH"):
        materialize(plan_of(tmp_path / "w", _demo()), NodeStore(tmp_path / "store"), tmp_path / name)


def test_a_directory_that_is_not_ours_is_left_alone_and_an_empty_one_is_used(tmp_path):
    store, plan, place = NodeStore(tmp_path / "store"), plan_of(tmp_path / "w", _demo()), tmp_path / "env"
    place.mkdir()
    (place / "thesis.txt").write_text("mine")
    with pytest.raises(PrefixRefused, match="not an environment made by envagent"):
        materialize(plan, store, place)
    assert [path.name for path in place.iterdir()] == ["thesis.txt"]
    (place / "thesis.txt").unlink()
    assert materialize(plan, store, place).is_new


def test_two_plans_for_one_prefix_are_refused(tmp_path):
    store, place = NodeStore(tmp_path / "store"), tmp_path / "env"
    materialize(plan_of(tmp_path / "w", _demo()), store, place)
    with pytest.raises(PrefixRefused, match="holds another environment"):
        materialize(plan_of(tmp_path / "w", RawWheel(version="2.0")), store, place)
    assert verify(place) == []


def test_a_full_disk_is_said_in_words_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "some/file")

    plan = plan_of(tmp_path / "w", _demo())
    monkeypatch.setattr(os, "link", full)
    assert "some/file cannot be written: the disk is full" in _refused(tmp_path, plan, DiskRefused)


def test_directories_that_a_failure_made_go_again_but_not_those_of_others(tmp_path, monkeypatch):
    def full(*_):
        (tmp_path / "new" / "mine").touch()
        raise OSError(errno.ENOSPC, "No space left on device", "some/file")

    plan, store = plan_of(tmp_path / "w", _demo()), NodeStore(tmp_path / "store")
    monkeypatch.setattr(os, "link", full)
    with pytest.raises(DiskRefused):
        materialize(plan, store, tmp_path / "new" / "other" / "deep" / "env")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mine"]


def test_what_is_no_interpreter_is_refused(tmp_path):
    with pytest.raises(PrefixRefused, match="not a Python that can be asked"):
        describe(tmp_path / "python")
    with pytest.raises(PrefixRefused, match="not a Python that can be asked"):
        describe(Path("/bin/true"))


# --- after the machine went down ------------------------------------------------------------------------


def test_a_prefix_of_before_the_crash_is_checked_once_and_made_again_where_it_is_broken(tmp_path):
    plan, place = plan_of(tmp_path / "w", _demo()), tmp_path / "env"
    materialize(plan, NodeStore(tmp_path / "store", boot_id="one"), place, link_mode="copy")
    assert not materialize(plan, NodeStore(tmp_path / "store", boot_id="two"), place).is_new
    assert not materialize(plan, NodeStore(tmp_path / "store", boot_id="three"), place).is_new
    other = tmp_path / "other"
    materialize(plan, NodeStore(tmp_path / "store", boot_id="three"), other, link_mode="copy")
    (other / site_packages() / "demo_pkg/__init__.py").write_bytes(b"")
    assert materialize(plan, NodeStore(tmp_path / "store", boot_id="four"), other).is_new
    assert verify(other) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["env", "other", "store", "w"]


def test_a_prefix_of_before_the_crash_is_judged_by_one_command_at_a_time(tmp_path, monkeypatch):
    plan, place, store = plan_of(tmp_path / "w", _demo()), tmp_path / "env", tmp_path / "store"
    materialize(plan, NodeStore(store, boot_id="one"), place, link_mode="copy")
    was_locked = []

    def verify_and_look(prefix):
        [lock] = (store / "locks").glob("prefix-*")
        was_locked.append(acquire(lock, wait=False) is None)
        return verify(prefix)

    monkeypatch.setattr("envagent.materialize.verify.verify", verify_and_look)
    assert not materialize(plan, NodeStore(store, boot_id="two"), place).is_new
    assert was_locked == [True]


def test_a_prefix_that_was_made_anew_meanwhile_is_not_judged_by_the_mark_of_before(tmp_path, monkeypatch):
    plan, place = plan_of(tmp_path / "w", _demo()), tmp_path / "env"
    module = place / site_packages() / "demo_pkg/__init__.py"
    materialize(plan, NodeStore(tmp_path / "store", boot_id="one"), place, link_mode="copy")
    module.write_bytes(b"")
    stale, store = read_ready(place), NodeStore(tmp_path / "store", boot_id="two")
    assert materialize(plan, store, place, link_mode="copy").is_new
    module.write_bytes(b"edited by whoever uses it by now")
    marks = iter([stale])
    monkeypatch.setattr("envagent.materialize.standing.read_ready", lambda prefix: next(marks, read_ready(prefix)))
    assert not materialize(plan, store, place).is_new
    assert module.read_bytes() == b"edited by whoever uses it by now"


def test_a_prefix_that_is_made_again_is_not_taken_for_the_one_that_was_synced(tmp_path):
    plan, place, store = plan_of(tmp_path / "w", _demo()), tmp_path / "env", NodeStore(tmp_path / "store")
    names = durable_with(store, place, materialize(plan, store, place).identity)
    store.settle(set(names))
    assert names <= store.journal.names()
    shutil.rmtree(place)
    assert materialize(plan, store, place).is_new
    assert not names & store.journal.names()
