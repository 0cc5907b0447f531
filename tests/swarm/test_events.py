"""The log of pieces: what is noted can be read, whatever a crash or a full disk did to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from envagent.peers.events import LIMIT_BYTES, EventLog, read_events

if TYPE_CHECKING:
    from pathlib import Path

SHA = "ab" * 32


def note(path: Path, *pieces: int) -> None:
    """As a process does that writes once and ends."""
    log = EventLog(path, lambda: 1767225600.5)
    for piece in pieces:
        log.note("got", SHA, piece, "node-7", count=4096, seconds=0.2)
    log.write()


def pieces(path: Path) -> list[int]:
    return [event.piece for event in read_events(path)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def test_a_log_that_nobody_wrote_is_empty(path: Path) -> None:
    assert pieces(path) == []


@pytest.mark.parametrize("left", [1, 20, 60], ids=["a byte", "a few", "nearly all"])
def test_a_cut_line_costs_nothing_but_itself(path: Path, left: int) -> None:
    note(path, 1, 2)
    first, second, _ = path.read_bytes().split(b"\n")
    path.write_bytes(first + b"\n" + second[:left])
    assert pieces(path) == [1]
    note(path, 3, 4)
    assert pieces(path) == [1, 3, 4]


def test_lines_of_another_version_are_left_out(path: Path) -> None:
    note(path, 1)
    with path.open("ab") as file:
        file.write(b'{"at":1.0,"what":"lent","sha256":"ab","piece":0,"of":""}\n\xff\xfe\n')
    note(path, 2)
    assert pieces(path) == [1, 2]


def test_the_log_before_is_read_first_and_the_one_before_that_goes(path: Path) -> None:
    for piece in (1, 2, 3):
        note(path, piece)
        with path.open("r+b") as file:
            file.truncate(LIMIT_BYTES)  # zeros: as a disk leaves them that came back after a crash
    assert pieces(path) == [2, 3]
    assert len(list(path.parent.iterdir())) == 2
