"""The composition root: a lock file on one side, an environment on the other, and the rooms in between.

What is there already costs nothing: an environment is looked for before a store, and a tree in the store before a
download. Nothing is removed from the store between the look and the use. Everything that differs between machines
comes in: the configuration, the variables, the clock, whoever hears of progress.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import msgspec

from envagent import disk, machine
from envagent.completing import LateCompleter
from envagent.errors import PrefixRefused, TreeDamaged
from envagent.lock import model as locked
from envagent.lock.canonical import lock_id
from envagent.lock.formats import import_bytes, needs_machines
from envagent.lock.model import Target
from envagent.materialize import planning
from envagent.materialize.overlap import Clobber
from envagent.materialize.prefix import Prefix, existing, materialize, note_use
from envagent.materialize.standing import durable_with
from envagent.recall import Answer, Question
from envagent.settling import settle_behind
from envagent.store.flock import held
from envagent.store.node import NodeStore
from envagent.store.references import References

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from envagent.config import Config
    from envagent.fetch.artifacts import Artifacts
    from envagent.fetch.network import Bring
    from envagent.fetch.report import Report as FetchReport
    from envagent.lock.model import Lock, Package
    from envagent.materialize.interpreter import Interpreter
    from envagent.materialize.link import LinkMode
    from envagent.materialize.plan import Plan
    from envagent.materialize.prefix import Bytecode
    from envagent.materialize.progress import Report


class Order(NamedTuple):
    """What is asked for: the bytes of a lock file and its name; "" for what is not named."""

    lock: bytes
    name: str
    env: str = ""
    target: str = ""
    prefix: str = ""

    def question(self, link_mode: str, python: str) -> Question:
        """What decides the answer, for the next time."""
        named = {"env": self.env, "target": self.target, "prefix": self.prefix}
        return Question(self.lock, **named, link_mode=link_mode, python=python)


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """The environment that an order led to. `seconds` is what each stage took, `lock` the lock id.

    `link_scripts` are conda packages with a script to run after installing: none was run.
    """

    prefix: str
    lock: str
    environment: str
    target: str
    new: bool
    clobbers: tuple[Clobber, ...] = ()
    link_scripts: tuple[str, ...] = ()
    seconds: dict[str, float] = {}


class _Watch:
    """Where the time goes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = self._clock()
        yield
        self.seconds[name] = round(self._clock() - began, 4)


