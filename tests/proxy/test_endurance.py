"""When a download goes on and when it gives up, and what its bytes must be."""

from __future__ import annotations

import hashlib

import pytest

from envproxy.engine.endurance import PAUSES_S, may_begin_again, may_resume, worth_finishing
from envproxy.engine.expected import Expected
from envproxy.errors import Cause

MB = 1_000_000


@pytest.mark.parametrize("cause", ["connect", "timeout", "5xx", "breaker_open"])
def test_what_may_pass_is_worth_another_request_for_the_rest(cause: Cause) -> None:
    assert may_resume(cause, idle=0, seen=10, fits=True)
    assert may_resume(cause, idle=len(PAUSES_S) - 1, seen=10, fits=True)
    assert not may_resume(cause, idle=len(PAUSES_S), seen=10, fits=True)


@pytest.mark.parametrize("cause", ["4xx", "bad_body"])
def test_what_upstream_would_say_again_is_not(cause: Cause) -> None:
    assert not may_resume(cause, idle=0, seen=10, fits=True)


def test_bytes_that_nothing_vouches_for_are_not_pieced_together() -> None:
    assert not may_resume("connect", idle=0, seen=10, fits=False)
    assert may_resume("connect", idle=0, seen=0, fits=False)


def test_before_the_first_answer_one_more_try_is_enough_and_none_after_a_timeout() -> None:
    assert may_begin_again("connect", tries=1)
    assert may_begin_again("5xx", tries=1)
    assert not may_begin_again("connect", tries=2)
    assert not may_begin_again("timeout", tries=1)
    assert not may_begin_again("breaker_open", tries=1)


@pytest.mark.parametrize(
    ("readers", "seen", "total", "kept", "worth"),
    [
        (1, 0, 5000 * MB, True, True),
        (1, 0, 5000 * MB, False, True),
        (0, 0, 64 * MB, True, True),
        (0, 1, 66 * MB, True, False),
        (0, 999 * MB, 5000 * MB, True, False),
        (0, 1000 * MB, 5000 * MB, True, True),
        (0, 10, None, True, True),
        (0, 4999 * MB, 5000 * MB, False, False),
        (0, 10, None, False, False),
    ],
)
def test_a_download_that_nobody_waits_for_is_finished_only_if_it_is_nearly_done_and_kept(
    readers: int, seen: int, total: int | None, kept: bool, worth: bool
) -> None:
    assert worth_finishing(readers=readers, seen=seen, total=total, kept=kept) is worth


def test_sha256_is_enough_where_the_index_gives_it() -> None:
    expected = Expected({"md5": "0" * 32, "sha256": "a" * 64})
    assert (expected.sha256, expected.other, expected.vouches) == ("a" * 64, None, True)
    assert expected.mismatch({"sha256": "a" * 64}) is None
    assert expected.mismatch({"sha256": "b" * 64}) == f"sha256 {'b' * 64}, not {'a' * 64}"


@pytest.mark.parametrize(
    ("given", "other"),
    [({"md5": "0", "sha512": "1"}, "sha512"), ({"md5": "0"}, "md5"), ({"sha1": "0", "md5": "1"}, "sha1")],
)
def test_without_it_the_strongest_other_digest_is_demanded(given: dict[str, str], other: str) -> None:
    expected = Expected(given)
    assert (expected.sha256, expected.other, expected.vouches) == (None, other, True)
    assert expected.mismatch({"sha256": "anything", other: "2"}) == f"{other} 2, not {given[other]}"
    assert hashlib.new(other, usedforsecurity=False).name == other


@pytest.mark.parametrize("given", [{}, {"crc32": "0", "whirlpool9": "1"}])
def test_no_digest_that_python_knows_vouches_for_nothing(given: dict[str, str]) -> None:
    expected = Expected(given)
    assert (expected.other, expected.vouches) == (None, False)
    assert expected.mismatch({"sha256": "anything"}) is None


@pytest.mark.parametrize(
    ("chunk", "position", "fits"),
    [
        (b"PK\x03\x04 and more", 0, True),
        (b"P", 0, True),
        (b"K", 1, True),
        (b"anything", 4, True),
        (b"<html>", 0, False),
        (b"P<", 0, False),
        (b"<", 3, False),
        (b"", 4, True),
        (b"", 3, False),
    ],
)
def test_without_a_digest_a_file_begins_as_its_kind_does(chunk: bytes, position: int, fits: bool) -> None:
    assert Expected(magic=b"PK\x03\x04").admits(chunk, position) is fits


def test_a_digest_tells_more_than_how_a_file_begins() -> None:
    assert Expected({"md5": "0" * 32}, b"PK").admits(b"<html>", 0)
