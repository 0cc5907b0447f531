"""pyproject.toml as what is asked for: dependencies, extras (PEP 621) and dependency groups (PEP 735).

The project itself is no artifact and stays out. `tool.uv.sources` that name a git repository or a URL are followed;
others lead to this machine or to one index for one project, which a request cannot say, and are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from packaging.dependency_groups import resolve_dependency_groups
from packaging.requirements import InvalidRequirement, Requirement

from envagent.lock import rules
from envagent.lock.document import Node
from envagent.lock.model import Request, pypi_name
from envagent.lock.syntax import read_toml

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


def read(path: Path, *, extras: Sequence[str] = (), groups: Sequence[str] = ()) -> Request:
    """What the project asks for, with these extras and groups. Raises LockRefused."""
    root = Node(read_toml(path.read_bytes(), path.name))
    project = root.member("project")
    if "dependencies" in project.texts("dynamic"):
        project.member("dynamic").refuse("has dependencies, which only a build of the project would tell")
    lines = list(project.texts("dependencies", rules.asked_requirement))
    lines += _of_extras(project, extras)
    python = project.text("requires-python", rules.specifiers, default="")
    lines += _of_groups(root, groups)
    sources = dict(root.member("tool").member("uv").members("sources"))
    requirements = tuple(_sourced(line, sources) for line in lines if not rules.asked_requirement(line))
    root.refuse_if_any(path.name)
    return Request(python=python, pypi=requirements)


def _of_extras(project: Node, extras: Iterable[str]) -> list[str]:
    """The dependencies of the extras; one may ask for others of the same project."""
    own = pypi_name(project.text("name", default=""))
    known = {pypi_name(name): name for name, _ in project.members("optional-dependencies")}
    lines: list[str] = []
    waiting = [pypi_name(extra) for extra in extras]
    for extra in waiting:  # grows while it is walked
        if extra not in known:
            project.member("optional-dependencies").refuse(f"has no extra {extra!r}")
            continue
        for line in project.member("optional-dependencies").texts(known[extra], rules.asked_requirement):
            requirement = Requirement(line) if not rules.requirement(line) else None
            if requirement and pypi_name(requirement.name) == own:
                waiting += [name for name in map(pypi_name, requirement.extras) if name not in waiting]
            else:
                lines.append(line)
    return lines


def _of_groups(root: Node, groups: Sequence[str]) -> list[str]:
    """The dependencies of the groups. What is no requirement has a place; the rest of PEP 735 packaging checks."""
    node = root.member("dependency-groups")
    listed: dict[str, Any] = node.expect(dict, {}) if node.there else {}
    before = len(root.problems)
    _check_lines(root, listed, groups)
    if len(root.problems) > before:
        return []
    try:
        return list(resolve_dependency_groups(listed, *groups))
    except (ValueError, LookupError, TypeError, InvalidRequirement, ExceptionGroup) as error:
        for reason in error.exceptions if isinstance(error, ExceptionGroup) else [error]:
            node.refuse(str(reason))
        return []


def _check_lines(root: Node, listed: dict[str, Any], groups: Sequence[str]) -> None:
    """Refuse, at their places, lines of these groups and of those that they include."""
    spelled = {pypi_name(name): name for name in listed}
    waiting = [spelled[name] for name in map(pypi_name, groups) if name in spelled]
    for group in waiting:  # grows while it is walked
        for element in root.member("dependency-groups").elements(group):
            if isinstance(element.value, str):
                element.as_text(rules.asked_requirement)
            elif element.has("include-group"):
                included = spelled.get(pypi_name(element.text("include-group")))
                waiting += [included] if included and included not in waiting else []


def _sourced(line: str, sources: dict[str, Node]) -> str:
    """The requirement with the place that `tool.uv.sources` names for it."""
    requirement = Requirement(line)
    named = {pypi_name(name): node for name, node in sources.items()}
    node = named.get(pypi_name(requirement.name))
    if node is None:
        return line
    revision = next((node.text(key) for key in ("rev", "tag", "branch") if node.has(key)), "")
    url = f"git+{node.text('git')}" + (f"@{revision}" if revision else "") if node.has("git") else ""
    folder = f"#subdirectory={node.text('subdirectory')}" if node.has("subdirectory") else ""
    requirement.url = (url or node.text("url", default="")) + folder or None
    if requirement.url is None:
        node.refuse("is a source that a lock cannot follow", hint="name a git repository or a URL, or an --index")
    requirement.specifier = type(requirement.specifier)("")
    return str(requirement)
