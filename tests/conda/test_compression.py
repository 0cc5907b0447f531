"""Compressed input is undone whole, or refused."""

from __future__ import annotations

import bz2

import pytest
import zstandard

from envproxy.conda.compression import Form, expanded
from envproxy.errors import BadUpstreamBody, Oversized

TEXT = b"conda " * 5000
PACKED: dict[Form, bytes] = {"zst": zstandard.compress(TEXT), "bz2": bz2.compress(TEXT)}
forms = pytest.mark.parametrize("form", ["zst", "bz2"])


def whole(body: bytes, form: Form, limit: int = 1_000_000) -> bytes:
    return b"".join(expanded([body], form, limit=limit, what="it"))


@forms
def test_every_frame_is_undone(form: Form) -> None:
    assert whole(PACKED[form] * 3, form) == TEXT * 3


@forms
def test_pieces_may_end_anywhere(form: Form) -> None:
    assert b"".join(expanded([bytes([byte]) for byte in PACKED[form]], form, limit=30_000, what="it")) == TEXT


@forms
def test_truncated_input_is_refused(form: Form) -> None:
    with pytest.raises(BadUpstreamBody, match="cut short"):
        whole(PACKED[form][:-4], form)


@forms
def test_other_bytes_are_refused(form: Form) -> None:
    with pytest.raises(BadUpstreamBody, match="it is not properly compressed"):
        whole(b"<html>Sign in</html>", form)


@forms
def test_nothing_is_refused(form: Form) -> None:
    with pytest.raises(BadUpstreamBody, match="it is empty"):
        whole(b"", form)


@forms
def test_more_than_the_limit_is_refused(form: Form) -> None:
    with pytest.raises(BadUpstreamBody, match="more than 29999 bytes"):
        whole(PACKED[form], form, limit=29_999)


@forms
def test_a_bomb_is_never_in_memory_whole(form: Form) -> None:
    bomb = {"zst": zstandard.compress, "bz2": bz2.compress}[form](bytes(50_000_000))
    pieces = expanded([bomb], form, limit=1_000_000, what="it")
    sizes = []
    with pytest.raises(Oversized):
        sizes.extend(len(piece) for piece in pieces)
    assert sum(sizes) <= 1_000_000


def test_rubbish_after_a_frame_is_refused() -> None:
    with pytest.raises(BadUpstreamBody, match="not properly compressed"):
        whole(PACKED["zst"] + b"rubbish", "zst")
