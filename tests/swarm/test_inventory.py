"""What a node keeps of artifacts, whole or not, and what goes when room is needed."""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from envagent.fetch.artifacts import Artifacts
from envagent.fetch.partial import Partials
from envagent.peers.holding import Holding
from envagent.peers.inventory import ABANDONED_S, IN_USE_S, Inventory, Limits, in_use
from envagent.peers.mirror import mirroring
from envagent.store.boot import current_boot
from envagent.store.flock import held
from envagent.store.gc import Held
from envproxy.kinds import Address
from envproxy.swarm.layout import Layout
from fixtures.patience import until

KB = 1000
SIZE = 100 * KB
NOW = 1767225600.0
LAYOUT = Layout(SIZE, SIZE // 2)


def bytes_of(name: str) -> bytes:
    return Random(name).randbytes(SIZE)


def digest_of(name: str) -> str:
    return hashlib.sha256(bytes_of(name)).hexdigest()


class Kept:
    """An inventory on a disk of 10 MB, and what is in it by name. `age` is in seconds."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self.artifacts = Artifacts(root / "artifacts", boot_id="boot")
        self.partial = root / "partial"
        self.in_use = root / "store" / "in-use"
        self.free = 10_000 * KB
        self.inventory = Inventory(self.artifacts, self.partial, limits, self.in_use, free_bytes=lambda _: self.free)

    def whole(self, name: str, *, age: float) -> None:
        arrived = self.partial.parent / name
        arrived.write_bytes(bytes_of(name))
        path = self.artifacts.adopt(arrived, digest_of(name))
        os.utime(path, (NOW - age, NOW - age))

    def unfinished(self, name: str, *, age: float) -> None:
        """As a node leaves it that was killed after the first of two pieces."""
        holding = Holding(self.partial, digest_of(name), LAYOUT, current_boot())
        half = bytes_of(name)[: SIZE // 2]
        incoming = holding.incoming(0)
        incoming.append([half])
        assert holding.keep(incoming, hashlib.sha256(half).hexdigest())
        holding.close()
        for path in (self.partial / digest_of(name)).iterdir():
            os.utime(path, (NOW - age, NOW - age))
        os.utime(self.partial / digest_of(name), (NOW - age, NOW - age))

    def begin(self, name: str) -> Holding:
        """As a download does, which then waits for its first piece."""
        return asyncio.run(self.inventory.begin(digest_of(name), LAYOUT))

    @property
    def names(self) -> set[str]:
        known = {digest_of(name): name for name in ("a", "b", "c", "new", "other")}
        return {known[one.key] for one in [*self.artifacts.held(), *Partials(self.partial).held()]}


@pytest.mark.parametrize(
    ("limits", "held", "coming", "free", "excess"),
    [
        pytest.param(Limits(), 900, 900, 0, 0, id="no bounds"),
        pytest.param(Limits(budget=1000), 900, 100, 0, 0, id="just fits"),
        pytest.param(Limits(budget=1000), 900, 101, 0, 1, id="a byte too much"),
        pytest.param(Limits(budget=1000), 900, 5000, 0, 900, id="larger than the budget"),
        pytest.param(Limits(min_free=1000), 900, 100, 1100, 0, id="room is left"),
        pytest.param(Limits(min_free=1000), 900, 100, 1050, 50, id="the disk is nearly full"),
        pytest.param(Limits(budget=1000, min_free=1000), 900, 200, 1150, 100, id="the larger shortage counts"),
    ],
)
def test_what_must_go_follows_from_both_bounds(
    limits: Limits, held: int, coming: int, free: int, excess: int
) -> None:
    assert limits.excess(held=held, coming=coming, free=free) == excess


def test_what_nobody_finished_counts_and_goes_in_its_turn(tmp_path: Path) -> None:
    kept = Kept(tmp_path, Limits(budget=250 * KB))
    kept.whole("a", age=10)
    kept.unfinished("b", age=20)
    kept.begin("c")
    assert kept.names == {"a", "c"}
    kept.begin("new")
    assert kept.names == {"c", "new"}


def test_what_was_used_longest_ago_goes_first_whether_it_is_whole_or_not(tmp_path: Path) -> None:
    kept = Kept(tmp_path, Limits(budget=300 * KB))
    kept.whole("a", age=30)
    kept.unfinished("b", age=20)
    kept.whole("c", age=10)
    kept.begin("new")
    assert kept.names == {"b", "c", "new"}


def test_what_is_on_its_way_counts_as_if_it_were_here_and_never_goes(tmp_path: Path) -> None:
    kept = Kept(tmp_path, Limits(budget=320 * KB))
    kept.whole("a", age=10)
    kept.begin("b")
    kept.begin("c")
    assert kept.names == {"a", "b", "c"}
    kept.begin("new")
    assert kept.names == {"b", "c", "new"}


def test_pieces_that_wait_for_the_rest_are_not_removed_for_its_sake(tmp_path: Path) -> None:
    kept = Kept(tmp_path, Limits(budget=130 * KB))
    kept.unfinished("a", age=20)
    kept.unfinished("b", age=10)
    holding = kept.begin("a")
    assert kept.names == {"a"}
    assert holding.verified == 0b01


def test_while_an_installer_reads_whole_artifacts_stay(tmp_path: Path) -> None:
    kept = Kept(tmp_path, Limits(min_free=50 * KB))
    kept.whole("a", age=20)
    kept.unfinished("b", age=10)
    kept.free = 0
    with held(kept.in_use, shared=True):
        kept.begin("new")
        assert kept.names == {"a", "new"}
    kept.begin("other")
    assert kept.names == {"new", "other"}


def test_without_bounds_nothing_goes(tmp_path: Path) -> None:
    kept = Kept(tmp_path, Limits())
    kept.unfinished("b", age=ABANDONED_S * 2)
    kept.free = 0
    kept.begin("new")
    assert kept.names == {"b", "new"}


@pytest.mark.parametrize(
    ("age", "is_used"),
    [(0.0, True), (IN_USE_S - 1, True), (IN_USE_S, False), (-5.0, False)],
)
def test_what_was_taken_a_moment_ago_is_in_use_unless_the_clock_was_wrong(age: float, is_used: bool) -> None:
    assert in_use([Held("a", SIZE, NOW - age)], NOW) == ({"a"} if is_used else set())


def test_a_limit_that_was_lowered_holds_without_a_new_artifact(tmp_path: Path) -> None:
    kept = Kept(tmp_path, Limits(budget=250 * KB))
    kept.whole("a", age=300)
    kept.unfinished("b", age=200)
    kept.whole("c", age=100)
    kept.inventory.tidy(NOW)
    assert kept.names == {"b", "c"}


def test_room_on_the_disk_is_made_without_a_new_artifact(tmp_path: Path) -> None:
    kept = Kept(tmp_path, Limits(min_free=1000 * KB))
    kept.whole("a", age=300)
    kept.whole("b", age=200)
    kept.free = 950 * KB
    kept.inventory.tidy(NOW)
    assert kept.names == {"b"}


def test_an_artifact_larger_than_the_limit_stays_as_long_as_it_is_in_use(tmp_path: Path) -> None:
    kept = Kept(tmp_path, Limits(budget=SIZE - 1))
    kept.whole("a", age=0)
    kept.inventory.tidy(NOW + IN_USE_S - 1)
    assert kept.names == {"a"}
    kept.inventory.tidy(NOW + IN_USE_S)
    assert kept.names == set()


def test_where_the_disk_can_never_have_enough_room_the_newest_artifact_goes_too(tmp_path: Path) -> None:
    kept = Kept(tmp_path, Limits(min_free=50_000 * KB))
    kept.whole("a", age=0)
    kept.inventory.tidy(NOW + IN_USE_S)
    assert kept.names == set()


def test_what_is_on_its_way_or_read_by_an_installer_outlasts_any_limit(tmp_path: Path) -> None:
    kept = Kept(tmp_path, Limits(budget=1))
    kept.whole("a", age=300)
    kept.unfinished("b", age=300)
    with held(kept.in_use, shared=True):
        kept.begin("b")
        kept.inventory.tidy(NOW)
        assert kept.names == {"a", "b"}
    kept.inventory.tidy(NOW)
    assert kept.names == {"b"}


@pytest.mark.parametrize("taken_by", ["a client", "a peer"])
def test_what_is_taken_from_here_was_used_last(tmp_path: Path, taken_by: str) -> None:
    kept = Kept(tmp_path, Limits(budget=200 * KB))
    kept.whole("a", age=20)
    kept.whole("b", age=10)
    if taken_by == "a client":
        assert asyncio.run(kept.inventory.find(digest_of("a")))
    else:
        found = kept.inventory.open(digest_of("a"))
        assert found
        os.close(found[0])
    kept.begin("new")
    assert kept.names == {"a", "new"}


async def test_the_limits_hold_from_the_start_on(tmp_path: Path) -> None:
    kept = Kept(tmp_path, Limits(budget=1))
    await asyncio.to_thread(kept.whole, "a", age=300)
    tidying = asyncio.create_task(kept.inventory.tidy_often(lambda: NOW))
    await until(lambda: not list(kept.artifacts.root.glob("files/*/*")))
    tidying.cancel()
    with suppress(asyncio.CancelledError):
        await tidying


def test_what_nobody_went_on_with_for_a_day_is_swept_but_not_what_somebody_brings(tmp_path: Path) -> None:
    kept = Kept(tmp_path, Limits())
    kept.unfinished("a", age=ABANDONED_S + 1)
    kept.unfinished("b", age=ABANDONED_S - 1)
    kept.begin("c")
    for path in (kept.partial / digest_of("c")).iterdir():
        os.utime(path, (0, 0))
    os.utime(kept.partial / digest_of("c"), (0, 0))
    assert kept.inventory.sweep(NOW) == 1
    assert kept.names == {"b", "c"}


def test_what_a_crash_left_of_a_removal_goes_with_the_next(tmp_path: Path) -> None:
    kept = Kept(tmp_path, Limits())
    kept.unfinished("a", age=2 * ABANDONED_S)
    (kept.partial / digest_of("a")).rename(kept.partial / f"{digest_of('a')}.going")
    kept.unfinished("a", age=2 * ABANDONED_S)
    kept.inventory.sweep(NOW)
    assert list(kept.partial.iterdir()) == []


@pytest.mark.parametrize(
    ("budget", "limit"),
    [
        pytest.param(0, 200_000_000_000, id="the engine's own"),
        pytest.param(50_000_000_000, 5_000_000_000, id="a tenth"),
        pytest.param(2_000_000_000, 1_000_000_000, id="what a channel takes"),
    ],
)
def test_the_cache_of_pages_is_bounded_by_the_settings_of_the_node(tmp_path: Path, budget: int, limit: int) -> None:
    origins = b'{"indexes": {"main": ["https://index.example.org/simple/"]}}'
    config = mirroring(
        origins,
        "http://proxy.example.org:8417",
        "",
        data=tmp_path,
        listen=Address("127.0.0.1", 8418),
        budget=budget,
        min_free=7_000_000_000,
    )
    assert (config.store.limit_bytes, config.store.min_free_bytes) == (limit, 7_000_000_000)
