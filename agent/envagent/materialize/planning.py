"""From a target of a lock and the verified files on this machine to a plan.

Pure: which files, in which order, for which interpreter, and what PEP 376 and PEP 610 want said of each. What cannot
be installed (a source archive, another Python than the lock names) is refused here, before anything is touched.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from envagent.errors import ArtifactRefused, PrefixRefused
from envagent.materialize.conda_order import in_order
from envagent.materialize.plan import CondaFile, Plan, WheelFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from envagent.lock.model import PythonPackage, Target
    from envagent.materialize.interpreter import Interpreter


def plan_of(target: Target, paths: Mapping[str, Path], interpreter: Interpreter | None) -> Plan:
    """The plan of everything in `target`, whose files are at `paths` (sha256 to path).

    `interpreter` is the Python of a target that brings none of conda's; None for one without any Python. Raises
    ArtifactRefused and PrefixRefused.
    """
    conda = tuple(CondaFile(paths[package.sha256], package) for package in in_order(target.conda))
    wheels = tuple(_wheel(package, paths) for package in target.python)
    if target.interpreter is None or target.interpreter.kind == "conda":
        return Plan(wheels, None, conda)
    return Plan(wheels, _checked(target, interpreter), conda)


def direct_url(package: PythonPackage) -> str:
    """The content of direct_url.json for a wheel that was not asked of an index by name, else ""."""
    if package.built_from.startswith("git+"):
        repository, _, rest = package.built_from.removeprefix("git+").rpartition("@")
        commit, _, subdirectory = rest.partition("#subdirectory=")
        said: dict[str, Any] = {"url": repository, "vcs_info": {"vcs": "git", "commit_id": commit}}
        return json.dumps(said | ({"subdirectory": subdirectory} if subdirectory else {}))
    if package.index:
        return ""
    url, _, digest = (package.built_from or f"{package.url}#sha256={package.sha256}").partition("#sha256=")
    return json.dumps({"url": url, "archive_info": {"hashes": {"sha256": digest}}})


def _wheel(package: PythonPackage, paths: Mapping[str, Path]) -> WheelFile:
    if package.kind == "sdist":
        raise ArtifactRefused(
            package.filename, "it is a source archive, and environments are made of wheels", hint="lock it again"
        )
    return WheelFile(
        paths[package.sha256],
        package.sha256,
        package.filename,
        requested=bool(package.requested_by),
        direct_url=direct_url(package),
    )


def _checked(target: Target, interpreter: Interpreter | None) -> Interpreter:
    """The interpreter, if it is the one that the lock wants."""
    wanted = target.interpreter
    if interpreter is None:
        raise PrefixRefused(f"the target {target.name} has Python packages, and no interpreter was given for them")
    if wanted and wanted.kind == "system" and not f"{interpreter.version}.".startswith(f"{wanted.version}."):
        raise PrefixRefused(
            f"the lock was made for Python {wanted.version}, and {interpreter.executable} is {interpreter.version}",
            hint=f"give a Python {wanted.version}, or lock again for {interpreter.version}",
        )
    return interpreter
