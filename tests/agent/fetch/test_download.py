"""One artifact from servers that misbehave: what is tried again, where, after which pause, and what is given up."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from envagent.fetch.artifacts import Artifacts
from envagent.fetch.download import LONGEST_PAUSE_S, PAUSES_S, Download, Unavailable
from envagent.fetch.network import Network
from envagent.fetch.sources import Place
from fixtures.clock import FakeClock
from fixtures.fetching import NoTime, Told, locked
from fixtures.origin import Origin, answer
from fixtures.upstream import Cut, FakeIndex, Hang, HangAfter, RawBody, Redirect, Refuse, Status, Style, WrongBytes
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fixtures.faults import Fault

ALPHA = make_wheel("alpha", "1.0", payload_size=3_000_000)
FILE = f"/files/alpha/{ALPHA.filename}"


@dataclass
class Field:
    """Two upstreams that have the same wheel, and what is needed to fetch it."""

    first: FakeIndex
    second: FakeIndex
    artifacts: Artifacts
    told: Told
    patience: NoTime
    clock: FakeClock

    @property
    def places(self) -> tuple[Place, ...]:
        return tuple(Place(index.file_url(ALPHA.filename), is_proxy=False) for index in (self.first, self.second))

    async def bring(self, *places: Place, read_timeout_s: float = 30.0, **lies: Any) -> Path:
        package = replace(locked(ALPHA, ""), **lies)
        async with Network("", read_timeout_s=read_timeout_s, clock=self.clock, http_proxies={}) as network:
            download = Download(package, places, self.artifacts, network, self.told, self.patience)
            return await download.run(asyncio.Semaphore(1))

    def counts(self) -> tuple[int, int]:
        return self.first.count("GET", FILE), self.second.count("GET", FILE)

    def ranges(self) -> list[str | None]:
        return [seen.headers.get("Range") for seen in self.first.requests]


def is_near_the_cut(asked: str | None) -> bool:
    """Whether a Range begins at most a few buffers before byte 2,000,000: what came with the cut may be lost."""
    return asked is not None and 1_000_000 < int(asked.removeprefix("bytes=").removesuffix("-")) <= 2_000_000


@pytest.fixture
async def field(tmp_path: Path) -> AsyncIterator[Field]:
    clock = FakeClock()
    async with FakeIndex() as first, FakeIndex() as second:
        first.add(ALPHA)
        second.add(ALPHA)
        yield Field(first, second, Artifacts(tmp_path), Told(), NoTime(clock), clock)


async def test_the_first_place_that_has_it_is_enough(field: Field) -> None:
    path = await field.bring(*field.places)
    assert path.read_bytes() == ALPHA.data
    assert field.counts() == (1, 0)
    assert field.told.bytes == len(ALPHA.data)


@pytest.mark.parametrize(
    "fault",
    [
        Status(404),
        Status(410),
        Status(403),
        Status(401),
        Status(500),
        Status(503, {"Retry-After": "60"}),
        Refuse(),
        WrongBytes(),
        RawBody(b"a login page", "text/html"),
        Redirect("ftp://files.example.org/alpha.whl"),
        Cut(0),
    ],
    ids=repr,
)
async def test_a_place_that_fails_is_followed_by_the_next_one_at_once(field: Field, fault: Any) -> None:
    field.first.fail(FILE, fault)
    path = await field.bring(*field.places)
    assert path.read_bytes() == ALPHA.data
    assert field.counts()[1] == 1
    assert field.patience.pauses == []
    assert field.told.bytes == len(ALPHA.data)
    assert [name for name, _ in field.told.troubles] == [ALPHA.filename]


@pytest.mark.parametrize("fault", [Hang(), HangAfter(2_000_000)], ids=repr)
async def test_silence_is_not_waited_for(field: Field, fault: Any) -> None:
    field.first.fail(FILE, fault)
    path = await field.bring(*field.places, read_timeout_s=1.0)
    assert path.read_bytes() == ALPHA.data
    assert field.first.count("GET", FILE) >= 1


async def test_what_was_cut_is_gone_on_with_where_it_was(field: Field) -> None:
    field.first.fail(FILE, Cut(2_000_000), times=1)
    path = await field.bring(*field.places)
    assert path.read_bytes() == ALPHA.data
    assert field.counts() == (2, 0)
    whole, rest = field.ranges()
    assert whole is None
    assert is_near_the_cut(rest)
    assert field.told.bytes == len(ALPHA.data)


async def test_a_server_without_ranges_or_lengths_begins_again(field: Field) -> None:
    field.first.style = Style(ranges=False, lengths=False)
    field.first.fail(FILE, Cut(2_000_000), times=1)
    path = await field.bring(*field.places)
    assert path.read_bytes() == ALPHA.data
    assert field.counts() == (2, 0)
    assert field.told.bytes == len(ALPHA.data)


async def test_the_rest_may_come_from_another_place(field: Field) -> None:
    field.first.fail(FILE, Cut(2_000_000), times=1)
    field.first.fail(FILE, Status(500))
    path = await field.bring(*field.places)
    assert path.read_bytes() == ALPHA.data
    [seen] = field.second.requests
    assert is_near_the_cut(seen.headers["Range"])


async def test_a_wrong_beginning_is_not_the_fault_of_who_sent_the_rest(field: Field) -> None:
    left = field.artifacts.claim(ALPHA.sha256, len(ALPHA.data))
    assert left is not None
    left.append([bytes(1000)])  # type: ignore[union-attr]
    left.give_up()  # type: ignore[union-attr]
    path = await field.bring(field.places[0])
    assert path.read_bytes() == ALPHA.data
    assert field.ranges() == ["bytes=1000-", None]
    assert field.told.bytes == len(ALPHA.data)


async def test_what_was_left_whole_is_not_asked_for_again(field: Field) -> None:
    left = field.artifacts.claim(ALPHA.sha256, len(ALPHA.data))
    left.append([ALPHA.data])  # type: ignore[union-attr]
    left.give_up()  # type: ignore[union-attr]
    await field.bring(field.places[0])
    assert field.first.requests == []


async def test_a_file_of_another_size_is_not_even_read(field: Field) -> None:
    with pytest.raises(Unavailable, match=rf"has {len(ALPHA.data)} bytes, the lock names 1000"):
        await field.bring(*field.places, size=1000)
    assert field.counts() == (1, 1)
    assert field.told.bytes == 0


@pytest.mark.parametrize(
    ("fault", "lies"),
    [(Status(404), {}), (WrongBytes(), {}), (None, {"size": 1000})],
    ids=["no such file", "other bytes", "another size"],
)
async def test_what_no_place_will_ever_have_leaves_nothing_and_a_hint_to_lock_again(
    field: Field, fault: Fault | None, lies: dict[str, int]
) -> None:
    if fault:
        field.first.fail(FILE, fault)
    with pytest.raises(Unavailable) as raised:
        await field.bring(field.places[0], **lies)
    assert "`envagent lock` finds files that are there" in raised.value.hint
    assert list((field.artifacts.root / "arriving").iterdir()) == []


async def test_a_place_that_fails_for_the_moment_brings_no_hint_to_lock_again(field: Field) -> None:
    field.first.fail(FILE, Status(503))
    with pytest.raises(Unavailable) as raised:
        await field.bring(field.places[0])
    assert "envagent lock" not in raised.value.hint


async def test_a_file_without_end_is_cut_off(field: Field) -> None:
    field.first.style = Style(lengths=False)
    with pytest.raises(Unavailable, match="more than 1000 bytes came"):
        await field.bring(field.places[0], size=1000)


@pytest.mark.parametrize("extra", [b"!", bytes(3_000_000)], ids=["a-byte", "megabytes"])
async def test_a_place_that_sends_too_much_does_not_spoil_the_next_one(field: Field, extra: bytes) -> None:
    field.first.style = Style(lengths=False)
    field.first.add(replace(ALPHA, data=ALPHA.data + extra))
    path = await field.bring(*field.places)
    assert path.read_bytes() == ALPHA.data
    assert [seen.headers.get("Range") for seen in field.second.requests] == [None]
    assert field.told.bytes == len(ALPHA.data)


async def test_a_rest_that_is_longer_than_it_can_be_is_not_read_to_its_end(field: Field) -> None:
    left = field.artifacts.claim(ALPHA.sha256, len(ALPHA.data))
    left.append([ALPHA.data[:1000]])  # type: ignore[union-attr]
    left.give_up()  # type: ignore[union-attr]
    endless = answer(bytes(3 * len(ALPHA.data)), "Content-Range: bytes 1000-2999999/*", status="206 Partial Content")
    async with Origin(endless) as origin:
        path = await field.bring(Place(f"{origin.url}file", is_proxy=False), field.places[1])
    assert path.read_bytes() == ALPHA.data
    assert field.told.troubles == [(ALPHA.filename, f"more than {len(ALPHA.data)} bytes came")]
    assert [seen.headers.get("Range") for seen in field.second.requests] == [None]
    assert field.told.bytes == len(ALPHA.data)


async def test_wrong_bytes_everywhere_are_given_up_at_once_and_nothing_is_kept(field: Field) -> None:
    field.first.fail(FILE, WrongBytes())
    field.second.fail(FILE, WrongBytes())
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:\d+ has other bytes than the lock names"):
        await field.bring(*field.places)
    assert field.counts() == (1, 1)
    assert field.patience.pauses == []
    assert field.artifacts.find(ALPHA.sha256, len(ALPHA.data)) is None


async def test_servers_that_fail_for_the_moment_are_asked_again_after_pauses(field: Field) -> None:
    field.first.fail(FILE, Status(500), times=2)
    path = await field.bring(field.places[0])
    assert path.read_bytes() == ALPHA.data
    assert field.patience.pauses == list(PAUSES_S[:2])


@pytest.mark.parametrize(
    ("code", "stated", "pause_s"),
    [(429, "7", 7.0), (503, "7", 7.0), (503, "0", 1.0), (503, "100", LONGEST_PAUSE_S)],
)
async def test_a_busy_server_says_how_long_to_wait(field: Field, code: int, stated: str, pause_s: float) -> None:
    field.first.fail(FILE, Status(code, {"Retry-After": stated}), times=1)
    path = await field.bring(field.places[0])
    assert path.read_bytes() == ALPHA.data
    assert field.patience.pauses == [pause_s]


async def test_what_one_download_waited_for_in_vain_the_next_one_does_not(field: Field) -> None:
    field.first.fail(FILE, Status(500))
    for _ in range(2):
        with pytest.raises(Unavailable, match="answered 500"):
            await field.bring(field.places[0])
    assert field.patience.pauses == list(PAUSES_S)
    assert field.first.count("GET", FILE) == len(PAUSES_S) + 2


async def test_several_at_once_in_one_process_make_one_download(field: Field) -> None:
    paths = await asyncio.gather(*(field.bring(*field.places) for _ in range(5)))
    assert len(set(paths)) == 1
    assert field.counts() == (1, 0)
