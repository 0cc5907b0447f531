"""The whole job from a warm proxy: every wheel of a lock fetched, verified and made an environment, beside uv.

Both commands begin with nothing of their own and ask the same envproxy, which has everything; upstream is not asked.
Neither compiles bytecode, which is what uv does by default. uv is given an empty environment, ours makes it. What the
proxy itself takes is the same for both and no part of the CPU time.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import parse_wheel_filename

from envagent.machine import platform as machine

from . import materialize_corpus
from .compare import Finding, at_most, worst
from .contenders import envproxy, simple, upstream
from .materialize_contenders import Spent, prime, run
from .materialize_corpus import Wheels, sha256
from .plan import Plan, Result
from .server import HOST, Server

COLD = at_most(0.9)
WARM = at_most(0.75)
AGAIN_S = at_most(0.05)
OVERLAY_S = at_most(0.15)
ABSENT = "https://files.example.org"  # of the lock: nobody asks there, for the proxy has the file

_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Job:
    """What both are to do: a lock and a requirements file of the same wheels, by way of `proxy`, inside `root`."""

    root: Path
    lock: Path
    requirements: Path
    proxy: Server

    def envagent(self, name: str, *options: str, data: str = "data") -> Spent:
        """The environment `name` as a command."""
        command = [sys.executable, "-m", "envagent", "materialize", self.lock, "--prefix", self.root / name]
        where = ["--data", self.root / data, "--proxy", self.proxy.url, "--no-proxy-fallback", "--no-bytecode"]
        return run([*command, *where, *options], env={"NO_PROXY": HOST})

    def uv(self, name: str) -> Spent:
        """The same by uv; making the empty environment is not charged."""
        uv, env = Path(sys.executable).with_name("uv"), {"UV_CACHE_DIR": str(self.root / "uv"), "NO_PROXY": HOST}
        run([uv, "venv", "--quiet", "--no-config", "--python", sys.executable, self.root / name], env=env)
        sync = [
            uv,
            "pip",
            "sync",
            "--quiet",
            "--no-config",
            "--default-index",
            simple(self.proxy),
            "--require-hashes",
        ]
        where = ["--link-mode", "hardlink", "--python", self.root / name / "bin" / "python"]
        return run([*sync, *where, self.requirements], env=env)


@dataclass(slots=True)
class Rounds:
    """What each way took, round by round."""

    cold: list[Spent] = field(default_factory=list)
    early: list[Spent] = field(default_factory=list)
    uv_cold: list[Spent] = field(default_factory=list)
    warm: list[Spent] = field(default_factory=list)
    uv_warm: list[Spent] = field(default_factory=list)
    again: list[Spent] = field(default_factory=list)
    mounted: list[Spent] = field(default_factory=list)


async def measure(plan: Plan) -> Result:
    """The usual set of wheels, the real ones if they were downloaded."""
    result = Result("whole-job: fetched from a warm proxy and made, as commands")
    kept = plan.scratch.parent
    wheels = await asyncio.to_thread(materialize_corpus.obtain, "mid", kept, live=plan.live, quick=plan.quick)
    assert wheels is not None, "there are synthetic ones at least"
    place = plan.place("whole-job")
    lock, requirements = place / "lock.json", place / "requirements.txt"
    lock.write_text(json.dumps(_lock(wheels)))
    requirements.write_text(wheels.requirements())
    async with upstream(place, [], wheels=wheels.paths[0].parent) as far, envproxy(place, far.url) as ours:
        rounds = await asyncio.to_thread(_rounds, plan, Job(place / "root", lock, requirements, ours))
    result.notes.append(f"{len(wheels.paths)} {'real' if wheels.is_real else 'synthetic'} wheels")
    result.findings += _findings(rounds)
    return result


def _lock(wheels: Wheels) -> dict[str, object]:
    packages = []
    for path in wheels.paths:
        name, version, _, _ = parse_wheel_filename(path.name)
        packages.append(
            {
                "kind": "wheel",
                "name": name,
                "version": str(version),
                "index": "main",
                "filename": path.name,
                "url": f"{ABSENT}/{path.name}",
                "size": path.stat().st_size,
                "sha256": sha256(path),
                "depends": [],
            }
        )
    python = {"kind": "system", "version": platform.python_version()}
    target = {"platform": machine(os.uname()), "interpreter": python, "packages": packages}
    return {"envmesh-lock": 1, "environments": {"default": {"request": {"indexes": ["main"]}, "targets": [target]}}}


def _rounds(plan: Plan, job: Job) -> Rounds:
    rounds = Rounds()
    job.root.mkdir()
    job.envagent("ours")  # fills the proxy's cache, and has the kernel read both programs
    _wait_until_settled(job.root / "data", prefixes=1)
    job.uv("theirs")
    shutil.rmtree(job.root)
    for number in range(plan.rounds):
        job.root.mkdir()
        ways = (_ours, _theirs, _ours_early) if number % 2 == 0 else (_ours_early, _theirs, _ours)
        for way in ways:
            way(job, rounds)
        shutil.rmtree(job.root)
    return rounds


def _ours(job: Job, rounds: Rounds) -> None:
    prime(job.root)
    rounds.cold.append(job.envagent("ours"))
    _wait_until_settled(job.root / "data", prefixes=1)
    rounds.warm.append(job.envagent("ours-2"))
    _wait_until_settled(job.root / "data", prefixes=2)
    rounds.again.append(job.envagent("ours-2"))
    try:
        rounds.mounted.append(job.envagent("ours-overlay", "--link-mode", "overlay"))
    except subprocess.CalledProcessError:
        return  # this machine does not let us mount
    subprocess.run(["umount", job.root / "ours-overlay"], check=True)
    _wait_until_settled(job.root / "data", prefixes=3)


def _ours_early(job: Job, rounds: Rounds) -> None:
    """What uv checks is checked, and the rest behind the caller's back."""
    prime(job.root)
    rounds.early.append(job.envagent("ours-early", "--early", data="data-early"))
    _wait_until_settled(job.root / "data-early", prefixes=1)


