"""What every implementation of the directory does: the contract of `Directory`, case by case."""

from __future__ import annotations

import pytest

from envproxy.swarm.directory import Key, NameTaken, Rules
from envproxy.swarm.layout import Layout
from envproxy.swarm.messages import Holding, Want
from fixtures.directories import EIGHT, IMPLEMENTATIONS, KEY, MIB, SHA, Town, asked, whole

RULES = Rules(leases=4, leases_per_node=2, lease_s=5.0, expiry_s=15.0, accusers=2, ban_s=60.0, settle_s=3.0)
ALL = EIGHT.all
EVERYTHING = 64  # pieces wanted at a time


@pytest.fixture(params=IMPLEMENTATIONS)
def town() -> Town:
    return Town(RULES)


async def test_a_piece_is_leased_to_one_node_only(town: Town):
    await town.join("a")
    await town.join("b")

    first = await town.ask("a")
    second = await town.ask("b")

    assert (len(first.leases), len(second.leases)) == (2, 1)
    assert not set(first.leases) & set(second.leases)


async def test_no_more_pieces_of_an_artifact_are_leased_than_the_rules_say(town: Town):
    for name in ("a", "b", "c", "d"):
        await town.join(name)

    granted = [await town.ask(name) for name in ("a", "b", "c", "d")]

    assert [len(assignment.leases) for assignment in granted] == [2, 1, 1, 0]


async def test_only_pieces_whose_hash_is_known_are_dealt_out(town: Town):
    await town.join("a")

    assert (await town.ask("a", hashed=0b1000)).leases == (3,)
    assert not await town.ask("a", moving=0b1000, hashed=0b1000)


async def test_a_lease_is_renewed_by_what_moves(town: Town):
    await town.join("a")
    await town.join("b")
    [piece] = (await town.ask("a", hashed=1)).leases

    for _ in range(3):
        town.clock.advance(RULES.lease_s - 1)
        await town.ask("a", moving=1 << piece, hashed=1)

    assert not await town.ask("b", hashed=1)


async def test_a_lease_ends_with_its_time(town: Town):
    await town.join("a")
    await town.join("b")
    await town.ask("a", hashed=1)

    town.clock.advance(RULES.lease_s)

    assert (await town.ask("b", hashed=1)).leases == (0,)
    assert (town.reports.granted, town.reports.again, town.reports.expired) == (2, 1, 1)


async def test_a_lease_that_its_node_does_not_mention_is_given_back(town: Town):
    await town.join("a")
    await town.join("b")
    await town.ask("a", hashed=1)

    await town.ask("a", hashed=1, count=0)

    assert (await town.ask("b", hashed=1)).leases == (0,)


async def test_a_lease_can_be_ended_or_kept_by_who_sees_the_transfer(town: Town):
    await town.join("a")
    await town.join("b")
    await town.ask("a", hashed=1)
    town.clock.advance(RULES.lease_s - 1)

    assert await town.directory.touch(KEY, "a", 0, tenant="default", keep=True)
    town.clock.advance(RULES.lease_s - 1)
    assert not await town.ask("b", hashed=1)
    assert await town.directory.touch(KEY, "a", 0, tenant="default", keep=False)

    assert (await town.ask("b", hashed=1)).leases == (0,)
    assert town.reports.broken_off == 1


async def test_nobody_touches_a_lease_that_is_not_theirs(town: Town):
    await town.join("a")
    await town.ask("a", hashed=1)

    assert not await town.directory.touch(KEY, "b", 0, tenant="default", keep=False)
    assert not await town.directory.touch(KEY, "a", 1, tenant="default", keep=True)
    assert not await town.directory.touch(Key("b" * 64, ""), "a", 0, tenant="default", keep=True)
    assert not await town.directory.touch(KEY, "a", 0, tenant="lab", keep=True)
    assert not await town.directory.touch(KEY, "a", 0, tenant="lab", keep=False)
    assert await town.directory.touch(KEY, "a", 0, tenant="default", keep=True)


async def test_what_somebody_holds_is_offered_and_not_leased(town: Town):
    await town.join("a")
    await town.join("b")
    await town.ask("a", held=0b10, count=0)

    given = await town.ask("b", hashed=0b10)

    assert given.leases == ()
    assert asked(given) == {1: ["a"]}


