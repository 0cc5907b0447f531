"""From what is asked for to a Python that runs: Conda, PyPI and a source in one environment, by the command line."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fixtures.agent import Agent
from fixtures.conda_packages import File, make_conda
from fixtures.conda_pythons import CannotMoveError, interpreters, python_package
from fixtures.sources import sdist
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.channel import FakeChannel
    from fixtures.conda_packages import Package
    from fixtures.proxy import LocalProxy
    from fixtures.upstream import FakeIndex

QUESTION = (
    "import alpha, built, numlike; from importlib.metadata import version as v; "
    "print(numlike.KIND, v('numlike'), v('alpha'), v('built'))"
)


def _numlike() -> Package:
    info = "site-packages/numlike-1.26.dist-info"
    files = {
        "site-packages/numlike.py": File(b"KIND = 'of conda'\n"),
        f"{info}/METADATA": File(b"Metadata-Version: 2.1\nName: numlike\nVersion: 1.26\n"),
        f"{info}/RECORD": File(b"numlike.py,,\n"),
    }
    return make_conda("py-numlike", "1.26", noarch="python", depends=["python"], files=files)


async def test_conda_pypi_and_a_source_run_together_and_nothing_is_there_twice(
    tmp_path: Path, index: FakeIndex, channel: FakeChannel, proxy: LocalProxy
) -> None:
    try:
        python = await asyncio.to_thread(lambda: python_package(next(interpreters())))
    except CannotMoveError as error:
        pytest.skip(str(error))
    channel.add(python, _numlike())
    index.add(make_wheel("alpha", "1.0", requires=["numlike>=1", "built"]), make_wheel("numlike", "2.0"))
    index.add(sdist("built", "2.0"))
    agent = Agent(tmp_path, {"ENVAGENT_PROXY": proxy.url})
    asked = ("--conda", "py-numlike", "--channel", "demo", "--pypi", "alpha")
    locked = await agent.run("lock", *asked, "-o", tmp_path / "lock.json")
    assert locked.code == 0, locked.err
    said = await agent.run("run", "--lock", tmp_path / "lock.json", "--", "python", "-c", QUESTION)
    assert (said.code, said.out) == (0, "of conda 1.26 1.0 2.0\n"), said.err
