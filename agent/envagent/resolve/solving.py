"""From what was asked for to an environment: each target by itself, Conda before PyPI.

Conda decides first, for it knows more of the machine; what its packages provide to Python is then given, and PyPI's
side has to go with it and with what it says that it needs. The Python of a target is conda's where conda brings one,
else one of the machine's, or an archive that the lock brings along if the request says so.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from envagent.errors import Unresolvable
from envagent.lock.machine import marker_environment
from envagent.lock.model import (
    CondaPackage,
    Environment,
    Interpreter,
    InterpreterArchive,
    PythonPackage,
    interpreter_of,
)
from envagent.resolve import asked as words
from envagent.resolve import conda, conflict, metadata, needs, pypi, pythons, unmet
from envagent.resolve.given import Given
from envagent.resolve.provided import provided
from envagent.resolve.together import together
from envagent.resolve.uv import Question
from envproxy.commands.output import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from rattler.networking import Client
    from rattler.repo_data import Gateway

    from envagent.lock.model import Target
    from envagent.resolve.asked import Asked
    from envagent.resolve.asking import Asking
    from envagent.resolve.building import Builder
    from envagent.resolve.metadata import Metadata
    from envagent.resolve.places import Places
    from envagent.resolve.provided import Provided
    from envagent.resolve.pypi import Located
    from envagent.resolve.uv import Uv


@dataclass(frozen=True, slots=True, kw_only=True)
class Solver:
    """Everything that one lock is made with. `cache` is a directory that may be lost.

    `tell` hears what is done, `warn` what conda's packages need and nothing brings.
    """

    places: Places
    ask: Asking
    uv: Uv
    builder: Builder
    client: Client
    gateway: Gateway
    cache: Path
    tell: Callable[[str], None]
    warn: Callable[[str], None]

    async def environment(self, asked: Asked) -> Environment:
        """The environment that was asked for, on every machine. Raises Unresolvable, SourceUnreachable."""
        targets = await together(self._target(asked, machine) for machine in asked.machines)
        return Environment(request=asked.request, targets=tuple(targets))

    async def _target(self, asked: Asked, machine: Target) -> Target:
        packages = await self._conda(asked, machine)
        target = dataclasses.replace(machine, interpreter=interpreter_of(packages), packages=packages)
        if not asked.request.pypi:
            return target
        if target.interpreter is None:
            target = await self._with_interpreter(asked, target)
        given = await provided(packages, self.places, self.client, self.cache / "distributions")
        lacks = unmet.unmet(given, marker_environment(target))
        try:
            python = await self._python(asked, target, given, unmet.constraints(lacks))
        except Unresolvable as error:
            raise conflict.explained(error, given, lacks, packages) from None
        self.tell(f"{machine.name}: {counted(len(python), 'package')} from PyPI")
        for need in unmet.missing(lacks, {package.name for package in python}):
            self.warn(f"{machine.name}: {need}, which neither conda nor PyPI brings")
        return dataclasses.replace(target, packages=(*target.packages, *python))

    async def _with_interpreter(self, asked: Asked, target: Target) -> Target:
        """The target with a Python that is not conda's. Raises Unresolvable."""
        version = asked.python(target)
        if asked.request.options.get(words.INTERPRETER) != "files":
            return dataclasses.replace(target, interpreter=Interpreter("system", version=version))
        kept = (one for one in asked.kept(target) if isinstance(one, InterpreterArchive))
        archive = next((one for one in kept if f"{one.version}.".startswith(f"{version}.")), None)
        if archive is None:
            newest = words.exclude_newer(asked.request)
            archive = await pythons.located(version, target, self.ask, exclude_newer=newest)
        if archive is None:
            raise Unresolvable(
                f"there is no relocatable Python {version} for {target.name}",
                hint=f"the proxy's files {pythons.COLLECTION} have one of each minor version; or use the machine's",
            )
        interpreter = Interpreter("files", name=archive.name)
        return dataclasses.replace(target, interpreter=interpreter, packages=(*target.packages, archive))

    async def _conda(self, asked: Asked, machine: Target) -> tuple[CondaPackage, ...]:
        request = asked.request
        specs = words.specs_for(request, machine)
        if not specs:
            return ()
        if request.pypi or request.python:
            specs = (*specs, words.python_spec(request))
        question = conda.CondaQuestion(
            machine=machine,
            specs=specs,
            channels=self.places.channel_names(request.channels),
            kept=tuple(package for package in asked.kept(machine) if isinstance(package, CondaPackage)),
            exclude_newer=words.exclude_newer(request),
        )
        packages = await conda.solved(question, self.places, self.gateway)
        self.tell(f"{machine.name}: {counted(len(packages), 'package')} from conda")
        return packages

    async def _python(
        self, asked: Asked, target: Target, there: Sequence[Provided], limits: Sequence[str]
    ) -> tuple[PythonPackage, ...]:
        """The Python packages beside those that are there, within the limits (constraints of PEP 508).

        Raises as `pypi.solved` and `Builder`.

        uv is asked again when it turns out that somebody wants extras of what is there.
        """
        question, environment = self._question(asked, target, limits), marker_environment(target)
        roots = asked.request.pypi
        given = {one.name: Given(one.name, one.version) for one in there}
        while True:
            question = dataclasses.replace(question, given=tuple(given.values()))
            pairs = await self._solved(question, self.places.index_names(asked.request.indexes))
            known = {
                one.name: one for one in [*(said for _, said in pairs), *(one.metadata for one in given.values())]
            }
            extras = needs.extras_asked_for(map(Requirement, roots), known, environment)
            lacking = [one for one in there if not extras.get(one.name, set()) <= given[one.name].extras]
            if not lacking:
                return needs.told(pairs, roots, environment, extras)
            for one in lacking:
                given[one.name] = needs.with_extras(given[one.name], one.requires, extras[one.name], environment)

    def _question(self, asked: Asked, target: Target, limits: Sequence[str]) -> Question:
        request, newest = asked.request, words.exclude_newer(asked.request)
        kept = tuple(package for package in asked.kept(target) if isinstance(package, PythonPackage))
        return Question(
            machine=target.with_python(()),
            requirements=needs.pinned(request.pypi, kept),
            indexes=tuple(map(self.places.index_url, self.places.index_names(request.indexes))),
            constraints=(*words.constraints(request), *limits),
            kept=kept,
            exclude_newer=newest.isoformat() if newest else "",
            only_binary=words.ONLY_BINARY in request.options,
            prerelease=request.options.get(words.PRERELEASE, ""),
            fresh=asked.upgrade.wants_news,
        )

    async def _solved(self, question: Question, names: Sequence[str]) -> list[tuple[PythonPackage, Metadata]]:
        found = await pypi.solved(question, names, self.uv, self.places, self.ask)
        described_files = (self._described(located, question) for located in found.files)
        built = (self.builder.of_checkout(checkout, question) for checkout in found.checkouts)
        return await together([*described_files, *built])

    async def _described(self, located: Located, question: Question) -> tuple[PythonPackage, Metadata]:
        """The wheel with its metadata, from beside it (PEP 658) or out of it. One is built of an sdist."""
        package = located.package
        if package.kind == "sdist":
            return await self.builder.of_archive(package, question)
        beside = await self.ask.metadata(located.url)
        if beside is not None:
            return package, metadata.read(beside)
        return package, metadata.inside(await self.ask.file(package), package.filename)