async def test_the_rarest_pieces_are_offered_first(town: Town):
    for name in ("a", "b", "c"):
        await town.join(name)
    await town.ask("a", held=0b111, count=0)
    await town.ask("b", held=0b011, count=0)

    given = await town.ask("c", hashed=0b111, count=1)

    assert list(asked(given)) == [2]


async def test_three_holders_are_offered_the_least_busy_in_front(town: Town):
    for number in range(5):
        await town.join(f"n{number}")
        await town.beat(f"n{number}", whole(), busy=number)
    await town.join("seeker")

    given = await town.ask("seeker", count=1)

    assert list(asked(given).values()) == [["n0", "n1", "n2"]]


async def test_who_gives_is_busy_until_the_piece_is_there(town: Town):
    for name in ("a", "b", "first", "second"):
        await town.join(name)
    await town.beat("a", whole())
    await town.beat("b", whole(), busy=1)

    [(piece, [front, _])] = asked(await town.ask("first", hashed=1)).items()
    during = asked(await town.ask("second", hashed=0b110, count=2))
    await town.ask("first", held=1 << piece, count=0)
    await town.ask("second", moving=0b10, count=0)
    after = asked(await town.ask("second", moving=0b10, hashed=0b1000, count=1))

    assert front == "a"
    assert sorted(names[0] for names in during.values()) == ["a", "b"]
    assert [names[0] for names in after.values()] == [during[2][0]]


async def test_of_the_least_busy_ones_the_line_is_used_before_the_rarest_piece_is_asked_for(town: Town):
    for name in ("busy", "idle", "other", "seeker"):
        await town.join(name)
    await town.ask("busy", held=0b11, count=0)
    await town.beat("busy", busy=1, artifacts=0)
    await town.ask("idle", held=0b10, count=0)
    await town.ask("other", held=0b10, count=0)

    assert list(asked(await town.ask("seeker", hashed=0b11, count=1))) == [1]


async def test_nobody_is_sent_to_who_gives_as_many_pieces_as_it_may(town: Town):
    await town.join("holder", slots=2)
    await town.beat("holder", whole())
    for name in ("first", "second"):
        await town.join(name)

    given = asked(await town.ask("first", count=4))
    meanwhile = await town.ask("second", count=4)
    await town.ask("first", held=sum(1 << piece for piece in given), count=0)

    assert len(given) == 2
    assert not meanwhile
    assert len(asked(await town.ask("second", count=4))) == 4


async def test_what_a_node_was_told_to_take_is_forgotten_with_the_node(town: Town):
    await town.join("holder", slots=2)
    await town.beat("holder", whole())
    for name in ("first", "second"):
        await town.join(name)
    await town.ask("first", count=2)

    await town.beat("first", leaving=True)

    assert len(asked(await town.ask("second", count=4))) == 2


async def test_holders_in_the_own_zone_are_offered_first(town: Town):
    await town.join("far", zone="x")
    await town.join("near", zone="y")
    await town.join("seeker", zone="y")
    await town.beat("far", whole())
    await town.beat("near", whole(), busy=7)

    given = await town.ask("seeker", count=1)

    assert list(asked(given).values()) == [["near", "far"]]


async def test_one_node_of_a_zone_brings_what_other_zones_have(town: Town):
    await town.join("far", zone="x")
    await town.join("first", zone="y")
    await town.join("second", zone="y")
    await town.beat("far", whole())

    brought = asked(await town.ask("first", count=4))
    rest = asked(await town.ask("second", count=4))

    assert len(brought) == 4
    assert not set(brought) & set(rest)
    assert len(rest) == 4


async def test_what_only_avoided_nodes_have_is_leased(town: Town):
    await town.join("a")
    await town.join("b")
    await town.beat("a", whole())

    given = await town.ask("b", avoid=["a"])

    assert len(given.leases) == 2
    assert asked(given) == {}


async def test_a_silent_node_is_forgotten_with_its_pieces_and_leases(town: Town):
    await town.join("a")
    await town.join("b")
    await town.ask("a", held=0b1, hashed=0b11)
    town.clock.advance(RULES.expiry_s - 1)
    await town.beat("b")
    town.clock.advance(1)

    given = await town.ask("b", hashed=0b11)

    assert sorted(given.leases) == [0, 1]
    assert town.reports.size == (1, 1)
    assert await town.beat("a") == "hello"
    assert await town.ask("a") is None


