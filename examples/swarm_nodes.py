"""Three nodes of a swarm that want the same files at once: what the proxy sent, and what they gave each other.

The nodes are `envagent serve` in processes of their own, as the test suite runs them. Each has a uv that installs
through the node's faces, with no cache of its own; two of the wheels are large enough to be fetched in pieces.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from uv import find_uv_bin

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from fixtures.node import SECRET, NodeProcess, running_nodes

WANTED = ("pandas", "flask")  # with numpy: two wheels of more than 8 MiB, and a dozen small ones
NODES = 3
SETTINGS = {"ENVPROXY_SWARM_ENABLED": "true", "ENVPROXY_SWARM_SECRET": "env:SWARM_SECRET", **SECRET}
PATIENCE_S = 20.0  # for a first answer from PyPI


@dataclass(frozen=True)
class Share:
    """What one node got: whole files, their bytes, how many bytes came from where, and its client's seconds."""

    node: str
    files: int
    size: int
    from_origin: int
    from_peers: int
    seconds: float


def origin_ratio(shares: list[Share]) -> float:
    """How often each byte left the proxy; without peers it is the number of nodes."""
    return sum(share.from_origin for share in shares) / max(share.size for share in shares)


async def can_reach_pypi(base: str) -> bool:
    """Whether the proxy at `base` can say what PyPI has."""
    page, timeout = f"/pypi/main/simple/{WANTED[0]}/", aiohttp.ClientTimeout(total=PATIENCE_S)
    try:
        async with aiohttp.ClientSession(base, timeout=timeout) as session, session.get(page) as answer:
            return answer.ok
    except (aiohttp.ClientError, TimeoutError):
        return False


async def together(room: Path, base: str) -> list[Share]:
    """The same install on all nodes at once, by the proxy at `base`, which has `SETTINGS`."""
    async with running_nodes(room / "nodes", base, NODES) as nodes:
        seconds = await asyncio.gather(*(_install(node, room / node.name) for node in nodes))
        return [await _share(node, taken) for node, taken in zip(nodes, seconds, strict=True)]


async def _install(node: NodeProcess, target: Path) -> float:
    """Seconds of uv with an empty cache, through the faces of the node."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        find_uv_bin(), "pip", "install", "--quiet", "--no-cache", "--no-config", "--only-binary", ":all:",
        "--python", sys.executable, "--target", str(target), "--index-url", f"{node.url}/pypi/main/simple/", *WANTED,
        env=clean,
    )  # fmt: skip
    if await process.wait():
        raise SystemExit(f"uv could not install through {node.name}; its message is above")
    return time.perf_counter() - began


async def _share(node: NodeProcess, seconds: float) -> Share:
    """The node's own counts."""
    found = await node.status()
    origin, peers = found["origin_bytes"], found["peer_bytes_down"]
    return Share(node.name, found["artifacts"], found["size"], origin, peers, seconds)
