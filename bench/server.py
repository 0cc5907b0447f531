"""Server processes under load: start, wait until one answers, read its CPU time and memory, end it by its pid.

CPU time and memory are those of the process and its children (workers), from /proc (see proc(5)).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

HOST = "127.0.0.1"
START_S = 90.0  # devpi takes its time
STOP_S = 15.0
POLL_S = 0.002
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


Command = Sequence[str | Path]


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. `url` is its origin, without a slash at the end; `ready_s` how long its start took."""

    name: str
    url: str
    pid: int
    ready_s: float

    def cpu_s(self) -> float:
        """User and system time so far, in seconds."""
        return sum(_cpu_s(pid) for pid in _family(self.pid))

    def memory_bytes(self) -> int:
        """What is resident now (VmRSS)."""
        return sum(_memory(pid, "VmRSS") for pid in _family(self.pid))

    def peak_bytes(self) -> int:
        """The most that was ever resident (VmHWM)."""
        return sum(_memory(pid, "VmHWM") for pid in _family(self.pid))

    def ended_cpu_s(self) -> float:
        """User and system time of the workers that have ended, in seconds; `cpu_s` has that of living ones."""
        return _cpu_s(self.pid, first=13)

    def workers_peak_bytes(self) -> int:
        """The most that was ever resident of the largest worker that lives now, 0 without any."""
        peaks = [0]
        for pid in _family(self.pid)[1:]:
            with suppress(OSError, StopIteration):  # it may end while we look, and a zombie has no memory
                peaks.append(_memory(pid, "VmHWM"))
        return max(peaks)


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def running(
    name: str,
    argv: Command,
    *,
    port: int,
    ready: str,
    log: Path,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Server]:
    """Run a server until the block ends; it is entered once `ready` (a path) answers 200.

    `env` comes on top of a bare environment, without any proxy variables. Raises RuntimeError if the server ends
    instead, TimeoutError if it takes longer than START_S.
    """
    loop = asyncio.get_running_loop()
    with log.open("ab") as output:
        began = loop.time()
        process = await asyncio.create_subprocess_exec(
            *argv,
            env={"PATH": os.environ["PATH"], "HOME": str(log.parent), **(env or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a Ctrl-C is ours to handle
        )
    url = f"http://{HOST}:{port}"
    try:
        await _answers(name, url + ready, process, log)
        yield Server(name, url, process.pid, loop.time() - began)
    finally:
        await _end(process)


async def finished(argv: Command, *, log: Path, env: Mapping[str, str] | None = None) -> None:
    """Run a command to its end. Raises RuntimeError if it fails."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env={"PATH": os.environ["PATH"], "HOME": str(log.parent), **(env or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        if await process.wait() != 0:
            raise RuntimeError(f"{argv[0]} ended with code {process.returncode}: {log.read_text()[-2000:]}")


async def _answers(name: str, url: str, process: asyncio.subprocess.Process, log: Path) -> None:
    async with asyncio.timeout(START_S), aiohttp.ClientSession() as session:
        while process.returncode is None:
            try:
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(POLL_S)
    raise RuntimeError(f"{name} ended with code {process.returncode}: {log.read_text()[-2000:]}")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)  # a session of its own: the process and its workers
            await process.wait()


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in _family(int(child)))]


def _cpu_s(pid: int, first: int = 11) -> float:
    # The name in brackets may contain anything; after it come the fields from the third on: at 11 the process, at 13
    # its children that were waited for, user and system time each.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[first]) + int(fields[first + 1])) * TICK_S


def _memory(pid: int, what: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))
