"""Who needs whom inside one target, and the tree that shows it.

Conda packages need conda packages by name. Python packages need what their requirements name where the markers hold
on the target: a Python package, else the conda package that provides it (by its purls, or by the same name). What is
not in the target is left out: virtual packages, and requirements that conda meets under a name nobody wrote down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from envagent.lock.machine import holds, marker_environment
from envagent.lock.model import CondaPackage, Package, PythonPackage, Target, pypi_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Needs = dict[Package, tuple[Package, ...]]
"""Every package of a target with those that it needs, by name."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One line of a tree: how deep it stands, and whether what it needs was shown before."""

    depth: int
    package: Package
    shown_before: bool


def needs(target: Target) -> Needs:
    """The dependency graph of a target. Raises LockRefused on a marker that means nothing."""
    conda = {package.name: package for package in target.conda}
    found: Needs = dict.fromkeys(target.packages, ())
    for package in target.conda:
        names = {depend.partition(" ")[0] for depend in package.depends}
        found[package] = tuple(conda[name] for name in sorted(names & conda.keys()) if name != package.name)
    if target.python:
        found |= _needs_of_python(target, _providers(target))
    return found


def _providers(target: Target) -> dict[str, Package]:
    """What gives each Python project: its own package before conda's."""
    given: dict[str, Package] = {pypi_name(package.name): package for package in target.conda}
    for package in target.conda:
        for purl in package.purls:
            if purl.startswith("pkg:pypi/"):
                given[pypi_name(purl.removeprefix("pkg:pypi/").partition("@")[0].partition("?")[0])] = package
    return given | {package.name: package for package in target.python}


def _needs_of_python(target: Target, providers: Mapping[str, Package]) -> Needs:
    environment = marker_environment(target)
    asked = {package: [Requirement(depend) for depend in package.depends] for package in target.python}
    extras: dict[str, set[str]] = {}
    for requirement in (req for requirements in asked.values() for req in requirements):
        extras.setdefault(pypi_name(requirement.name), {""}).update(requirement.extras)

    def needed(package: PythonPackage) -> Iterator[Package]:
        for req in asked[package]:
            if any(holds(req.marker, environment, extra) for extra in extras.get(package.name, {""})):
                yield from (other for other in [providers.get(pypi_name(req.name))] if other not in {None, package})

    return {package: tuple(sorted(set(needed(package)), key=_by_name)) for package in target.python}


def tree(target: Target) -> tuple[Branch, ...]:
    """The packages that nobody needs, each with what it needs below it; in a circle, the first by name is on top."""
    graph = needs(target)
    below = {other for others in graph.values() for other in others}
    tops = [package for package in graph if package not in below]
    lines: list[Branch] = []
    shown: set[Package] = set()
    for top in [*tops, *(package for package in graph if package in below)]:
        if top not in shown:
            lines += _below(top, graph, shown)
    return tuple(lines)


def _below(top: Package, graph: Needs, shown: set[Package]) -> Iterator[Branch]:
    """Depth first with a stack of its own: a lock may chain more packages than Python nests calls."""
    waiting = [(0, top)]
    while waiting:
        depth, package = waiting.pop()
        yield Branch(depth, package, shown_before=package in shown and bool(graph[package]))
        if package not in shown:
            shown.add(package)
            waiting += [(depth + 1, other) for other in reversed(graph[package])]


def _by_name(package: Package) -> tuple[str, str]:
    return (package.name, package.kind)


def link_order(target: Target) -> tuple[CondaPackage, ...]:
    """The conda packages, each after those that it needs. A circle is cut where it is met first; Python's own always
    at pip, as conda does: pip is a noarch package that needs Python to be linked.
    """
    graph = {
        p: tuple(o for o in others if (p.name, o.name) != ("python", "pip")) for p, others in needs(target).items()
    }
    ordered: dict[Package, None] = {}
    for package in target.conda:
        waiting: list[tuple[Package, bool]] = [(package, False)]
        entered: set[Package] = set()
        while waiting:
            current, is_ready = waiting.pop()
            if is_ready:
                ordered.setdefault(current)
            elif current not in entered and current not in ordered:
                entered.add(current)
                waiting.append((current, True))
                waiting += [(other, False) for other in reversed(graph[current])]
    return tuple(package for package in ordered if isinstance(package, CondaPackage))
