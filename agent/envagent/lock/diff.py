"""What is different between two locks, as a person wants to read it: packages by name, target by target.

A package that came from conda and now comes from PyPI is removed and added: they are different things. Equal locks
give an empty, false difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from envagent.lock.model import Environment, Package, Target, namespace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envagent.lock.model import Interpreter, Lock


@dataclass(frozen=True, slots=True)
class TargetDiff:
    """One target of one environment: all of a new one is added, all of one that went is removed."""

    environment: str
    target: str
    added: tuple[Package, ...]
    removed: tuple[Package, ...]
    changed: tuple[tuple[Package, Package], ...]
    interpreters: tuple[Interpreter | None, Interpreter | None] | None

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.interpreters)


@dataclass(frozen=True, slots=True)
class LockDiff:
    """All differences; `requests` names the environments that were asked for otherwise or for other machines."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    requests: tuple[str, ...]
    targets: tuple[TargetDiff, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.requests or self.targets)


def diff(old: Lock, new: Lock) -> LockDiff:
    """What has to be done to `old` to make it `new`."""
    names = sorted(old.environments.keys() | new.environments.keys())
    pairs = {name: (old.environments.get(name), new.environments.get(name)) for name in names}
    both = {name: (before, after) for name, (before, after) in pairs.items() if before and after}
    return LockDiff(
        added=tuple(name for name, (before, _) in pairs.items() if before is None),
        removed=tuple(name for name, (_, after) in pairs.items() if after is None),
        requests=tuple(name for name, (before, after) in both.items() if _question(before) != _question(after)),
        targets=tuple(found for name, (before, after) in pairs.items() for found in _targets(name, before, after)),
    )


def _question(environment: Environment) -> tuple[object, ...]:
    return (environment.request, [(t.name, t.platform, dict(t.virtual_packages)) for t in environment.targets])


def _targets(name: str, before: Environment | None, after: Environment | None) -> Iterable[TargetDiff]:
    old = {target.name: target for target in before.targets} if before else {}
    new = {target.name: target for target in after.targets} if after else {}
    for label in sorted(old.keys() | new.keys()):
        if found := _target(name, label, old.get(label), new.get(label)):
            yield found


def _target(environment: str, label: str, before: Target | None, after: Target | None) -> TargetDiff:
    old, new = _by_name(before), _by_name(after)
    interpreters = (before.interpreter if before else None, after.interpreter if after else None)
    return TargetDiff(
        environment=environment,
        target=label,
        added=tuple(package for name, package in new.items() if name not in old),
        removed=tuple(package for name, package in old.items() if name not in new),
        changed=tuple((old[name], new[name]) for name in old if name in new and old[name] != new[name]),
        interpreters=None if interpreters[0] == interpreters[1] else interpreters,
    )


def _by_name(target: Target | None) -> dict[tuple[str, str], Package]:
    return {(namespace(package), package.name): package for package in target.packages} if target else {}
