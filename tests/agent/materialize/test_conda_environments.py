"""Environments with conda packages: a Python that runs, wheels beside it, whole or not there, found again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from envagent.errors import ArtifactRefused, PrefixRefused
from envagent.lock.model import PythonPackage
from envagent.materialize import overlay
from envagent.materialize.builds import build_trees
from envagent.materialize.prefix import materialize
from envagent.materialize.progress import silent
from envagent.materialize.ready import read_ready
from envagent.materialize.verify import verify
from envagent.store.gc import collect
from envagent.store.node import NodeStore
from fixtures.conda_dists import compiled
from fixtures.conda_packages import PLACEHOLDER, File, make_conda, with_command, with_prefixes
from fixtures.conda_plans import conda_plan, this_python
from fixtures.conda_pythons import interpreters, python_package
from fixtures.environments import python
from fixtures.raw_wheels import RawWheel

if TYPE_CHECKING:
    from envagent.materialize.plan import Plan

_SITE = f"lib/{python().library}/site-packages"
_USES_NATIVE = (
    b"from frozenlist._frozenlist import FrozenList\n\n\ndef main():\n    print(list(FrozenList([1, 2])))\n"
)


def _output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _locked(raw: RawWheel, folder: Path) -> tuple[PythonPackage, dict[str, Path]]:
    """The wheel in a lock, and where it is."""
    folder.mkdir(exist_ok=True)
    path = raw.write(folder)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    package = PythonPackage(
        kind="wheel", name=raw.name, version=raw.version, filename=raw.filename, index="main", url="", sha256=sha256
    )
    return package, {sha256: path}


def _app() -> RawWheel:
    raw = RawWheel(name="app").add("app/__init__.py", _USES_NATIVE)
    return raw.add(f"{raw.info}/entry_points.txt", b"[console_scripts]\napp = app:main\n")


def _native() -> object:
    """Compiled code of this machine as a conda package."""
    return compiled("frozenlist", site_packages=_SITE)


def _mixed(tmp_path: Path, *more: object) -> Plan:
    wheel, paths = _locked(_app(), tmp_path / "wheels")
    return conda_plan(tmp_path / "files", this_python(), _native(), *more, wheels=[wheel], paths=paths)


def test_a_wheel_uses_compiled_code_of_a_conda_package(tmp_path):
    prefix = materialize(_mixed(tmp_path, with_command()), NodeStore(tmp_path / "store"), tmp_path / "env")
    assert _output(prefix.path / "bin" / "app") == "[1, 2]"
    assert _output(prefix.path / "bin" / "greeter") == f"hello from {prefix.path} greeter"
    asked = "import sys, frozenlist; print(sys.prefix, sys.base_prefix, frozenlist.__file__)"
    assert _output(prefix.python, "-c", asked).split() == [
        str(prefix.path), str(prefix.path), str(prefix.path / _SITE / "frozenlist/__init__.py"),
    ]  # fmt: skip
    assert not (prefix.path / "pyvenv.cfg").exists()
    assert verify(prefix.path) == []


def test_another_python_of_this_machine_runs_the_same_pure_package(tmp_path):
    others = [found for found in interpreters() if found.minor != this_python().index["version"][:4]]
    if not others:
        pytest.skip("this machine has one CPython only")
    plan = conda_plan(tmp_path / "files", python_package(others[0]), with_command())
    store = NodeStore(tmp_path / "store")
    env = materialize(plan, store, tmp_path / "env").path
    materialize(conda_plan(tmp_path / "files", this_python(), with_command()), store, tmp_path / "this")
    assert _output(env / "bin" / "greeter") == f"hello from {env} greeter"
    assert _output(env / "bin" / "python", "-c", "import sys; print(sys.version.split()[0])") == others[0].version
    assert (env / f"lib/python{others[0].minor}/site-packages/greeter.py").is_file()


def test_pip_uv_and_metadata_find_nothing_wrong(tmp_path):
    prefix = materialize(_mixed(tmp_path), NodeStore(tmp_path / "store"), tmp_path / "env")
    assert _output(sys.executable, "-m", "pip", "--python", str(prefix.python), "check") == (
        "No broken requirements found."
    )
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "pip", "check", "-q", "--python", prefix.python], check=True)
    assert sorted(found.name for found in distributions(path=[str(prefix.path / _SITE)])) == ["app", "frozenlist"]


def test_the_python_has_been_asked_once_its_packages_are_built(tmp_path):
    plan, store = conda_plan(tmp_path / "files", this_python(), with_command()), NodeStore(tmp_path / "store")
    with store.in_use() as work:
        trees = build_trees(plan, plan.sources, store, work, silent)
    assert plan.conda_python
    answer = store.find(f"{plan.key(plan.conda_python)}-described")
    assert answer
    assert set(store.trees()) == {*trees.values(), answer}
    assert json.loads((answer.files / "interpreter.json").read_bytes())["version"] == python().version


def test_the_python_is_asked_once_per_node_and_bytecode_is_shared(tmp_path, monkeypatch):
    store = NodeStore(tmp_path / "store")
    one = materialize(_mixed(tmp_path, with_command()), store, tmp_path / "one").path
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("something was run again"))
    two = materialize(_mixed(tmp_path, with_command()), store, tmp_path / "two").path
    for module in ("greeter", "app/__init__"):
        folder, _, name = module.rpartition("/")
        pyc = f"{_SITE}/{folder}/__pycache__/{name}.{python().cache_tag}.pyc"
        assert (one / pyc).samefile(two / pyc)


def test_a_wheel_of_a_project_that_conda_brings_is_refused(tmp_path):
    wheel, paths = _locked(RawWheel(name="FrozenList", version="9.9"), tmp_path / "wheels")
    plan = conda_plan(tmp_path / "files", this_python(), _native(), wheels=[wheel], paths=paths)
    with pytest.raises(ArtifactRefused, match=r"conda's frozenlist-.* brings this project already"):
        materialize(plan, NodeStore(tmp_path / "store"), tmp_path / "env")
    assert not (tmp_path / "env").exists()


def test_a_wheel_for_another_python_than_condas_is_refused(tmp_path):
    wheel, paths = _locked(RawWheel(name="old", tag="cp27-cp27m-win32"), tmp_path / "wheels")
    plan = conda_plan(tmp_path / "files", this_python(), wheels=[wheel], paths=paths)
    with pytest.raises(ArtifactRefused, match="it is not for cpython"):
        materialize(plan, NodeStore(tmp_path / "store"), tmp_path / "env")
    assert not (tmp_path / "env").exists()


def test_a_conda_python_that_does_not_run_is_refused(tmp_path):
    broken = make_conda(
        "python", "3.11.0", files={"bin/python": File(b"#!/bin/false\n", executable=True)}, subdir="noarch"
    )
    with pytest.raises(PrefixRefused, match="is not a Python that can be asked about itself"):
        materialize(conda_plan(tmp_path / "files", broken), NodeStore(tmp_path / "store"), tmp_path / "env")
    assert not (tmp_path / "env").exists()


def test_an_environment_without_a_python_is_one_too(tmp_path):
    plan = conda_plan(tmp_path / "files", with_prefixes())
    prefix = materialize(plan, NodeStore(tmp_path / "store"), tmp_path / "env")
    assert _output(prefix.path / "bin" / "prefixed") == str(prefix.path)
    assert materialize(plan, NodeStore(tmp_path / "store"), tmp_path / "env").is_new is False


def test_the_same_packages_elsewhere_name_that_place_and_share_the_rest(tmp_path):
    store = NodeStore(tmp_path / "store")
    shared = make_conda("shared")
    one = materialize(conda_plan(tmp_path / "files", with_prefixes(), shared), store, tmp_path / "one").path
    two = materialize(conda_plan(tmp_path / "files", with_prefixes(), shared), store, tmp_path / "two").path
    assert (_output(one / "bin/prefixed"), _output(two / "bin/prefixed")) == (str(one), str(two))
    assert (one / "share/shared.txt").samefile(two / "share/shared.txt")


def test_a_place_too_long_for_a_binary_is_refused_and_left_alone(tmp_path):
    place = tmp_path / ("x" * 200) / ("y" * 200)
    with pytest.raises(PrefixRefused) as refused:
        materialize(conda_plan(tmp_path / "files", with_prefixes()), NodeStore(tmp_path / "store"), place)
    assert refused.value.message == (
        f"{place} is too long for prefixed-1.0-0.conda: lib/prefixed.bin has room for a path of {len(PLACEHOLDER)} "
        f"bytes, and this one has {len(str(place))}"
    )
    assert not place.parent.exists()


def test_edited_files_and_links_are_found(tmp_path):
    links = make_conda("links", files={"lib/a.so.1": File(b"a"), "lib/a.so": File(target="a.so.1")})
    env = materialize(
        conda_plan(tmp_path / "files", links, with_prefixes()), NodeStore(tmp_path / "store"), tmp_path / "env"
    ).path
    (env / "bin/prefixed").write_text("#!/bin/sh\n")
    (env / "lib/a.so").unlink()
    (env / "lib/a.so").symlink_to("elsewhere")
    (env / "conda-meta/links-1.0-0.json").unlink()
    assert [(found.path, found.what, found.source) for found in verify(env)] == [
        ("bin/prefixed", "edited", ""),
        ("conda-meta/links-1.0-0.json", "edited", ""),
        ("lib/a.so", "edited", "links-1.0-0.conda"),
    ]


def test_link_scripts_are_told_and_not_run(tmp_path):
    script = {"bin/.loud-post-link.sh": File(b"#!/bin/sh\ntouch $PREFIX/ran\n", executable=True)}
    plan = conda_plan(tmp_path / "files", make_conda("loud", files=script), make_conda("calm"))
    store = NodeStore(tmp_path / "store")
    assert materialize(plan, store, tmp_path / "env").link_scripts == ("loud-1.0-0.conda",)
    assert materialize(plan, store, tmp_path / "env").link_scripts == ("loud-1.0-0.conda",)
    assert not (tmp_path / "env/ran").exists()


def test_conda_is_told_that_the_environment_is_not_its_to_change(tmp_path):
    plan = conda_plan(tmp_path / "files", make_conda("calm"))
    env = materialize(plan, NodeStore(tmp_path / "store"), tmp_path / "env").path
    assert (env / "conda-meta/history").is_file()
    assert "never changed" in json.loads((env / "conda-meta/frozen").read_bytes())["message"]


@pytest.mark.parametrize("mode", ["copy", "reflink"])
def test_private_files_cannot_reach_the_store(tmp_path, mode):
    store, plan = NodeStore(tmp_path / "store"), conda_plan(tmp_path / "files", make_conda("calm"))
    materialize(plan, store, tmp_path / "one", link_mode=mode)
    (tmp_path / "one/share/calm.txt").write_text("edited")
    two = materialize(plan, store, tmp_path / "two")
    assert verify(two.path) == []
    assert [found.path for found in verify(tmp_path / "one")] == ["share/calm.txt"]


def test_an_overlay_of_conda_packages_is_the_same_environment(tmp_path):
    links = make_conda("links", files={"lib/a.so.1": File(b"a"), "lib/a.so": File(target="a.so.1")})
    plan, store = _mixed(tmp_path, with_command(), with_prefixes(), links), NodeStore(tmp_path / "store")
    try:
        env = materialize(plan, store, tmp_path / "env", link_mode="overlay").path
    except PrefixRefused as refused:
        pytest.skip(refused.message)
    try:
        assert _output(env / "bin" / "app") == "[1, 2]"
        assert _output(env / "bin" / "greeter") == f"hello from {env} greeter"
        assert _output(env / "bin" / "prefixed") == str(env)
        assert os.readlink(env / "lib/a.so") == "a.so.1"
        assert verify(env) == []
    finally:
        overlay.unmount(env)


def test_gc_keeps_what_an_environment_is_made_of(tmp_path):
    store = NodeStore(tmp_path / "store")
    env = materialize(_mixed(tmp_path, with_command()), store, tmp_path / "env").path
    assert collect(store, now=0.0).trees == 0
    ready = read_ready(env)
    assert ready is not None
    kept = {tree.key for tree in store.trees()}
    assert {part.key for part in [*ready.parts, *ready.bytecode]} < kept
    assert [key for key in kept if key.endswith("-described")]
    shutil.rmtree(env)
    assert collect(store, now=0.0).trees == len(kept)


def test_activation_scripts_of_packages_are_where_conda_looks_for_them(tmp_path):
    script = {"etc/conda/activate.d/env.sh": File(f"export HERE={PLACEHOLDER}\n".encode(), placeholder=PLACEHOLDER)}
    plan = conda_plan(tmp_path / "files", make_conda("setter", files=script))
    env = materialize(plan, NodeStore(tmp_path / "store"), tmp_path / "env").path
    assert (env / "etc/conda/activate.d/env.sh").read_text() == f"export HERE={env}\n"


def test_no_bytecode_is_there_for_a_module_that_names_its_prefix(tmp_path):
    module = f"where = '{PLACEHOLDER}'\n".encode()
    files = {
        "site-packages/told.py": File(module, placeholder=PLACEHOLDER),
        "site-packages/brought.py": File(module, placeholder=PLACEHOLDER),
        f"site-packages/__pycache__/brought.{python().cache_tag}.pyc": File(b"of the text before it was replaced"),
        "site-packages/plain.py": File(b"where = 1\n"),
    }
    package = make_conda("told", depends=["python"], noarch="python", files=files)
    env = materialize(
        conda_plan(tmp_path / "files", this_python(), package), NodeStore(tmp_path / "store"), tmp_path / "env"
    ).path
    assert [path.name for path in (env / _SITE).glob("**/*.pyc")] == [f"plain.{python().cache_tag}.pyc"]
    said = _output(env / "bin/python", "-c", "import told, brought, plain; print(told.where, brought.where)")
    assert said == f"{env} {env}"
    assert verify(env) == []


def test_bytecode_that_came_in_a_package_is_linked_and_verified(tmp_path):
    pyc = f"site-packages/__pycache__/m.{python().cache_tag}.pyc"
    files = {"site-packages/m.py": File(b"x = 1\n"), pyc: File(b"compiled")}
    package = make_conda("m", depends=["python"], noarch="python", files=files)
    env = materialize(
        conda_plan(tmp_path / "files", this_python(), package), NodeStore(tmp_path / "store"), tmp_path / "env"
    ).path
    there = env / _SITE / pyc.removeprefix("site-packages/")
    assert there.read_bytes() == b"compiled"
    there.unlink()
    assert [found.path for found in verify(env)] == [f"{_SITE}/{pyc.removeprefix('site-packages/')}"]


def test_replaced_sources_are_younger_than_the_bytecode_that_came_with_them(tmp_path):
    source = {"x.py": File(f"P = '{PLACEHOLDER}'\n".encode(), placeholder=PLACEHOLDER)}
    plan = conda_plan(tmp_path / "files", make_conda("x", files=source))
    store = NodeStore(tmp_path / "store")
    env = materialize(plan, store, tmp_path / "env").path
    [tree] = store.trees()
    assert int((env / "x.py").stat().st_mtime) == int((tree.files / "x.py").stat().st_mtime) + 1
    assert os.stat(env / "x.py").st_nlink == 1
