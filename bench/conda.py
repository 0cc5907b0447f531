"""Conda: shards of a flat channel as large as conda-forge, a solve from it, and a package under load.

Everybody shares one synthetic channel (`bench.conda_corpus`), which is written once a run.
"""

from __future__ import annotations

import asyncio

from . import conda_package, conda_shards, conda_solve
from .conda_corpus import NAMES, QUICK_NAMES, Stock, write_noarch
from .conda_shards import Shelf
from .plan import Plan, Result

_CHANGED = 1_234  # the number of the name that changes


async def measure(plan: Plan) -> Result:
    """The three parts."""
    names = QUICK_NAMES if plan.quick else NAMES
    result = Result(f"conda: a flat channel of {Stock(names).records():,} records, {names:,} names")
    shelf = await asyncio.to_thread(_shelf, plan, names)
    await conda_shards.measure(plan, shelf, result)
    shelf.prepare()
    await conda_solve.measure(plan, shelf.root, result)
    await conda_package.measure(plan, shelf.root, result)
    flat = shelf.before / "repodata.json"
    compressed = shelf.before / "repodata.json.zst"
    result.notes.append(
        f"repodata.json has {flat.stat().st_size / 1e6:.0f} MB, as .zst {compressed.stat().st_size / 1e6:.1f} MB"
    )
    result.notes.append("quetz is not run: docs/benchmarks.md says why")
    return result


def _shelf(plan: Plan, names: int) -> Shelf:
    place = plan.place("channel")
    shelf = Shelf(place / "served", place / "before", place / "after", place / "noarch")
    Stock(names).write(shelf.before)
    Stock(names, changed=_CHANGED).write(shelf.after)
    write_noarch(shelf.noarch)
    return shelf
