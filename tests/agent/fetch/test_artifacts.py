"""The artifacts on a machine: what is visible is right, whatever died, and what is removed is not in use."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from envagent.fetch.arrival import Arrival
from envagent.fetch.artifacts import Artifacts, Collected
from envagent.store.gc import Held, choose

if TYPE_CHECKING:
    from pathlib import Path

BODY = b"the bytes of a wheel, as far as anybody here cares " * 100
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path)


def claimed(artifacts: Artifacts, body: bytes = BODY) -> Arrival:
    arrival = artifacts.claim(hashlib.sha256(body).hexdigest(), len(body))
    assert isinstance(arrival, Arrival)
    return arrival


def add(artifacts: Artifacts, body: bytes = BODY) -> Path:
    arrival = claimed(artifacts, body)
    arrival.append([body])
    path = arrival.finish()
    assert path
    return path


def files_below(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file() and len(path.name) == 64)


def test_an_artifact_is_found_by_digest_and_size_and_is_read_only(artifacts: Artifacts) -> None:
    assert artifacts.find(SHA256, len(BODY)) is None
    path = add(artifacts)
    assert path.read_bytes() == BODY
    assert path.stat().st_mode & 0o777 == 0o444
    assert artifacts.find(SHA256, len(BODY)) == path
    assert artifacts.find(SHA256, len(BODY) + 1) is None


def test_nothing_is_visible_before_its_last_byte(artifacts: Artifacts) -> None:
    arrival = claimed(artifacts)
    arrival.append([BODY[:-1]])
    assert artifacts.find(SHA256, len(BODY)) is None
    arrival.append([BODY[-1:]])
    assert artifacts.find(SHA256, len(BODY)) is None
    assert arrival.finish() == artifacts.find(SHA256, len(BODY))


@pytest.mark.parametrize("body", [BODY[:-1] + b"!", BODY[:-1], BODY + b"!"], ids=["other", "short", "long"])
def test_bytes_that_are_not_those_of_the_digest_never_become_visible(artifacts: Artifacts, body: bytes) -> None:
    arrival = claimed(artifacts)
    arrival.append([body])
    assert arrival.finish() is None
    assert artifacts.find(SHA256, len(BODY)) is None
    arrival.append([BODY])
    assert arrival.finish() is not None


def test_thousands_of_blocks_in_one_go_are_written_in_order(artifacts: Artifacts) -> None:
    arrival = claimed(artifacts)
    arrival.append([BODY[at : at + 1] for at in range(len(BODY))])
    path = arrival.finish()
    assert path
    assert path.read_bytes() == BODY


def test_one_at_a_time_brings_an_artifact(artifacts: Artifacts, tmp_path: Path) -> None:
    arrival = claimed(artifacts)
    assert Artifacts(tmp_path).claim(SHA256, len(BODY)) is None
    arrival.append([BODY])
    arrival.finish()
    assert Artifacts(tmp_path).claim(SHA256, len(BODY)) == artifacts.find(SHA256, len(BODY))
    assert files_below(tmp_path / "arriving") == []


KILLED = """
import os, signal, sys
from pathlib import Path
from envagent.fetch.artifacts import Artifacts
arrival = Artifacts(Path(sys.argv[1])).claim(sys.argv[2], int(sys.argv[3]))
arrival.append([sys.argv[4].encode()])
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_while_it_brings(root: Path, part: bytes) -> None:
    command = [sys.executable, "-c", KILLED, str(root), SHA256, str(len(BODY)), part.decode()]
    assert subprocess.run(command, check=False).returncode == -9


def test_what_a_killed_process_left_is_invisible_and_gone_on_with(artifacts: Artifacts, tmp_path: Path) -> None:
    killed_while_it_brings(tmp_path, BODY[:1000])
    assert artifacts.find(SHA256, len(BODY)) is None
    arrival = claimed(artifacts)
    assert arrival.resume() == 1000
    arrival.append([BODY[1000:]])
    assert arrival.finish() is not None


def test_what_was_left_may_be_rubbish(artifacts: Artifacts, tmp_path: Path) -> None:
    killed_while_it_brings(tmp_path, b"x" * 1000)
    arrival = claimed(artifacts)
    assert arrival.resume() == 1000
    arrival.append([BODY[1000:]])
    assert arrival.finish() is None
    assert arrival.received == 0


