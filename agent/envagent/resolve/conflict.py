"""Why Python packages do not go with what conda provides: both chains, named.

uv tells its side: who needs another version. Why conda's is there, or why something there limits what PyPI may bring,
only conda's packages can tell: here, by the shortest way from what was asked for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from envagent.errors import Unresolvable
from envagent.lock.model import pypi_name
from envagent.resolve.provided import Provided

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envagent.lock.model import CondaPackage
    from envagent.resolve.unmet import Unmet


def explained(
    error: Unresolvable, given: Sequence[Provided], needs: Sequence[Unmet], packages: Sequence[CondaPackage]
) -> Unresolvable:
    """The same refusal, with the chain on conda's side for all that it speaks of: what conda brings, Python among it,
    and what that `needs` of PyPI.
    """
    told = error.message.partition("\n")[2]
    spoken_of = {pypi_name(word) for word in re.findall(r"[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]", told)}
    python = (Provided(package.name, package.version, package) for package in packages if package.name == "python")
    lines = [_line(f"{one.name} {one.version}", one, packages) for one in (*given, *python) if one.name in spoken_of]
    limits = (need for need in needs if need.need.specifier and need.project in spoken_of)
    lines += [_line(str(need), need.by, packages) for need in limits]
    if not lines:
        return error
    return Unresolvable(
        "\n".join([error.message, "and from conda there is already:", *lines]),
        hint="ask conda for another version of it, or PyPI for one that goes with it",
    )


def chain(package: CondaPackage, packages: Sequence[CondaPackage]) -> tuple[CondaPackage, ...]:
    """The shortest way from a package that was asked for to this one, both included."""
    ways: dict[str, tuple[CondaPackage, ...]] = {top.name: (top,) for top in packages if top.requested_by}
    waiting = list(ways)
    for name in waiting:  # grows while it is walked: breadth first
        if name == package.name:
            break
        needed = {depend.split(" ")[0] for depend in ways[name][-1].depends}
        for other in packages:
            if other.name in needed and other.name not in ways:
                ways[other.name] = (*ways[name], other)
                waiting.append(other.name)
    return ways.get(package.name, (package,))


def _line(what: str, one: Provided, packages: Sequence[CondaPackage]) -> str:
    way = chain(one.package, packages)
    asked = f"{', '.join(way[0].requested_by)} (asked for)" if way[0].requested_by else ""
    steps = [asked, *(f"{package.name} {package.version}" for package in way)]
    return f"  {what}: {' -> '.join(filter(None, steps))}"
