"""The newest bytes of a stream, whatever the chunks they came in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from envproxy.engine.tail import Tail


def tail_of(chunks: list[bytes], *, forgotten: int = 0) -> Tail:
    tail = Tail()
    for chunk in chunks:
        tail.append(chunk)
    for _ in range(forgotten):
        tail.forget_oldest()
    return tail


def test_a_reader_that_keeps_up_gets_the_very_chunk_that_arrived() -> None:
    chunk = b"newest"
    assert tail_of([b"older", chunk]).read(5, 11) is chunk


def test_what_is_forgotten_and_what_has_not_come_is_not_here() -> None:
    tail = tail_of([b"abc", b"def"], forgotten=1)
    assert (tail.start, tail.end, tail.oldest_end()) == (3, 6, 6)
    assert tail.read(2, 6) is None
    assert tail.read(3, 6) == b"def"
    assert tail.read(6, 9) is None


def test_an_empty_tail_has_nothing() -> None:
    assert Tail().read(0, 10) is None


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=5), min_size=1, max_size=8),
    data=st.data(),
)
def test_read_gives_the_bytes_of_the_stream_and_gets_anywhere(chunks: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(chunks)
    tail = tail_of(chunks, forgotten=data.draw(st.integers(0, len(chunks) - 1)))
    position = data.draw(st.integers(tail.start, tail.end - 1))
    limit = data.draw(st.integers(position + 1, tail.end))
    piece = tail.read(position, limit)
    assert piece
    assert whole[position : position + len(piece)] == piece
    assert position + len(piece) <= limit
