"""uv as the solver of Python packages: what it is asked for one target, how it is run, and what it says on failure.

uv sees nothing of this machine but the network: no configuration, no environment, no Python downloads, a cache of its
own. The target's markers come from `--python-platform` and `--python-version`, so its answer is the same from any
machine. Its platforms are coarser than a target: it is told the newest that is not newer, and wheels are chosen by
the target itself (pypi.py).
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import tomli_w

from envagent.errors import BuildFailed, SourceUnreachable, Unresolvable, UsageError
from envagent.resolve import programs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from envagent.lock.model import PythonPackage, Target
    from envagent.resolve.given import Given

_PLATFORMS = {
    "osx-64": "x86_64-apple-darwin",
    "osx-arm64": "aarch64-apple-darwin",
    "win-32": "i686-pc-windows-msvc",
    "win-64": "x86_64-pc-windows-msvc",
    "win-arm64": "aarch64-pc-windows-msvc",
}
_MACHINES = {"linux-64": "x86_64", "linux-aarch64": "aarch64"}
_GLIBC_MINORS = (17, 28, *range(31, 41))
_UNANSWERED = 2  # its exit code where the network failed; other failures it tells by words alone
_NO_CHECKOUT = "Git operation failed"
_FORBIDDEN = "Building source distributions for"  # ... is disabled
_NO_BUILD = re.compile(r"\s*Failed to (download and )?build ")
TO_BUILD = "install what the build needs, or take a release that has wheels (--only-binary)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What uv is asked for one target. `indexes` are URLs, the first one before the others.

    `constraints` are requirements that nothing asks for. What is `given` is there already: nothing else may be taken
    for it, and it is not in the answer. `kept` stays where it can; `exclude_newer` is RFC 3339;
    `prerelease` is a word of uv's. `fresh` is to ask the indexes again, whatever they said of how long to wait.
    """

    machine: Target
    requirements: tuple[str, ...]
    indexes: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    given: tuple[Given, ...] = ()
    kept: tuple[PythonPackage, ...] = ()
    exclude_newer: str = ""
    only_binary: bool = False
    prerelease: str = ""
    fresh: bool = False


def platform_word(machine: Target) -> str:
    """The newest of uv's platforms that is not newer than the machine. Raises UsageError."""
    platform, virtual = machine.platform, machine.virtual_packages
    if platform in _PLATFORMS:
        return _PLATFORMS[platform]
    if platform not in _MACHINES:
        known = ", ".join(sorted({*_PLATFORMS, *_MACHINES}))
        raise UsageError(f"uv resolves no Python packages for {platform}", hint=f"it does for {known}")
    if "__musl" in virtual:
        return f"{_MACHINES[platform]}-unknown-linux-musl"
    minor = int((virtual.get("__glibc", "2.17") + ".0").split(".")[1])
    fitting = [known for known in _GLIBC_MINORS if known <= minor]
    return f"{_MACHINES[platform]}-manylinux_2_{max(fitting, default=_GLIBC_MINORS[0])}"


def arguments(question: Question) -> list[str]:
    """The command line; the files that it names are those of `files`."""
    return [
        "pip", "compile", "requirements.in", "--format", "pylock.toml", "--output-file", "pylock.toml",
        "--constraints", "constraints.txt", "--no-header", "--no-annotate",
        "--python-platform", platform_word(question.machine),
        "--python-version", question.machine.python_version,
        *sources(question),
        *(word for given in question.given for word in ("--no-emit-package", given.name)),
        *(["--only-binary", ":all:"] if question.only_binary else []),
        *(["--prerelease", question.prerelease] if question.prerelease else []),
        *(["--refresh"] if question.fresh else []),
    ]  # fmt: skip


def sources(question: Question) -> list[str]:
    """The words that say where releases are and until when, also those that a build needs."""
    *others, default = (f"{name}={url}" for name, url in named(question).items())
    until = ["--exclude-newer", question.exclude_newer] if question.exclude_newer else []
    return [*(word for index in others for word in ("--index", index)), "--default-index", default, *until]


def named(question: Question) -> dict[str, str]:
    """The indexes under names for uv, by priority: it finds credentials by them."""
    return {f"ENVAGENT{number}": url for number, url in enumerate(question.indexes)}


