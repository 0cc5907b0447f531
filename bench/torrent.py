"""libtorrent as a peer of the swarm: a seed where the proxy is, a peer on each machine, all known to all.

Processes are up before the time runs, as nodes are. What counts is when the last one has all of it on disk, and how
many bytes the seed has sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from .contenders import PEERS, Missing
from .server import Server

PROCESS = Path(__file__).with_name("torrent_peer.py")
PYTHON = PEERS / "libtorrent" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Peer:
    """A running one. `server` knows what it spends."""

    server: Server
    process: asyncio.subprocess.Process

    async def ask(self) -> str:
        """Send a line; the answer. The first one starts it."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(b"\n")
        return (await self.process.stdout.readline()).decode().strip()


@dataclass(frozen=True, slots=True)
class Torrent:
    """Peers that are up; the first one is the seed."""

    seed: Peer
    leechers: Sequence[Peer]

    async def share(self) -> list[str]:
        """Let them share it; the SHA-256 that each one has in the end."""
        seeding = asyncio.create_task(self.seed.ask())
        got = await asyncio.gather(*(leecher.ask() for leecher in self.leechers))
        await seeding
        return got

    async def sent_bytes(self) -> int:
        """What left the seed."""
        return int(await self.seed.ask())

    def cpu_s(self) -> float:
        """What the leechers have spent, in seconds."""
        return sum(leecher.server.cpu_s() for leecher in self.leechers)


@asynccontextmanager
async def torrent(
    home: Path, data: bytes, addresses: Sequence[str], before: Sequence[Sequence[str]]
) -> AsyncIterator[Torrent]:
    """A torrent of `data`; the seed has the first of the addresses (`host:port`). Raises Missing.

    `before` are the words that bring each process to its machine.
    """
    if not PYTHON.exists():
        raise Missing("libtorrent is not installed: see whether sh bench/install.sh works")
    folders = [home / f"peer-{number}" for number in range(len(addresses))]
    for folder in folders:
        folder.mkdir(parents=True)
    (folders[0] / "artifact").write_bytes(data)
    made = home / "artifact.torrent"
    making = await asyncio.create_subprocess_exec(PYTHON, PROCESS, "make", folders[0] / "artifact", made)
    if await making.wait():
        raise Missing("libtorrent cannot make a torrent here")
    async with AsyncExitStack() as stack:
        starting = [
            stack.enter_async_context(_peer(made, folder, (own, *(one for one in addresses if one != own)), words))
            for folder, own, words in zip(folders, addresses, before, strict=True)
        ]
        seed, *leechers = await asyncio.gather(*starting)
        yield Torrent(seed, leechers)


@asynccontextmanager
async def _peer(made: Path, folder: Path, addresses: Sequence[str], before: Sequence[str]) -> AsyncIterator[Peer]:
    process = await asyncio.create_subprocess_exec(
        *before, PYTHON, PROCESS, "share", made, folder, *addresses,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout
        if await process.stdout.readline() != b"up\n":
            raise Missing("a peer of libtorrent did not come up")
        yield Peer(Server("libtorrent", "", process.pid, 0.0), process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
