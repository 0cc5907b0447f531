"""Tickets: what a right one is, and everything that makes it a wrong one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envproxy.swarm.tickets import LIFE_S, LONGEST_S, Ticket, admits, key_of, sign

SHA = "a" * 64
KEY = key_of("secret", "team")
NOW = 1_700_000_000.0
TICKET = Ticket(SHA, "node-1", "team", int(NOW) + LIFE_S)
USE: dict[str, Any] = {"sha256": SHA, "node": "node-1", "tenant": "team", "now": NOW}


def test_the_node_that_is_named_may_give_the_artifact_to_its_tenant():
    assert admits(sign(TICKET, KEY), KEY, **USE)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"sha256": "b" * 64}, id="another artifact"),
        pytest.param({"node": "node-2"}, id="shown to another node"),
        pytest.param({"tenant": "lab"}, id="another tenant"),
        pytest.param({"now": NOW + LIFE_S}, id="over"),
        pytest.param({"now": NOW + LIFE_S - LONGEST_S - 1}, id="ends too far away"),
    ],
)
def test_for_anything_else_it_is_worth_nothing(change: dict[str, object]):
    assert not admits(sign(TICKET, KEY), KEY, **{**USE, **change})


def test_nobody_makes_tickets_for_a_tenant_whose_key_they_lack():
    assert not admits(sign(TICKET, key_of("secret", "lab")), KEY, **USE)
    assert not admits(sign(TICKET, key_of("other", "team")), KEY, **USE)


def test_a_clock_that_is_a_little_behind_does_not_matter():
    assert admits(sign(TICKET, KEY), KEY, **{**USE, "now": NOW - 59})


@given(text=st.text(max_size=80) | st.binary(max_size=80).map(lambda data: data.decode("latin-1")))
def test_what_is_no_ticket_admits_nobody(text: str):
    assert not admits(text, KEY, **USE)


@given(place=st.integers(0, 40), part=st.sampled_from([0, 1]), bit=st.integers(0, 5))
def test_a_ticket_that_was_changed_is_none(place: int, part: int, bit: int):
    parts = sign(TICKET, KEY).split(".")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = letters[letters.index(parts[part][place]) ^ 1 << bit]
    parts[part] = parts[part][:place] + other + parts[part][place + 1 :]

    assert not admits(".".join(parts), KEY, **USE)
