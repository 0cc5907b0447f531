"""`envproxy scrub`: reads the whole store, with progress on stderr: a bar on a terminal, some lines elsewhere."""

from __future__ import annotations

import asyncio
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from rich.console import Console
from rich.progress import Progress

from envproxy.engine.scrub import ScrubReport, scrub
from envproxy.tables import Config

from .data import config_of, opened
from .output import counted, print_json, say

_LINES = 10  # of progress, where there is no terminal


def run(args: Namespace) -> int:
    """Say what was found; 1 if something was corrupt."""
    report, names = asyncio.run(_scrub(config_of(args)))
    if args.json:
        print_json(asdict(report))
    else:
        _describe(report, names)
    return 1 if report.corrupt else 0


async def _scrub(config: Config) -> tuple[ScrubReport, dict[str, str]]:
    """The report, and what the files are called."""
    async with opened(config) as data:
        with _progress() as on_progress:
            report = await scrub(data.store, data.catalog, on_progress=on_progress)
        await data.catalog.add_scrub(time.time(), checked=report.checked, corrupt=len(report.corrupt))
        return report, await data.names() if report.corrupt else {}


def _describe(report: ScrubReport, names: dict[str, str]) -> None:
    for sha256 in report.corrupt:
        say(f"corrupt, now in quarantine/: {sha256} {names.get(sha256, '')}".rstrip())
    say(
        f"checked {counted(report.checked, 'file')}: {len(report.corrupt)} corrupt, {len(report.missing)} missing, "
        f"{len(report.adopted)} unknown and adopted"
    )


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    if not sys.stderr.isatty():
        yield _say_progress
        return
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _say_progress(done: int, total: int) -> None:
    if done * _LINES // total > (done - 1) * _LINES // total:
        say(f"read {done} of {total}")
