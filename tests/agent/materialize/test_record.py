"""RECORD without the csv module where nothing is quoted: the same rows, and the same bytes, as with it."""

from __future__ import annotations

import csv
import hashlib
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from envagent.materialize import record
from envagent.materialize.record import Row

WORDS = [
    "a",
    "b/c",
    ",",
    '"',
    "\n",
    "\r",
    "\r\n",
    "\0",
    " ",
    "\t",
    "\v",
    "\f",
    "\x85",
    "\u2028",
    "=",
    "é",
    "a,,\n",
    "d/,,\n",
]
TEXT = st.lists(st.sampled_from(WORDS), max_size=12).map("".join)
PATH = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map("".join)
DIGEST = hashlib.sha256(b"x").digest()
ENCODED = "sha256=LXEWQrcmsEQBYnyp-6wy9chTD7GQPMTbAiWHF5IaSIE"


def promises(text: str) -> object:
    """What is read of the text, an error being one of the things that can be."""
    try:
        return record.parse(text.encode())
    except ValueError as error:
        return str(error)


def quoted(text: str) -> str:
    """The same rows with a quoted field in front of them, which only the csv module can read."""
    return f'"quoted",,\n{text}'


@given(TEXT)
@example("a,sha256=,1\r\nb,,\n\n")
@example("a\u2028b,,\n")
def test_rows_that_are_split_are_those_that_csv_reads(text: str) -> None:
    plain, read = promises(text), promises(quoted(text))
    assert read == ({"quoted": None, **plain} if isinstance(plain, dict) else plain)


@given(st.lists(PATH, max_size=5, unique=True))
def test_what_is_written_is_what_csv_writes(paths: list[str]) -> None:
    written = record.render([Row(path, "sha256", DIGEST, 1) for path in paths], own_path="RECORD")
    out = io.StringIO(newline="")
    rows = [[path, ENCODED, "1"] for path in paths]
    csv.writer(out, lineterminator="\n").writerows(sorted([*rows, ["RECORD", "", ""]]))
    assert written == out.getvalue().encode()


@pytest.mark.parametrize("path", ["a/b.py", "a, b.py", 'a "b".py'])
def test_rows_that_are_added_stand_where_they_would_have_been_written(path: str) -> None:
    rows = [Row("a/a.py", "sha256", DIGEST, 1), Row("z.py", "sha256", DIGEST, 1)]
    whole = record.render([*rows, record.row(path, b"x")], own_path="RECORD")
    assert record.amended(record.render(rows, own_path="RECORD"), {path: b"x"}) == whole
