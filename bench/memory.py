"""Memory and start: one envproxy that goes through everything, and one that has 10,000 projects to remember.

The stages follow one another in the same process, so the peak is that of "all of this": a page of 4,415 files, one of
50,000 (10 MB), the warm loads, 200 clients for a cold file, an install of 60 packages.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from envproxy.engine.catalog import Artifact, Catalog, Page
from envproxy.engine.store import BlobStore
from envproxy.pypi.page import dump, parse

from . import corpus, install
from .cold import CROWDS
from .compare import at_most, memory, worst
from .contenders import ASK_PAGE, envproxy, fetch, find_file, simple, upstream
from .crowd import crowd
from .load import is_installed, load
from .plan import Plan, Result
from .server import Server

PROJECTS = 10_000
READY_S = 1.0
_PAGE_FILES = 50  # on each of the pages in the catalog
_UPLOADED = "2024-03-01T12:00:00+00:00"


async def measure(plan: Plan) -> Result:
    """The stages, then the starts."""
    result = Result("memory and start")
    await _stages(plan, result)
    await _starts(plan, result)
    return result


async def _stages(plan: Plan, result: Result) -> None:
    shelves = ["numpy", "huge", "cold", "tree"]
    async with (
        upstream(plan.place("far"), shelves, cold_bytes=plan.cold_bytes) as far,
        envproxy(plan.place("envproxy"), far.url) as ours,
    ):
        stages: dict[str, Callable[[], Awaitable[object]]] = {
            "rest": lambda: asyncio.sleep(0),
            f"a page of {corpus.NUMPY_FILES:,} files": lambda: fetch(f"{simple(ours)}{corpus.NUMPY}/", ASK_PAGE),
            f"a page of {corpus.HUGE_FILES:,} files": lambda: fetch(f"{simple(ours)}{corpus.HUGE}/", ASK_PAGE),
            f"{CROWDS[-1]} clients for a cold file": lambda: _crowd(plan, ours),
            "an install of 60 packages": lambda: install.install(plan, simple(ours), [corpus.ROOT]),
        }
        if is_installed():
            stages["page and wheel under load"] = lambda: _loads(plan, ours)
        else:
            result.notes.append("without wrk, nothing is put under load: run sh bench/setup.sh as root")
        for name, stage in stages.items():
            await stage()
            result.findings.append(worst(f"peak up to {name}", "MB", [ours.peak_bytes() / 1e6]))
        result.findings.append(worst("resident in the end", "MB", [ours.memory_bytes() / 1e6]))
        result.findings.append(memory("peak memory", [ours.peak_bytes()]))


async def _crowd(plan: Plan, ours: Server) -> None:
    url = await find_file(f"{simple(ours)}{corpus.COLD}/", corpus.cold_name(0))
    await crowd(url, CROWDS[-1], size=plan.cold_bytes)


async def _loads(plan: Plan, ours: Server) -> None:
    page_url = f"{simple(ours)}{corpus.NUMPY}/"
    wheel_url = await find_file(page_url, corpus.NUMPY_WHEEL)
    await fetch(wheel_url, {})
    await load(ours, page_url, connections=16, seconds=plan.load_s, headers=ASK_PAGE)
    await load(ours, wheel_url, connections=8, seconds=plan.load_s, headers={})


async def _starts(plan: Plan, result: Result) -> None:
    place = plan.place("remembering")
    await _remember_projects(place / "data")
    starts = []
    for _ in range(plan.rounds):
        async with envproxy(place, None) as ours:
            starts.append(ours.ready_s)
    result.findings.append(worst(f"ready with {PROJECTS:,} projects", "s", starts, at_most(READY_S)))


async def _remember_projects(data: Path) -> None:
    """A catalog that has seen PROJECTS projects, with a page and a file of each."""
    await asyncio.to_thread(BlobStore(data).prepare)
    async with Catalog(data / "catalog.sqlite") as catalog:
        for number in range(PROJECTS):
            page, artifact = _remembered(f"project-{number:05}")
            await catalog.save_page(page)
            await catalog.add_artifact(artifact)
            await catalog.add_blob(artifact.sha256, artifact.size, "artifact", 0.0)


def _remembered(name: str) -> tuple[Page, Artifact]:
    digests = [hashlib.sha256(f"{name} {n}".encode()).hexdigest() for n in range(_PAGE_FILES)]
    entries = tuple(
        corpus.Entry(f"{name}-{n}.0-py3-none-any.whl", digest, 100_000, _UPLOADED, ">=3.9")
        for n, digest in enumerate(digests)
    )
    url = "http://127.0.0.1/packages"
    body = corpus.page(corpus.Project(name, entries), url)
    page = parse(body, content_type=None, url=url, project=name)
    newest = entries[-1]
    return (
        Page(
            source="pypi",
            project=name,
            state="known",
            body=dump(page),
            fingerprint=hashlib.sha256(body).hexdigest(),
            etag=None,
            last_modified=None,
            changed_at=0.0,
            checked_at=0.0,
            fresh_until=0.0,
        ),
        Artifact("pypi", name, newest.filename, newest.sha256, 100_000, f"{url}/{newest.filename}", _UPLOADED, 0.0),
    )
