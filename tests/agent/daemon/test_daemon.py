"""The daemon, as a process: what its commands and its API answer, who may connect, and how it ends."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from envagent.app import App
from envagent.config import Config
from envagent.daemon.server import Daemon
from envagent.machine import platform
from envagent.store.flock import acquire
from fixtures.agent import PYTHON, Agent, lock_document, write_lock
from fixtures.faults import Gate
from fixtures.patience import until
from fixtures.upstream import FakeIndex
from fixtures.wheels import make_wheel

ALPHA = make_wheel("alpha", "1.0", payload_size=10_000)
BETA = make_wheel("beta", "1.0")

EMPTY = {
    "request": {},
    "targets": [
        {"platform": platform(os.uname()), "interpreter": {"kind": "system", "version": PYTHON}, "packages": []}
    ],
}


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path, {"ENVAGENT_DATA": str(tmp_path / "data")})


@pytest.fixture
def socket(agent: Agent) -> Path:
    return agent.home / "data" / "envagent.sock"


@pytest.fixture
def lock(upstream: FakeIndex, tmp_path: Path) -> Path:
    return write_lock(lock_document(upstream, ALPHA), tmp_path / "lock.json")


@asynccontextmanager
async def serving(agent: Agent, *words: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """`envagent serve` until the block ends, and the lines that it has printed."""
    process = await agent.start("serve", *words)
    assert process.stdout
    lines = [(await process.stdout.readline()).decode() for _ in range(1 + len(words) // 2)]
    try:
        yield process, lines
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


@asynccontextmanager
async def client(socket: Path) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.UnixConnector(str(socket))
    async with aiohttp.ClientSession("http://localhost", connector=connector) as session:
        yield session


async def events_of(answer: aiohttp.ClientResponse) -> list[dict[str, Any]]:
    return [json.loads(line) async for line in answer.content]


async def order(session: aiohttp.ClientSession, lock: Path, prefix: Path) -> list[dict[str, Any]]:
    body = {"lock": base64.b64encode(lock.read_bytes()).decode(), "prefix": str(prefix)}
    async with session.post("/materialize", json=body) as answer:
        return await events_of(answer)


async def test_commands_hand_their_work_to_the_daemon_and_show_its_progress(
    agent: Agent, lock: Path, socket: Path
) -> None:
    async with serving(agent) as (process, lines):
        assert lines == [f"serving {socket}\n"]
        said = await agent.run("materialize", lock, "--prefix", "env")
        assert (said.code, said.out) == (0, f"{agent.home}/env\n"), said.err
        assert said.err.splitlines()[1:] == ["unpacked 1", "compiled 1"]
        async with client(socket) as session, session.get("/status") as answer:
            status = await answer.json()
    assert (status["made"], status["refused"], status["running"], status["pid"]) == (1, 0, [], process.pid)
    [scrub] = status["upkeep"]
    assert (scrub["command"], scrub["last"]) == ("scrub", None)
    assert scrub["next"] > status["since"]
    assert (await agent.run("verify", "env")).code == 0
    assert not socket.exists()


async def test_a_refusal_comes_in_the_daemon_s_words_with_its_exit_code(
    agent: Agent, upstream: FakeIndex, lock: Path, tmp_path: Path
) -> None:
    other = write_lock(lock_document(upstream, BETA), tmp_path / "other.json")
    (tmp_path / "bad.json").write_text("{}")
    async with serving(agent):
        await agent.run("materialize", lock, "--prefix", "env")
        said = await agent.run("materialize", other, "--prefix", "env")
        bad = await agent.run("materialize", "bad.json")
    assert said.code == 2
    assert "holds another environment" in said.err
    assert "\nhint: " in said.err
    assert (bad.code, bad.err.startswith("error: bad.json is refused")) == (3, True)


async def test_the_api_tells_an_order_s_events_and_at_last_what_was_made(
    agent: Agent, lock: Path, socket: Path
) -> None:
    async with serving(agent), client(socket) as session:
        first = await order(session, lock, agent.home / "env")
        again = await order(session, lock, agent.home / "env")
    assert {event["event"] for event in first} == {"missing", "received", "arrived", "progress", "made"}
    assert first[-1]["made"]["prefix"] == f"{agent.home}/env"
    assert (first[-1]["made"]["new"], again) == (
        True,
        [{"event": "made", "made": {**first[-1]["made"], "new": False, "seconds": {}}}],
    )


async def test_an_order_that_cannot_be_read_is_refused(agent: Agent, socket: Path) -> None:
    surprising = {"lock": "", "surprise": 1}
    async with (
        serving(agent),
        client(socket) as session,
        session.post("/materialize", json=surprising) as answer,
    ):
        [event] = await events_of(answer)
    assert answer.status == 400
    assert (event["event"], event["exit_code"]) == ("refused", 2)


async def test_an_order_that_cannot_be_is_refused_with_what_is_wrong(agent: Agent, lock: Path, socket: Path) -> None:
    document = base64.b64encode(lock.read_bytes()).decode()
    wrong = {"proxy": "proxy:8417", "link_mode": "symlink", "prefix": "env"}
    async with serving(agent), client(socket) as session:
        refused = []
        for key, value in wrong.items():
            async with session.post("/materialize", json={"lock": document, key: value}) as answer:
                [event] = await events_of(answer)
                refused.append((event["exit_code"], event["message"]))
    assert refused == [
        (2, "the order: proxy must be the origin of an envproxy"),
        (2, "the order: link-mode cannot be 'symlink'"),
        (2, "the order: prefix 'env' is no absolute path"),
    ]


async def test_a_fault_of_the_daemon_itself_ends_the_order_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def surprised(*_: object) -> None:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(App, "materialize", surprised)
    daemon = Daemon(Config(tmp_path), {}, clock=lambda: 0.0, python=PYTHON, upkeep=list)
    async with TestClient(TestServer(daemon.application())) as session:
        async with session.post("/materialize", json={"lock": ""}) as answer:
            [event] = [json.loads(line) async for line in answer.content]
        async with session.get("/status") as answer:
            status = await answer.json()
    assert (event["event"], event["exit_code"]) == ("refused", 1)
    assert event["message"] == "the daemon failed: RuntimeError: nobody thought of this"
    assert (status["refused"], status["running"]) == (1, [])
    assert "Traceback" in caplog.text


async def test_orders_that_wait_leave_threads_to_the_rest_of_the_process(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "not-ours").mkdir()
    (tmp_path / "not-ours" / "file").touch()
    daemon = Daemon(Config(tmp_path), {}, clock=lambda: 0.0, python=PYTHON, upkeep=list)
    document = base64.b64encode(json.dumps({"envmesh-lock": 1, "environments": {"default": EMPTY}}).encode()).decode()

    async def ordered(session: TestClient) -> str:
        body = {"lock": document, "prefix": f"{tmp_path}/not-ours"}
        async with session.post("/materialize", json=body) as answer:
            return json.loads((await answer.read()).splitlines()[-1])["event"]

    async with TestClient(TestServer(daemon.application())) as session:
        blocker = await asyncio.to_thread(acquire, tmp_path / "store" / "in-use")
        assert blocker
        orders = asyncio.gather(*(ordered(session) for _ in range(40)))
        running: list[str] = []
        while len(running) < 40:
            async with session.get("/status") as answer:
                running = (await answer.json())["running"]
        try:
            async with asyncio.timeout(60):
                assert await asyncio.to_thread(str) == ""
        finally:
            blocker.release()
        assert await orders == ["refused"] * 40


async def test_whoever_watches_sees_the_events_of_all_until_the_daemon_ends(
    agent: Agent, lock: Path, socket: Path
) -> None:
    async with serving(agent) as (process, _), client(socket) as session, session.get("/events") as watched:
        await order(session, lock, agent.home / "env")
        process.send_signal(signal.SIGTERM)
        seen = await events_of(watched)
    assert seen[-1]["event"] == "made"
    assert await process.wait() == 0


async def test_status_tells_a_daemon_that_is_no_node_from_none(agent: Agent) -> None:
    none = await agent.run("status")
    async with serving(agent):
        alone = await agent.run("status")
    assert (none.code, none.err.splitlines()[0]) == (2, f"error: no daemon serves {agent.home}/data")
    assert (alone.code, alone.err.splitlines()[0]) == (
        2, f"error: a daemon that is no node of a swarm serves {agent.home}/data",
    )  # fmt: skip


async def test_loopback_may_watch_but_not_order(agent: Agent, unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with serving(agent, "--listen", f"127.0.0.1:{unused_tcp_port}") as (process, lines):
        assert lines[1] == f"watch it on {url}/status\n"
        async with (
            aiohttp.ClientSession(url) as session,
            session.get("/status") as status,
            session.post("/materialize", json={}) as ordered,
        ):
            assert (await status.json())["pid"] == process.pid
            assert ordered.status == 404


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("0.0.0.0:8418", "is no address of loopback"),
        ("127.0.0.1", "is no host and port"),
        ("127.0.0.1:http", "is no host and port"),
        ("127.0.0.1:65536", "is no host and port"),
        (":8418", "is no host and port"),
    ],
)
def test_an_address_that_others_could_reach_or_that_is_none_is_refused(
    agent: Agent, address: str, sentence: str
) -> None:
    said = agent.say("serve", "--listen", address)
    assert (said.code, said.err) == (2, f"error: --listen {address!r} {sentence}\nhint: such as 127.0.0.1:8418\n")


@pytest.mark.parametrize("without", ["--proxy=http://127.0.0.1:8417", "--listen=127.0.0.1:0"])
def test_what_only_a_node_of_a_swarm_heeds_is_refused_of_another_daemon(agent: Agent, without: str) -> None:
    said = agent.say("serve", without, "--peers-ca", "ca.pem")
    assert said.code == 2
    assert said.err == (
        "error: --peers-ca is of a node of a swarm, which this is not\n"
        "hint: a node has a --proxy and an address to --listen on\n"
    )


async def test_an_address_that_another_has_is_refused_in_words(agent: Agent, upstream: FakeIndex) -> None:
    taken = upstream.url.split("/")[2]
    said = await agent.run("serve", "--listen", taken)
    assert (said.code, said.err.splitlines()[0]) == (2, f"error: --listen {taken}: address already in use")


async def test_the_socket_is_its_owner_s_alone(agent: Agent, socket: Path) -> None:
    async with serving(agent):
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600


async def test_one_data_directory_has_one_daemon_and_a_killed_one_is_replaced(agent: Agent, lock: Path) -> None:
    async with serving(agent) as (process, _):
        second = await agent.run("serve")
        assert (second.code, "another daemon serves" in second.err) == (2, True)
        process.kill()
        await process.wait()
    assert (await agent.run("materialize", lock, "--prefix", "env")).code == 0
    async with serving(agent) as (_, lines):
        assert lines[0].startswith("serving ")


async def test_a_command_whose_daemon_is_killed_says_so_and_works_again(
    agent: Agent, lock: Path, upstream: FakeIndex
) -> None:
    upstream.fail(f"*/{ALPHA.filename}", Gate(1000, asyncio.Event()), times=1)
    async with serving(agent) as (process, _):
        command = await agent.start("materialize", lock, "--prefix", "env")
        await until(lambda: upstream.requests)
        process.kill()
        _, err = await command.communicate()
    assert command.returncode == 1
    assert b"the daemon of" in err
    assert b"hint: run the command again" in err
    assert (await agent.run("materialize", lock, "--prefix", "env")).code == 0
