"""Whom a node asks for a piece, and whom it leaves alone."""

from __future__ import annotations

from envagent.peers.bucket import Bucket
from envagent.peers.choose import Candidate, Reputation, in_order, rarest_first

NEAR = Candidate("near", "http://127.0.0.1:1", "a")
FAR = Candidate("far", "http://127.0.0.1:2", "b")
BUSY = Candidate("busy", "http://127.0.0.1:3", "a")


def order(reputation: Reputation, *, sha256: str = "s", now: float = 0.0) -> list[str]:
    found = in_order([FAR, BUSY, NEAR], sha256=sha256, zone="a", taking={"busy": 2}, reputation=reputation, now=now)
    return [one.node for one in found]


def test_the_same_zone_comes_first_and_in_it_whoever_gives_the_least() -> None:
    assert order(Reputation()) == ["near", "busy", "far"]


def test_a_peer_that_failed_is_left_alone_for_longer_each_time() -> None:
    reputation = Reputation()
    reputation.failed("near", 0.0)
    assert order(reputation, now=0.9) == ["busy", "far"]
    assert order(reputation, now=1.0) == ["near", "busy", "far"]
    reputation.failed("near", 1.0)
    assert order(reputation, now=2.9) == ["busy", "far"]
    assert order(reputation, now=3.0) == ["near", "busy", "far"]


def test_nobody_is_left_alone_for_more_than_half_a_minute() -> None:
    reputation = Reputation()
    for _ in range(20):
        reputation.failed("near", 0.0)
    assert reputation.conduct["near"].until == 30.0


def test_a_peer_that_is_busy_is_asked_again_but_not_for_ever() -> None:
    reputation = Reputation()
    for _ in range(99):
        reputation.had_no_slot("near", 0.0)
    assert order(reputation) == ["near", "busy", "far"]
    reputation.had_no_slot("near", 0.0)
    assert order(reputation) == ["busy", "far"]


def test_a_right_piece_makes_up_for_old_failures() -> None:
    reputation = Reputation()
    reputation.failed("near", 0.0)
    reputation.succeeded("near")
    assert order(reputation) == ["near", "busy", "far"]


def test_a_peer_that_lied_is_never_asked_for_that_artifact_again_but_for_others() -> None:
    reputation = Reputation()
    reputation.lied("near", "s")
    assert order(reputation, now=1e9) == ["busy", "far"]
    assert order(reputation, sha256="t") == ["near", "busy", "far"]


def test_without_a_directory_the_pieces_that_few_have_come_first() -> None:
    assert rarest_first([0, 1, 2, 3], [[0, 1], [0, 1, 2]], [3, 2, 1, 0]) == [2, 1, 0]


def test_a_bucket_gives_its_burst_at_once_and_then_makes_takers_queue() -> None:
    bucket = Bucket(rate=10, burst=20)
    assert bucket.take(20, now=0.0) == 0.0
    assert bucket.take(10, now=0.0) == 1.0
    assert bucket.take(10, now=0.0) == 2.0
    assert bucket.take(10, now=2.0) == 1.0


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    bucket = Bucket(rate=10, burst=20)
    assert bucket.take(0, now=1000.0) == 0.0
    assert bucket.take(30, now=1000.0) == 1.0


def test_a_bucket_without_a_rate_is_no_bound() -> None:
    assert Bucket(rate=0, burst=0).take(1e12, now=0.0) == 0.0
