"""Flat repodata is taken apart by name and put together again without losing what nobody understands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envproxy.conda.repodata import base_url, read, without_base_url, write
from envproxy.errors import BadUpstreamBody

REAL = Path(__file__).parents[3] / "shared/data/channels"
FILES = sorted(REAL.glob("*/*/repodata.json"))
real_channels = pytest.mark.skipif(not FILES, reason="the real channels are not beside this checkout")

PLAIN = {
    "info": {"subdir": "linux-64", "unheard_of": [1, {"a": None}]},
    "packages": {"old-1.0-0.tar.bz2": {"name": "old", "version": "1.0", "size": 7}},
    "packages.conda": {
        "numpy-2.0-0.conda": {"name": "numpy", "version": "2.0", "strange": {"x": 1}},
        "numpy-2.1-0.conda": {"name": "numpy", "version": "2.1"},
    },
    "removed": ["gone-1.0-0.conda"],
    "repodata_version": 2,
    "v3": {"whl": {"six-1.9.0-0": {"name": "six", "url": "https://files.example.org/six.whl"}}},
    "new_section": {"kept": True},
}


def encoded(document: object) -> bytes:
    return json.dumps(document).encode()


def test_records_are_grouped_by_the_name_they_state() -> None:
    repodata = read(encoded(PLAIN))
    assert repodata.names() == ["gone", "numpy", "old", "six"]
    assert [line.key for line in repodata.lines["numpy"]] == ["numpy-2.0-0.conda", "numpy-2.1-0.conda"]
    assert repodata.lines["six"][0].section == "v3/whl"
    assert repodata.removed == {"gone": ["gone-1.0-0.conda"]}


def test_a_record_without_a_name_goes_by_its_filename() -> None:
    repodata = read(b'{"packages": {"r-base-4.4-h1_0.tar.bz2": {"version": "4.4"}}}')
    assert repodata.names() == ["r-base"]


def test_writing_it_again_changes_nothing_but_the_info() -> None:
    source = encoded(PLAIN)
    written = b"".join(write(source, read(source), {"subdir": "linux-64"}))
    assert json.loads(written) == {**PLAIN, "info": {"subdir": "linux-64"}}


def test_records_that_were_taken_out_are_not_written() -> None:
    source = encoded(PLAIN)
    repodata = read(source)
    del repodata.lines["numpy"]
    assert json.loads(b"".join(write(source, repodata, {})))["packages.conda"] == {}


def test_the_fingerprint_of_a_name_depends_on_its_own_records_only() -> None:
    before = read(encoded(PLAIN))
    changed = json.loads(encoded(PLAIN))
    changed["packages"]["old-1.0-0.tar.bz2"]["size"] = 8
    after = read(encoded(changed))
    assert before.fingerprint("numpy") == after.fingerprint("numpy")
    assert before.fingerprint("old") != after.fingerprint("old")


def test_removing_a_file_changes_the_fingerprint_of_its_name() -> None:
    assert read(encoded(PLAIN)).fingerprint("gone") != read(encoded({**PLAIN, "removed": []})).fingerprint("gone")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param(b"", "no repodata", id="empty"),
        pytest.param(b"<html><body>Sign in</body></html>", "no repodata", id="a web page"),
        pytest.param(encoded(PLAIN)[:-9], "no repodata", id="truncated"),
        pytest.param(b'{"packages": []}', "no repodata", id="packages are a list"),
        pytest.param(b'{"packages": {"a-1-0.conda": "text"}}', "no repodata", id="a record is text"),
        pytest.param(b'{"packages": {"a-1-0.conda": {"name": 7}}}', "no repodata", id="a name is a number"),
        pytest.param(b'{"error": "denied"}', "but no repodata", id="JSON of something else"),
        pytest.param(b'{"packages": ' + b"[" * 100_000, "no repodata", id="deep nesting"),
        pytest.param(b'{"packages": {"\xff": {}}}', "no repodata", id="not UTF-8"),
    ],
)
def test_what_is_no_repodata_is_refused(body: bytes, says: str) -> None:
    with pytest.raises(BadUpstreamBody, match=says):
        read(body)


def test_an_empty_channel_is_one() -> None:
    assert read(b'{"packages": {}, "packages.conda": {}}').names() == []


def test_the_base_url_is_taken_out_for_our_own_server() -> None:
    info = {"subdir": "noarch", "base_url": "../elsewhere"}
    assert base_url(info) == "../elsewhere"
    assert without_base_url(info) == {"subdir": "noarch"}


def test_a_base_url_that_is_no_text_is_refused() -> None:
    with pytest.raises(BadUpstreamBody, match="not text"):
        base_url({"base_url": 3})


@real_channels
@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-3:-1]))
def test_real_repodata_survives_being_taken_apart(path: Path) -> None:
    source = path.read_bytes()
    repodata = read(source)
    assert json.loads(b"".join(write(source, repodata, repodata.info))) == json.loads(source)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        read(body)
    except BadUpstreamBody:
        return


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["info", "packages", "packages.conda", "v3", "removed"]), JSON))
def test_arbitrary_json_is_read_or_refused(document: dict[str, object]) -> None:
    try:
        read(encoded(document))
    except BadUpstreamBody:
        return