class App:
    """The agent in one process.

    `clock` counts seconds from anywhere. `python` is the version for locks that name no machine. `bring` is of a
    proxy that is in this process, too.
    """

    def __init__(
        self,
        config: Config,
        environ: Mapping[str, str],
        clock: Callable[[], float],
        *,
        downloads: FetchReport,
        progress: Report,
        python: str,
        bring: Bring | None = None,
    ) -> None:
        self.config = config
        self._environ = environ
        self._clock = clock
        self._downloads = downloads
        self._progress = progress
        self._python = python
        self._bring = bring

    @cached_property
    def store(self) -> NodeStore:
        """Installed-form trees."""
        return NodeStore(self.config.store)

    @cached_property
    def artifacts(self) -> Artifacts:
        """Verified downloads."""
        from envagent.fetch.artifacts import Artifacts  # noqa: PLC0415  # not needed for what is in the store

        return Artifacts(self.config.artifacts)

    def materialize(self, order: Order) -> Made:
        """Make the environment, or find it (blocking). Raises every EnvagentError; OSError passes."""
        watch = _Watch(self._clock)
        with watch.stage("total"), disk.errors_in_words():
            with watch.stage("lock"):
                lock = self.read(order.lock, order.name)
                label = lock.label(order.env or None)
                target = self.target(lock, order)
                identity = lock_id(lock)
            name = f"{identity[:16]}-{label}-{target.name}"
            mode = f"-{self.config.link_mode}" if self.config.mounts else ""  # not the place of everybody's
            place = Path(order.prefix) if order.prefix else self.config.environments / f"{name}{mode}"
            prefix = self._made(target, place, watch)
            if self.config.link_mode == "writable-overlay" and not prefix.is_writable:
                raise PrefixRefused(
                    f"{place} holds this environment, and not as a writable overlay",
                    hint="environments are never changed: remove it or choose another path",
                )
        made = Made(
            prefix=str(prefix.path),
            lock=identity,
            environment=label,
            target=target.name,
            new=prefix.is_new,
            clobbers=prefix.clobbers,
            link_scripts=prefix.link_scripts,
            seconds=watch.seconds,
        )
        self._note(order, made)
        return made

    def _note(self, order: Order, made: Made) -> None:
        """For the next time, when it is not new and took no time; without a note that takes the long way."""
        again = msgspec.json.encode(msgspec.structs.replace(made, new=False, seconds={})).decode()
        used = References(self.store.root).place(Path(made.prefix))
        note = order.question(self.config.link_mode, self._python).note(str(self.config.data))
        with suppress(OSError):
            Answer(made.prefix, again, str(used)).write(note)

    def read(self, data: bytes, name: str) -> Lock:
        """The lock that these bytes are, whatever the format; one that names no machine is read for this one."""
        machines = (self._this_machine(),) if needs_machines(data, name) else ()
        return import_bytes(data, name, LateCompleter(self.config, self._downloads), machines=machines)

    def target(self, lock: Lock, order: Order) -> Target:
        """The target of the environment for this machine. Raises UsageError."""
        environment, here = lock.environment(order.env or None), machine.platform(os.uname())
        if order.target:
            return machine.named(environment, order.target, here)
        return machine.choose(environment, lock.label(order.env or None), here, machine.detect)

    def _this_machine(self) -> Target:
        has = machine.detect({"__glibc"})
        return Target(
            platform=machine.platform(os.uname()),
            virtual_packages={name: has[name] for name in ("__glibc", "__musl", "__osx") if name in has},
            interpreter=locked.Interpreter("system", version=self._python),
        )

    def _made(self, target: Target, place: Path, watch: _Watch) -> Prefix:
        """The environment at its place. What is in the store is not removed meanwhile, and needs no download.

        A tree that the disk has damaged shows when it is read: it is discarded and made anew. Raises TreeDamaged
        where that is damaged as well.
        """
        discarded = set()
        with held(self.store.root / "in-use", shared=True):
            while True:
                try:
                    return self._found_or_built(target, place, watch)
                except TreeDamaged as damaged:
                    if damaged.key in discarded:
                        raise
                    discarded.add(damaged.key)
                    self.store.discard_damaged(damaged.key)

    def _found_or_built(self, target: Target, place: Path, watch: _Watch) -> Prefix:
        with watch.stage("interpreter"):
            interpreter = self._interpreter(target)
        paths = {package.sha256: Path(package.filename) for package in target.packages}
        plan = planning.plan_of(target, paths, interpreter)
        if found := existing(plan, self.store, place):
            note_use(plan, self.store, found.path)
            return found
        if missing := self._missing(target, plan):
            with watch.stage("fetch"):
                plan.check()
                plan = planning.plan_of(target, {**paths, **self._unpacked(missing, plan)}, interpreter)
        with watch.stage("make"):
            made = materialize(
                plan,
                self.store,
                place,
                link_mode=cast("LinkMode", self.config.link_mode),
                bytecode=self._bytecode,
                proof="later" if self.config.early else "now",
                report=self._progress,
            )
        durable = durable_with(self.store, made.path, made.identity)
        settle_behind(self.config.store, self.config.artifacts, sorted(durable))
        return made

    @property
    def _bytecode(self) -> Bytecode:
        if not self.config.bytecode:
            return "none"
        return "later" if self.config.early else "compile"

    def _interpreter(self, target: Target) -> Interpreter | None:
        """The Python of a target that brings none of conda's. Raises PrefixRefused, ArtifactRefused."""
        wanted = target.interpreter
        if wanted is None or wanted.kind == "conda":
            return None
        if archive := target.archive:
            from envagent.materialize import standalone  # noqa: PLC0415  # most locks have none

            def fetched(package: Package) -> Path:
                return self._fetched([package], self._downloads)[package.sha256]

            return standalone.obtain(archive, self.store, fetched)
        from envagent.materialize.interpreters import Interpreters  # noqa: PLC0415  # conda environments need none
        from envagent.materialize.pythons import find_system  # noqa: PLC0415  # as above

        describe = Interpreters(self.config.data / "pythons").describe
        return find_system(wanted.version, environ=self._environ, describe=describe)

    def _missing(self, target: Target, plan: Plan) -> list[Package]:
        """The packages whose trees are not in the store."""
        absent = {source.sha256 for source in plan.sources if self.store.find(plan.key(source)) is None}
        return [package for package in target.packages if package.sha256 in absent]

    def _unpacked(self, packages: Sequence[Package], plan: Plan) -> Mapping[str, Path]:
        """The files of the packages, whose trees were built while others came."""
        from envagent.handover import Handover  # noqa: PLC0415  # not needed for what is in the store
        from envagent.materialize.intake import Intake  # noqa: PLC0415

        size = sum(package.size for package in packages)
        prove = not self.config.early
        with Intake(plan, self.store, self._progress, total=len(packages), size=size, prove=prove) as intake:
            return self._fetched(packages, Handover(self._downloads, plan, self.artifacts, intake))

    def _fetched(self, packages: Sequence[Package], report: FetchReport) -> Mapping[str, Path]:
        from envagent.fetch.fetch import fetch_all  # noqa: PLC0415  # not needed for what is in the store
        from envagent.fetch.sources import Sources  # noqa: PLC0415

        sources = Sources(self.config.proxy, self.config.proxy_fallback)
        return fetch_all(
            packages, self.artifacts, sources, report=report, token=self.config.proxy_token, bring=self._bring
        )
