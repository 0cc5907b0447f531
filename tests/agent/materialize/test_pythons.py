"""Which Python of the machine a lock gets that brings none of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from envagent.errors import PrefixRefused
from envagent.materialize.pythons import find_system
from fixtures.environments import python

_FULL = ".".join(map(str, sys.version_info[:3]))
_MINOR = ".".join(map(str, sys.version_info[:2]))
_NOWHERE = Path("/nowhere/python")


def _install(
    folder: Path, name: str, *, version: str = _FULL, implementation: str = "cpython", abi: str = ""
) -> Path:
    """A program that describes itself as a Python."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    said = (
        f'{{"executable": "{path}", "version": "{version}", "implementation": "{implementation}", '
        f'"cache_tag": "t", "magic": "00", "library": "python{version}", "abi": "{abi}", "soabi": ""}}'
    )
    path.write_text(f"#!/bin/sh\necho '{said}'\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("version", [_MINOR, _FULL])
def test_the_running_python_is_found_by_its_minor_and_by_its_full_version(version):
    assert find_system(version, environ={}) == python()


@pytest.mark.parametrize("version", [_MINOR, _FULL])
def test_a_python_on_the_path_comes_before_the_running_one(version, tmp_path):
    path = _install(tmp_path / "bin", f"python{_MINOR}")
    assert find_system(version, environ={"PATH": f"/nowhere:{tmp_path}/bin"}).executable == path


def test_a_plain_python3_will_do_when_it_is_of_that_version(tmp_path):
    path = _install(tmp_path / "bin", "python3", version="3.99.1")
    assert find_system("3.99", environ={"PATH": str(tmp_path / "bin")}).executable == path


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"HOME": "{}"}, ".pyenv/versions/{}/bin"),
        ({"PYENV_ROOT": "{}/pyenv"}, "pyenv/versions/{}/bin"),
        ({"HOME": "{}"}, ".local/share/uv/python/cpython-{}-linux-x86_64-gnu/bin"),
        ({"XDG_DATA_HOME": "{}"}, "uv/python/cpython-{}-linux-x86_64-gnu/bin"),
        ({"UV_PYTHON_INSTALL_DIR": "{}"}, "cpython-{}-linux-x86_64-gnu/bin"),
    ],
)
def test_pyenv_and_uv_have_pythons_too_and_the_newest_of_a_minor_version_is_taken(environ, place, tmp_path):
    for version in ("3.99.2", "3.99.10", "3.99.9"):
        _install(tmp_path / place.format(version), "python3.99", version=version)
    environ = {name: value.format(tmp_path) for name, value in environ.items()}
    assert find_system("3.99", environ=environ, running=_NOWHERE).version == "3.99.10"
    assert find_system("3.99.2", environ=environ, running=_NOWHERE).version == "3.99.2"


def test_another_patch_release_is_refused_and_named(tmp_path):
    path = _install(tmp_path, "python3.99", version="3.99.10")
    with pytest.raises(PrefixRefused) as refused:
        find_system("3.99.1", environ={"PATH": str(tmp_path)}, running=_NOWHERE)
    assert refused.value.message == f"Python 3.99.1 is not on this machine; found: 3.99.10 ({path})"


@pytest.mark.parametrize(
    ("kind", "said"), [({"implementation": "pypy"}, "3.99.1 pypy"), ({"abi": "t"}, "3.99.1 free-threaded")]
)
def test_another_kind_of_python_is_no_cpython_of_that_version(kind, said, tmp_path):
    path = _install(tmp_path, "python3.99", version="3.99.1", **kind)
    with pytest.raises(PrefixRefused) as refused:
        find_system("3.99", environ={"PATH": str(tmp_path)}, running=_NOWHERE)
    assert refused.value.message == f"Python 3.99 is not on this machine; found: {said} ({path})"


def test_what_only_bears_the_name_of_a_python_is_passed_over(tmp_path):
    (tmp_path / f"python{_MINOR}").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / f"python{_MINOR}").chmod(0o755)
    assert find_system(_MINOR, environ={"PATH": str(tmp_path)}) == python()


def test_the_shims_of_pyenv_and_relative_entries_of_the_path_are_not_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _install(tmp_path / "shims", "python3.99", version="3.99.1")
    with pytest.raises(PrefixRefused, match="found: no Python at all"):
        find_system(
            "3.99", environ={"PYENV_ROOT": str(tmp_path), "PATH": f"{tmp_path}/shims:shims"}, running=_NOWHERE
        )


@pytest.mark.parametrize("version", ["", "3", "3.x", ">=3.11", "3.11.7rc1", "../3.11"])
def test_what_is_no_version_is_refused_before_anything_is_asked(version):
    with pytest.raises(PrefixRefused, match="is not a version of Python"):
        find_system(version, environ={})
