"""Wheels of what has none: source archives, and git repositories at a commit.

Built by uv in isolation (PEP 517) with a Python of the version that the target has, and for this machine alone: what
a build would do on another is not known here. The wheel goes among the artifacts by its digest. It is built once: a
note says what came of a source, so the same request gives the same bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from envagent.errors import BuildFailed, Problem, SourceUnreachable, Unresolvable
from envagent.fetch.arrival import Arrival
from envagent.lock import rules
from envagent.lock.machine import best_wheel, wheel_tags
from envagent.lock.model import PythonPackage
from envagent.machine import platform
from envagent.materialize.pythons import find_system
from envagent.resolve import metadata, notes, programs
from envagent.resolve.uv import TO_BUILD, sources

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from envagent.fetch.artifacts import Artifacts
    from envagent.resolve.asking import Asking
    from envagent.resolve.metadata import Metadata
    from envagent.resolve.pypi import Checkout
    from envagent.resolve.uv import Question, Uv

_EPOCH = {"SOURCE_DATE_EPOCH": "1577836800"}  # a build that keeps to it gives the same bytes whenever it is made
_LINES = 30  # of what a failed build said: the last ones tell why
_POLL_S = 0.05  # how often to look whether another process has stored the same wheel

Wheel = tuple[PythonPackage, "Metadata"]


class _Note(TypedDict):
    """What came of a source."""

    filename: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Builder:
    """uv, and where wheels go. `folder` is a directory of notes that may be lost; `tell` hears of builds."""

    uv: Uv
    ask: Asking
    folder: Path
    environ: Mapping[str, str]
    tell: Callable[[str], None]

    async def of_archive(self, archive: PythonPackage, question: Question) -> Wheel:
        """The wheel of an sdist. Raises Unresolvable, BuildFailed, and as `Asking.file`."""

        async def fetched(room: Path) -> Path:
            path = room / archive.filename
            path.symlink_to(await self.ask.file(archive))
            return path

        origin = f"{archive.url}#sha256={archive.sha256}"
        return await self._wheel(f"{archive.name} {archive.version}", origin, archive.index, question, fetched)

    async def of_checkout(self, checkout: Checkout, question: Question) -> Wheel:
        """The wheel of a repository. Raises Unresolvable, BuildFailed, SourceUnreachable."""

        async def cloned(room: Path) -> Path:
            await _clone(checkout, room, self.environ)
            return room / "source" / checkout.subdirectory

        return await self._wheel(checkout.name, checkout.source, "", question, cloned)

    async def _wheel(
        self, what: str, origin: str, index: str, question: Question, source: Callable[[Path], Awaitable[Path]]
    ) -> Wheel:
        check(what, origin, question)
        python = ".".join(question.machine.python_version.split(".")[:2])
        key = hashlib.sha256(f"{origin} {question.machine.platform} {python}".encode()).hexdigest()
        note: _Note | None = notes.recalled(self.folder, key) or _earlier(origin, question.kept)
        path = self.ask.artifacts.find(note["sha256"], note["size"]) if note else None
        if note is None or path is None:
            note = await self._built(what, python, question, source)
            notes.keep(self.folder, key, note)
            path = self.ask.artifacts.find(note["sha256"], note["size"])
        assert path is not None
        self.ask.artifacts.touch(note["sha256"])
        said = metadata.inside(path, note["filename"])
        package = PythonPackage(
            kind="wheel", name=said.name, version=said.version, url="", index=index, built_from=origin, **note
        )
        return package, said

    async def _built(
        self, what: str, python: str, question: Question, source: Callable[[Path], Awaitable[Path]]
    ) -> _Note:
        """Build it, and keep the wheel; what it is called and what it is."""
        self.tell(f"building {what}")
        interpreter = await asyncio.to_thread(find_system, python, environ=self.environ)
        with tempfile.TemporaryDirectory(prefix="envagent-") as name:
            room = Path(name)
            words = ["build", "--wheel", str(await source(room)), "--out-dir", str(room / "out")]
            words += ["--python", str(interpreter.executable), *sources(question)]
            code, said = await self.uv.run(words, room, {**_EPOCH, **self.uv.login.variables(question)})
            wheels = sorted((room / "out").glob("*.whl"))
            if code or len(wheels) != 1:
                told = programs.indented("\n".join(said.splitlines()[-_LINES:]))
                raise BuildFailed(f"no wheel could be built of {what}:\n{told}", hint=TO_BUILD)
            if not best_wheel([wheels[0].name], wheel_tags(question.machine)):
                raise BuildFailed(f"{what} builds {wheels[0].name}, which is not for {question.machine.name}")
            data = wheels[0].read_bytes()
        await _kept(data, self.ask.artifacts)
        return {"filename": wheels[0].name, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def _earlier(origin: str, kept: Iterable[PythonPackage]) -> _Note | None:
    """What an earlier lock says came of the source."""
    found = next((package for package in kept if package.built_from == origin), None)
    return {"filename": found.filename, "sha256": found.sha256, "size": found.size} if found else None


def check(what: str, origin: str, question: Question) -> None:
    """Refuse what must not or cannot be built. Raises Unresolvable."""
    here = platform(os.uname())
    if question.only_binary:
        raise Unresolvable(f"{what} would have to be built of its source, and only wheels are allowed")
    if question.machine.platform != here:
        raise Unresolvable(
            f"{what} has no wheel for {question.machine.name}, only its source, and {here} builds for itself alone",
            hint="--only-binary takes a release that has wheels",
        )
    if problem := rules.built_from(origin):
        raise Unresolvable(
            str(Problem(origin, problem)),
            hint="a lock names sources that others reach, such as a repository by https",
        )


async def _clone(checkout: Checkout, room: Path, environ: Mapping[str, str]) -> None:
    """The repository, at `source` in the room: with its history, which tells versions, and its submodules."""
    quiet = {**programs.surroundings(environ), "GIT_TERMINAL_PROMPT": "0"}
    for words in (
        ["clone", "--quiet", "--no-checkout", "--", checkout.url, "source"],
        ["-C", "source", "checkout", "--quiet", "--detach", checkout.commit],
        ["-C", "source", "submodule", "--quiet", "update", "--init", "--recursive"],
    ):
        code, said = await programs.run(["git", *words], room, quiet)
        if code:
            raise SourceUnreachable(
                f"git could not get {checkout.source}:\n{programs.indented(said)}",
                hint="is the repository reachable?",
            )


async def _kept(wheel: bytes, artifacts: Artifacts) -> None:
    """Put the wheel among the artifacts; another process may do the same at the same time."""
    digest = hashlib.sha256(wheel).hexdigest()
    artifacts.note_built(digest)
    while (place := artifacts.claim(digest, len(wheel))) is None:  # noqa: ASYNC110  # no event tells of it
        await asyncio.sleep(_POLL_S)
    if isinstance(place, Arrival):
        place.restart()
        place.append([wheel])
        place.finish()
