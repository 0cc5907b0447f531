"""How a real process ends: running downloads finish within the grace period, nobody new comes in, nothing is lost.

That the grace period has begun is known by the door: from then on the port refuses.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import aiohttp
import pytest

from fixtures.channel import FakeChannel
from fixtures.conda_packages import make_conda
from fixtures.proxy import ProxyProcess, proxy_process
from fixtures.upstream import FakeIndex, Gate
from fixtures.wheels import make_wheel
from fixtures.wire import JSON, asking, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fixtures.wire import Ask

ALPHA = "/pypi/main/simple/alpha/"
WHEEL = make_wheel("alpha", "1.0", payload_size=300_000)
NEVER_OVER = {"server.drain": "1h"}
SOON_OVER = {"server.drain": "1s"}


@pytest.fixture
def half_way() -> asyncio.Event:
    """Set, it lets the rest of a file go."""
    return asyncio.Event()


@pytest.fixture
async def upstream(half_way: asyncio.Event) -> AsyncIterator[FakeIndex]:
    """Has a wheel, and stops in the middle of sending it."""
    async with FakeIndex() as index:
        index.add(WHEEL)
        index.fail("/files/*", Gate(100_000, half_way))
        yield index


async def path_of_wheel(ask: Ask) -> str:
    return (await ask(ALPHA, JSON)).file_path(WHEEL.filename)


async def closed(proxy: ProxyProcess) -> None:
    """Wait until the port refuses."""
    host, port = proxy.url.removeprefix("http://").split(":")
    while True:
        try:
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            await writer.wait_closed()
        except ConnectionRefusedError:
            return
        except ConnectionResetError:  # it stood at the door as that closed
            continue


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_running_downloads_finish_while_newcomers_are_refused(
    tmp_path: Path, upstream: FakeIndex, half_way: asyncio.Event, number: signal.Signals
) -> None:
    async with proxy_process(tmp_path, upstream=upstream, settings=NEVER_OVER) as proxy, wire(proxy.url) as ask:
        path = await path_of_wheel(ask)
        downloads = [asyncio.create_task(ask(path)) for _ in range(3)]
        await upstream.arrived("/files/*")
        await has_joined(proxy, 3)
        proxy.process.send_signal(number)
        await closed(proxy)
        half_way.set()
        assert {reply.body for reply in await asyncio.gather(*downloads)} == {WHEEL.data}
        assert await proxy.process.wait() == 0


async def test_what_was_downloaded_while_draining_is_there_after_the_restart(
    tmp_path: Path, upstream: FakeIndex, half_way: asyncio.Event
) -> None:
    async with proxy_process(tmp_path, upstream=upstream, settings=NEVER_OVER) as proxy, wire(proxy.url) as ask:
        path = await path_of_wheel(ask)
        download = asyncio.create_task(ask(path))
        await upstream.arrived("/files/*")
        proxy.process.terminate()
        await closed(proxy)
        half_way.set()
        await download
        assert await proxy.process.wait() == 0
    async with proxy_process(tmp_path, upstream=upstream) as restarted, wire(restarted.url) as ask:
        answer = await ask(path)
    assert (answer.cache, answer.body) == ("hit", WHEEL.data)
    assert upstream.count("GET", "/files/*") == 1


async def test_a_package_of_a_channel_finishes_too(tmp_path: Path, half_way: asyncio.Event) -> None:
    package = make_conda("alpha")
    async with FakeChannel() as channel:
        channel.add(package)
        channel.fail("*.conda", Gate(10, half_way))
        settings = {**channel.settings, **NEVER_OVER}
        async with proxy_process(tmp_path, settings=settings) as proxy, wire(proxy.url) as ask:
            download = asyncio.create_task(ask(f"/conda/demo/{package.path}"))
            await channel.arrived("*.conda")
            proxy.process.terminate()
            await closed(proxy)
            half_way.set()
            assert (await download).body == package.data
            assert await proxy.process.wait() == 0


async def test_a_download_that_outlasts_the_grace_period_breaks_off_and_the_process_ends_well(
    tmp_path: Path, upstream: FakeIndex, half_way: asyncio.Event
) -> None:
    async with proxy_process(tmp_path, upstream=upstream, settings=SOON_OVER) as proxy, wire(proxy.url) as ask:
        path = await path_of_wheel(ask)
        download = asyncio.create_task(ask(path))
        await upstream.arrived("/files/*")
        assert await proxy.stop() == 0
        with pytest.raises(aiohttp.ClientError):
            await download
    upstream.clear_faults()
    async with proxy_process(tmp_path, upstream=upstream) as restarted, wire(restarted.url) as ask:
        assert (await ask(path)).body == WHEEL.data


async def test_a_client_that_only_keeps_its_connection_is_not_waited_for(tmp_path: Path, upstream: FakeIndex) -> None:
    async with (
        proxy_process(tmp_path, upstream=upstream, settings=NEVER_OVER) as proxy,
        asking(proxy.url, "/healthz") as (reader, _),
    ):
        await reader.readuntil(b'"alive"}')
        assert await proxy.stop() == 0
        assert await reader.read() == b""


async def test_a_second_signal_ends_at_once(tmp_path: Path, upstream: FakeIndex) -> None:
    async with proxy_process(tmp_path, upstream=upstream, settings=NEVER_OVER) as proxy, wire(proxy.url) as ask:
        download = asyncio.create_task(ask(await path_of_wheel(ask)))
        await upstream.arrived("/files/*")
        proxy.process.terminate()
        await closed(proxy)
        assert await proxy.stop() == -signal.SIGTERM
        with pytest.raises(aiohttp.ClientError):
            await download


async def has_joined(proxy: ProxyProcess, clients: int) -> None:
    """Wait until so many requests for files are being answered."""
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{proxy.url}/metrics") as answer:
                if f'envmesh_http_inflight{{route="file"}} {clients}.0' in await answer.text():
                    return
