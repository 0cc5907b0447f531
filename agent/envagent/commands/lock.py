"""`envagent lock`: what files and flags ask for, resolved to the byte, for every machine that is named."""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement

from envagent import machine as here
from envagent.commands.diff import lines_of
from envagent.commands.locks import check_output, file_at, write_out
from envagent.config import config_of
from envagent.errors import LockRefused, UsageError
from envagent.lock import rules
from envagent.lock.canonical import canonical_bytes, lock_id
from envagent.lock.diff import diff
from envagent.lock.model import Lock, Request
from envagent.lock.reading import read_lock, sealed
from envagent.resolve import inputs, machines
from envagent.resolve.asked import EXCLUDE_NEWER, INTERPRETER, ONLY_BINARY, Asked, Upgrade, merged, moment
from envagent.resolve.locking import locked
from envagent.store.flock import held
from envproxy.commands.output import print_json, say

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Sequence

    from envagent.lock.model import Environment, Target
    from envagent.resolve.inputs import Inputs

_DEFAULT = "default"
_INPUTS = "name what says what to lock, such as pyproject.toml, or packages: --pypi 'numpy>=2'"


def run(args: Namespace) -> int:
    """Write the lock, and say what changed."""
    if args.json and not args.output:
        raise UsageError("--json tells of a lock that is in a file", hint="give -o lock.json too")
    check_output(args.output)
    env = args.env or _DEFAULT
    found = inputs.read(
        [file_at(path, hint=_INPUTS) for path in args.files], env, extras=args.extra, groups=args.group
    )
    standing = _written(args.output)
    before = found.lock or standing
    asked = _asked(args, found, before.environments.get(env))
    config = config_of(args)
    say(f"resolving for {', '.join(machine.name for machine in asked.machines)}")
    warnings: list[str] = []
    environment = asyncio.run(
        locked(
            asked,
            data=config.data,
            proxy=config.proxy,
            environ=os.environ,
            token=config.proxy_token,
            tell=say,
            warn=warnings.append,
        )
    )
    with _alone(args.output, config.data):
        before = Lock({**before.environments, **_since(standing, _written(args.output))})
        lock = sealed(Lock({**before.environments, env: environment}))
        write_out(canonical_bytes(lock), args.output)
    _tell(args, before, lock, warnings)
    return 0


def _asked(args: Namespace, found: Inputs, earlier: Environment | None) -> Asked:
    """What files and flags ask for, with what is there already. Raises UsageError."""
    request = merged([found.request, _of_flags(args)])
    if not request.pypi and not request.conda:
        raise UsageError("nothing is asked for", hint="name a file, or packages: --pypi 'numpy>=2' --conda ffmpeg")
    words = args.platform or found.platforms
    machines_asked = tuple(machines.machine(word) for word in words) or found.machines(args.env or _DEFAULT)
    asked = Asked(request, machines_asked or (_this_machine(),), upgrade=_upgrade(args, earlier))
    return replace(asked, found=earlier) if earlier else asked


def _of_flags(args: Namespace) -> Request:
    options = {
        EXCLUDE_NEWER: args.exclude_newer,
        ONLY_BINARY: "yes" if args.only_binary else "",
        INTERPRETER: "files" if args.standalone_python else "",
    }
    if args.exclude_newer:
        moment(args.exclude_newer)
    return Request(
        python=args.python or "",
        pypi=tuple(_requirement(text) for text in args.pypi),
        conda=tuple(args.conda),
        channels=tuple(args.channel),
        indexes=tuple(args.index),
        options={key: value for key, value in options.items() if value},
    )


def _requirement(text: str) -> str:
    """The text, which says which package is meant. Raises UsageError."""
    try:
        requirement = Requirement(text)
    except (InvalidRequirement, RecursionError):
        raise UsageError(f"--pypi {text!r} is not a requirement (PEP 508)", hint="such as 'numpy>=2'") from None
    if problem := rules.place(requirement.url):
        raise UsageError(f"--pypi {text!r} {problem}", hint="name a release, a URL or a git repository")
    return text


def _upgrade(args: Namespace, earlier: Environment | None) -> Upgrade:
    """What may change. Raises UsageError for a name that the lock does not have: it would be for nothing."""
    names = frozenset(name for name in args.upgrade if name)
    known = {package.name for target in earlier.targets for package in target.packages} if earlier else set[str]()
    if unknown := sorted(names - known):
        raise UsageError(
            f"there is no {unknown[0]!r} in the lock to upgrade", hint="--upgrade alone upgrades everything"
        )
    return Upgrade(everything="" in args.upgrade, names=names)


def _this_machine() -> Target:
    names = {"__glibc", "__musl", "__osx", "__cuda"}
    return machines.this_machine(here.platform(os.uname()), here.detect(names))


def _written(output: str | None) -> Lock:
    """The lock that is at the place of the new one; an empty one if there is none. Raises UsageError."""
    place = Path(output) if output else None
    if place is None or not place.is_file():
        return Lock({})
    try:
        return read_lock(place.read_bytes(), place.name)
    except LockRefused as refused:
        raise UsageError(
            f"-o {output} names a file that is no lock, and is left alone: {refused.message}",
            hint="remove it, or write to another one",
        ) from None


def _since(before: Lock, now: Lock) -> dict[str, Environment]:
    """The environments that others have written meanwhile."""
    return {name: found for name, found in now.environments.items() if before.environments.get(name) != found}


@contextmanager
def _alone(output: str | None, data: Path) -> Iterator[None]:
    """Hold off others of this data directory that write to the same file, for a lock is read and then replaced."""
    if output is None:
        yield
        return
    locks = data / "resolve" / "writing"
    locks.mkdir(parents=True, exist_ok=True)
    with held(locks / hashlib.sha256(os.fsencode(Path(output).resolve())).hexdigest()):
        yield


def _tell(args: Namespace, before: Lock, lock: Lock, warnings: Sequence[str]) -> None:
    """What may be amiss and what changed, on stderr, or as JSON too for programs that have the lock in a file."""
    for warning in warnings:
        say(f"warning: {warning}")
    difference = diff(before, lock)
    for line in lines_of(difference):
        say(line)
    if args.output:
        say(f"{args.output}: lock {lock_id(lock)}")
    if args.json:
        print_json({"lock": lock_id(lock), "changed": bool(difference), "warnings": list(warnings)})
