"""What is known for right without `packaging` is right to `packaging`, too."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from envagent.lock import plain

NUMBERS = ["1", "0", "2.10", "1.0.3", "2024.1"]
VERSIONS = [*NUMBERS, "1.0a1", "1rc2", "1.post0", "3.dev4", "1.*", "1!2", "1.0+cu121", "v1", "1.0-1", "x", ""]
CLAUSES = [f"{sign}{version}" for sign in ("==", "!=", "<", ">=", "~=", "===", "=", "") for version in VERSIONS]
PARTS = ["a", "Some_Name", "x.y", "-", "[b]", "[b,c]", "[", " ", ",", ";", " and ", " or ", "(", ")", "@"]
MARKERS = [
    "extra == 'x'",
    'python_version<"3.10"',
    "sys_platform",
    "os_name in 'a'",
    "'x' == extra",
    "os_name ~= '1'",
]
TAGS = ["py3", "py2.py3", "none", "any", "cp311", "abi3", "manylinux_2_17_x86_64.manylinux2014_x86_64", "3", "", "."]


@given(st.sampled_from(VERSIONS))
def test_a_plain_version_is_one(word: str) -> None:
    if plain.is_version(word):
        assert str(Version(word)) == word


@given(st.lists(st.sampled_from(CLAUSES), min_size=1, max_size=3), st.sampled_from([",", ", ", " , "]))
def test_plain_specifiers_are_specifiers(clauses: list[str], comma: str) -> None:
    word = comma.join(clauses)
    if plain.is_specifiers(word):
        SpecifierSet(word)


@given(st.lists(st.sampled_from([*PARTS, *CLAUSES, *MARKERS]), max_size=8).map("".join))
@example("a[b] >=1,<2 ; extra == 'x' and os_name=='y'")
@example("a==1.0.*")
def test_a_plain_requirement_is_one_of_an_index(word: str) -> None:
    if plain.is_requirement(word):
        assert Requirement(word).url is None


@given(
    st.sampled_from(["a", "Some_Name", "x.y", "a__b", "-", "_"]),
    st.sampled_from(VERSIONS),
    st.lists(st.sampled_from(TAGS), min_size=2, max_size=4),
)
@example("Some.Name", "1.0", ["py3", "none", "any"])
def test_the_plain_name_of_a_wheel_tells_its_project_and_version(name: str, version: str, tags: list[str]) -> None:
    word = f"{'-'.join([name, version, *tags])}.whl"
    if plain.is_wheel(word, name=canonicalize_name(name), version=version):
        its_name, its_version, _, _ = parse_wheel_filename(word)
        assert (its_name, its_version) == (canonicalize_name(name), Version(version))


@pytest.mark.parametrize(
    "word",
    [
        "idna<4,>=2.5",
        "typing-extensions>=4.12",
        "requests[socks] >=2.31",
        "numpy!=1.24.*,>=1.21",
        "colorama ; platform_system == 'Windows'",
        'importlib-metadata>=3.6; python_version < "3.10" and extra == "dot-env"',
        "pyzmq ~= 25.1",
        "ruamel.yaml",
    ],
)
def test_what_locks_are_full_of_is_plain(word: str) -> None:
    assert plain.is_requirement(word)


def test_names_of_wheels_as_indexes_spell_them_are_plain() -> None:
    assert plain.is_wheel("ruamel.yaml-0.18.6-py3-none-any.whl", name="ruamel-yaml", version="0.18.6")
    assert plain.is_wheel(
        "PyYAML-6.0.2-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", name="pyyaml", version="6.0.2"
    )
    assert not plain.is_wheel("PyYAML-6.0.2-py3-none-any.whl", name="pyyaml", version="6.0.1")
