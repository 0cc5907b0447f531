"""An environment by the agent, through envproxy: locked, made, found again, made a second time from the node store.

Each step is the command that a person would type; the last one runs the environment's own Python.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """What was done, in seconds, and what came of it."""

    name: str
    seconds: float
    result: str


def steps(room: Path, base: str, project: str, *wanted: str) -> Iterator[Step]:
    """The story of an environment of a project of PyPI and of what else is `wanted`, by the proxy at `base`."""
    room.mkdir()
    agent = Agent({**os.environ, "ENVAGENT_DATA": str(room / "agent"), "ENVAGENT_PROXY": base})
    lock, env = str(room / "lock.json"), str(room / "env")
    seconds, _ = agent.timed("lock", "--pypi", project, *wanted, "-o", lock)
    count = len(json.loads(Path(lock).read_bytes())["environments"]["default"]["targets"][0]["packages"])
    yield Step("lock, through the proxy", seconds, f"{count} packages, every byte named")
    for name, prefix in (("materialize, cold", env), ("again", env), ("another, from the store", f"{env}2")):
        seconds, said = agent.timed("materialize", lock, "--prefix", prefix, "--json")
        yield Step(name, seconds, "made" if json.loads(said)["new"] else "found, by one lookup")
    show = f"import {project}, sys; print({project}.__version__, 'on Python', sys.version.split()[0])"
    seconds, said = agent.timed("run", "--lock", lock, "--prefix", env, "--", "python", "-c", show)
    yield Step("run its Python", seconds, f"{project} {said.strip()}")


@dataclass(frozen=True)
class Agent:
    """Calls of `envagent` with these variables."""

    environ: dict[str, str]

    def timed(self, *words: str) -> tuple[float, str]:
        """How many seconds a command took, and what it printed."""
        command = [sys.executable, "-m", "envagent", *words]
        began = time.perf_counter()
        done = subprocess.run(command, check=False, env=self.environ, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"envagent {words[0]} failed: {done.stderr}")
        return time.perf_counter() - began, done.stdout
