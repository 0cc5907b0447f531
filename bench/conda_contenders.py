"""Upstream and envproxy of the Conda benchmarks, and what each of them says about itself."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from .conda_upstream import VALIDATORS
from .contenders import importing_bench
from .server import Command, Server, free_port, running

INDEX = "repodata_shards.msgpack.zst"


@asynccontextmanager
async def upstream(
    place: Path, root: Path, *, latency_s: float = 0.0, rate: float | None = None
) -> AsyncIterator[Server]:
    """The directory `root` as a far channel; its URL is the channel's."""
    port = free_port()
    argv: Command = [
        sys.executable, "-m", "bench.conda_upstream", "--port", str(port), "--root", root,
        "--latency", str(latency_s), *(["--rate", str(rate)] if rate else []),
    ]  # fmt: skip
    log = place / "upstream.log"
    async with running("upstream", argv, port=port, ready="/-/ready", log=log, env=importing_bench()) as server:
        yield server


@asynccontextmanager
async def envproxy(place: Path, upstream_url: str) -> AsyncIterator[Server]:
    """Ours, with one channel `far`, otherwise on its defaults."""
    port = free_port()
    serve = [sys.executable, "-m", "envproxy", "serve", "--listen", f"127.0.0.1:{port}"]
    argv: Command = [*serve, "--data", place / "data"]
    env = {"ENVPROXY_CONDA_CHANNELS_FAR_URL": upstream_url}
    async with running("envproxy", argv, port=port, ready="/readyz", log=place / "envproxy.log", env=env) as server:
        yield server


def channel(ours: Server) -> str:
    """The URL of the channel at an envproxy."""
    return f"{ours.url}/conda/far"


@asynccontextmanager
async def without_validators(far: Server) -> AsyncIterator[None]:
    """Let the upstream send the same bytes again where it would say that nothing changed."""
    async with aiohttp.ClientSession(far.url, raise_for_status=True) as session:
        await session.delete(VALIDATORS)
        try:
            yield
        finally:
            await session.put(VALIDATORS)


async def count(url: str, key: str) -> int:
    """One number of what a server says about itself as JSON."""
    async with aiohttp.ClientSession() as session, session.get(url) as got:
        got.raise_for_status()
        number: int = (await got.json())[key]
        return number
