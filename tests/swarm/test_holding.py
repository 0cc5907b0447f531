"""Pieces on disk: what is verified stays, what is not is never seen."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from envagent.peers.holding import Holding
from envproxy.errors import BadUpstreamBody
from envproxy.swarm.layout import Layout

if TYPE_CHECKING:
    from pathlib import Path

DATA = b"aaaa" + b"bbbb" + b"cc"
LAYOUT = Layout(len(DATA), 4)
WHOLE = hashlib.sha256(DATA).hexdigest()


def piece(index: int) -> tuple[bytes, str]:
    start, stop = LAYOUT.span(index)
    return DATA[start:stop], hashlib.sha256(DATA[start:stop]).hexdigest()


def opened(folder: Path, *, boot: str = "boot-1") -> Holding:
    return Holding(folder, WHOLE, LAYOUT, boot)


def add(holding: Holding, index: int, data: bytes, sha256: str) -> bool:
    """A piece that comes at once; whether it was kept."""
    incoming = holding.incoming(index)
    incoming.append([data])
    return holding.keep(incoming, sha256)


def test_an_empty_artifact_is_one_empty_piece(tmp_path: Path) -> None:
    empty = hashlib.sha256(b"").hexdigest()
    holding = Holding(tmp_path, empty, Layout(0, 4), "boot-1")
    assert add(holding, 0, b"", empty)
    assert holding.is_whole
    assert holding.finish() is not None


def test_pieces_in_any_order_make_the_artifact(tmp_path: Path) -> None:
    holding = opened(tmp_path)
    for index, leading in ((2, 0), (0, 4), (1, 10)):
        assert add(holding, index, *piece(index))
        assert holding.leading == leading
    path = holding.finish()
    assert path is not None
    assert path.read_bytes() == DATA


def bytes_of(holding: Holding, start: int, stop: int) -> bytes:
    data = bytearray(stop - start)
    assert holding.read(memoryview(data), start) == len(data)
    return bytes(data)


class Watched(Holding):
    """Knows what was read again of what was written."""

    def __init__(self, folder: Path) -> None:
        self.reads: list[tuple[int, int]] = []
        super().__init__(folder, WHOLE, LAYOUT, "boot-1")

    def read(self, view: memoryview, start: int) -> int:
        self.reads.append((start, start + len(view)))
        return super().read(view, start)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
def test_the_first_piece_is_hashed_once_and_the_others_again_when_all_before_them_is_here(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    holding = Watched(tmp_path)
    for index in order:
        assert add(holding, index, *piece(index))
    assert holding.finish() is not None
    assert holding.reads == [(4, 8), (8, 10)]


@pytest.mark.parametrize("wrong", [b"aaax", b"aaa", b""], ids=["bytes", "short", "empty"])
def test_a_piece_with_other_bytes_than_its_digest_names_is_not_kept(tmp_path: Path, wrong: bytes) -> None:
    holding = opened(tmp_path)
    assert not add(holding, 0, wrong, piece(0)[1])
    assert holding.verified == 0
    assert opened(tmp_path).verified == 0


def test_more_bytes_than_a_piece_has_are_refused_before_they_reach_the_next_one(tmp_path: Path) -> None:
    holding = opened(tmp_path)
    assert add(holding, 1, *piece(1))
    incoming = holding.incoming(0)
    with pytest.raises(BadUpstreamBody, match="more than the 4 bytes"):
        incoming.append([b"aa", b"aaa"])
    assert bytes_of(holding, 4, 8) == b"bbbb"


def test_a_piece_that_began_with_wrong_bytes_can_begin_again(tmp_path: Path) -> None:
    holding = opened(tmp_path)
    incoming = holding.incoming(0)
    incoming.append([b"xx"])
    incoming.restart()
    incoming.append([b"aa"])
    incoming.append([b"aa"])
    assert holding.keep(incoming, piece(0)[1])
    assert bytes_of(holding, 0, 4) == b"aaaa"


def test_pieces_that_are_right_but_make_another_whole_are_no_artifact(tmp_path: Path) -> None:
    holding = Holding(tmp_path, "0" * 64, LAYOUT, "boot-1")
    for index in range(3):
        assert add(holding, index, *piece(index))
    assert holding.finish() is None
    holding.discard()
    assert list(tmp_path.iterdir()) == []


def test_another_run_goes_on_with_the_pieces_that_are_here(tmp_path: Path) -> None:
    first = opened(tmp_path)
    add(first, 0, *piece(0))
    first.close()
    again = opened(tmp_path)
    assert (again.verified, again.leading) == (0b001, 4)
    add(again, 1, *piece(1))
    add(again, 2, *piece(2))
    assert again.finish() is not None


def test_marks_from_before_the_machine_went_down_count_for_nothing(tmp_path: Path) -> None:
    add(opened(tmp_path), 0, *piece(0))
    assert opened(tmp_path, boot="boot-2").verified == 0


def test_marks_of_another_layout_count_for_nothing(tmp_path: Path) -> None:
    add(opened(tmp_path), 0, *piece(0))
    assert Holding(tmp_path, WHOLE, Layout(len(DATA), 5), "boot-1").verified == 0


def test_a_process_that_is_killed_leaves_its_verified_pieces_and_no_others(tmp_path: Path) -> None:
    code = f"""
import hashlib, os, signal
from pathlib import Path
from envagent.peers.holding import Holding
from envproxy.swarm.layout import Layout
data = {DATA!r}
holding = Holding(Path({str(tmp_path)!r}), {WHOLE!r}, Layout(len(data), 4), "boot-1")
incoming = holding.incoming(1)
incoming.append([data[4:6], data[6:8]])
assert holding.keep(incoming, hashlib.sha256(data[4:8]).hexdigest())
os.pwrite(holding._bytes, b"zz", 8)
os.kill(os.getpid(), signal.SIGKILL)
"""
    died = subprocess.run([sys.executable, "-c", code], env=os.environ, check=False)
    assert died.returncode == -signal.SIGKILL
    again = opened(tmp_path)
    assert again.verified == 0b010
    assert bytes_of(again, 4, 8) == b"bbbb"


def test_readers_do_not_wait_for_what_is_being_hashed(tmp_path: Path) -> None:
    hashing, go_on = threading.Event(), threading.Event()

    class Slow(Holding):
        def read(self, view: memoryview, start: int) -> int:
            hashing.set()
            go_on.wait()
            return super().read(view, start)

    holding = Slow(tmp_path, WHOLE, LAYOUT, "boot-1")
    assert add(holding, 1, *piece(1))
    adding = threading.Thread(target=add, args=(holding, 0, *piece(0)))
    adding.start()
    hashing.wait()
    with ThreadPoolExecutor(1) as reader:
        reopened = reader.submit(holding.open)
        try:
            fd = reopened.result(timeout=60)
        finally:
            go_on.set()
    adding.join()
    assert fd is not None
    os.close(fd)
    assert holding.leading == 8
