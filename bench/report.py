"""Prints findings as a table that can be pasted into Markdown, and writes them with every round as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import median

from rich import box
from rich.console import Console
from rich.table import Table

from .compare import Finding, Measure
from .plan import Result

BUSY = 0.5  # a load average above this before the first round makes absolute numbers noise


def describe_machine() -> dict[str, object]:
    """What the numbers depend on."""
    return {
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def print_machine(console: Console, machine: Mapping[str, object]) -> None:
    """One line on the machine, and a warning if it was busy."""
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()))
    if os.getloadavg()[0] > BUSY:
        console.print("[bold]the machine is busy: conclude nothing from absolute numbers[/bold]")


def print_result(console: Console, result: Result) -> None:
    """The table of one benchmark: medians, and in brackets the range of the rounds."""
    table = Table(title=result.title, title_justify="left", title_style="bold", box=box.MARKDOWN)
    for heading in ("what", "envproxy", "against", "compared", "target", "reached"):
        table.add_column(heading, justify="left" if heading in ("what", "against") else "right", no_wrap=True)
    for finding in result.findings:
        table.add_row(*_row(finding))
    console.print(table)
    for note in result.notes:
        console.print(f"- {note}", soft_wrap=True, highlight=False, markup=False)
    console.print()


def write_json(path: Path, machine: Mapping[str, object], results: Mapping[str, Result]) -> None:
    """Everything that was measured, round by round."""
    path.parent.mkdir(parents=True, exist_ok=True)
    benchmarks = {
        name: {
            "title": result.title,
            "notes": result.notes,
            "findings": [_as_json(finding) for finding in result.findings],
        }
        for name, result in results.items()
    }
    path.write_text(json.dumps({"machine": machine, "benchmarks": benchmarks}, indent=2) + "\n")


def _row(finding: Finding) -> tuple[str, ...]:
    theirs = f"{finding.against} {_amount(median(finding.theirs), finding.unit)}" if finding.theirs else "-"
    target = finding.target
    return (
        finding.what,
        _amount(finding.value if finding.measure is Measure.WORST else median(finding.ours), finding.unit),
        theirs,
        "-" if finding.measure is Measure.WORST else _compared(finding),
        f"{'>=' if target.at_least else '<='} {_in_terms_of(finding, target.bound)}" if target else "-",
        "-" if finding.reached is None else "yes" if finding.reached else "NO",
    )


def _compared(finding: Finding) -> str:
    low, high = (_in_terms_of(finding, pick(finding.rounds)) for pick in (min, max))
    return f"{_in_terms_of(finding, finding.value)} ({low} .. {high})"


def _in_terms_of(finding: Finding, value: float) -> str:
    return f"{value:.2f}x" if finding.measure is Measure.RATIO else _amount(value, finding.unit)


def _amount(value: float, unit: str) -> str:
    digits = 0 if value == int(value) or abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}".rstrip()


def _as_json(finding: Finding) -> dict[str, object]:
    shown = asdict(finding)
    shown["measure"] = finding.measure.value
    return shown | {"rounds": finding.rounds, "value": finding.value, "reached": finding.reached}
