"""@EXPLICIT lists (CEP 23): the conda packages of one target, a URL and a digest a line.

Read and written. The format has no sizes, no dependencies and nothing of PyPI; its platform is a comment. Written in
the order in which packages can be linked, for conda follows the list.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from envagent.errors import LockRefused, NoPlaceFor, Problem
from envagent.lock import conda_url, rules
from envagent.lock.graph import link_order
from envagent.lock.model import CondaPackage, Environment, Lock, Request, Target, interpreter_of
from envagent.lock.syntax import decoded

if TYPE_CHECKING:
    from collections.abc import Sequence

_PLATFORM = re.compile(r"#\s*platform:\s*(\S+)\s*")
_LINE = re.compile(r"(?P<url>[^#\s]+)(#(?:(?:sha256:)?(?P<sha256>[0-9a-f]{64})|(?:md5:)?(?P<md5>[0-9a-f]{32})))?")


def read(data: bytes, name: str) -> Lock:
    """The lock in an @EXPLICIT list, sizes unknown. Raises LockRefused with the lines' numbers."""
    problems: list[Problem] = []
    packages: list[CondaPackage] = []
    platform = ""
    for number, line in enumerate(decoded(data, name).splitlines(), 1):
        if found := _PLATFORM.fullmatch(line.strip()):
            platform = found[1]
        elif line.strip() and not line.lstrip().startswith(("#", "@EXPLICIT")):
            try:
                packages.append(_package(line.strip()))
            except ValueError as error:
                problems.append(Problem(f"line {number}", str(error)))
    if problems:
        raise LockRefused(name, problems)
    return _lock(platform or _only_subdir(packages, name), tuple(packages))


def _lock(platform: str, packages: tuple[CondaPackage, ...]) -> Lock:
    target = Target(platform=platform, interpreter=interpreter_of(packages), packages=packages)
    channels = tuple(dict.fromkeys(package.channel for package in packages))
    return Lock({"default": Environment(request=Request(channels=channels), targets=(target,))})


def _package(line: str) -> CondaPackage:
    """One line; raises ValueError with what is wrong with it."""
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError("is not a URL with an optional #digest")
    if problem := rules.url(found["url"]):
        raise ValueError(problem)
    parts = conda_url.parse(found["url"])
    if parts is None:
        raise ValueError("is not the URL of a conda package")
    return CondaPackage(
        name=parts.name,
        version=parts.version,
        build=parts.build,
        channel=parts.base,
        subdir=parts.subdir,
        url=found["url"],
        sha256=found["sha256"] or "",
        md5=found["md5"] or "",
    )


def _only_subdir(packages: Sequence[CondaPackage], name: str) -> str:
    subdirs = {package.subdir for package in packages} - {"noarch"}
    if len(subdirs) != 1:
        what = "does not say for which platform it is"
        raise LockRefused(name, [Problem("$", what, "add a line such as `# platform: linux-64`")])
    return subdirs.pop()


def write(target: Target) -> bytes:
    """The conda packages of a target. Raises NoPlaceFor others."""
    misfits = [package.filename for package in target.packages if not isinstance(package, CondaPackage)]
    if misfits:
        raise NoPlaceFor("an explicit list", misfits, holds="it holds conda packages")
    lines = [f"{package.url}#sha256:{package.sha256}" for package in link_order(target)]
    return "\n".join([f"# platform: {target.platform}", "@EXPLICIT", *lines, ""]).encode()
