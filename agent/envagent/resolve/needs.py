"""Who needs whom among the Python packages of a target, and who was asked for: what uv's answer leaves out.

Requirements stand in a lock as the wheel has them, with their markers, except those of extras that nobody asks for:
a target is the answer to one request.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from envagent.lock.machine import holds
from envagent.lock.model import pypi_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from envagent.lock.model import PythonPackage
    from envagent.resolve.given import Given
    from envagent.resolve.metadata import Metadata


def told(
    pairs: Iterable[tuple[PythonPackage, Metadata]],
    roots: Sequence[str],
    environment: Mapping[str, str],
    extras: Mapping[str, set[str]],
) -> tuple[PythonPackage, ...]:
    """The packages with what they need and who asked for them.

    `roots` are the requirements of the request, `extras` those that are asked for of each project.
    """
    asked = [(root, Requirement(root)) for root in roots]
    return tuple(
        dataclasses.replace(
            package,
            depends=_depends(metadata, sorted(extras.get(package.name, ())), environment),
            requires_python=metadata.requires_python,
            requested_by=tuple(root for root, requirement in asked if pypi_name(requirement.name) == package.name),
        )
        for package, metadata in pairs
    )


def pinned(roots: Iterable[str], kept: Iterable[PythonPackage]) -> tuple[str, ...]:
    """The roots, each repository at the commit that was built for the same words before."""
    commits = {root: package.built_from for package in kept for root in package.requested_by}
    return tuple(_at(root, commits.get(root, "")) for root in roots)


def _at(root: str, source: str) -> str:
    if not source.startswith("git+"):
        return root
    requirement = Requirement(root)
    requirement.url = source
    return str(requirement)


def extras_asked_for(
    roots: Iterable[Requirement], known: Mapping[str, Metadata], environment: Mapping[str, str]
) -> dict[str, set[str]]:
    """The extras of each project that the roots ask for, or what the roots bring in."""
    extras: dict[str, set[str]] = {}
    waiting = [root for root in roots if holds(root.marker, environment)]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        asked = waiting.pop()
        step = (pypi_name(asked.name), frozenset(asked.extras))
        extras.setdefault(step[0], set()).update(asked.extras)
        if step not in seen and step[0] in known:
            seen.add(step)
            waiting += [need for need in known[step[0]].requires if _is_needed(need, asked.extras, environment)]
    return extras


def with_extras(
    given: Given, requires: Iterable[Requirement], extras: Iterable[str], environment: Mapping[str, str]
) -> Given:
    """The distribution with the needs of these extras; `requires` are all that it says it has."""
    wanted = sorted(extras)
    of_extras = (need for need in requires if _is_of_extra(need) and _is_needed(need, wanted, environment))
    return dataclasses.replace(given, extras=frozenset(wanted), needs=tuple(of_extras))


def _depends(metadata: Metadata, extras: Sequence[str], environment: Mapping[str, str]) -> tuple[str, ...]:
    needs = metadata.requires
    return tuple(str(need) for need in needs if not _is_of_extra(need) or _is_needed(need, extras, environment))


def _is_needed(need: Requirement, extras: Iterable[str], environment: Mapping[str, str]) -> bool:
    return any(holds(need.marker, environment, extra) for extra in ("", *extras))


def _is_of_extra(need: Requirement) -> bool:
    return need.marker is not None and "extra ==" in str(need.marker)
