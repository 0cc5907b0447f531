"""Names of files: what stays below a collection, and which digests are demanded."""

from __future__ import annotations

import pytest

from envproxy.errors import ClientError
from envproxy.files.path import FilePath, demanded, digest_in

A, B = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    "text", ["", "/", "a/", "/a", "a//b", "../a", "a/..", "a/./b", ".", "a\\b", "a\nb", "a\0", "x" * 1001]
)
def test_what_is_no_path_of_a_file_is_refused(text):
    with pytest.raises(ClientError, match="is not the path of a file"):
        FilePath.parse(text)


def test_a_path_is_quoted_for_upstream_with_its_plus():
    path = FilePath.parse("20240107/cpython-3.11.7+20240107 ü?#%.tar.gz")
    assert path.text == "20240107/cpython-3.11.7+20240107 ü?#%.tar.gz"
    assert path.quoted == "20240107/cpython-3.11.7%2B20240107%20%C3%BC%3F%23%25.tar.gz"


@pytest.mark.parametrize(("path", "stated", "wanted"), [
    ("a/b.tgz", None, None),
    ("a/b.tgz", A.upper(), A),
    (A, None, A),
    (f"x/{A}", A, A),
    (A.upper(), None, None),
])  # fmt: skip
def test_a_digest_is_demanded_by_the_client_or_by_the_name(path, stated, wanted):
    assert demanded(FilePath.parse(path), stated) == wanted


@pytest.mark.parametrize(("path", "stated"), [("a", "md5"), ("a", A[:-1]), (A, B)])
def test_a_demand_that_cannot_be_met_is_said_to_be_one(path, stated):
    with pytest.raises(ClientError):
        demanded(FilePath.parse(path), stated)


@pytest.mark.parametrize("sums", [
    f"{B}  other.tgz\n{A}  demo.tgz\n",
    f"{A} *demo.tgz",
    f"{A.upper()}  demo.tgz\r\n",
    f"{A}\n",
])  # fmt: skip
def test_checksums_are_read_as_sha256sum_writes_them_or_as_one_digest(sums):
    assert digest_in(sums, "demo.tgz") == A


@pytest.mark.parametrize("sums", ["", f"{A}  demo.tgz.asc", f"{A}  x/demo.tgz", "<html>", f"{A[1:]}  demo.tgz"])
def test_checksums_that_do_not_have_the_file_say_nothing_of_it(sums):
    assert digest_in(sums, "demo.tgz") is None