async def test_a_node_that_leaves_takes_everything_with_it(town: Town):
    await town.join("a")
    await town.join("b")
    await town.ask("a", held=0b1, hashed=0b11)

    await town.beat("a", leaving=True)

    assert sorted((await town.ask("b", hashed=0b11)).leases) == [0, 1]


async def test_a_later_life_of_a_node_starts_with_nothing(town: Town):
    await town.join("a")
    await town.join("b")
    await town.beat("a", whole())

    await town.join("a", epoch=2)

    assert asked(await town.ask("b")) == {}
    assert await town.beat("a") == "hello"
    assert await town.beat("a", epoch=2) == ""


async def test_the_same_life_may_say_hello_twice(town: Town):
    await town.join("a")
    await town.join("b")
    await town.beat("a", whole())

    await town.join("a")

    assert asked(await town.ask("b", count=1)).popitem()[1] == ["a"]


async def test_a_name_belongs_to_the_last_life_and_to_one_tenant(town: Town):
    await town.join("a", epoch=2)

    with pytest.raises(NameTaken, match="came later"):
        await town.join("a", epoch=1)
    with pytest.raises(NameTaken, match="is taken"):
        await town.join("a", epoch=3, tenant="lab")


async def test_another_tenants_secret_is_no_way_to_speak_for_a_node(town: Town):
    await town.join("a")

    assert await town.beat("a", tenant="lab") == "hello"
    assert await town.ask("a", tenant="lab") is None


async def test_a_node_whose_count_differs_is_asked_to_announce_all(town: Town):
    await town.join("a")

    assert await town.beat("a", whole(), artifacts=2) == "announce"
    assert await town.beat("a", whole("b" * 64), artifacts=2) == ""


async def test_announcing_anew_takes_back_what_was_announced(town: Town):
    await town.join("a")
    await town.join("b")
    await town.beat("a", whole(), whole("b" * 64))

    assert await town.beat("a", whole("b" * 64), anew=True) == ""
    assert asked(await town.ask("b")) == {}


async def test_what_is_gone_is_not_offered(town: Town):
    await town.join("a")
    await town.join("b")
    await town.beat("a", whole())

    assert await town.beat("a", gone=[SHA]) == ""
    assert asked(await town.ask("b")) == {}


async def test_a_part_can_be_announced(town: Town):
    await town.join("a")
    await town.join("b")
    part = Holding(sha256=SHA, size=EIGHT.size, private=False, piece_bytes=EIGHT.piece_bytes, held=b"\x05")

    await town.beat("a", part)

    assert set(asked(await town.ask("b"))) == {0, 2}


async def test_a_part_that_was_cut_otherwise_is_worth_nothing(town: Town):
    await town.join("a")
    await town.join("b")
    part = Holding(sha256=SHA, size=EIGHT.size, private=False, piece_bytes=2 * MIB, held=b"\x05")

    assert await town.beat("a", part) == ""

    assert asked(await town.ask("b")) == {}


async def test_private_holdings_are_seen_by_their_tenant_only(town: Town):
    await town.join("ours")
    await town.join("other")
    await town.join("lab", tenant="lab")
    await town.beat("ours", whole(private=True))

    within = await town.ask("other", key=Key(SHA, "default"))
    beyond = await town.ask("lab", key=Key(SHA, "lab"), tenant="lab")
    public = await town.ask("lab", tenant="lab")

    assert {name for names in asked(within).values() for name in names} == {"ours"}
    assert asked(beyond) == asked(public) == {}


async def test_two_accusers_ban_a_node_from_an_artifact_for_a_while(town: Town):
    for name in ("liar", "a", "b", "c"):
        await town.join(name)
    await town.beat("liar", whole())

    await town.accuse("a", "liar")
    await town.accuse("a", "liar")
    before = asked(await town.ask("c", count=1))
    await town.accuse("b", "liar")
    during = asked(await town.ask("c", count=1))
    await pass_a_ban(town, "liar", "c")

    assert list(before.values()) == [["liar"]]
    assert during == {}
    assert list(asked(await town.ask("c", count=1)).values()) == [["liar"]]
    assert town.reports.bans == ["liar"]


