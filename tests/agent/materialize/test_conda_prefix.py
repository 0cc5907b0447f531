"""Replacing a prefix in text and binaries; what py-rattler does is compared in test_conda_as_rattler_installs.py."""

from __future__ import annotations

import pytest

from envagent.materialize.conda_prefix import PrefixTooLong, in_binary, in_text

_OLD = b"/old/placeholder"


def test_text_takes_a_prefix_of_any_length():
    assert in_text(b"a=/old/placeholder/x\nb=/old/placeholder", _OLD, b"/" + b"n" * 500) == (
        b"a=/" + b"n" * 500 + b"/x\nb=/" + b"n" * 500
    )


def test_a_binary_keeps_its_length_and_what_follows_its_strings():
    data = b"\x7fELF\0/old/placeholder/lib:/old/placeholder/share\0rest\0"
    assert in_binary(data, _OLD, b"/n") == b"\x7fELF\0/n/lib:/n/share" + bytes(28) + b"\0rest\0"


def test_a_binary_without_the_placeholder_takes_any_prefix():
    assert in_binary(b"none", _OLD, b"/" + b"n" * 500) == b"none"


def test_a_prefix_longer_than_the_room_is_refused():
    with pytest.raises(PrefixTooLong) as refused:
        in_binary(b"/old/placeholder\0", _OLD, b"/a/much/longer/prefix")
    assert refused.value.room == len(_OLD)


@pytest.mark.parametrize(
    ("line", "prefix", "becomes"),
    [
        (b"#!/old/placeholder/bin/perl -w", b"/new", b"#!/new/bin/perl -w"),
        (b"#!/old/placeholder/bin/perl -w", b"/" + b"n" * 150, b"#!/usr/bin/env perl -w"),
        (b"#!/old/placeholder/bin/perl", b"/a b", b"#!/usr/bin/env perl"),
        (
            b"#!/old/placeholder/bin/python3.11 -u",
            b"/a b",
            b"#!/bin/sh\n'''exec' \"/a b/bin/python3.11\" -u \"$0\" \"$@\" #'''",
        ),
        (b"#!/usr/bin/env python", b"/a b", b"#!/usr/bin/env python"),
    ],
)
def test_a_first_line_that_the_kernel_cannot_follow_goes_another_way(line, prefix, becomes):
    assert in_text(line + b"\nbody /old/placeholder\n", _OLD, prefix) == becomes + b"\nbody " + prefix + b"\n"
