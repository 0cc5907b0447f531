"""What a foreign lock leaves out: the sizes and digests that the index or the channel publishes.

A Completer is asked once for everything that is missing, so that it may ask many servers at a time. What it answers
never overrules the document: a digest that differs is refused. What nobody knows is refused too, all of it at once.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from envagent.errors import LockIncomplete, LockRefused, Problem
from envagent.lock.model import CondaPackage, Lock, PythonPackage, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from envagent.lock.model import Package


@dataclass(frozen=True, slots=True)
class Wanted:
    """A release whose files are asked for. `source` is the channel or the index (name or URL), "" for a bare URL.

    An index `beside` the main one need not have it, and may refuse what it does not have, as object storage does.
    """

    face: Literal["conda", "pypi"]
    source: str
    name: str
    version: str
    url: str = ""
    beside: bool = False


@dataclass(frozen=True, slots=True)
class KnownFile:
    """One file as its index or channel describes it. `size` is in bytes, a digest of "" is not known there."""

    filename: str
    url: str
    size: int
    sha256: str
    requires_python: str = ""
    md5: str = ""


class Completer(Protocol):
    """Whoever can ask indexes and channels: the agent asks its proxy."""

    def find(self, wanted: Sequence[Wanted]) -> Mapping[Wanted, Sequence[KnownFile]]:
        """Every file of each release; a release that is not known may be left out."""
        ...


class Nobody:
    """The Completer of a reader that must not ask anybody."""

    def find(self, wanted: Sequence[Wanted]) -> Mapping[Wanted, Sequence[KnownFile]]:
        """Nothing is known."""
        return {}


def completed(lock: Lock, completer: Completer, name: str) -> Lock:
    """The lock with every size and sha256 filled in. Raises LockIncomplete, or LockRefused where digests differ."""
    incomplete = [package for package in dict.fromkeys(_packages(lock)) if not _is_complete(package)]
    if not incomplete:
        return lock
    answers = completer.find(list(dict.fromkeys(map(wanted_for, incomplete))))
    problems: list[Problem] = []
    filled = {package: _filled(package, answers.get(wanted_for(package), ()), problems) for package in incomplete}
    if problems:
        raise LockRefused(name, problems)
    if missing := [package for package in filled.values() if not _is_complete(package)]:
        raise LockIncomplete(name, [Problem(package.url, _lacks(package), _hint(package)) for package in missing])
    return _replaced(lock, lambda package: filled.get(package, package))


def wanted_for(package: Package) -> Wanted:
    """The question that completes a package."""
    if isinstance(package, CondaPackage):
        return Wanted("conda", package.channel, package.name, package.version, package.url)
    index = package.index if isinstance(package, PythonPackage) else ""
    return Wanted("pypi", index, package.name, package.version, package.url)


def _packages(lock: Lock) -> Iterator[Package]:
    for environment in lock.environments.values():
        for target in environment.targets:
            yield from target.packages


def _is_complete(package: Package) -> bool:
    return bool(package.size and package.sha256)


def _filled(package: Package, known: Sequence[KnownFile], problems: list[Problem]) -> Package:
    for file in known:
        if file.filename != package.filename:
            continue
        if _is_another(package, file):
            what = f"is another file here than at its source (sha256 {file.sha256}, {file.size} bytes)"
            problems.append(Problem(package.url, what, "it was replaced there, or the lock was changed"))
        return dataclasses.replace(package, size=file.size, sha256=package.sha256 or file.sha256)
    return package


def _is_another(package: Package, file: KnownFile) -> bool:
    """Whether something that both tell of the file differs; the md5 of old locks of Conda counts, too."""
    md5 = package.md5 if isinstance(package, CondaPackage) else ""
    digests = ((package.sha256, file.sha256), (md5, file.md5))
    return any(here and there and here != there for here, there in digests) or package.size not in {0, file.size}


def _lacks(package: Package) -> str:
    parts = [part for part, there in (("sha256", package.sha256), ("size", package.size)) if not there]
    return f"has no {' and no '.join(parts)}, and its index or channel did not tell"


def _hint(package: Package) -> str:
    md5 = isinstance(package, CondaPackage) and package.md5
    return (
        "an md5 names no file: lock it again, from a channel that tells sha256" if md5 and not package.sha256 else ""
    )


def _replaced(lock: Lock, change: Callable[[Package], Package]) -> Lock:
    def target(old: Target) -> Target:
        return dataclasses.replace(old, packages=tuple(change(package) for package in old.packages))

    return Lock(
        {
            label: dataclasses.replace(environment, targets=tuple(target(old) for old in environment.targets))
            for label, environment in lock.environments.items()
        }
    )
