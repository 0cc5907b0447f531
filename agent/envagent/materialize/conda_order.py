"""In which order conda packages are laid over one another: each after what it depends on, otherwise by name.

The order decides whose file stays where several packages have it, so it is the one that rattler uses: a walk in depth
from the packages that nothing depends on, the last by name first. Cycles, which conda allows, are cut where the walk
meets itself. Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envagent.lock.model import CondaPackage

_NAME = re.compile(r"[^ =<>!~\[]*")


def dependency(spec: str) -> str:
    """The name that a match spec of a package's `depends` is about."""
    found = _NAME.match(spec)
    return found[0] if found else ""


def in_order(packages: Sequence[CondaPackage]) -> list[CondaPackage]:
    """All of them, in the order in which they are installed."""
    by_name = {package.name: package for package in packages}
    needs = {name: sorted(map(dependency, package.depends)) for name, package in by_name.items()}
    wanted = {need for needed in needs.values() for need in needed}
    order: list[str] = []
    seen: set[str] = set()
    for start in [*sorted(by_name.keys() - wanted, reverse=True), *sorted(by_name, reverse=True)]:
        _walk(start, needs, seen, order)
    return [by_name[name] for name in order]


def closure(name: str, packages: Sequence[CondaPackage]) -> set[str]:
    """The names of `name` and of everything that it depends on."""
    needs = {package.name: sorted(map(dependency, package.depends)) for package in packages}
    order: list[str] = []
    _walk(name, needs, set(), order)
    return set(order)


def _walk(start: str, needs: dict[str, list[str]], seen: set[str], order: list[str]) -> None:
    """Append `start` to the order, after what it needs; not recursive, for chains may be long."""
    stack = [(start, False)]
    while stack:
        name, is_done = stack.pop()
        if is_done:
            order.append(name)
        elif name in needs and name not in seen:
            seen.add(name)
            stack.append((name, True))
            stack.extend((need, False) for need in needs[name])