def test_what_was_left_and_is_too_long_is_forgotten_at_once(artifacts: Artifacts) -> None:
    arrival = claimed(artifacts)
    arrival.append([BODY, BODY])
    arrival.give_up()
    assert claimed(artifacts).resume() == 0


# --- after the machine went down ------------------------------------------------------------------------


def test_after_a_boot_what_was_synced_is_there_and_the_rest_is_hashed_again(tmp_path: Path) -> None:
    before = Artifacts(tmp_path, boot_id="one")
    kept = add(before)
    before.settle()
    sound, torn = add(before, b"sound"), add(before, b"torn!")
    torn.chmod(0o644)
    torn.write_bytes(b"\0\0\0\0\0")
    torn_name, sound_name = torn.name, sound.name
    after = Artifacts(tmp_path, boot_id="two")
    assert (kept.exists(), sound.exists(), torn.exists()) == (True, False, False)
    assert after.find(SHA256, len(BODY)) == kept
    assert after.find(sound_name, 5) == sound
    assert after.find(torn_name, 5) is None
    assert files_below(tmp_path) == sorted([SHA256, sound_name])


def test_in_the_same_boot_nothing_is_doubted(tmp_path: Path) -> None:
    path = add(Artifacts(tmp_path, boot_id="one"))
    inode = path.stat().st_ino
    assert Artifacts(tmp_path, boot_id="one").find(SHA256, len(BODY)) == path
    assert path.stat().st_ino == inode
    assert files_below(tmp_path / "unsure") == []


# --- making room ----------------------------------------------------------------------------------------


def used_at(path: Path, moment: float) -> Path:
    os.utime(path, (moment, moment))
    return path


def test_the_longest_unused_go_first(artifacts: Artifacts) -> None:
    bodies = ((b"aaaa", 2e8), (b"bbbb", 1e8), (b"cccc", 3e8))
    older, oldest, old = (used_at(add(artifacts, body), at) for body, at in bodies)
    assert artifacts.collect(budget=8) == Collected(1, 0, 4)
    assert (old.exists(), older.exists(), oldest.exists()) == (True, True, False)
    assert artifacts.find(old.name, 4) == old


def test_what_was_built_here_is_kept_unless_it_is_said_what_is(artifacts: Artifacts) -> None:
    built, fetched = (used_at(add(artifacts, body), at) for body, at in ((b"aaaa", 1e8), (b"bbbb", 2e8)))
    artifacts.note_built(built.name)
    assert [gone.key for gone in artifacts.evict(0)] == [fetched.name]
    assert artifacts.built() == {built.name}
    assert [gone.key for gone in artifacts.evict(0, kept=set())] == [built.name]
    assert artifacts.built() == set()


def test_what_another_process_evicts_meanwhile_is_passed_over(artifacts: Artifacts, tmp_path: Path) -> None:
    for letter in "abc":
        arrived = tmp_path / letter
        arrived.write_text(letter)
        artifacts.adopt(arrived, "00" + letter * 62)
    listing = artifacts.held()
    assert next(listing).key == "00" + "a" * 62
    (tmp_path / "files" / "00" / ("00" + "b" * 62)).unlink()
    assert [held.key for held in listing] == ["00" + "c" * 62]


def test_two_may_evict_at_once(artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    path = add(artifacts)

    def choose_and_be_slower(*args: Any, **budget: int) -> list[Held]:
        chosen = choose(*args, **budget)
        path.unlink()
        return chosen

    monkeypatch.setattr("envagent.fetch.artifacts.choose", choose_and_be_slower)
    assert [gone.key for gone in artifacts.evict(0)] == [SHA256]


def test_what_is_touched_counts_as_used_now(artifacts: Artifacts) -> None:
    one, two = used_at(add(artifacts, b"aaaa"), 1e8), used_at(add(artifacts, b"bbbb"), 2e8)
    artifacts.touch(one.name)
    artifacts.collect(budget=4)
    assert (one.exists(), two.exists()) == (True, False)


def test_leftovers_are_swept_but_not_what_is_arriving(artifacts: Artifacts, tmp_path: Path) -> None:
    killed_while_it_brings(tmp_path, BODY[:1000])
    arriving = claimed(artifacts, b"in the air")
    assert artifacts.collect() == Collected(0, 1, 1000)
    arriving.append([b"in the air"])
    assert arriving.finish() is not None