def _wait_until_settled(data: Path, *, prefixes: int) -> None:
    """Until what syncs behind the commands is through: it is no part of what comes next."""
    journals = data / "store" / "journal", data / "artifacts" / "journal"
    while not all(map(Path.exists, journals)) or journals[0].read_text().count("prefix-") < prefixes:
        time.sleep(_POLL_S)  # noqa: TID251  # there is no loop here, and it is another process's file


def _theirs(job: Job, rounds: Rounds) -> None:
    prime(job.root)
    rounds.uv_cold.append(job.uv("theirs"))
    rounds.uv_warm.append(job.uv("theirs-2"))


def _findings(rounds: Rounds) -> list[Finding]:
    def pair(what: str, ours: Sequence[Spent], theirs: Sequence[Spent], of: Callable[[Spent], float]) -> Finding:
        bound = {"cold": COLD, "warm": WARM}.get(what)
        return Finding(what, "s", tuple(map(of, ours)), tuple(map(of, theirs)), "uv pip sync", target=bound)

    found = [
        pair("cold", rounds.cold, rounds.uv_cold, lambda spent: spent.wall_s),
        pair("cold, RECORD proven later", rounds.early, rounds.uv_cold, lambda spent: spent.wall_s),
        pair("cold, CPU time", rounds.cold, rounds.uv_cold, lambda spent: spent.cpu_s),
        pair("warm", rounds.warm, rounds.uv_warm, lambda spent: spent.wall_s),
        pair("warm, CPU time", rounds.warm, rounds.uv_warm, lambda spent: spent.cpu_s),
        worst("cold, peak memory", "MB", [spent.peak_bytes / 1e6 for spent in rounds.cold]),
        worst("the same again", "s", [spent.wall_s for spent in rounds.again], AGAIN_S),
    ]
    if rounds.mounted:
        found.append(worst("overlay", "s", [spent.wall_s for spent in rounds.mounted], OVERLAY_S))
    return found
