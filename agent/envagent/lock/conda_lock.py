"""conda-lock.yml, version 1: read and write.

A category is an environment that stands on `main`, which is ours called `default`. The format has no sizes and no
virtual packages, calls every dependency by one name and one spec, needs an md5 of conda packages, and knows no Python
but conda's. Its conda URLs say the build and the channel.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING
from urllib.parse import unquote

from packaging.requirements import Requirement

from envagent.errors import CannotExport
from envagent.lock import conda_url, rules
from envagent.lock.canonical import encode, request_document
from envagent.lock.document import Node
from envagent.lock.machine import holds, marker_environment
from envagent.lock.model import (
    CondaPackage,
    Environment,
    Lock,
    Package,
    PythonPackage,
    Request,
    Target,
    interpreter_of,
    pypi_name,
)
from envagent.lock.yaml_syntax import read_yaml, write_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAIN = "main"
_Entry = tuple[str, str, Package]
"""Category, platform and package."""


def read(data: bytes, name: str) -> Lock:
    """The lock in a conda-lock.yml, sizes unknown. Raises LockRefused."""
    root = Node(read_yaml(data, name))
    if root.has("version") and root.member("version").value != 1:
        root.member("version").refuse("is not 1", hint="this is no conda-lock file of version 1")
    metadata = root.member("metadata")
    channels = tuple(channel.text("url", rules.source) for channel in metadata.elements("channels"))
    request = Request(channels=channels)
    entries = [entry for node in root.elements("package") if (entry := _entry(node, channels)) is not None]
    platforms = [element.as_text(rules.platform) for element in metadata.elements("platforms")]
    root.refuse_if_any(name)
    categories = {_MAIN, *(category for category, _, _ in entries)}
    return Lock({_label(category): _environment(category, entries, platforms, request) for category in categories})


def _label(category: str) -> str:
    return "default" if category == _MAIN else category


def _environment(category: str, entries: list[_Entry], platforms: list[str], request: Request) -> Environment:
    targets = []
    for platform in dict.fromkeys([*platforms, *(entry[1] for entry in entries)]):
        mine = (entry for entry in entries if entry[1] == platform and entry[0] in {_MAIN, category})
        packages = tuple(dict.fromkeys(package for _, _, package in mine))
        targets.append(Target(platform=platform, interpreter=interpreter_of(packages), packages=packages))
    return Environment(request=request, targets=tuple(targets))


def _entry(node: Node, channels: tuple[str, ...]) -> _Entry | None:
    manager = node.text("manager", rules.matching("conda|pip", "one of conda, pip"))
    category = node.text("category", rules.label, default=_MAIN)
    platform = node.text("platform", rules.platform)
    package = _conda_package(node, channels) if manager == "conda" else _python_package(node)
    return None if package is None else (category, platform, package)


def _conda_package(node: Node, channels: tuple[str, ...]) -> CondaPackage | None:
    url = node.text("url", rules.url)
    parts = conda_url.parse(url)
    if parts is None:
        node.member("url").refuse("is not the URL of a conda package")
        return None
    return CondaPackage(
        name=node.text("name", rules.conda_name),
        version=node.text("version", rules.conda_version),
        build=parts.build,
        channel=conda_url.channel_among(parts.base, channels),
        subdir=parts.subdir,
        url=url,
        sha256=node.member("hash").text("sha256", rules.sha256, default=""),
        md5=node.member("hash").text("md5", rules.md5, default=""),
        depends=tuple(f"{name} {spec}".strip() for name, spec in _dependencies(node)),
    )


def _python_package(node: Node) -> PythonPackage:
    url = node.text("url").partition("#")[0]
    filename = unquote(url.rpartition("/")[2])
    return PythonPackage(
        kind="wheel" if filename.endswith(".whl") else "sdist",
        name=pypi_name(node.text("name")),
        version=node.text("version", rules.version),
        filename=filename,
        url=url,
        sha256=node.member("hash").text("sha256", rules.sha256, default=""),
        depends=tuple(f"{name}{'' if spec == '*' else spec}" for name, spec in _dependencies(node)),
    )


def _dependencies(node: Node) -> Iterable[tuple[str, str]]:
    return [(name, str(spec.value or "")) for name, spec in node.members("dependencies")]


# --- writing --------------------------------------------------------------------------------------------


def write(environment: Environment) -> bytes:
    """One environment as a conda-lock.yml. Raises CannotExport."""
    platforms = [target.platform for target in environment.targets]
    if len(set(platforms)) != len(platforms):
        raise CannotExport(
            "conda-lock has one solution a platform, not several", hint="export the targets one by one"
        )
    entries = [_written(package, target) for target in environment.targets for package in target.packages]
    return write_yaml({"version": 1, "metadata": _metadata(environment, platforms), "package": entries})


def _metadata(environment: Environment, platforms: list[str]) -> dict[str, object]:
    asked = hashlib.sha256(encode(request_document(environment.request))).hexdigest()
    return {
        "content_hash": dict.fromkeys(platforms, asked),
        "channels": [{"url": channel, "used_env_vars": []} for channel in environment.request.channels],
        "platforms": platforms,
        "sources": [],
    }


def _written(package: Package, target: Target) -> dict[str, object]:
    if isinstance(package, CondaPackage):
        if not package.md5:
            raise CannotExport(f"conda-lock needs an md5 of {package.filename}, and the lock has none")
        manager, digests = "conda", {"md5": package.md5, "sha256": package.sha256}
        dependencies = dict(_name_and_spec(depend) for depend in package.depends)
    elif isinstance(package, PythonPackage) and package.url and target.has_condas_python:
        manager, digests = "pip", {"sha256": package.sha256}
        dependencies = _requirements(package, target)
    else:
        raise CannotExport(
            f"conda-lock has no place for {package.filename}", hint="it knows files of upstreams, and conda's Python"
        )
    return {
        "name": package.name,
        "version": package.version,
        "manager": manager,
        "platform": target.platform,
        "dependencies": dependencies,
        "url": package.url,
        "hash": digests,
        "category": _MAIN,
        "optional": False,
    }


def _name_and_spec(depend: str) -> tuple[str, str]:
    name, _, spec = depend.partition(" ")
    return name, spec


def _requirements(package: PythonPackage, target: Target) -> dict[str, str]:
    """What the package needs on this target: conda-lock has no markers."""
    environment = marker_environment(target)
    needed = [req for req in map(Requirement, package.depends) if holds(req.marker, environment)]
    return {pypi_name(req.name): str(req.specifier) for req in needed}
