"""uv.lock, version 1: read for given machines.

The universal graph is walked from the workspace's own projects, following the dependencies whose markers hold on the
machine; each dependency group (PEP 735) is an environment of its own that stands on `default`. The projects
themselves are not artifacts and stay out, and so do their extras. What else comes from a directory, a VCS
or a bare URL without a digest is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from packaging.markers import InvalidMarker, Marker

from envagent.lock import rules
from envagent.lock.document import Node
from envagent.lock.machine import best_wheel, holds, marker_environment, wheel_tags
from envagent.lock.model import Environment, Lock, PythonPackage, Request, Target
from envagent.lock.syntax import read_toml, refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from packaging.tags import Tag

_OWN_SOURCES = ("editable", "virtual")
_GROUPS = "dev-dependencies"


def read(data: bytes, name: str, machines: Sequence[Target]) -> Lock:
    """What the projects of the workspace need on each machine. Raises LockRefused."""
    root = Node(read_toml(data, name))
    if root.member("version").value != 1:
        root.member("version").refuse("is not 1", hint="this is no uv.lock of version 1")
    if not machines:
        root.refuse("does not say for which machine", hint="name the platform and the Python version")
    packages = [_Locked(node) for node in root.elements("package")]
    roots = [package for package in packages if package.is_own]
    if not roots:
        root.refuse("has no project of its own, so nothing says what is wanted")
    root.refuse_if_any(name)
    groups = sorted({group for package in roots for group, _ in package.node.members(_GROUPS)} - {"default"})
    try:
        graphs = {group: _Graph(packages, roots, group) for group in ("default", *groups)}
        environments = {group: _environment(graph, machines) for group, graph in graphs.items()}
    except RecursionError as error:
        raise refused(name, "has markers nested too deeply") from error
    root.refuse_if_any(name)
    return Lock(environments)


class _Locked:
    """One `[[package]]`."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.name = node.text("name", rules.project)
        self.version = node.text("version", rules.version, default="")
        self.source = node.member("source")
        self.is_own = any(self.source.has(kind) for kind in _OWN_SOURCES)

    def artifact(self, tags: Sequence[Tag]) -> PythonPackage | None:
        """The file of it that the machine takes; None, and a problem, if there is none."""
        wheels = {_filename(wheel): wheel for wheel in self.node.elements("wheels")}
        chosen = best_wheel(wheels, tags)
        file = wheels[chosen] if chosen else self.node.member("sdist")
        if not file.there or not file.has("url"):
            hint = "" if self.source.has("registry") else "build and publish it, and lock the result"
            self.node.refuse(f"({self.name}) has no wheel for this machine and no sdist with a digest", hint=hint)
            return None
        return PythonPackage(
            kind="wheel" if chosen else "sdist",
            name=self.name,
            version=self.version,
            filename=_filename(file),
            index=self.source.text("registry", rules.source, default=""),
            url=file.text("url").partition("#")[0],
            size=file.number("size", default=0, most=rules.MAX_SIZE),
            sha256=_sha256(file),
            depends=tuple(_requirement(dependency) for dependency in self.node.elements("dependencies")),
        )

    def needs(self, extras: frozenset[str], group: str, environment: Mapping[str, str]) -> Iterator[Node]:
        """The dependencies that hold on the machine, with those of the extras and, if it is ours, of the group."""
        yield from (node for node in self._listed(extras, group) if holds(_marker(node), environment))

    def _listed(self, extras: frozenset[str], group: str) -> Iterator[Node]:
        yield from self.node.elements("dependencies")
        for extra in sorted(extras):
            yield from self.node.member("optional-dependencies").elements(extra)
        if self.is_own:
            yield from self.node.member(_GROUPS).elements(group)

    def is_meant_by(self, dependency: Node) -> bool:
        """Whether a dependency names this package: by name, and by version and source where names are not enough."""
        keys = [key for key in ("version", "source") if dependency.has(key)]
        same = all(dependency.member(key).value == self.node.member(key).value for key in keys)
        return dependency.member("name").value == self.name and same


@dataclass(frozen=True, slots=True)
class _Graph:
    """What is to be walked: all packages, from the roots and one group of theirs."""

    packages: Sequence[_Locked]
    roots: Sequence[_Locked]
    group: str

    def reached(self, environment: Mapping[str, str]) -> list[_Locked]:
        """Every package that the roots need on the machine."""
        waiting = [(package, frozenset[str]()) for package in self.roots]
        seen = dict.fromkeys(waiting)
        while waiting:
            package, extras = waiting.pop()
            for dependency in package.needs(extras, self.group, environment):
                asked = frozenset(dependency.texts("extra"))
                for step in [(other, asked) for other in self._meant(dependency) if (other, asked) not in seen]:
                    seen[step] = None
                    waiting.append(step)
        return list(dict.fromkeys(package for package, _ in seen))

    def _meant(self, dependency: Node) -> list[_Locked]:
        meant = [package for package in self.packages if package.is_meant_by(dependency)]
        if not meant:
            dependency.refuse(f"({dependency.member('name').value}) is not among the packages")
        return meant


def _environment(graph: _Graph, machines: Sequence[Target]) -> Environment:
    targets = tuple(_target(machine, graph) for machine in machines)
    indexes = dict.fromkeys(package.index for target in targets for package in target.python if package.index)
    return Environment(request=Request(indexes=tuple(indexes)), targets=targets)


def _target(machine: Target, graph: _Graph) -> Target:
    reached, tags = graph.reached(marker_environment(machine)), wheel_tags(machine)
    artifacts = (package.artifact(tags) for package in reached if not package.is_own)
    return machine.with_python(tuple(artifact for artifact in artifacts if artifact is not None))


def _marker(dependency: Node) -> Marker | None:
    text = dependency.text("marker", default="")
    try:
        return Marker(text) if text else None
    except InvalidMarker:
        dependency.member("marker").refuse("is not a marker (PEP 508)")
        return None


def _requirement(dependency: Node) -> str:
    extras, marker = dependency.texts("extra"), dependency.text("marker", default="")
    name = dependency.text("name", rules.project) + (f"[{','.join(extras)}]" if extras else "")
    return f"{name} ; {marker}" if marker else name


def _filename(file: Node) -> str:
    return unquote(file.text("url").partition("#")[0].rpartition("/")[2])


def _sha256(file: Node) -> str:
    word = file.text("hash", default="")
    return word.removeprefix("sha256:") if word.startswith("sha256:") else ""
