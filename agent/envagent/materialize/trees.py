"""The trees of a plan: found in the store, or built there now.

What it takes to build one is imported only then: an environment of trees that are all there starts at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from envagent.materialize.plan import Plan
    from envagent.materialize.progress import Report
    from envagent.store.node import NodeStore, Tree


def obtain_trees(
    plan: Plan, store: NodeStore, work: Path, report: Report, *, cores: int = 0, prove: bool = True
) -> list[Tree]:
    """The tree of every package, in the plan's order. Raises ArtifactRefused; OSError passes."""
    found = {source.sha256: store.find(plan.key(source)) for source in plan.sources}
    if missing := [source for source in plan.sources if found[source.sha256] is None]:
        from envagent.materialize.builds import build_trees  # noqa: PLC0415

        found.update(build_trees(plan, missing, store, work, report, cores=cores, prove=prove))
    return [tree for source in plan.sources if (tree := found[source.sha256])]