def files(question: Question) -> dict[str, bytes]:
    """What uv reads, by file name. An existing pylock.toml tells it what to prefer.

    What is given is a wheel without content: as a constraint its URL is the only one that uv takes for that name.
    """
    fixed = [f"{given.name} @ ./{given.filename}" for given in question.given]
    kept = [{"name": package.name, "version": package.version} for package in question.kept]
    preferred = {"lock-version": "1.0", "created-by": "envagent", "packages": kept}
    return {
        "requirements.in": _lines(question.requirements),
        "constraints.txt": _lines([*question.constraints, *fixed]),
        **({"pylock.toml": tomli_w.dumps(preferred).encode()} if kept else {}),
        **{given.filename: given.wheel() for given in question.given},
    }


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


@dataclass(frozen=True, slots=True)
class Login:
    """The token that a proxy wants to see, given to uv in its environment: never on a command line, in no file."""

    proxy: str = ""
    token: str = field(default="", repr=False)

    def variables(self, question: Question) -> dict[str, str]:
        """What uv reads for those of the indexes that are the proxy's."""
        said: dict[str, str] = {}
        for name, url in named(question).items():
            if self.token and url.startswith(f"{self.proxy}/"):
                said |= {f"UV_INDEX_{name}_USERNAME": "__token__", f"UV_INDEX_{name}_PASSWORD": self.token}
        return said


@dataclass(frozen=True, slots=True)
class Uv:
    """The program. `python` is any Python of this machine: it runs builds that only tell metadata."""

    cache: Path
    python: Path
    environ: Mapping[str, str]
    login: Login = Login()

    async def compile(self, question: Question, room: Path) -> bytes:
        """The pylock.toml that answers the question; `room` is an empty directory. Raises what `refusal` makes."""
        for name, content in files(question).items():
            (room / name).write_bytes(content)
        release = question.machine.virtual_packages.get("__osx", "")
        code, said = await self.run(
            [*arguments(question), "--python", str(self.python)],
            room,
            {**self.login.variables(question), **({"MACOSX_DEPLOYMENT_TARGET": release} if release else {})},
        )
        if code:
            raise refusal(code, said, question.machine)
        return (room / "pylock.toml").read_bytes()

    async def run(self, words: Sequence[str], folder: Path, more: Mapping[str, str]) -> tuple[int, str]:
        """The exit code and what was said on standard error; `more` are variables."""
        program = find_program(self.environ)
        own = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}
        return await programs.run(
            [program, *words, "--no-config", "--cache-dir", self.cache],
            folder,
            {**programs.surroundings(self.environ), **own, **more},
        )


def refusal(code: int, said: str, machine: Target) -> Unresolvable | SourceUnreachable | BuildFailed:
    """What uv's failure means, in uv's own words."""
    words = plain(said)
    what = f"uv could not resolve for {machine.name}:\n{words}"
    if code == _UNANSWERED:
        return SourceUnreachable(what, hint="is the index reachable?")
    if _NO_CHECKOUT in words:
        return SourceUnreachable(what, hint="is the repository reachable, and has it what is asked for?")
    if _NO_BUILD.match(words) and _FORBIDDEN not in words:
        return BuildFailed(what, hint=TO_BUILD)
    return Unresolvable(f"the Python packages cannot be resolved for {machine.name}:\n{words}")


def plain(said: str) -> str:
    """The message without its warnings, progress and labels, indented."""
    lines = said.splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith("error:")), 0)
    words = [line.removeprefix("error: ").rstrip() for line in lines[start:]]
    return programs.indented("\n".join(line.strip().removeprefix("cause: ") for line in words))


def find_program(environ: Mapping[str, str]) -> Path:
    """The uv of this Python, or else of PATH. Raises UsageError."""
    try:
        from uv import find_uv_bin  # noqa: PLC0415  # an optional package

        return Path(find_uv_bin())
    except (ImportError, FileNotFoundError):
        if found := shutil.which("uv", path=environ.get("PATH")):
            return Path(found)
    raise UsageError("uv, which resolves Python packages, is not here", hint="install it: pip install uv")
