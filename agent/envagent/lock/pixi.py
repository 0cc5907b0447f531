"""pixi.lock, versions 6 and 7: read both, write 7.

Environments and platforms are ours; a platform of version 7 has a name of its own and virtual packages. The format
has no sizes of PyPI files (a Completer tells), calls channels and indexes by URL only, and says neither who requested
a package nor where a built wheel came from. Packages that are built from source have no digest: they are refused.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from envagent.errors import CannotExport
from envagent.lock import conda_url, rules
from envagent.lock.document import Node
from envagent.lock.model import (
    CondaPackage,
    Environment,
    InterpreterArchive,
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
    from collections.abc import Mapping

_BUILD_FIRST = "build and publish it, and lock the result"
_VIRTUAL = re.compile(r"(__[a-z0-9_]+)[ =]*(.*)", re.DOTALL)


def read(data: bytes, name: str) -> Lock:
    """The lock in a pixi.lock, sizes of PyPI files unknown. Raises LockRefused."""
    root = Node(read_yaml(data, name))
    if root.member("version").value not in {6, 7}:
        root.member("version").refuse("is not 6 or 7", hint="let a newer pixi write the file again")
        root.refuse_if_any(name)
    packages = _Packages(root)
    platforms = _platforms(root) if root.member("version").value == 7 else None
    environments = {label: _environment(node, packages, platforms) for label, node in root.members("environments")}
    root.refuse_if_any(name)
    return Lock(environments)


# --- reading --------------------------------------------------------------------------------------------


class _Packages:
    """The list at the end of the file, by URL. An entry is looked at when an environment uses it."""

    def __init__(self, root: Node) -> None:
        self._nodes: dict[tuple[str, str], Node] = {}
        for node in root.elements("packages"):
            key = _reference(node)
            if key in self._nodes and self._nodes[key].value != node.value and _is_file(key[1]):
                node.refuse(f"describes {key[1]} once more, and otherwise")
            self._nodes.setdefault(key, node)

    def package(self, reference: Node, request: Request) -> Package | None:
        """The package that an environment refers to; None, and a problem, if it cannot be had."""
        kind, location = _reference(reference)
        if not _is_file(location):
            reference.refuse(f"is built from source ({location[:200]!r}), so it has no sha256", hint=_BUILD_FIRST)
        elif (kind, location) not in self._nodes:
            reference.refuse(f"refers to {location[:200]!r}, which is not among the packages")
        elif kind == "conda":
            return _conda_package(self._nodes[kind, location], location, request)
        else:
            return _python_package(self._nodes[kind, location], location, request)
        return None


def _reference(node: Node) -> tuple[str, str]:
    for kind in ("conda", "pypi", "conda_source"):
        if node.has(kind):
            return kind, node.text(kind)
    node.refuse("is neither a conda nor a pypi package")
    return "", ""


def _is_file(location: str) -> bool:
    return location.startswith(("https://", "http://", "direct+http"))


def _platforms(root: Node) -> dict[str, Target]:
    """Version 7's machines by name, as targets without packages."""
    found: dict[str, Target] = {}
    for node in root.elements("platforms"):
        name = node.text("name", rules.label)
        if name in found:
            node.member("name").refuse(f"{name!r} is defined twice")
        platform = node.text("subdir", rules.platform, default=name)
        if not node.has("subdir"):
            node.text("name", rules.platform)
        found[name] = Target(platform=platform, name=name, virtual_packages=_virtual_packages(node))
    return found


def _virtual_packages(node: Node) -> dict[str, str]:
    found = {}
    for element in node.elements("virtual-packages"):
        parts = _VIRTUAL.fullmatch(element.as_text())
        if parts is None or parts[1] in found:
            element.refuse("is not a virtual package of its own such as __glibc=2.28")
        else:
            found[parts[1]] = parts[2]
    return found


def _environment(node: Node, packages: _Packages, platforms: Mapping[str, Target] | None) -> Environment:
    request = Request(
        channels=tuple(channel.text("url", rules.source) for channel in node.elements("channels")),
        indexes=node.texts("indexes", rules.source),
        options={key: value.as_text() for key, value in node.members("options")},
    )
    targets = []
    for name, references in node.members("packages"):
        machine = Target(platform=name) if platforms is None else platforms.get(name)
        if machine is None:
            references.refuse(f"is for {name[:200]!r}, a platform that the file does not define")
            continue
        found = (packages.package(reference, request) for reference in node.member("packages").elements(name))
        targets.append(_target(machine, tuple(package for package in found if package is not None)))
    return Environment(request=request, targets=tuple(targets))


def _target(machine: Target, packages: tuple[Package, ...]) -> Target:
    return dataclasses.replace(machine, interpreter=interpreter_of(packages), packages=packages)


