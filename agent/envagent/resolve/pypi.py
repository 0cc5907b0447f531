"""The Python packages of one target: uv's choice of releases, the target's choice of files, upstream's own URLs.

uv answers with every file of a release that might do (pylock.toml, PEP 751); the target's tags choose among them.
What uv leaves out is added: the index that a file is of, and where that index has it. Source archives and checkouts
come out as they are: building.py makes wheels of them, and needs.py says who needs whom.
"""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.pylock import Pylock

from envagent.errors import LockRefused, Problem
from envagent.lock import pylock as pylock_files
from envagent.lock.machine import marker_environment, wheel_tags
from envagent.lock.syntax import read_toml
from envagent.resolve.together import together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envagent.lock.model import PythonPackage, Target
    from envagent.resolve.asking import Asking
    from envagent.resolve.places import Places
    from envagent.resolve.uv import Question, Uv

_ANSWER = "what uv resolved"


@dataclass(frozen=True, slots=True)
class Checkout:
    """A project at one commit of a git repository, of which a wheel is to be built."""

    name: str
    url: str
    commit: str
    subdirectory: str = ""

    @property
    def source(self) -> str:
        """What a lock says that the wheel was built from."""
        return f"git+{self.url}@{self.commit}" + (f"#subdirectory={self.subdirectory}" if self.subdirectory else "")


@dataclass(frozen=True, slots=True)
class Located:
    """A file as a lock has it, and the URL at which it can be fetched here and now."""

    package: PythonPackage
    url: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a target needs of PyPI's kind."""

    files: tuple[Located, ...] = ()
    checkouts: tuple[Checkout, ...] = ()


async def solved(question: Question, names: Sequence[str], uv: Uv, places: Places, ask: Asking) -> Found:
    """The files and checkouts for the question, whose indexes a lock calls `names`.

    Raises Unresolvable, SourceUnreachable, and LockRefused where a lock cannot name what was found.
    """
    with tempfile.TemporaryDirectory(prefix="envagent-") as room:
        answer = await uv.compile(question, Path(room))
    pylock = Pylock.from_dict(read_toml(answer, _ANSWER))
    of_url = {str(package.name) for package in pylock.packages if package.archive}
    packages = _files(pylock, question.machine)
    files = await together(_located(one, () if one.name in of_url else names, places, ask) for one in packages)
    return Found(tuple(files), _checkouts(pylock, question.machine))


def _files(pylock: Pylock, machine: Target) -> tuple[PythonPackage, ...]:
    """The files that the machine takes. Raises LockRefused for what is only on this machine."""
    files = [package for package in pylock.packages if not package.vcs]
    return pylock_files.packages(dataclasses.replace(pylock, packages=files), machine, _ANSWER)


def _checkouts(pylock: Pylock, machine: Target) -> tuple[Checkout, ...]:
    repositories = [package for package in pylock.packages if package.vcs]
    environment = marker_environment(machine)
    chosen = dataclasses.replace(pylock, packages=repositories).select(
        environment=environment,  # type: ignore[arg-type]
        tags=wheel_tags(machine),
    )
    return tuple(
        Checkout(str(package.name), package.vcs.url or "", package.vcs.commit_id, package.vcs.subdirectory or "")
        for package, _ in chosen
        if package.vcs
    )


async def _located(package: PythonPackage, names: Sequence[str], places: Places, ask: Asking) -> Located:
    """The package under its upstream's URL, with its index and its size."""
    url = package.url
    index = places.index_of(url, names) or await _owner(package, names, places, ask)
    if not package.sha256:
        raise LockRefused(_ANSWER, [Problem(package.filename, "has no sha256, and a lock names files by theirs")])
    return Located(
        dataclasses.replace(
            package,
            index=index,
            url=await _upstream_url(package, index, places, ask),
            size=package.size or await ask.size(url),
        ),
        url,
    )


async def _upstream_url(package: PythonPackage, index: str, places: Places, ask: Asking) -> str:
    """Where upstream has the file; what the proxy itself hosts has no other place."""
    if not index or "://" in index:
        return package.url
    origins = await ask.upstream_files(index, package.name)
    return origins.get(package.filename, package.url)


async def _owner(package: PythonPackage, names: Sequence[str], places: Places, ask: Asking) -> str:
    """Of several indexes without a proxy, the one that uv took the file of: the first that knows the name.

    A file that none of them knows was asked for by its URL, and has no index.
    """
    for name in (name for name in names if "://" in name):
        page = await ask.page(f"{places.index_url(name)}{package.name}/")
        if page is not None:
            return name if package.filename.encode() in page else ""
    return ""
