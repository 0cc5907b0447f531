"""A Conda environment through envproxy, by py-rattler: from conda-forge if it can be reached, else from a stand-in.

The stand-in is the test suite's channel of real packages: a CPython of this machine, made relocatable, and compiled
libraries. Its server runs in this process, on loopback.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from fixtures.channel import FakeChannel
from fixtures.conda_dists import compiled
from fixtures.conda_packages import chain, with_command
from fixtures.conda_pythons import CannotMoveError, interpreters, python_package
from fixtures.machine import Machine, run

PATIENCE_S = 20.0  # for a first answer from conda-forge


@dataclass(frozen=True)
class Channel:
    """What to install from where: `variable` and `url` set the channel's upstream, `proof` is a command to run."""

    name: str
    variable: str
    url: str
    specs: tuple[str, ...]
    proof: tuple[str, ...]


CONDA_FORGE = Channel(
    name="conda-forge",
    variable="ENVPROXY_CONDA_CHANNELS_CONDA_FORGE_URL",
    url="https://conda.anaconda.org/conda-forge",
    specs=("python 3.12.*", "msgpack-python"),
    proof=("python", "-c", "import msgpack, sys; print(sys.prefix)"),
)


async def is_reachable(base: str, channel: Channel, home: Path) -> bool:
    """Whether the proxy at `base` can solve from the channel."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            await Machine(home).solve(f"{base}/conda/{channel.name}", *channel.specs)
    except Exception:  # noqa: BLE001 (rattler's errors have no common root)
        return False
    return True


@asynccontextmanager
async def stand_in() -> AsyncIterator[Channel]:
    """A channel served by this process."""
    async with FakeChannel() as server:
        specs, proof = await asyncio.to_thread(_fill, server)
        yield Channel("demo", "ENVPROXY_CONDA_CHANNELS_DEMO_URL", server.url, specs, proof)


async def create(base: str, channel: Channel, home: Path) -> str:
    """An environment made on a new machine; what its command printed, or where it is if it has none."""
    prefix = await Machine(home).create(f"{base}/conda/{channel.name}", *channel.specs)
    return (await run(prefix, *channel.proof)).strip() if channel.proof else str(prefix)


def _fill(server: FakeChannel) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Add the packages; what to install of them, and a command that shows that it works."""
    try:
        python = python_package(next(interpreters()))
    except CannotMoveError:
        server.add(*chain(10))
        return ("link-01",), ()
    server.add(python, compiled("msgspec", site_packages=python.index["python_site_packages_path"]), with_command())
    return ("python", "msgspec", "greeter"), ("greeter",)
