"""pylock.toml (PEP 751): read for given machines, written for one target.

`packaging.pylock` validates and selects. The format is PyPI's alone and has no interpreter. What it has no keys for
(the target, the request, dependencies with their markers, names of indexes) stands under `[tool.envagent]`, where
other tools leave it alone: a lock of wheels comes back whole. Directories and checkouts have no digest: refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

import tomli_w
from packaging.pylock import (
    PackageArchive,
    PackageSdist,
    PackageWheel,
    Pylock,
    PylockSelectError,
    PylockValidationError,
)

from envagent.errors import LockRefused, NoPlaceFor, Problem
from envagent.lock import rules
from envagent.lock.canonical import request_document
from envagent.lock.document import Node
from envagent.lock.machine import marker_environment, wheel_tags
from envagent.lock.model import Environment, Lock, PythonPackage, Request, Target
from envagent.lock.reading import from_document
from envagent.lock.syntax import read_toml, refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from packaging.pylock import Package

_OWN = "envagent"


def read(data: bytes, name: str, machines: Sequence[Target]) -> Lock:
    """What the file installs on each machine; its own target if it was written here. Raises LockRefused."""
    document = read_toml(data, name)
    try:
        pylock = Pylock.from_dict(document)
    except (PylockValidationError, ValueError, TypeError, AttributeError) as error:
        raise refused(name, f"is not a pylock.toml (PEP 751): {error}") from error
    if machines:
        targets = tuple(machine.with_python(packages(pylock, machine, name)) for machine in machines)
        return Lock({"default": Environment(targets=targets)})
    label, request, machine = _own_target(Node(document).member("tool").member(_OWN), name)
    target = machine.with_python(packages(pylock, machine, name))
    return Lock({label: Environment(request=request, targets=(target,))})


def _own_target(node: Node, name: str) -> tuple[str, Request, Target]:
    if not node.there:
        what = "does not say for which machine: it has no [tool.envagent]"
        raise LockRefused(name, [Problem("$", what, "name the platform and the Python version")])
    label = node.text("environment", rules.label, default="default")
    environment = {"request": node.member("request").value, "targets": [node.member("target").value]}
    lock = from_document({"envmesh-lock": 1, "environments": {label: environment}}, name)
    return label, lock.environments[label].request, lock.environments[label].targets[0]


def packages(pylock: Pylock, machine: Target, name: str) -> tuple[PythonPackage, ...]:
    """What the file installs on one machine, as far as it tells of each. Raises LockRefused."""
    problems: list[Problem] = []
    try:
        chosen = tuple(_chosen(pylock, machine, problems))
    except (PylockSelectError, ValueError) as error:
        raise refused(name, f"cannot be installed on {machine.name}: {error}") from error
    if problems:
        raise LockRefused(name, problems)
    return chosen


def _chosen(pylock: Pylock, machine: Target, problems: list[Problem]) -> Iterator[PythonPackage]:
    environment = marker_environment(machine)
    for package, file in pylock.select(environment=environment, tags=wheel_tags(machine)):  # type: ignore[arg-type]
        where = f"packages[{package.name}]"
        if not isinstance(file, PackageWheel | PackageSdist | PackageArchive):
            problems.append(Problem(where, "is a directory or a checkout, so it has no sha256"))
        elif not file.url:
            problems.append(Problem(where, f"is a local file, {file.path}: a lock names upstream's URLs"))
        else:
            yield _python_package(package, file, file.url)


def _python_package(package: Package, file: PackageWheel | PackageSdist | PackageArchive, url: str) -> PythonPackage:
    filename = unquote(url.rpartition("/")[2]) if isinstance(file, PackageArchive) else file.filename
    own = (package.tool or {}).get(_OWN, {})
    node = Node(own if isinstance(own, dict) else {})
    named = (
        str(dep["name"]) + (f"=={dep['version']}" if "version" in dep else "") for dep in package.dependencies or ()
    )
    return PythonPackage(
        kind="wheel" if filename.endswith(".whl") else "sdist",
        name=str(package.name),
        version=str(package.version or ""),
        filename=filename,
        index=node.text("index", rules.source, default=package.index or ""),
        url=url,
        size=file.size or 0,
        sha256=str(file.hashes.get("sha256", "")).lower(),
        depends=node.texts("depends", rules.requirement) if node.has("depends") else tuple(named),
        requires_python=str(package.requires_python or ""),
        requested_by=node.texts("requested-by"),
    )


# --- writing --------------------------------------------------------------------------------------------


def write(label: str, request: Request, target: Target) -> bytes:
    """The Python packages of a target of the environment `label`. Raises NoPlaceFor conda packages."""
    environment = marker_environment(target)
    keys = ("sys_platform", "platform_machine", "python_version")
    document: dict[str, object] = {
        "lock-version": "1.0",
        "environments": [" and ".join(f"{key} == '{environment[key]}'" for key in keys)],
        "requires-python": f"=={environment['python_version']}.*",
        "created-by": "envagent",
        "packages": [_written(package) for package in _only_python(target)],
        "tool": {_OWN: _own(label, request, target)},
    }
    Pylock.from_dict(document)
    return tomli_w.dumps(document).encode()


def _only_python(target: Target) -> tuple[PythonPackage, ...]:
    misfits = [package.filename for package in target.packages if package.kind == "conda" or not package.url]
    if misfits:
        raise NoPlaceFor("pylock.toml", misfits, holds="it holds files of indexes")
    return target.python


def _own(label: str, request: Request, target: Target) -> dict[str, object]:
    machine = {
        "name": target.name,
        "platform": target.platform,
        "virtual-packages": dict(target.virtual_packages),
        "interpreter": {"kind": "system", "version": target.python_version},
    }
    return {"environment": label, "request": request_document(request), "target": machine}


def _written(package: PythonPackage) -> dict[str, object]:
    file = {"name": package.filename, "url": package.url, "size": package.size, "hashes": {"sha256": package.sha256}}
    own: dict[str, object] = {"depends": list(package.depends)}
    if package.requested_by:
        own["requested-by"] = list(package.requested_by)
    if package.index and "://" not in package.index:
        own["index"] = package.index
    return {
        "name": package.name,
        "version": package.version,
        **({"requires-python": package.requires_python} if package.requires_python else {}),
        **({"index": package.index} if "://" in package.index else {}),
        **({"wheels": [file]} if package.kind == "wheel" else {"sdist": file}),
        "tool": {_OWN: own},
    }
