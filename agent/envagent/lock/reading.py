"""lock.json, read strictly: what comes out may be acted on, anything else is refused with all its problems.

A version or a key that is not known is refused: whoever wrote it meant something that this reader would not do. The
form need not be canonical (a person may have indented it); the id is that of the canonical bytes all the same. Locks
that were made here or imported pass through the same gate: `sealed`.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Literal, cast

from envagent.lock import rules
from envagent.lock.canonical import document
from envagent.lock.document import Node
from envagent.lock.model import (
    VERSION,
    CondaPackage,
    Environment,
    Interpreter,
    InterpreterArchive,
    Lock,
    Package,
    PythonPackage,
    Request,
    Target,
    namespace,
)
from envagent.lock.syntax import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_ARTIFACT = ("kind", "name", "version", "url", "size", "sha256", "depends", "requested-by")
_CONDA = ("build", "channel", "subdir", "md5", "constrains", "noarch", "license", "timestamp", "purls")


def read_lock(data: bytes, name: str = "lock.json") -> Lock:
    """The lock that these bytes are; `name` is what messages call it. Raises LockRefused."""
    return from_document(read_json(data, name), name)


def sealed(lock: Lock, name: str = "lock.json") -> Lock:
    """The same lock, after every check that a stranger's would have to pass. Raises LockRefused."""
    return from_document(document(lock), name)


def from_document(value: object, name: str = "lock.json") -> Lock:
    """The lock that this JSON value is. Raises LockRefused."""
    root = Node(value)
    if not isinstance(value, dict) or "envmesh-lock" not in value:
        root.refuse("is not a lock: no `envmesh-lock` at the top", hint="`envagent import` reads other tools' locks")
    elif value["envmesh-lock"] != VERSION or isinstance(value["envmesh-lock"], bool):
        root.member("envmesh-lock").refuse(f"is not {VERSION}, the version that this envagent reads")
    root.refuse_if_any(name)
    root.only("envmesh-lock", "environments")
    environments = {label: _environment(node) for label, node in _labelled(root)}
    root.refuse_if_any(name)
    return Lock(environments)


def _labelled(root: Node) -> Iterable[tuple[str, Node]]:
    if not root.has("environments"):
        root.member("environments").refuse("is missing")
    nodes = dict(root.members("environments"))
    for label, node in nodes.items():
        if problem := rules.label(label):
            node.refuse(f"is called something that {problem}")
    _unique(nodes.values(), list(nodes), "the name of an environment")
    return nodes.items()


def _environment(node: Node) -> Environment:
    node.only("request", "targets")
    targets = [(_target(element), element) for element in node.elements("targets")]
    _unique([element for _, element in targets], [target.name for target, _ in targets], "the name of a target")
    return Environment(request=_request(node.member("request")), targets=tuple(target for target, _ in targets))


def _request(node: Node) -> Request:
    if not node.there:
        return Request()
    node.only("python", "pypi", "conda", "channels", "indexes", "options")
    return Request(
        python=node.text("python", default=""),
        pypi=node.texts("pypi", rules.requirement),
        conda=node.texts("conda"),
        channels=node.texts("channels", rules.source),
        indexes=node.texts("indexes", rules.source),
        options={key: value.as_text() for key, value in node.members("options")},
    )


def _target(node: Node) -> Target:
    node.only("platform", "name", "virtual-packages", "interpreter", "packages")
    platform = node.text("platform", rules.platform)
    pairs = [(_package(element, platform), element) for element in node.elements("packages")]
    _no_collisions(pairs)
    packages = tuple(package for package, _ in pairs)
    return Target(
        platform=platform,
        name=node.text("name", rules.label, default=""),
        virtual_packages=_virtual_packages(node),
        interpreter=_interpreter(node, packages),
        packages=packages,
    )


def _virtual_packages(node: Node) -> dict[str, str]:
    found = {}
    for name, value in node.members("virtual-packages"):
        if problem := rules.virtual_name(name):
            value.refuse(f"belongs to a name that {problem}")
        found[name] = value.as_text(rules.virtual_version)
    return found


def _interpreter(target: Node, packages: tuple[Package, ...]) -> Interpreter | None:
    node = target.member("interpreter")
    if not node.there:
        if any(isinstance(package, PythonPackage) for package in packages):
            node.refuse(
                "is missing, and there are wheels or sdists to install", hint="or {kind: system, version: ...}"
            )
        return None
    kind = node.text("kind", rules.matching("conda|system|files", "one of conda, system, files"))
    if kind == "system":
        node.only("kind", "version")
        return Interpreter("system", version=node.text("version", rules.version))
    node.only("kind", "name")
    interpreter = Interpreter(cast("Literal['conda', 'files']", kind), name=node.text("name", rules.label))
    wanted = "conda" if kind == "conda" else "interpreter"
    if not any(package.kind == wanted and package.name == interpreter.name for package in packages):
        node.member("name").refuse(f"names no package of kind {wanted} of this target")
    return interpreter


