"""From fetching to building: what has arrived is handed over at once, so that unpacking does not wait for the rest.

Whoever shows progress is told as before. What is handed over is a source of the plan, at the path where its archive
is now; that its bytes were compared with the digest as they came is told with it: nobody need read them again.
It decides nothing else, and must not block: it is called on the thread that fetches.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from envagent.fetch.report import Report

if TYPE_CHECKING:
    from pathlib import Path

    from envagent.fetch.artifacts import Artifacts
    from envagent.lock.model import Package
    from envagent.materialize.intake import Intake
    from envagent.materialize.plan import Plan


class Handover(Report):
    """Reports to `report`, and hands the plan's packages to the intake as they arrive."""

    def __init__(self, report: Report, plan: Plan, artifacts: Artifacts, intake: Intake) -> None:
        self._report = report
        self._sources = {source.sha256: source for source in plan.sources}
        self._artifacts = artifacts
        self._intake = intake

    def missing(self, files: int, size: int) -> None:
        """As Report says."""
        self._report.missing(files, size)

    def received(self, count: int) -> None:
        """As Report says."""
        self._report.received(count)

    def troubled(self, name: str, why: str) -> None:
        """As Report says."""
        self._report.troubled(name, why)

    def arrived(self, package: Package, path: Path) -> None:
        """As Report says; its tree is begun."""
        self._report.arrived(package, path)
        verified = self._artifacts.has_verified(package.sha256)
        self._intake.add(replace(self._sources[package.sha256], path=path, verified=verified))
