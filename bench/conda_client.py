"""A client that solves once, a process of its own: `python -m bench.conda_client CHANNEL CACHE SPEC`.

It prints seconds and packages as JSON. The time is that of py-rattler from the first request to the solution, without
the start of an interpreter. A process for each, since what one has in memory the next one must not have.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

import msgspec
from rattler import GenericVirtualPackage, PackageName, Version, solve
from rattler.package import BuildString
from rattler.repo_data import Gateway

from .conda_corpus import PLATFORM


class Solution(msgspec.Struct, frozen=True):
    """How long it took, in seconds, and the filenames of the packages."""

    seconds: float
    packages: list[str]


async def solved(channel: str, cache: Path, spec: str) -> Solution:
    """Solve for one spec, with nothing cached but what is in `cache`."""
    gateway = Gateway(cache_dir=cache)
    glibc = GenericVirtualPackage(PackageName("__glibc"), Version("2.35"), BuildString("0"))
    began = time.perf_counter()
    records = await solve(
        sources=[channel],
        specs=[spec],
        gateway=gateway,
        platforms=[PLATFORM, "noarch"],
        virtual_packages=[glibc],
    )
    seconds = time.perf_counter() - began
    return Solution(seconds, sorted(record.file_name for record in records))


async def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.conda_client")
    for name in ("channel", "cache", "spec"):
        parser.add_argument(name)
    args = parser.parse_args()
    print(msgspec.json.encode(await solved(args.channel, Path(args.cache), args.spec)).decode(), flush=True)
    await asyncio.sleep(0.2)  # py-rattler may crash if the interpreter ends right after its last await


if __name__ == "__main__":
    asyncio.run(_main())
