"""Conda environments from local packages, beside py-rattler; with wheels in them, beside py-rattler and then uv.

Cold begins with an empty store and an empty cache; warm makes a second environment from what the first left.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from .compare import Finding, at_most, worst
from .materialize_conda_corpus import Stock, obtain
from .materialize_contenders import Spent, prime, run
from .plan import Plan, Result

CONDA = at_most(1.05)
MEMORY_MB = at_most(300.0)
_MADE = [(what, temper) for what in ("conda", "mixed") for temper in ("cold", "warm")]


@dataclass(slots=True)
class _Rows:
    """Seconds of the calls, round by round: ours and theirs by what was made."""

    ours: dict[str, list[float]] = field(default_factory=dict)
    theirs: dict[str, list[float]] = field(default_factory=dict)
    peaks_mb: list[float] = field(default_factory=list)


def measure(plan: Plan, result: Result) -> None:
    """Add what was found to the result. Raises subprocess.CalledProcessError."""
    stock = obtain(plan.scratch.parent, quick=plan.quick)
    packages = len(list(stock.folder.glob("*.conda")))
    result.notes.append(f"conda: {packages} synthetic packages; mixed: {len(stock.wheels.paths)} wheels beside them")
    rows = _Rows()
    for number in range(plan.rounds):
        _round(plan, stock, rows, ours_first=number % 2 == 0)
    for what, ours in rows.ours.items():
        against, target = ("py-rattler", CONDA) if what.startswith("conda") else ("py-rattler, uv", None)
        result.findings.append(
            Finding(what, "s", tuple(ours), tuple(rows.theirs[what]), against=against, target=target)
        )
    result.findings.append(worst("conda and mixed, peak memory", "MB", rows.peaks_mb, MEMORY_MB))


def _round(plan: Plan, stock: Stock, rows: _Rows, *, ours_first: bool) -> None:
    root = plan.place("conda-stand")
    (root / "requirements.txt").write_text(stock.wheels.requirements())
    locks = {"conda": stock.conda, "mixed": stock.mixed}

    def ready() -> None:
        if not plan.quick:  # both take longer than what follows
            subprocess.run(["sync", "--file-system", root], check=True)
            prime(root)

    def ours() -> None:
        ready()
        for what, temper in _MADE:
            spent = _job("envagent", locks[what], root / f"{what}-store", root / f"{what}-{temper}")
            rows.ours.setdefault(f"{what}, {temper}", []).append(float(spent.said))
            rows.peaks_mb.append(spent.peak_bytes / 1e6)

    def theirs() -> None:
        ready()
        for what, temper in _MADE:
            prefix = root / f"{what}-{temper}-theirs"
            took = float(_job("rattler", locks[what], root / f"{what}-cache", prefix).said)
            if what == "mixed":
                took += _uv(stock, root, prefix).wall_s
            rows.theirs.setdefault(f"{what}, {temper}", []).append(took)

    for way in (ours, theirs) if ours_first else (theirs, ours):
        way()
    shutil.rmtree(root)


def _job(who: str, lock: Path, store: Path, prefix: Path) -> Spent:
    return run([sys.executable, "-m", "bench.materialize_conda_job", who, lock, store, prefix])


def _uv(stock: Stock, root: Path, prefix: Path) -> Spent:
    """The wheels into the environment that is there; cold where it is the first."""
    uv = Path(sys.executable).with_name("uv")
    install = [uv, "pip", "install", "--quiet", "--no-config", "--offline", "--no-index", "--no-deps"]
    where = ["--find-links", stock.folder, "--python", prefix / "bin" / "python", "--link-mode", "hardlink"]
    rules = ["--require-hashes", "--break-system-packages"]
    return run([*install, *where, *rules, "-r", root / "requirements.txt"], env={"UV_CACHE_DIR": str(root / "uv")})