# --- packages -------------------------------------------------------------------------------------------


def _package(node: Node, platform: str) -> Package:
    kind = node.text(
        "kind", rules.matching("conda|wheel|sdist|interpreter", "one of conda, wheel, sdist, interpreter")
    )
    if kind == "conda":
        return _conda_package(node, platform)
    if kind == "interpreter":
        return _interpreter_archive(node)
    return _python_package(node, "sdist" if kind == "sdist" else "wheel")


def _conda_package(node: Node, platform: str) -> CondaPackage:
    node.only(*_ARTIFACT, *_CONDA, "python-site-packages-path")
    package = CondaPackage(
        name=node.text("name", rules.conda_name),
        version=node.text("version", rules.conda_version),
        build=node.text("build", rules.conda_build),
        channel=node.text("channel", rules.source),
        subdir=node.text("subdir", rules.subdir),
        url=node.text("url", rules.url),
        size=node.number("size", least=1, most=rules.MAX_SIZE),
        sha256=node.text("sha256", rules.sha256),
        md5=node.text("md5", rules.md5, default=""),
        depends=node.texts("depends"),
        constrains=node.texts("constrains"),
        noarch=node.text("noarch", rules.noarch, default=""),
        license=node.text("license", default=""),
        timestamp=node.number("timestamp", default=0),
        purls=node.texts("purls", rules.matching(r"pkg:[^\s]+", "a package URL")),
        python_site_packages_path=node.text("python-site-packages-path", rules.relative_path, default=""),
        requested_by=node.texts("requested-by"),
    )
    _check_conda_url(node, package, platform)
    return package


def _check_conda_url(node: Node, package: CondaPackage, platform: str) -> None:
    subdir, _, filename = package.url.rpartition("/")
    rule = partial(rules.conda_filename, name=package.name, version=package.version, build=package.build)
    if (problem := rule(filename)) or (problem := _subdir_problem(subdir, package, platform)):
        node.member("url").refuse(f"ends in something that {problem}")


def _subdir_problem(base: str, package: CondaPackage, platform: str) -> str:
    if package.subdir not in {"noarch", platform}:
        return f"is made for {package.subdir}, not for {platform}"
    return "" if base.endswith(f"/{package.subdir}") else f"is not in the subdir {package.subdir}"


def _python_package(node: Node, kind: Literal["wheel", "sdist"]) -> PythonPackage:
    node.only(*_ARTIFACT, "filename", "index", "requires-python", *(["built-from"] if kind == "wheel" else []))
    name, version = node.text("name", rules.project), node.text("version", rules.version)
    built_from = node.text("built-from", rules.built_from, default="")
    return PythonPackage(
        kind=kind,
        name=name,
        version=version,
        filename=node.text("filename", partial(rules.python_filename, kind=kind, name=name, version=version)),
        index=node.text("index", rules.source, default=""),
        url=node.text("url", rules.url, default="" if built_from else None),
        size=node.number("size", least=1, most=rules.MAX_SIZE),
        sha256=node.text("sha256", rules.sha256),
        depends=node.texts("depends", rules.requirement),
        requires_python=node.text("requires-python", rules.specifiers, default=""),
        requested_by=node.texts("requested-by"),
        built_from=built_from,
    )


def _interpreter_archive(node: Node) -> InterpreterArchive:
    node.only(*_ARTIFACT, "filename")
    return InterpreterArchive(
        name=node.text("name", rules.archive_name),
        version=node.text("version", rules.version),
        filename=node.text("filename", rules.filename),
        url=node.text("url", rules.url),
        size=node.number("size", least=1, most=rules.MAX_SIZE),
        sha256=node.text("sha256", rules.sha256),
        depends=node.texts("depends"),
        requested_by=node.texts("requested-by"),
    )


# --- what must not be there twice -----------------------------------------------------------------------


def _no_collisions(pairs: list[tuple[Package, Node]]) -> None:
    nodes = [node for _, node in pairs]
    _unique(nodes, [f"{namespace(package)}:{package.name}" for package, _ in pairs], "the name of a package")
    _unique(nodes, [package.filename for package, _ in pairs], "the file of a package")


def _unique(nodes: Iterable[Node], words: list[str], what: str, fold: Callable[[str], str] = str.casefold) -> None:
    counts = Counter(fold(word) for word in words)
    for node, word in zip(nodes, words, strict=True):
        if counts[fold(word)] > 1:
            node.refuse(f"is not alone: {word.rpartition(':')[2]!r} is {what} {counts[fold(word)]} times here")
