"""The pure parts of pieces: sets of them, how artifacts are cut, their hashes, and who may fetch without a lease."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envproxy.swarm import bitmap
from envproxy.swarm.allowance import Allowance
from envproxy.swarm.crowd import Crowd
from envproxy.swarm.hasher import PieceHasher
from envproxy.swarm.layout import MAX_PIECES, Layout

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("size", "piece_bytes", "count"),
    [
        pytest.param(0, 1, 1, id="nothing"),
        pytest.param(200_000, 200_000, 1, id="a small wheel"),
        pytest.param(8 * MIB - 1, 8 * MIB - 1, 1, id="just below 8 MiB"),
        pytest.param(8 * MIB, MIB, 8, id="8 MiB"),
        pytest.param(80 * MIB, MIB, 80, id="80 pieces"),
        pytest.param(80 * MIB + 1, 2 * MIB, 41, id="one byte more"),
        pytest.param(320 * MIB, 4 * MIB, 80, id="80 pieces of 4 MiB"),
        pytest.param(320 * MIB + 1, 4 * MIB, 81, id="more pieces, not larger ones"),
        pytest.param(2000 * MIB, 4 * MIB, 500, id="500 pieces of 4 MiB"),
        pytest.param(2000 * MIB + 1, 8 * MIB, 251, id="more than 500 pieces"),
        pytest.param(2_500_000_000, 8 * MIB, 299, id="a CUDA wheel"),
    ],
)
def test_the_layout_follows_from_the_size(size: int, piece_bytes: int, count: int):
    layout = Layout.of(size)

    assert (layout.piece_bytes, layout.count) == (piece_bytes, count)


@given(size=st.integers(0, 10**11))
def test_pieces_are_the_artifact_without_gap_or_overlap(size: int):
    layout = Layout.of(size)
    spans = [layout.span(piece) for piece in range(layout.count)]

    assert layout.count <= MAX_PIECES
    assert spans[0][0] == 0
    assert spans[-1][1] == size
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert layout.all == sum(1 << piece for piece in range(layout.count))


@pytest.mark.parametrize("piece", [-1, 1])
def test_there_are_no_other_pieces(piece: int):
    with pytest.raises(IndexError):
        Layout.of(100).span(piece)


@given(pieces=st.sets(st.integers(0, 600)))
def test_a_set_of_pieces_survives_the_wire(pieces: set[int]):
    number = sum(1 << piece for piece in pieces)

    assert bitmap.from_bytes(bitmap.to_bytes(number)) == number
    assert list(bitmap.pieces(number)) == sorted(pieces)


def test_piece_n_is_bit_n_of_the_lowest_byte_first():
    assert bitmap.to_bytes(1 << 0 | 1 << 9) == b"\x01\x02"


@given(sizes=st.lists(st.integers(1, 400), max_size=8))
def test_hashes_are_those_of_the_pieces_however_the_bytes_come(sizes: list[int]):
    data = Random(1).randbytes(1000)
    layout = Layout(size=1000, piece_bytes=300)
    hasher, position = PieceHasher(layout), 0
    hashes: list[bytes] = []

    for size in [*sizes, len(data)]:
        hashes += hasher.feed(data[position : position + size])
        position = min(len(data), position + size)

    assert hashes == [hashlib.sha256(data[start : start + 300]).digest() for start in (0, 300, 600, 900)]


def test_an_allowance_is_spent_grows_again_and_says_when():
    allowance = Allowance(rate=10.0, burst=20.0)

    assert allowance.take(20, now=100.0) == 0
    assert allowance.take(5, now=100.0) == 0.5
    assert allowance.take(5, now=100.5) == 0
    assert allowance.take(1000, now=200.0) == 0
    assert allowance.take(1000, now=200.0) == 2.0


def test_a_crowd_has_what_its_members_have():
    crowd = Crowd()
    crowd.set("a", 0b011)
    crowd.set("b", 0b110)
    assert crowd.union == 0b111
    assert crowd.without(frozenset("a")) == 0b110

    crowd.set("b", 0b010)
    assert crowd.union == 0b011

    crowd.set("a", 0)
    assert (crowd.union, crowd.has) == (0b010, {"b": 0b010})


def test_a_rare_piece_is_found_in_a_large_crowd():
    crowd = Crowd()
    for number in range(200):
        crowd.set(f"n{number}", 0b1)
    crowd.set("rare", 0b11)

    for seed in range(20):
        assert crowd.draw(0b10, 3, Random(seed), lambda _: True) == ["rare"]
    assert crowd.draw(0b10, 3, Random(0), lambda name: name != "rare") == []
    assert len(set(crowd.draw(0b1, 15, Random(0), lambda _: True))) == 15
    assert len(crowd.draw(0b1, 2, Random(0), lambda _: True)) == 2