async def test_a_ban_uses_up_the_accusations_that_led_to_it(town: Town):
    for name in ("liar", "a", "b", "c"):
        await town.join(name)
    await town.beat("liar", whole())
    await town.accuse("a", "liar")
    await town.accuse("b", "liar")
    await pass_a_ban(town, "liar", "a", "b", "c")

    await town.accuse("a", "liar")

    assert list(asked(await town.ask("c", count=1)).values()) == [["liar"]]
    assert town.reports.bans == ["liar"]


async def test_accusations_further_apart_than_a_ban_lasts_do_not_add_up(town: Town):
    for name in ("liar", "a", "b", "c"):
        await town.join(name)
    await town.beat("liar", whole())
    await town.accuse("a", "liar")
    await pass_a_ban(town, "liar", "a", "b", "c")

    await town.accuse("b", "liar")

    assert list(asked(await town.ask("c", count=1)).values()) == [["liar"]]


async def test_what_was_said_of_a_name_does_not_hang_on_who_has_it_later(town: Town):
    for name in ("a", "b", "c"):
        await town.join(name)
    await town.beat("c", whole())
    await town.accuse("a", "newcomer")
    await town.join("newcomer")
    await town.beat("newcomer", whole())

    await town.accuse("b", "newcomer")

    assert town.reports.bans == []


async def pass_a_ban(town: Town, holder: str, *others: str) -> None:
    """Let a ban's time go by in which all of them live, and one holds everything."""
    for _ in range(int(RULES.ban_s / 10)):
        town.clock.advance(10)
        await town.beat(holder, whole())
        for name in others:
            await town.beat(name)


async def test_who_is_not_known_accuses_nobody(town: Town):
    for name in ("liar", "a", "c"):
        await town.join(name)
    await town.beat("liar", whole())

    await town.accuse("a", "liar")
    await town.accuse("stranger", "liar")
    await town.accuse("c", "liar", tenant="lab")

    assert town.reports.bans == []


async def test_after_its_start_it_leases_nothing_of_what_somebody_has(town: Town):
    young = Town(RULES, settled=False)
    await young.join("a")
    await young.join("b")

    early = await young.ask("a", held=0b1)
    fresh = await young.ask("b", key=Key("b" * 64, ""))
    young.clock.advance(RULES.settle_s)
    late = await young.ask("a", held=0b1)

    assert (early.leases, len(fresh.leases), len(late.leases)) == ((), 2, 2)


async def test_an_artifact_that_concerns_nobody_is_forgotten(town: Town):
    await town.join("a")
    await town.join("b")
    await town.ask("a")
    await town.beat("b", whole("b" * 64))

    await town.beat("b", gone=["b" * 64])
    await town.beat("a", gone=[SHA])

    assert town.reports.size == (2, 0)


async def test_an_artifact_that_was_given_up_is_forgotten_unless_it_was_announced(town: Town):
    await town.join("a")
    await town.beat("a", whole("b" * 64))
    await town.ask("a")

    await town.ask("a", count=0)
    await town.ask("a", count=0, key=Key("b" * 64, ""))

    assert town.reports.size == (1, 1)


async def test_no_piece_is_held_by_who_says_so_in_zeroes():
    young = Town(RULES, settled=False)
    await young.join("a")
    want = Want(node="a", epoch=1, directory="", sha256=SHA, path="/files/demo/x", held=b"\0")

    given = await young.directory.assign(KEY, want, EIGHT, ALL, tenant="default")

    assert given is not None
    assert given.leases


async def test_those_who_wait_are_told_when_a_piece_is_held_or_free(town: Town):
    await town.join("a")
    await town.ask("a", hashed=1)
    town.rung.clear()

    await town.ask("a", held=1, count=0)
    held = list(town.rung)
    town.rung.clear()
    await town.beat("a", leaving=True)

    assert SHA in held
    assert SHA in town.rung


async def test_an_artifact_of_one_piece_goes_from_the_first_to_the_others(town: Town):
    one = Layout.of(200_000)
    for name in ("a", "b"):
        await town.join(name)

    first = await town.ask("a", layout=one)
    waiting = await town.ask("b", layout=one)
    await town.ask("a", layout=one, held=0b1, count=0)

    assert first.leases == (0,)
    assert not waiting
    assert asked(await town.ask("b", layout=one)) == {0: ["a"]}


async def test_a_node_with_everything_is_told_nothing(town: Town):
    await town.join("a")

    assert not await town.ask("a", held=ALL, count=EVERYTHING)
