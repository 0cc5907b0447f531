"""Keeps one server busy with wrk and reads what it cost.

One thread of wrk, so on two cores the server has the other. wrk counts what arrived; the CPU time is the server's
own, which stays meaningful where the throughput is bounded by the client or by a busy machine.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path

from .server import Server

SCRIPT = Path(__file__).parent / "wrk.lua"


@dataclass(frozen=True, slots=True)
class Load:
    """One spell under load: rates a second, the server's CPU time in seconds."""

    requests: int
    sent_bytes: int
    seconds: float
    cpu_s: float
    errors: int

    @property
    def requests_per_s(self) -> float:
        """Throughput in requests."""
        return self.requests / self.seconds

    @property
    def mb_per_s(self) -> float:
        """Throughput in megabytes."""
        return self.sent_bytes / self.seconds / 1e6

    @property
    def cpu_us_per_request(self) -> float:
        """What a request costs the server."""
        return self.cpu_s / self.requests * 1e6 if self.requests else inf

    @property
    def cpu_ms_per_gb(self) -> float:
        """What a gigabyte costs the server."""
        return self.cpu_s / self.sent_bytes * 1e12 if self.sent_bytes else inf


def is_installed() -> bool:
    """Whether there is a wrk."""
    return shutil.which("wrk") is not None


async def load(server: Server, url: str, *, connections: int, seconds: int, headers: Mapping[str, str]) -> Load:
    """Ask for `url` over `connections` kept open, for `seconds`. Raises RuntimeError if wrk fails."""
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(SCRIPT)]
    argv += [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    cpu_before = server.cpu_s()
    process = await asyncio.create_subprocess_exec(*argv, url, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    cpu_s = server.cpu_s() - cpu_before
    if process.returncode != 0 or not output:
        raise RuntimeError(f"wrk ended with code {process.returncode}")
    said = json.loads(output.splitlines()[-1])
    return Load(said["requests"], said["bytes"], said["seconds"], cpu_s, said["errors"])
