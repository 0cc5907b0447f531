"""What holds for every lock, and for every document that is none."""

from __future__ import annotations

import contextlib
import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from envagent.errors import LockRefused
from envagent.lock.canonical import canonical_bytes, document, lock_id
from envagent.lock.model import Lock
from envagent.lock.reading import from_document, read_lock, sealed
from envagent.lock.syntax import read_toml
from envagent.lock.yaml_syntax import read_yaml
from fixtures.locks import example, locks

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


@given(locks())
def test_reading_what_was_written_gives_the_same_lock(lock: Lock):
    assert read_lock(canonical_bytes(lock)) == lock == sealed(lock)


@given(locks(), st.randoms(use_true_random=False))
def test_the_order_in_which_a_document_is_written_changes_nothing(lock: Lock, rng: random.Random):
    assert lock_id(from_document(shuffled(document(lock), rng))) == lock_id(lock)


def shuffled(value: Any, rng: random.Random) -> Any:
    """The same document with its keys, packages and dependencies in another order, none of which means anything."""
    if isinstance(value, dict):
        members = [(key, shuffled(inner, rng)) for key, inner in value.items()]
        rng.shuffle(members)
        return dict(members)
    if isinstance(value, list):
        return rng.sample([shuffled(inner, rng) for inner in value], len(value))
    return value


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in inner for place in places(child, (*path, key)))]


@given(st.sampled_from([place for place in places(example()) if place]), values)
def test_any_value_at_any_place_is_read_or_refused(place: tuple[Any, ...], value: Any):
    spoilt: Any = example()
    inner = spoilt
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    with contextlib.suppress(LockRefused):
        lock = from_document(spoilt)
        assert read_lock(canonical_bytes(lock)) == lock


@given(values)
def test_any_json_is_read_or_refused(value: Any):
    with contextlib.suppress(LockRefused):
        read_lock(json.dumps(value).encode())


@given(
    st.binary(max_size=200), st.sampled_from([b"", b'{"envmesh-lock":1,', b"a: [", b"[a]\nb=", b"%YAML 1.2\n---\n"])
)
def test_any_bytes_are_read_or_refused(noise: bytes, start: bytes):
    for read in (read_lock, read_toml, read_yaml):
        with contextlib.suppress(LockRefused):
            read(start + noise, "noise")


@given(
    st.lists(
        st.sampled_from(
            [
                "a:",
                "- ",
                "\n",
                "  ",
                "[",
                "]",
                "{",
                "}",
                ",",
                "&x",
                "*x",
                "!t",
                "'",
                '"',
                "#",
                "?",
                ">",
                "---",
                "...",
                "1",
                "~",
                "é",
                "\t",
                "%",
            ]
        ),
        max_size=30,
    )
)
def test_any_yaml_is_read_or_refused(pieces: list[str]):
    with contextlib.suppress(LockRefused):
        read_yaml("".join(pieces).encode(), "noise")
