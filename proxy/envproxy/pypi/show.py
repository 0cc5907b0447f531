"""What an index shows of a project page: a pure function of page, policy, moment and known sidecars.

Files that the policy hides are left out. If it hides all of them the page is not emptied but refused with the reason,
for installers take an empty page for "no versions" and say nothing helpful.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from urllib.parse import quote

from envproxy.policy import Policy, Verdict

from .entries import ProjectFile
from .names import version_of
from .page import Page
from .render import Offer, render_json

UNHASHED = "unhashed"  # stands for the digest in the URL of a file whose index gives none


@dataclass(frozen=True, slots=True)
class Shown:
    """The JSON page, or the refusal (with the policy's rule) in its place; `flips_at` in seconds since the epoch."""

    json: bytes | None
    refusal: str | None
    rule: str
    flips_at: float | None


class Wheel(Protocol):
    """A wheel on a page or in the catalog, as far as its key goes."""

    @property
    def filename(self) -> str: ...  # noqa: D102
    @property
    def sha256(self) -> str | None: ...  # noqa: D102
    @property
    def url(self) -> str: ...  # noqa: D102


def wheel_key(source: str, file: Wheel) -> str:
    """What the metadata of a wheel is remembered under: its digest, or its URL where its index gives none.

    The SHA-256 alone will not do: before the wheel is here it is the source's word, and a source that lies about it
    must not lend its metadata to the wheels of another.
    """
    return f"{source}:{file.filename}:{file.sha256 or file.url}"


def file_path(project: str, file: ProjectFile) -> str:
    """Where the file is, relative to its project's page. It names the digest: other bytes get another URL."""
    return f"../../files/{project}/{file.sha256 or UNHASHED}/{quote(file.filename)}"


@dataclass(slots=True)
class _Hidden:
    """How many files a policy hides, and the verdict on the one that will be shown first."""

    count: int = 0
    first: Verdict | None = None

    def add(self, verdict: Verdict) -> None:
        self.count += 1
        self.first = verdict if self.first is None else min(self.first, verdict, key=_visible_from)


def show(page: Page, policy: Policy, now: datetime, sidecars: Mapping[str, str | None], *, source: str) -> Shown:
    """Apply `policy` at `now`. `sidecars` maps wheel keys to the digest of their metadata, None if they have none."""
    rules = policy.about(page.name)
    hidden = _Hidden()

    def offer(file: ProjectFile) -> Offer | None:
        if not policy.is_open:
            version = version_of(file.filename, page.name) if policy.needs_versions else None
            verdict = rules.judge(version, file.filename, file.upload_time, now)
            if not verdict.allowed:
                hidden.add(verdict)
                return None
        return Offer(url=file_path(page.name, file), core_metadata=_sidecar(file, sidecars, source))

    json = render_json(page, offer)
    if hidden.first is None:
        return Shown(json, None, "", None)
    flips_at = hidden.first.flips_at.timestamp() if hidden.first.flips_at else None
    if hidden.count < len(page.entries):
        return Shown(json, None, "", flips_at)
    return Shown(None, _refusal(page.name, hidden.first, hidden.count), hidden.first.rule, flips_at)


def _sidecar(file: ProjectFile, sidecars: Mapping[str, str | None], source: str) -> bool | str:
    """What to announce (PEP 658): what we found ourselves, else upstream's word; any other wheel's can be made."""
    if not file.filename.endswith(".whl"):
        return False
    if sidecars and (key := wheel_key(source, file)) in sidecars:
        return sidecars[key] or False
    announced = file.core_metadata
    return announced.get("sha256", True) if not isinstance(announced, bool) else True


def _visible_from(verdict: Verdict) -> float:
    return verdict.flips_at.timestamp() if verdict.flips_at else math.inf


def _refusal(project: str, first: Verdict, count: int) -> str:
    return first.reason if count == 1 else f"all {count} files of {project} are hidden; for one, {first.reason}"
