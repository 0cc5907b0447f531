"""Why Python packages do not go with what conda provides: both chains, named.

uv tells its side: who needs another version. Why conda's is there, only conda's packages can tell: here, by the
shortest way from what was asked for.
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


def explained(error: Unresolvable, given: Sequence[Provided], packages: Sequence[CondaPackage]) -> Unresolvable:
    """The same refusal, with the chain on conda's side for all of conda's that it speaks of, Python among it."""
    told = error.message.partition("\n")[2]
    spoken_of = {pypi_name(word) for word in re.findall(r"[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]", told)}
    python = (Provided(package.name, package.version, package) for package in packages if package.name == "python")
    lines = [_line(one, packages) for one in (*given, *python) if one.name in spoken_of]
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


def _line(one: Provided, packages: Sequence[CondaPackage]) -> str:
    way = chain(one.package, packages)
    asked = f"{', '.join(way[0].requested_by)} (asked for)" if way[0].requested_by else ""
    steps = [asked, *(f"{package.name} {package.version}" for package in way)]
    return f"  {one.name} {one.version}: {' -> '.join(filter(None, steps))}"