def _conda_package(node: Node, url: str, request: Request) -> CondaPackage | None:
    parts = conda_url.parse(url)
    if parts is None:
        node.member("conda").refuse("is not the URL of a conda package")
        return None
    return CondaPackage(
        name=parts.name,
        version=parts.version,
        build=parts.build,
        channel=conda_url.channel_among(parts.base, request.channels),
        subdir=parts.subdir,
        url=url,
        size=node.number("size", default=0, most=rules.MAX_SIZE),
        sha256=node.text("sha256", rules.sha256, default=""),
        md5=node.text("md5", rules.md5, default=""),
        depends=node.texts("depends"),
        constrains=node.texts("constrains"),
        noarch=node.text("noarch", rules.noarch, default=""),
        license=node.text("license", default=""),
        timestamp=node.number("timestamp", default=0),
        purls=node.texts("purls"),
        python_site_packages_path=node.text("python_site_packages_path", rules.relative_path, default=""),
    )


def _python_package(node: Node, location: str, request: Request) -> PythonPackage:
    url = location.removeprefix("direct+").partition("#")[0]
    filename = unquote(url.rpartition("/")[2])
    only_index = request.indexes[0] if len(request.indexes) == 1 else ""
    return PythonPackage(
        kind="wheel" if filename.endswith(".whl") else "sdist",
        name=pypi_name(node.text("name")),
        version=node.text("version", rules.version),
        filename=filename,
        index=node.text("index", rules.source, default="" if location.startswith("direct+") else only_index),
        url=url,
        sha256=node.text("sha256", rules.sha256, default=""),
        depends=node.texts("requires_dist", rules.requirement),
        requires_python=node.text("requires_python", rules.specifiers, default=""),
    )


# --- writing --------------------------------------------------------------------------------------------


def write(lock: Lock) -> bytes:
    """The lock as a pixi.lock of version 7. Raises CannotExport."""
    machines: dict[str, dict[str, object]] = {}
    packages: dict[str, dict[str, object]] = {}
    for environment in lock.environments.values():
        for target in environment.targets:
            _add_once(machines, target.name, _machine(target))
            for package in target.packages:
                _add_once(packages, package.url, _entry(package, target))
    environments = {name: _environment_entry(lock.environments[name]) for name in sorted(lock.environments)}
    return write_yaml(
        {
            "version": 7,
            "platforms": [machines[name] for name in sorted(machines)],
            "environments": environments,
            "packages": [packages[url] for url in sorted(packages, key=lambda url: _link_order(packages[url]))],
        }
    )


def _add_once(entries: dict[str, dict[str, object]], key: str, entry: dict[str, object]) -> None:
    if entries.setdefault(key, entry) != entry:
        raise CannotExport(f"two environments mean different things by {key}", hint="export one of them alone")


def _machine(target: Target) -> dict[str, object]:
    subdir = {"subdir": target.platform} if target.name != target.platform else {}
    virtual = [_virtual_package(name, spec) for name, spec in sorted(target.virtual_packages.items())]
    return {"name": target.name, **subdir, **({"virtual-packages": virtual} if virtual else {})}


def _virtual_package(name: str, spec: str) -> str:
    return name + ("" if not spec else f" {spec}" if spec[0] in "<>!" else f"={spec}")


def _environment_entry(environment: Environment) -> dict[str, object]:
    request = environment.request
    channels = [{"url": _channel_url(channel, environment)} for channel in request.channels]
    indexes = [index for index in request.indexes if "://" in index]
    return {
        "channels": channels,
        **({"indexes": indexes} if indexes else {}),
        **({"options": dict(sorted(request.options.items()))} if request.options else {}),
        "packages": {
            target.name: [_selector(package) for package in target.packages] for target in environment.targets
        },
    }


def _channel_url(channel: str, environment: Environment) -> str:
    """A channel's URL: that of its packages, if the request calls it by name."""
    used = (package for target in environment.targets for package in target.conda if package.channel == channel)
    urls = (parts.base for package in used if (parts := conda_url.parse(package.url)))
    return channel if "://" in channel else next(urls, channel)


def _selector(package: Package) -> dict[str, str]:
    return {_kind(package): package.url}


def _kind(package: Package) -> str:
    return "conda" if isinstance(package, CondaPackage) else "pypi"


def _link_order(entry: Mapping[str, object]) -> tuple[str, str]:
    kind = next(iter(entry))
    return (kind, str(entry[kind]))


def _entry(package: Package, target: Target) -> dict[str, object]:
    is_homeless = isinstance(package, PythonPackage) and not target.has_condas_python
    if isinstance(package, InterpreterArchive) or not package.url or is_homeless:
        raise CannotExport(
            f"pixi.lock has no place for {package.filename}", hint="it knows files of upstreams, and conda's Python"
        )
    entry: dict[str, object] = {_kind(package): package.url}
    if isinstance(package, CondaPackage):
        entry |= {"sha256": package.sha256, "md5": package.md5, "depends": list(package.depends)}
        entry |= {"constrains": list(package.constrains), "noarch": package.noarch, "license": package.license}
        entry |= {"purls": list(package.purls), "size": package.size, "timestamp": package.timestamp}
        entry |= {"python_site_packages_path": package.python_site_packages_path}
    else:
        entry |= {"name": package.name, "version": package.version, "sha256": package.sha256}
        entry |= {"index": package.index if "://" in package.index else "", "requires_dist": list(package.depends)}
        entry |= {"requires_python": package.requires_python}
    return {key: value for key, value in entry.items() if value}
