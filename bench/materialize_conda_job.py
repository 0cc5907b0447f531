"""`python -m bench.materialize_conda_job WHO LOCK STORE PREFIX`: the Conda environment of a lock, in this process.

The files of the lock lie beside it. WHO is envagent, or rattler, which gets the conda packages only; STORE is its
cache. The last line on stdout is the seconds that the call itself took, without the start of Python.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from pathlib import Path

from envagent.lock.model import Target
from envagent.lock.reading import read_lock


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("who", choices=["envagent", "rattler"])
    for name in ("lock", "store", "prefix"):
        parser.add_argument(name, type=Path)
    args = parser.parse_args()
    [target] = read_lock(args.lock.read_bytes(), args.lock.name).environments["default"].targets
    make = _by_envagent if args.who == "envagent" else _by_rattler
    print(make(target, args.lock.parent, args.store, args.prefix), flush=True)
    os._exit(0)  # py-rattler's threads may still be returning, and an interpreter taken down under them aborts


def _by_envagent(target: Target, folder: Path, store: Path, prefix: Path) -> float:
    from envagent.materialize.planning import plan_of  # noqa: PLC0415  # each is charged for its own imports only
    from envagent.materialize.prefix import materialize  # noqa: PLC0415
    from envagent.store.node import NodeStore  # noqa: PLC0415

    began = time.perf_counter()
    plan = plan_of(target, {package.sha256: folder / package.filename for package in target.packages}, None)
    materialize(plan, NodeStore(store), prefix, bytecode="none")
    return time.perf_counter() - began


def _by_rattler(target: Target, folder: Path, store: Path, prefix: Path) -> float:
    from rattler import RepoDataRecord, install  # noqa: PLC0415

    async def installed() -> float:
        # What repodata would say of them is not charged.
        records = [await RepoDataRecord.from_package_archive(folder / package.filename) for package in target.conda]
        began = time.perf_counter()
        await install(records, prefix, cache_dir=store, show_progress=False, execute_link_scripts=False)
        return time.perf_counter() - began

    return asyncio.run(installed())


if __name__ == "__main__":
    main()
