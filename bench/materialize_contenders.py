"""The three that make an environment of local wheels: envagent, uv and pip, each as the process that it is.

All check the hash of every wheel and write scripts and RECORD. None compiles bytecode unless told to: that is what uv
does by default. Each run is measured with everything that it started: time, CPU time, memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .materialize_corpus import Wheels, sha256

_FREE_BYTES = 350_000_000
_BLOCK_BYTES = 4 << 20
_POLL_S = 0.02
# Settings of this site, and what keeps Python from caching our own modules, as an installed program has them cached.
_OTHERS = ("UV_", "PIP_", "PYTHONDONTWRITEBYTECODE")


@dataclass(frozen=True, slots=True)
class Spent:
    """What a command took, its children included: wall and CPU seconds, the most resident bytes, the last line."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    said: str


@dataclass(frozen=True, slots=True)
class Stand:
    """Where one round plays: `wheels` are the same for all, everything else lies in `root`, which was empty."""

    root: Path
    wheels: Wheels

    def requirements(self) -> Path:
        """The file with pins and hashes."""
        path = self.root.parent / f"{self.wheels.label}.txt"
        if not path.exists():
            path.write_text(self.wheels.requirements())
        return path

    def plan(self) -> Path:
        """The file that bench.materialize_job reads."""
        path = self.root.parent / f"{self.wheels.label}.json"
        if not path.exists():
            path.write_text(json.dumps([[str(wheel), sha256(wheel)] for wheel in self.wheels.paths]))
        return path

    def envagent(self, name: str, *options: str, store: str = "store") -> Spent:
        """Make the environment `name` from a store of this stand, without bytecode unless `options` say more."""
        job = [sys.executable, "-m", "bench.materialize_job", self.plan(), self.root / store, self.root / name]
        return run([*job, "--bytecode", "none", *options])

    def uv(self, name: str) -> Spent:
        """The same by uv, with the cache of this stand; making the empty environment is not charged."""
        uv = Path(sys.executable).with_name("uv")
        env = {"UV_CACHE_DIR": str(self.root / "uv")}
        run([uv, "venv", "--quiet", "--no-config", "--python", sys.executable, self.root / name], env=env)
        folder = self.wheels.paths[0].parent
        sync = [uv, "pip", "sync", "--quiet", "--no-config", "--offline", "--no-index", "--find-links", folder]
        python = ["--require-hashes", "--link-mode", "hardlink", "--python", self.root / name / "bin" / "python"]
        return run([*sync, *python, self.requirements()], env=env)

    def pip(self, name: str) -> Spent:
        """The same by pip."""
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--no-index"]
        where = ["--require-hashes", "--find-links", self.wheels.paths[0].parent, "--target", self.root / name]
        return run([*install, *where, "-r", self.requirements()])


def prime(root: Path) -> None:
    """Fill the memory with clean pages of a file of holes: from now on new pages come from these, at once.

    In a virtual machine the first touch of a page of the host costs more than the rest of its way to the disk, and
    whoever frees memory gives it back to the host a moment later; whoever runs first after that would pay for all.
    """
    holes = root.parent / "holes"
    with holes.open("w+b") as file:
        file.truncate(2 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        block = bytearray(_BLOCK_BYTES)
        while _free_bytes() > _FREE_BYTES and file.readinto(block):
            pass


def _free_bytes() -> int:
    """Of memory that nobody uses for anything (proc_meminfo(5))."""
    told = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemFree:"))
    return int(told.split()[1]) * 1024


def wait_for_errand(store: Path) -> None:
    """Until the process that proves trees behind the caller's back is through: it is no part of what comes next."""
    while not (store / "behind.log").exists():
        time.sleep(_POLL_S)  # noqa: TID251  # there is no loop here, and it is another process's file


def run(argv: list[str | Path], *, env: dict[str, str] | None = None) -> Spent:
    """Run to the end. Raises subprocess.CalledProcessError with what it wrote on stderr."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(_OTHERS)}
    before = os.times()
    began = time.perf_counter()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=mine | (env or {})) as process:
        ended = threading.Event()
        peak: list[int] = [0]
        watch = threading.Thread(target=_watch, args=(process.pid, ended, peak))
        watch.start()
        out, errors = process.communicate()
        took = time.perf_counter() - began
        ended.set()
        watch.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, argv, out, errors)
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return Spent(took, cpu_s, peak[0], out.decode().strip().rpartition("\n")[2])


def _watch(pid: int, ended: threading.Event, peak: list[int]) -> None:
    while not ended.wait(_POLL_S):
        peak[0] = max(peak[0], _resident_bytes(pid))


def _resident_bytes(pid: int) -> int:
    """Of a process and those it started (VmRSS); what they share counts for each."""
    total = 0
    with suppress(OSError):
        total = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(_resident_bytes(int(child)) for child in (task / "children").read_text().split())
    return total
