"""Environments from local wheels: cold, warm, again, and the first import, beside uv; pip for scale; and Conda's.

Cold begins with an empty store and an empty cache; warm makes a second environment from what the first left. With
`--live` the wheels are 150 real ones (and the torch stack), downloaded once; else synthetic ones of the same shape.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import materialize_conda, materialize_corpus
from .compare import Finding, Target, at_most, worst
from .materialize_contenders import Spent, Stand, prime, run, wait_for_errand
from .materialize_corpus import Wheels
from .plan import Plan, Result

COLD = {"mid": at_most(0.75), "torch": at_most(0.65)}
WARM = at_most(0.75)
IMPORT = at_most(0.5)
AGAIN_S = at_most(0.05)
OVERLAY_S = at_most(0.025)
OVERLAY_COMMAND_S = at_most(0.15)
MEMORY_MB = at_most(300.0)
IMPORTED = "import pandas, scipy.stats, sklearn, matplotlib.pyplot"


@dataclass(frozen=True, slots=True)
class Round:
    """What each way took."""

    cold: Spent
    later: Spent
    warm: Spent
    mounted: Spent | None
    again: Spent
    uv_cold: Spent
    uv_warm: Spent


async def measure(plan: Plan) -> Result:
    """The usual set; the torch stack too if it was downloaded."""
    result = Result("materialize: environments from local wheels")
    kept = plan.scratch.parent
    for label in materialize_corpus.NAMES:
        try:
            wheels = await asyncio.to_thread(materialize_corpus.obtain, label, kept, live=plan.live, quick=plan.quick)
        except subprocess.CalledProcessError:
            result.notes.append(f"{label} is skipped: pip could not download its wheels and says above why")
            continue
        if wheels is None:
            why = "--quick goes without" if plan.quick else "its wheels were not downloaded, which --live does"
            result.notes.append(f"{label} is skipped: {why}")
            continue
        result.notes.append(_described(wheels))
        await asyncio.to_thread(_measure, plan, wheels, result)
    await asyncio.to_thread(materialize_conda.measure, plan, result)
    return result


def _described(wheels: Wheels) -> str:
    kind = "real" if wheels.is_real else "synthetic"
    size = sum(path.stat().st_size for path in wheels.paths)
    return f"{wheels.label}: {len(wheels.paths)} {kind} wheels, {size / 1e6:,.0f} MB"


def _measure(plan: Plan, wheels: Wheels, result: Result) -> None:
    label = f"{wheels.label}, "
    rounds = [_round(plan, wheels, number) for number in range(plan.rounds)]
    result.findings += _findings(label, rounds, wheels)
    result.findings.append(_pip(plan, wheels, rounds[-1]))
    if wheels.label == "mid" and wheels.is_real:
        result.findings += _imports(plan, wheels)


def _round(plan: Plan, wheels: Wheels, number: int) -> Round:
    stand = Stand(plan.place("stand"), wheels)
    stand.plan()
    stand.requirements()
    spent: dict[str, Spent] = {}
    mounted: list[Spent | None] = []

    def ours() -> None:
        spent["cold"] = _primed(plan, stand, lambda: stand.envagent("ours"))
        spent["later"] = _primed(
            plan, stand, lambda: stand.envagent("ours-later", "--proof", "later", store="store-later")
        )
        wait_for_errand(stand.root / "store-later")
        spent["warm"] = _primed(plan, stand, lambda: stand.envagent("ours-2"))
        spent["again"] = stand.envagent("ours-2")
        mounted.append(_mounted(stand))

    def theirs() -> None:
        spent["uv_cold"] = _primed(plan, stand, lambda: stand.uv("theirs"))
        spent["uv_warm"] = _primed(plan, stand, lambda: stand.uv("theirs-2"))

    for way in (ours, theirs) if number % 2 == 0 else (theirs, ours):
        way()
    shutil.rmtree(stand.root)
    return Round(**spent, mounted=mounted[0])


def _mounted(stand: Stand) -> Spent | None:
    """The same by one mount, where this machine lets us."""
    try:
        spent = stand.envagent("ours-overlay", "--link-mode", "overlay")
    except subprocess.CalledProcessError:
        return None
    subprocess.run(["umount", stand.root / "ours-overlay"], check=True)
    return spent


def _primed(plan: Plan, stand: Stand, way: Callable[[], Spent]) -> Spent:
    """On memory that is warm and a disk that has nothing else to write: both take longer than the way itself."""
    if not plan.quick:
        subprocess.run(["sync", "--file-system", stand.root], check=True)
        prime(stand.root)
    return way()


def _findings(label: str, rounds: Sequence[Round], wheels: Wheels) -> list[Finding]:
    def pair(
        what: str, ours: Callable[[Round], float], theirs: Callable[[Round], float], target: Target | None = None
    ) -> Finding:
        mine, others = tuple(map(ours, rounds)), tuple(map(theirs, rounds))
        return Finding(label + what, "s", mine, others, "uv", target=target)

    found = [
        pair("cold", lambda r: r.cold.wall_s, lambda r: r.uv_cold.wall_s, target=COLD[wheels.label]),
        pair("cold, CPU time", lambda r: r.cold.cpu_s, lambda r: r.uv_cold.cpu_s),
        pair("cold, RECORD proven later", lambda r: r.later.wall_s, lambda r: r.uv_cold.wall_s),
        pair("cold, RECORD proven later, CPU time", lambda r: r.later.cpu_s, lambda r: r.uv_cold.cpu_s),
        pair("warm, hardlinks", lambda r: r.warm.wall_s, lambda r: r.uv_warm.wall_s, target=WARM),
        pair("warm, hardlinks, CPU time", lambda r: r.warm.cpu_s, lambda r: r.uv_warm.cpu_s),
        worst(f"{label}the same again, the call", "s", [float(r.again.said) for r in rounds], AGAIN_S),
        worst(f"{label}cold, peak memory", "MB", [r.cold.peak_bytes / 1e6 for r in rounds], MEMORY_MB),
        worst(f"{label}cold, peak memory of uv", "MB", [r.uv_cold.peak_bytes / 1e6 for r in rounds]),
    ]
    if mounted := [r.mounted for r in rounds if r.mounted]:
        found += [
            worst(f"{label}overlay, the call", "s", [float(one.said) for one in mounted], OVERLAY_S),
            worst(
                f"{label}overlay, with the start of Python", "s", [one.wall_s for one in mounted], OVERLAY_COMMAND_S
            ),
        ]
    return found


def _pip(plan: Plan, wheels: Wheels, ours: Round) -> Finding:
    """One round of pip: it is an order of magnitude away."""
    stand = Stand(plan.place("pip"), wheels)
    theirs = _primed(plan, stand, lambda: stand.pip("theirs"))
    shutil.rmtree(stand.root)
    return Finding(f"{wheels.label}, cold against pip", "s", (ours.cold.wall_s,), (theirs.wall_s,), "pip")


def _imports(plan: Plan, wheels: Wheels) -> list[Finding]:
    """The first import in a fresh environment of a warm store, beside one that uv made by its defaults."""
    ours: list[Spent] = []
    theirs: list[Spent] = []
    stand = Stand(plan.place("imports"), wheels)
    compiling = stand.envagent("first", "--bytecode", "compile").cpu_s
    for number in range(plan.rounds):
        stand.envagent(f"ours-{number}", "--bytecode", "stored")
        stand.uv(f"theirs-{number}")
        for name, spent in ((f"ours-{number}", ours), (f"theirs-{number}", theirs)):
            spent.append(run([stand.root / name / "bin" / "python", "-c", IMPORTED]))
    shutil.rmtree(stand.root)
    walls = tuple(one.wall_s for one in ours), tuple(one.wall_s for one in theirs)
    cpus = tuple(one.cpu_s for one in ours), tuple(one.cpu_s for one in theirs)
    return [
        Finding("mid, first import", "s", *walls, "uv", target=IMPORT),
        Finding("mid, first import, CPU time", "s", *cpus, "uv"),
        worst("mid, unpacking and compiling once, CPU time", "s", [compiling]),
    ]
