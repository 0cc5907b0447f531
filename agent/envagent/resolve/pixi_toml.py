"""pixi.toml as what is asked for: one of its environments, with the features that it is made of.

What holds for some platforms only (`[target.linux]`) becomes specs with a platform behind a semicolon (asked.py) and
requirements with a marker. Tasks and activation are no packages and stay out; sources on this machine are refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement

from envagent.lock import rules
from envagent.lock.document import Node
from envagent.lock.model import Request
from envagent.lock.syntax import read_toml
from envagent.resolve.asked import merged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MARKERS = {
    "linux": "sys_platform == 'linux'",
    "osx": "sys_platform == 'darwin'",
    "win": "sys_platform == 'win32'",
    "unix": "sys_platform != 'win32'",
}
_MACHINES = {"64": "x86_64 AMD64", "aarch64": "aarch64", "arm64": "arm64 ARM64"}
_SELECTOR = re.compile(r"unix|(linux|osx|win)(-(64|aarch64|arm64))?")
_VIRTUAL = {"libc": "glibc", "macos": "osx"}
_OF_SYSTEM = {"linux": ("cuda", "glibc", "musl"), "osx": ("osx",), "win": ("cuda",)}


def read(path: Path, *, env: str = "default") -> tuple[Request, tuple[str, ...]]:
    """What an environment of the workspace asks for, and its machines in words. Raises LockRefused."""
    root = Node(read_toml(path.read_bytes(), path.name))
    workspace = root.member("workspace") if root.has("workspace") else root.member("project")
    parts = [root, *(root.member("feature").member(name) for name in _features(root, env))]
    requests = [_request(part) for part in parts if part.there]
    machines = _machines(workspace, parts)
    channels = tuple(dict.fromkeys(_channel(node) for node in workspace.elements("channels")))
    root.refuse_if_any(path.name)
    return merged([*requests, Request(channels=channels)]), machines


def _features(root: Node, env: str) -> Iterator[str]:
    """The features of an environment; the nameless one, the top of the file, is always among them here."""
    node = root.member("environments").member(env)
    if not node.there and env != "default":
        root.member("environments").refuse(f"has no environment {env!r}")
    listed = root.member("environments").texts(env) if isinstance(node.value, list) else node.texts("features")
    if node.member("no-default-feature").value is True:
        node.member("no-default-feature").refuse("is not followed here", hint="leave the default feature in")
    yield from listed


def _request(part: Node) -> Request:
    """What one feature asks for, on all platforms and on some."""
    conda, pypi = list(_conda(part, "")), list(_pypi(part, ""))
    for selector, node in part.members("target"):
        if not _SELECTOR.fullmatch(selector):
            node.refuse("is no platform, and none of unix, linux, osx and win")
            continue
        conda += _conda(node, selector)
        pypi += _pypi(node, selector)
    options = part.member("pypi-options")
    indexes = [*options.texts("extra-index-urls", rules.url), *filter(None, [options.text("index-url", default="")])]
    return Request(conda=tuple(conda), pypi=tuple(pypi), indexes=tuple(indexes), channels=_channels(part))


def _conda(part: Node, selector: str) -> Iterator[str]:
    for kind in ("dependencies", "host-dependencies", "build-dependencies"):
        for name, node in part.members(kind):
            spec = _spec(name, node)
            yield f"{spec} ; {selector}" if selector else spec


def _spec(name: str, node: Node) -> str:
    """A match spec: of a version, or of a table of its parts."""
    if not isinstance(node.value, dict):
        version = node.as_text()
        return name if version == "*" else f"{name} {version}"
    if source := next((key for key in ("path", "git", "url") if node.has(key)), None):
        node.refuse(f"is no package of a channel, but of a {source}", hint="build and publish it")
        return name
    node.only("version", "build", "channel")
    channel = f"{node.text('channel')}::" if node.has("channel") else ""
    words = [f"{key}='{node.text(key)}'" for key in ("version", "build") if node.has(key)]
    return f"{channel}{name}" + (f"[{','.join(words)}]" if words else "")


def _pypi(part: Node, selector: str) -> Iterator[str]:
    for name, node in part.members("pypi-dependencies"):
        requirement = _requirement(name, node)
        if selector and requirement:
            requirement.marker = Marker(_marker(selector))
        if requirement:
            yield str(requirement)


def _requirement(name: str, node: Node) -> Requirement | None:
    """A requirement (PEP 508); None, and a problem, for what is only on this machine."""
    table = node.value if isinstance(node.value, dict) else {"version": node.as_text()}
    node = Node(table, node.where, node.problems)
    if node.has("path"):
        node.refuse(rules.OF_THIS_MACHINE)
        return None
    node.only("version", "extras", "git", "branch", "tag", "rev", "subdirectory", "url")
    extras = f"[{','.join(node.texts('extras'))}]" if node.has("extras") else ""
    version = node.text("version", default="*")
    revision = next((f"@{node.text(key)}" for key in ("rev", "tag", "branch") if node.has(key)), "")
    folder = f"#subdirectory={node.text('subdirectory')}" if node.has("subdirectory") else ""
    place = f"git+{node.text('git')}{revision}{folder}" if node.has("git") else node.text("url", default="")
    try:
        return Requirement(f"{name}{extras}" + (f" @ {place}" if place else "" if version == "*" else version))
    except InvalidRequirement:
        node.refuse("is not a requirement")
        return None


def _marker(selector: str) -> str:
    """The marker that holds on the platforms of a selector (`linux`, `linux-64`)."""
    system, _, machine = selector.partition("-")
    return _MARKERS[system] + (f" and platform_machine in '{_MACHINES[machine]}'" if machine else "")


def _channels(part: Node) -> tuple[str, ...]:
    return tuple(_channel(node) for node in part.elements("channels"))


def _channel(node: Node) -> str:
    """A channel's name or URL; priorities are those of their order."""
    return node.text("channel", rules.source) if isinstance(node.value, dict) else node.as_text(rules.source)


def _machines(workspace: Node, parts: list[Node]) -> tuple[str, ...]:
    """The platforms, with what the system requirements say of them."""
    said: dict[str, str] = {}
    for part in parts:
        for name, node in part.members("system-requirements"):
            version = node.text("version") if isinstance(node.value, dict) else node.as_text()
            said[_VIRTUAL.get(name, name)] = version
    platforms = workspace.texts("platforms", rules.platform)
    demands = {platform: _OF_SYSTEM.get(platform.partition("-")[0], ()) for platform in platforms}
    return tuple(
        "+".join([platform, *(f"{name}={said[name]}" for name in names if name in said)])
        for platform, names in demands.items()
    )
