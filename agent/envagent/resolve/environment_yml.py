"""environment.yml (conda's format) as what is asked for: specs, and what its pip section has.

`defaults` are the channels that conda means by it; `nodefaults` only keeps that from being added, which nothing here
does. The file's own name, prefix and variables are for who makes the environment, and a lock has no place for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envagent.lock import rules
from envagent.lock.document import Node
from envagent.lock.model import Request
from envagent.lock.yaml_syntax import read_yaml
from envagent.resolve import requirements_file
from envagent.resolve.asked import merged

if TYPE_CHECKING:
    from pathlib import Path

_DEFAULTS = ("https://repo.anaconda.com/pkgs/main", "https://repo.anaconda.com/pkgs/r")
_KEYS = ("name", "prefix", "channels", "dependencies", "variables", "platforms", "category")


def read(path: Path) -> tuple[Request, tuple[str, ...]]:
    """What the file asks for, and the platforms that it is for (conda-lock's key). Raises LockRefused."""
    root = Node(read_yaml(path.read_bytes(), path.name))
    root.only(*_KEYS)
    specs: list[str] = []
    pip: list[str] = []
    for node in root.elements("dependencies"):
        if isinstance(node.value, dict):
            node.only("pip")
            pip += node.texts("pip")
        else:
            specs.append(node.as_text())
    channels = [name for channel in root.texts("channels", rules.source) for name in _meant(channel)]
    platforms = root.texts("platforms", rules.platform)
    root.refuse_if_any(path.name)
    conda = Request(conda=tuple(specs), channels=tuple(channels))
    return merged([conda, requirements_file.read_lines(pip, path)]), platforms


def _meant(channel: str) -> tuple[str, ...]:
    if channel == "nodefaults":
        return ()
    return _DEFAULTS if channel == "defaults" else (channel,)
