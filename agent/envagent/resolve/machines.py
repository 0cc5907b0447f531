"""The machines that a lock is made for: from the words of a person to targets, and what conda's solver is told.

A machine is a conda platform and the least of each virtual package (CEP 30). Unless more is said, it is an old one
that today's packages are still made for, so that a lock does not change with the machine it was made on. Only the
machine that nobody named is this one: it is taken no newer than that, but with its GPU.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from packaging.version import Version

from envagent.errors import UsageError
from envagent.lock import rules
from envagent.lock.model import Target

if TYPE_CHECKING:
    from collections.abc import Mapping

LEAST = {"linux": {"__glibc": "2.28"}, "osx": {"__osx": "13.0"}, "win": {}}
"""What a machine has unless its words say otherwise: RHEL 8's C library, and uv's macOS."""

_LINUX = "4.18"  # the kernel of RHEL 8
_ARCHSPEC = {"64": "x86_64", "32": "x86", "arm64": "aarch64"}


def machine(words: str) -> Target:
    """The machine that `linux-64` or `linux-64+cuda=12.4+glibc=2.35` means. Raises UsageError."""
    platform, *others = words.split("+")
    virtual = dict(_pair(words, other) for other in others)
    if problem := rules.platform(platform):
        raise UsageError(f"{platform!r} {problem}", hint="such as linux-64, or linux-64+cuda=12.4")
    least = LEAST.get(platform.partition("-")[0], {})
    kept = {} if "__musl" in virtual else least
    name = "-".join([platform, *(f"{key.lstrip('_')}{version}" for key, version in sorted(virtual.items()))])
    return Target(platform=platform, name=name, virtual_packages={**kept, **virtual})


def this_machine(platform: str, detected: Mapping[str, str]) -> Target:
    """The machine that is meant when none is named; `detected` are its virtual packages with their versions."""
    least = LEAST.get(platform.partition("-")[0], {})
    virtual = {name: min(version, detected.get(name, version), key=Version) for name, version in least.items()}
    if "__glibc" in virtual and "__glibc" not in detected:
        virtual = {name: detected[name] for name in ("__musl",) if name in detected}
    cuda = {"__cuda": detected["__cuda"]} if "__cuda" in detected else {}
    return Target(platform=platform, virtual_packages={**virtual, **cuda})


def told_to_solver(target: Target) -> dict[str, tuple[str, str]]:
    """Every virtual package of the target: name to version and build string."""
    system, _, processor = target.platform.partition("-")
    said = {name: (version, "0") for name, version in target.virtual_packages.items()}
    archspec = "m1" if target.platform == "osx-arm64" else _ARCHSPEC.get(processor, processor)
    said.setdefault("__archspec", ("1", archspec))
    if system == "win":
        return {"__win": ("10", "0"), **said}
    kernel = {"__linux": (_LINUX, "0")} if system == "linux" else {}
    return {"__unix": ("0", "0"), **kernel, **said}


def without_packages(target: Target) -> Target:
    """The machine alone."""
    return dataclasses.replace(target, interpreter=None, packages=())


def _pair(words: str, text: str) -> tuple[str, str]:
    key, equals, version = text.partition("=")
    name = f"__{key.removeprefix('__')}"
    if not (equals and version) or rules.virtual_name(name) or rules.virtual_version(version):
        raise UsageError(f"{text!r} in {words!r} is no virtual package", hint="such as linux-64+cuda=12.4")
    return name, version
