"""The words of a channel, told from everything that only looks like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envproxy.conda.channel import (
    check_label,
    check_subdir,
    name_in,
    parse_filename,
    place,
    signed_package,
    subdir_of,
)
from envproxy.errors import ClientError


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("numpy-2.1.0-py312h58c1407_1.conda", ("numpy", "2.1.0", "py312h58c1407_1", ".conda")),
        ("_libgcc_mutex-0.1-conda_forge.tar.bz2", ("_libgcc_mutex", "0.1", "conda_forge", ".tar.bz2")),
        ("r-base-4.4.1-h1_0.conda", ("r-base", "4.4.1", "h1_0", ".conda")),
        ("7zip-1!23.01_a+b-0.conda", ("7zip", "1!23.01_a+b", "0", ".conda")),
    ],
)
def test_a_package_filename_has_three_parts(text: str, parts: tuple[str, ...]) -> None:
    found = parse_filename(text)
    assert found is not None
    assert (found.name, found.version, found.build, found.form) == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "numpy.conda",
        "numpy-2.0.conda",
        "../secret-1-0.conda",
        "a/b-1-0.conda",
        "a-1-0.conda\x00",
        "a-1-0.conda\n",
        "-1-0.conda",
        ".hidden-1-0.conda",
        "a b-1-0.conda",
        "a-1-0.zip",
        "\N{CYRILLIC SMALL LETTER A}-1-0.conda",
        "a" * 260 + "-1-0.conda",
    ],
)
def test_an_odd_filename_is_none(text: str) -> None:
    assert parse_filename(text) is None


def test_a_place_is_a_subdir_or_a_subdir_of_a_label() -> None:
    assert place("linux-64") == "linux-64"
    assert place("noarch", "rc") == "label/rc/noarch"
    assert subdir_of("label/rc/noarch") == "noarch"


@pytest.mark.parametrize("text", ["", "..", "linux", "Linux-64", "linux-64/..", "a" * 40 + "-64", "noarch\n"])
def test_what_is_no_subdir_is_refused(text: str) -> None:
    with pytest.raises(ClientError):
        check_subdir(text)


@pytest.mark.parametrize("text", ["", "..", ".x", "a/b", "a" * 200])
def test_what_is_no_label_is_refused(text: str) -> None:
    with pytest.raises(ClientError):
        check_label(text)


def test_a_sigstore_sidecar_names_its_package() -> None:
    assert signed_package("a-1-0.conda.sigs") == "a-1-0.conda"
    assert signed_package(f"a-1-0.conda.sigs.{'0' * 64}") == "a-1-0.conda"
    assert signed_package("a.sigs") is None
    assert signed_package("a-1-0.conda.sigs.short") is None


def test_the_name_in_a_filename_is_all_but_the_last_two_parts() -> None:
    assert name_in("r-base-4.4-0.conda") == "r-base"
    assert name_in("odd") == "odd"


@given(st.text(max_size=80))
def test_a_filename_that_is_accepted_is_a_single_path_segment(text: str) -> None:
    found = parse_filename(text)
    if found is not None:
        assert not {"/", "\\", "\x00", "%", "?", "#"} & set(text)
        assert f"{found.name}-{found.version}-{found.build}{found.form}" == text
