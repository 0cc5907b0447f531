"""Names of projects and files: what is accepted, and which version a filename holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypi_simple import parse_filename

from envproxy.errors import ClientError
from envproxy.pypi.names import check_filename, is_distribution, is_normal, normalize, version_of


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("six", "six"),
        ("Six", "six"),
        ("zope.interface", "zope-interface"),
        ("ruamel_yaml._-clib", "ruamel-yaml-clib"),
        ("a" * 200, "a" * 200),
        ("7", "7"),
    ],
)
def test_a_name_has_one_normal_form(name: str, normal: str):
    assert normalize(name) == normal
    assert is_normal(name) == (name == normal)
    assert is_normal(normal)


@pytest.mark.parametrize("name", ["", "-six", "six.", "a b", "a/b", "..", "é", "\u212aelvin", "six\n", "a" * 201])
def test_what_is_no_project_name_is_the_clients_fault(name: str):
    assert not is_normal(name)
    with pytest.raises(ClientError) as caught:
        normalize(name)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "filename",
    ["foo-1.0.tar.gz", "foo-1.0-py3-none-any.whl", "foo 1..0.zip", "föö-1.zip", "a" * 255],
)
def test_a_plain_filename_is_accepted(filename: str):
    check_filename(filename)


@pytest.mark.parametrize(
    "filename",
    ["", ".", "..", ".foo-1.0.zip", "a/b.zip", "a\\b.zip", "a\nb.zip", "a\x00.zip", "\u202ea.zip", "é" * 128],
)
def test_a_filename_that_could_leave_its_place_is_refused(filename: str):
    with pytest.raises(ClientError):
        check_filename(filename)


@pytest.mark.parametrize(
    "filename", ["f-1.whl", "f-1.tar.gz", "f-1.ZIP", "f-1.tar.bz2", "f-1.tgz", "f-1.egg", "f-1.exe"]
)
def test_installable_files_are_distributions(filename: str):
    assert is_distribution(filename)


@pytest.mark.parametrize("filename", ["", "f-1", ".whl", "f-1.whl.metadata", "f-1.tar.gz.asc", "index.html", "f.gz"])
def test_other_files_are_no_distributions(filename: str):
    assert not is_distribution(filename)


@pytest.mark.parametrize(
    ("filename", "project", "version"),
    [
        ("foo-1.0-py3-none-any.whl", "foo", "1.0"),
        ("foo-1.0-2-cp311-cp311-manylinux_2_17_x86_64.whl", "foo", "1.0"),
        ("Foo_Bar-1.0.0rc1+cu121-py3-none-any.whl", "foo-bar", "1.0.0rc1+cu121"),
        ("foo-2004d-py3-none-any.whl", "foo", "2004d"),
        ("foo-1.0.tar.gz", "foo", "1.0"),
        ("foo-1.0-1.tar.gz", "foo", "1.0.post1"),
        ("foo-1-1.0.tar.gz", "foo-1", "1.0"),
        ("foo-1.0.0-beta.2.zip", "foo", "1.0.0b2"),
        ("foo.bar-1.0.tar.bz2", "foo-bar", "1.0"),
        ("foo-1.0-py2.7-linux-x86_64.egg", "foo", "1.0"),
        ("foo-1.0.win32-py2.7.exe", "foo", "1.0"),
        ("foo-1.0.linux-x86_64.tar.gz", "foo", "1.0"),
        ("other-1.0.tar.gz", "foo", None),
        ("foobar-1.0.tar.gz", "foo", None),
        ("foo-.tar.gz", "foo", None),
        ("foo-1.0.whl.metadata", "foo", None),
    ],
)
def test_the_version_is_read_with_the_project_in_hand(filename: str, project: str, version: str | None):
    assert version_of(filename, project) == version


@given(
    project=st.from_regex(r"[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,4}){0,2}", fullmatch=True),
    version=st.from_regex(r"[0-9]{1,2}(\.[0-9]{1,2}){0,2}", fullmatch=True),
    ending=st.sampled_from(["-py3-none-any.whl", ".tar.gz", ".zip", "-py2.7.egg", ".win32-py2.7.exe"]),
)
def test_versions_agree_with_another_reader(project: str, version: str, ending: str):
    filename = f"{project.replace('-', '_')}-{version}{ending}"
    theirs = parse_filename(filename, project)[1]
    assert version_of(filename, project) == ".".join(str(int(part)) for part in theirs.split("."))
