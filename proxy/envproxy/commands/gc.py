"""`envproxy gc`: evicts down to the limits of the configuration and removes what crashed downloads left behind."""

from __future__ import annotations

import asyncio
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict

from envproxy.engine.catalog import BlobRow
from envproxy.engine.evict import Evictor, Limits
from envproxy.tables import Config

from .data import config_of, opened
from .output import counted, print_json, say, shown_size


def run(args: Namespace) -> int:
    """Say what went, or would go."""
    evicted, swept = asyncio.run(_collect(config_of(args), dry_run=args.dry_run))
    if args.json:
        print_json({"evicted": [asdict(row) for row in evicted], "swept": swept, "dry_run": args.dry_run})
        return 0
    verb = "would evict" if args.dry_run else "evicted"
    say(f"{verb} {counted(len(evicted), 'file')}, {shown_size(sum(row.size for row in evicted))}")
    if swept:
        say(f"removed {counted(swept, 'leftover')} of crashed downloads")
    return 0


async def _collect(config: Config, *, dry_run: bool) -> tuple[Sequence[BlobRow], int]:
    limits = Limits(config.store.limit_bytes, config.store.min_free_bytes)
    async with opened(config) as data:
        # What a server writes just now is no blob yet, and what it sends it has open: nothing here is busy.
        evictor = Evictor(data.store, data.catalog, limits, time.time, frozenset)
        evicted = await evictor.run_once(dry_run=dry_run)
        return evicted, 0 if dry_run else await asyncio.to_thread(data.store.sweep)
