"""Trees that may hold the same path are found by what they claim; none is missed."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envagent.store.claims import claim_of, claims_of, neighbours

SITE = "lib/python3.11/site-packages"


@pytest.mark.parametrize(
    ("path", "claim"),
    [
        ("README", "README"),
        ("bin/f2py", "bin/f2py"),
        ("share/jupyter/kernels/python3/kernel.json", "share/jupyter"),
        ("lib/libz.so.1", "lib/libz.so.1"),
        ("lib/python3.11/os.py", "lib/python3.11/os.py"),
        ("lib/python3.11/json/tool.py", "lib/python3.11/json"),
        (f"{SITE}/six.py", f"{SITE}/six.py"),
        (f"{SITE}/numpy/linalg/__init__.py", f"{SITE}/numpy"),
    ],
)
def test_what_a_path_claims(path, claim):
    assert claim_of(path) == claim


def test_a_tree_claims_little_however_much_it_holds():
    folders = ["bin", "lib", "lib/python3.11", SITE, f"{SITE}/numpy", f"{SITE}/numpy/linalg"]
    files = ["bin/f2py", f"{SITE}/numpy/__init__.py", f"{SITE}/numpy/linalg/__init__.py"]
    assert claims_of(folders, files) == ["bin/f2py", f"{SITE}/numpy"]


def test_a_directory_with_nothing_in_it_is_claimed():
    assert claims_of(["etc", "etc/conf.d"], ["bin/a"]) == ["bin/a", "etc/conf.d"]
    assert claims_of(["etc"], ["bin/a"]) == ["bin/a", "etc"]


def test_trees_of_different_projects_are_no_neighbours():
    claims = [
        claims_of([SITE], [f"{SITE}/{name}/__init__.py", f"bin/{name}"]) for name in ("numpy", "pandas", "scipy")
    ]
    assert neighbours(claims) == []


def test_parts_of_one_namespace_are_neighbours_and_nobody_else_is():
    claims = [[f"{SITE}/google"], [f"{SITE}/numpy"], [f"{SITE}/google", "bin/g"]]
    assert neighbours(claims) == [0, 2]


def test_a_file_where_another_has_a_directory_makes_all_neighbours():
    assert neighbours([["share"], ["bin/a"], ["share/doc"]]) == [0, 1, 2]


_NAMES = st.sampled_from(["lib", "python3.11", "site-packages", "a", "b"])
_FILES = st.lists(st.lists(_NAMES, min_size=1, max_size=6).map("/".join), max_size=5)
_EMPTY = st.lists(st.lists(_NAMES, min_size=1, max_size=5).map("/".join), max_size=2)


def _parents(path: str) -> set[str]:
    return {str(parent) for parent in PurePosixPath(path).parents} - {"."}


@st.composite
def _trees(draw: st.DrawFn) -> tuple[set[str], set[str]]:
    """Directories and files that can be together in one tree."""
    files = set(draw(_FILES))
    files -= set().union(*map(_parents, files))
    empty = {path for path in draw(_EMPTY) if not files & ({path} | _parents(path))}
    return empty.union(*map(_parents, files), *map(_parents, empty)), files


@given(st.lists(_trees(), min_size=2, max_size=4))
def test_no_tree_that_has_a_path_in_common_with_another_is_missed(trees):
    found = neighbours([claims_of(directories, files) for directories, files in trees])
    for index, (_, files) in enumerate(trees):
        for other, (directories, others) in enumerate(trees):
            if index != other and files & (directories | others):
                assert {index, other} <= set(found)
