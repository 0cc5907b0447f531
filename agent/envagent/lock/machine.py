"""What a target's Python would say of itself: its marker environment and the wheels that it takes.

Computed from the target alone, so a lock for Windows comes out the same on Linux: the running interpreter is never
asked. Where a target says nothing of its C library or macOS release, the oldest that today's wheels are made for is
assumed (glibc 2.17, macOS 11.0 on arm64 and 10.13 elsewhere). The kernel's release and version are not known of a
target: markers that ask for them see "0".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from packaging import tags
from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from envagent.errors import LockRefused, Problem, UsageError
from envagent.lock import rules

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from packaging.markers import Marker
    from packaging.tags import Tag

    from envagent.lock.model import Target


class _System(NamedTuple):
    os_name: str
    sys_platform: str
    platform_system: str


_SYSTEMS = {
    "linux": _System("posix", "linux", "Linux"),
    "osx": _System("posix", "darwin", "Darwin"),
    "win": _System("nt", "win32", "Windows"),
}
_MACHINES = {"linux-64": "x86_64", "linux-32": "i686", "osx-64": "x86_64"}
_MACHINES |= {"win-64": "AMD64", "win-32": "x86", "win-arm64": "ARM64"}
_WINDOWS_TAGS = {"win-64": "win_amd64", "win-32": "win32", "win-arm64": "win_arm64"}
_OLD_MANYLINUX = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


def marker_environment(target: Target) -> dict[str, str]:
    """The variables of PEP 508 for a CPython on the target. Raises UsageError if it is no platform of a Python."""
    system = _system(target)
    version = Version(target.python_version)
    full = str(version) if len(version.release) > 2 else f"{version}.0"
    return {
        **system._asdict(),
        "platform_machine": _MACHINES.get(target.platform, target.platform.partition("-")[2]),
        "platform_release": "0",
        "platform_version": "0",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "implementation_version": full,
        "python_full_version": full,
        "python_version": f"{version.major}.{version.minor}",
    }


def holds(marker: Marker | None, environment: Mapping[str, str], extra: str = "") -> bool:
    """Whether a marker is true for the target; no marker always is. Raises LockRefused if it means nothing."""
    try:
        return marker is None or marker.evaluate({**environment, "extra": extra})
    except (UndefinedComparison, UndefinedEnvironmentName, InvalidVersion) as error:
        raise LockRefused("a marker", [Problem(str(marker), f"means nothing: {error}")]) from error


def wheel_tags(target: Target) -> tuple[Tag, ...]:
    """The tags (PEP 425) of the wheels that the target takes, the best first. Raises UsageError."""
    _system(target)
    version = Version(target.python_version)
    platforms = list(_platform_tags(target))
    python, interpreter = (version.major, version.minor), f"cp{version.major}{version.minor}"
    return (
        *tags.cpython_tags(python, abis=[interpreter], platforms=platforms),
        *tags.compatible_tags(python, interpreter, platforms),
    )


def best_wheel(filenames: Iterable[str], wanted: Sequence[Tag]) -> str | None:
    """The file name that fits best: by its tag, then by its build number."""
    builds = {filename: parsed for filename in filenames if (parsed := _build_and_tags(filename))}
    newest_first = sorted(builds, key=lambda filename: (builds[filename][0], filename), reverse=True)
    select = tags.create_compatible_tags_selector(wanted)
    return next(select((filename, builds[filename][1]) for filename in newest_first), None)


def _build_and_tags(filename: str) -> tuple[tuple[int, str] | tuple[()], frozenset[Tag]] | None:
    try:
        _, _, build, its_tags = parse_wheel_filename(filename)
    except InvalidWheelFilename:
        return None
    return build, its_tags


def _system(target: Target) -> _System:
    if problem := rules.version(target.python_version):
        raise UsageError(f"the Python {target.python_version!r} of the target {target.name} {problem}")
    system = target.platform.partition("-")[0]
    if system not in _SYSTEMS:
        known = ", ".join(f"{name}-*" for name in _SYSTEMS)
        raise UsageError(f"no wheels are made for {target.platform}", hint=f"platforms of wheels are {known}")
    return _SYSTEMS[system]


def _platform_tags(target: Target) -> Iterator[str]:
    if target.platform in _WINDOWS_TAGS:
        yield _WINDOWS_TAGS[target.platform]
        return
    machine = marker_environment(target)["platform_machine"]
    if target.platform.startswith("osx"):
        oldest = "11.0" if machine == "arm64" else "10.13"
        yield from tags.mac_platforms(_release(target, "__osx", oldest), machine)
    else:
        yield from _linux_tags(target, machine)


def _linux_tags(target: Target, machine: str) -> Iterator[str]:
    if "__musl" in target.virtual_packages:
        for minor in range(_release(target, "__musl", "1.1")[1], -1, -1):
            yield f"musllinux_1_{minor}_{machine}"
    else:
        oldest = 5 if machine in {"x86_64", "i686"} else 17
        for minor in range(_release(target, "__glibc", "2.17")[1], oldest - 1, -1):
            yield f"manylinux_2_{minor}_{machine}"
            if minor in _OLD_MANYLINUX:
                yield f"{_OLD_MANYLINUX[minor]}_{machine}"
    yield f"linux_{machine}"


def _release(target: Target, virtual_package: str, default: str) -> tuple[int, int]:
    """Major and minor of a virtual package: at most 3 digits each, for tags are counted down from them."""
    found = re.search(r"(\d{1,3})(?:\.(\d{1,3}))?", target.virtual_packages.get(virtual_package, "") or default)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)
