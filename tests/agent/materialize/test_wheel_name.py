"""What a wheel's filename says, read without `packaging` where that is enough: the same as `packaging` reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import parse_wheel_filename

from envagent.errors import ArtifactRefused
from envagent.materialize.wheel_name import project_of, tags_of

NAMES = st.sampled_from(["alpha", "Alpha_Beta", "a.b", "A1"])
VERSIONS = st.sampled_from(["1.0", "2024.1", "1.0+cu121", "1!2rc1.post0"])
BUILDS = st.sampled_from(["", "-1", "-2_local"])
SETS = st.lists(
    st.sampled_from(["py2", "py3", "CP311", "abi3", "none", "any", "Linux_x86_64", "manylinux_2_17_x86_64"]),
    min_size=1,
    max_size=3,
    unique=True,
).map(".".join)


@given(NAMES, VERSIONS, BUILDS, st.tuples(SETS, SETS, SETS).map("-".join))
def test_project_and_tags_are_those_that_packaging_reads(name: str, version: str, build: str, tags: str) -> None:
    filename = f"{name}-{version}{build}-{tags}.whl"
    project, _, _, expected = parse_wheel_filename(filename)
    assert project_of(filename) == project
    assert tags_of(filename) == set(map(str, expected))


@pytest.mark.parametrize("filename", ["alpha-1.0.tar.gz", "alpha-1.0-py3-any.whl", "alpha-1-2-3-py3-none-any.whl"])
def test_what_is_no_name_of_a_wheel_has_no_tags(filename: str) -> None:
    with pytest.raises(ArtifactRefused, match="its name is not a wheel's"):
        tags_of(filename)
