"""Packages that take seconds to make, made once a session and shared by all its workers; and patience."""

from __future__ import annotations

import fcntl
import os
import pickle
from typing import TYPE_CHECKING, TypeVar

import pytest

from envproxy.engine import known
from fixtures.conda_dists import compiled
from fixtures.conda_pythons import CannotMoveError, interpreters, python_package
from fixtures.team import running_team
from fixtures.visitor import visiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from fixtures.conda_packages import Package
    from fixtures.proxy import LocalProxy
    from fixtures.visitor import Visitor

T = TypeVar("T")
COMPILED = ("msgpack", "msgspec")


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for news gets them, also on a machine so loaded that they take longer than a client would wait."""
    monkeypatch.setattr(known, "ASK_WAIT_S", known.FIRST_WAIT_S)


@pytest.fixture
async def team(tmp_path: Path) -> AsyncIterator[LocalProxy]:
    """A proxy with the hosted channel `team`."""
    async with running_team(tmp_path) as proxy:
        yield proxy


@pytest.fixture
async def visitor(team: LocalProxy) -> AsyncIterator[Visitor]:
    """A client of that channel, unless a module has others."""
    async with visiting(team.channel("team")) as visitor:
        yield visitor


@pytest.fixture(scope="session")
def pythons(tmp_path_factory: pytest.TempPathFactory) -> list[Package]:
    """The CPython that runs the tests, and a second one if this machine has it; skips where the first cannot move."""
    made: list[Package] | str = _made_once(_shared(tmp_path_factory), "pythons", _pythons)
    if isinstance(made, str):
        pytest.skip(made)
    return made


@pytest.fixture(scope="session")
def python(pythons: list[Package]) -> Package:
    """The CPython that runs the tests, as a package."""
    return pythons[0]


@pytest.fixture(scope="session")
def libraries(python: Package) -> list[Package]:
    """Packages with compiled code for `python`."""
    return [compiled(name, site_packages=python.index["python_site_packages_path"]) for name in COMPILED]


def _pythons() -> list[Package] | str:
    found = interpreters()
    try:
        packages = [python_package(next(found))]
    except CannotMoveError as error:
        return str(error)
    for other in found:
        try:
            return [*packages, python_package(other)]
        except CannotMoveError:
            continue
    return packages


def _shared(factory: pytest.TempPathFactory) -> Path:
    """A directory of this session that its workers have in common."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def _made_once(directory: Path, name: str, make: Callable[[], T]) -> T:
    """What `make` returns, from the worker that came first."""
    kept = directory / f"{name}.pickle"
    with (directory / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_bytes(pickle.dumps(make()))
    return pickle.loads(kept.read_bytes())
