"""The bell: the first ring is heard at once, those that follow soon are heard together, and none is missed."""

from __future__ import annotations

import asyncio

from envproxy.swarm.bell import Bell

LONG_S = 60.0
NEVER_S = 3600.0


async def test_a_ring_before_the_wait_is_heard_once():
    bell = Bell(0.0)
    with bell.listening("a") as news:
        bell.ring("a")

        assert await news.wait(LONG_S)
        assert not await news.wait(0)


async def test_only_those_who_listen_for_it_hear_it():
    bell = Bell(0.0)
    with bell.listening("a") as a, bell.listening("b") as b, bell.listening("a") as other:
        bell.ring("a")

        assert await a.wait(LONG_S)
        assert await other.wait(LONG_S)
        assert not await b.wait(0)


async def test_a_second_ring_waits_for_the_end_of_the_interval():
    bell = Bell(NEVER_S)
    with bell.listening("a") as news:
        bell.ring("a")
        assert await news.wait(LONG_S)
        bell.ring("a")

        assert not await news.wait(0)


async def test_rings_within_the_interval_are_heard_together_after_it():
    bell = Bell(0.0)
    with bell.listening("a") as news:
        bell.ring("a")
        assert await news.wait(LONG_S)
        bell.ring("a")
        bell.ring("a")

        assert await news.wait(LONG_S)
        assert not await news.wait(0)


async def test_who_has_left_keeps_nothing_alive():
    bell = Bell(0.0)
    with bell.listening("a"):
        bell.ring("a")
    bell.ring("a")
    await asyncio.sleep(0)

    assert bell._places == {}
