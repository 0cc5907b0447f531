"""The machine that runs this, as a lock sees it: its platform, its virtual packages, and the target that is for it.

The platform is asked of the kernel. Virtual packages (CEP 30) are asked for only where a target demands them: of the
C library and the kernel where that tells, of py-rattler for all others (`__cuda` and the like), whose import alone
takes a tenth of a second. Of several targets that fit, the most demanding is taken: it was made for this machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from envagent.errors import PrefixRefused, UsageError

if TYPE_CHECKING:
    from envagent.lock.model import Environment, Target

Detect = Callable[[set[str]], Mapping[str, str]]
"""What of the named virtual packages a machine has, with their versions; it may tell of more."""

_ARCHITECTURES = {"x86_64": "64", "amd64": "64", "i686": "32", "i386": "32", "arm64": "aarch64"}
_SYSTEMS = {"Linux": "linux", "Darwin": "osx"}
_NUMBERS = re.compile(r"\d+(\.\d+)*")


def platform(uname: os.uname_result) -> str:
    """The conda platform of a machine, such as linux-64 or osx-arm64. Raises UsageError."""
    if uname.sysname not in _SYSTEMS:
        raise UsageError(f"environments cannot be made on {uname.sysname}", hint="they can on Linux and macOS")
    system, machine = _SYSTEMS[uname.sysname], uname.machine.lower()
    if system == "osx" and machine == "arm64":
        return "osx-arm64"
    return f"{system}-{_ARCHITECTURES.get(machine, machine)}"


def detect(names: set[str]) -> Mapping[str, str]:
    """The virtual packages of this machine among `names`, or more than those (blocking)."""
    cheap = _of_the_system()
    if names <= cheap.keys():
        return cheap
    from rattler import VirtualPackage  # noqa: PLC0415  # slow to import

    generic = (virtual.into_generic() for virtual in VirtualPackage.detect())
    return {virtual.name.normalized: str(virtual.version) for virtual in generic}


def named(environment: Environment, name: str, here: str) -> Target:
    """The target of that name, if it is for the platform `here`; its virtual packages are taken on trust.

    Raises UsageError and PrefixRefused.
    """
    target = environment.target(name)
    if target.platform != here:
        raise PrefixRefused(
            f"the target {name} is for {target.platform}, and this machine is {here}", hint="leave out --target"
        )
    return target


def choose(environment: Environment, label: str, here: str, detect: Detect) -> Target:
    """The target of the environment called `label` for the platform `here`. Raises PrefixRefused."""
    of_platform = [target for target in environment.targets if target.platform == here]
    if not of_platform:
        known = ", ".join(sorted({target.platform for target in environment.targets})) or "none"
        raise PrefixRefused(
            f"the lock's environment {label} has no target for {here}, which this machine is",
            hint=f"its platforms are: {known}; lock again with --platform {here}",
        )
    demanded = {name for target in of_platform for name in target.virtual_packages}
    has = detect(demanded) if demanded else {}
    lacking = {target.name: _lacking(target, has) for target in of_platform}
    if fitting := [target for target in of_platform if not lacking[target.name]]:
        return max(fitting, key=_demands)
    reasons = "; ".join(f"{name} needs {', '.join(what)}" for name, what in lacking.items())
    raise PrefixRefused(
        f"no target of the lock's environment {label} is for this machine: {reasons}",
        hint="lock for this machine, or choose a target with --target if you know better",
    )


def _of_the_system() -> dict[str, str]:
    """What needs no library to be known; nothing on other systems than Linux with glibc."""
    uname = os.uname()
    said = (os.confstr("CS_GNU_LIBC_VERSION") or "") if "CS_GNU_LIBC_VERSION" in os.confstr_names else ""
    kernel = _NUMBERS.match(uname.release)
    if uname.sysname != "Linux" or not said.startswith("glibc ") or kernel is None:
        return {}
    return {"__unix": "0", "__linux": kernel[0], "__glibc": said.removeprefix("glibc ")}


def _lacking(target: Target, has: Mapping[str, str]) -> list[str]:
    """The demands that are not met, as a person reads them."""
    return [
        f"{name} {wanted} (here: {has.get(name, 'none')})".replace("  ", " ")
        for name, wanted in target.virtual_packages.items()
        if name not in has or not _is_enough(has[name], wanted)
    ]


def _is_enough(version: str, wanted: str) -> bool:
    """Whether a version is at least the wanted one, or within the wanted range; a build string is not compared."""
    least = wanted.partition("=")[0] if wanted[:1].isalnum() else wanted
    if not least:
        return True
    if _NUMBERS.fullmatch(version) and _NUMBERS.fullmatch(least):
        return _numbers(version) >= _numbers(least)
    from rattler import Version, VersionSpec  # noqa: PLC0415  # slow to import

    return VersionSpec(least if not least[0].isalnum() else f">={least}").matches(Version(version))


def _demands(target: Target) -> tuple[int, list[tuple[str, list[int]]]]:
    """How much a target asks of a machine: more packages first, then higher versions."""
    versions = sorted(target.virtual_packages.items())
    return len(versions), [
        (name, [int(number) for number in re.findall(r"\d+", version)]) for name, version in versions
    ]


def _numbers(version: str) -> list[int]:
    """The parts of a version, without the zeros at its end: 2.28 is 2.28.0."""
    return [int(number) for number in re.sub(r"(\.0+)+$", "", version).split(".")]
