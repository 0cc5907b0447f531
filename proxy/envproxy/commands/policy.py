"""`envproxy policy`: what a policy makes of a project page that is cached, without asking anybody."""

from __future__ import annotations

import asyncio
import time
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from envproxy.app import PARTS, Parts, build
from envproxy.command import UsageError
from envproxy.errors import EnvproxyError, NoSuchThing
from envproxy.policy import Verdict, explain
from envproxy.pypi.index import Index, find_index
from envproxy.pypi.names import normalize, version_of
from envproxy.pypi.page import Page

from .data import check_exists, config_of
from .output import print_json, print_table

_EVERY_FILE = "(every file)"


@dataclass(frozen=True, slots=True)
class _File:
    filename: str
    version: str | None
    upload_time: datetime | None


def run(args: Namespace) -> int:
    """Show the verdict on every file."""
    config = config_of(args)
    check_exists(config)
    verdicts = asyncio.run(_verdicts(build(config)[PARTS], args.index, normalize(args.project)))
    if args.json:
        print_json([_as_json(filename, verdict) for filename, verdict in verdicts])
    else:
        print_table(("file", "verdict", "until", "why"), [_as_row(*found) for found in verdicts])
    return 0


async def _verdicts(parts: Parts, name: str, project: str) -> list[tuple[str, Verdict]]:
    try:
        index = find_index(parts.indexes, name)
    except NoSuchThing as error:
        raise UsageError(error.message, hint=error.hint) from error
    whole = index.policy.judge_name(project)
    if not whole.allowed:
        return [(_EVERY_FILE, whole)]
    async with parts.catalog:
        page = await _cached_page(index, project)
    files = await asyncio.to_thread(lambda: list(_files(page)))
    return explain(index.policy, project, files, datetime.fromtimestamp(time.time(), UTC))


async def _cached_page(index: Index, project: str) -> Page:
    """The page of the first source that has one: who owned the name when it was last asked for."""
    for source in index.candidates(project):
        try:
            return await source.page(project)
        except NoSuchThing:
            continue
    raise EnvproxyError(
        f"no page of {project} is cached for index {index.name}",
        hint=f"ask the running proxy for it once: /pypi/{index.name}/simple/{project}/",
    )


def _files(page: Page) -> Iterable[_File]:
    return (_File(file.filename, version_of(file.filename, page.name), file.upload_time) for file in page.files())


def _as_json(filename: str, verdict: Verdict) -> dict[str, object]:
    return {
        "filename": filename,
        "allowed": verdict.allowed,
        "rule": verdict.rule,
        "reason": verdict.reason,
        "until": verdict.flips_at.isoformat() if verdict.flips_at else None,
    }


def _as_row(filename: str, verdict: Verdict) -> tuple[str, str, str, str]:
    until = f"{verdict.flips_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if verdict.flips_at else ""
    return filename, "shown" if verdict.allowed else "hidden", until, verdict.reason or verdict.rule
