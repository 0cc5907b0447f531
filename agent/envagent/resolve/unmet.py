"""What conda's distributions say that they need, and conda does not bring.

A conda package's own dependencies are the authority: recipes leave out and rename what METADATA asks for. So nothing
is brought in for such a need, but where the project comes from PyPI anyway it has to be a version that will do; where
it does not come, that is worth a word. What conda brings in another version than METADATA asks for is conda's
business. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from envagent.lock.machine import holds
from envagent.lock.model import pypi_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from packaging.requirements import Requirement

    from envagent.resolve.provided import Provided


@dataclass(frozen=True, slots=True)
class Unmet:
    """A need of a distribution that conda provides, of a project that conda does not."""

    by: Provided
    need: Requirement

    @property
    def project(self) -> str:
        """The PEP 503 name of what is needed."""
        return pypi_name(self.need.name)

    @property
    def constraint(self) -> str:
        """The versions that will do, as a requirement that asks for nothing; without one, any does."""
        return f"{self.project}{self.need.specifier}"

    def __str__(self) -> str:
        return f"{self.by.name} {self.by.version} needs {self.constraint}"


def unmet(given: Sequence[Provided], environment: Mapping[str, str]) -> tuple[Unmet, ...]:
    """What is needed in this environment of PEP 508, extras left aside."""
    there = {one.name for one in given}
    needs = (Unmet(one, need) for one in given for need in one.requires if holds(need.marker, environment))
    return tuple(need for need in needs if need.project not in there)


def constraints(needs: Iterable[Unmet]) -> tuple[str, ...]:
    """What the needs ask of versions, each said once."""
    return tuple(dict.fromkeys(need.constraint for need in needs if need.need.specifier))


def missing(needs: Iterable[Unmet], projects: Collection[str]) -> tuple[str, ...]:
    """The needs of which nothing is among the projects (PEP 503), in words."""
    return tuple(dict.fromkeys(str(need) for need in needs if need.project not in projects))
