"""The main job, once through: a real project's dependencies, installed by uv and by pip through envproxy, a Conda
environment made by py-rattler, an environment locked and made by the agent, and three nodes that share what they get.

For each client: cold (nothing cached), warm (the proxy has it), and cut off (the proxy restarted with an upstream
that does not exist). Clients start without caches of their own each time. Prints where every file came from. Where
PyPI cannot be reached it says so, and shows what goes without: the Conda part.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_environment import Step, steps
from conda_environment import CONDA_FORGE, Channel, create, is_reachable, stand_in
from rich.console import Console
from rich.table import Column, Table
from swarm_nodes import SETTINGS, WANTED, Share, can_reach_pypi, origin_ratio, together
from uv import find_uv_bin

PROJECT = "datasette"  # a real web application with some twenty-five dependencies
NOWHERE = "http://127.0.0.1:9/simple/"  # the discard port: nobody listens
CLIENTS = ("uv", "pip")
WITHOUT_PYPI = """PyPI cannot be reached from here: the installs by uv and pip, the agent and the swarm are left out.
If this machine has a mirror of it, name that: ENVPROXY_PYPI_UPSTREAMS_PYPI_URL=https://mirror.example.org/simple/
"""


@dataclass(frozen=True)
class Row:
    """What one install did: seconds, files from the cache and from upstream, requests that reached upstream."""

    client: str
    phase: str
    seconds: float
    cached: int
    fetched: int
    upstream: int
    megabytes: float


@contextmanager
def proxy(data: Path, **settings: str) -> Iterator[str]:
    """A proxy on a free port for as long as the block lasts; gives its base URL."""
    command = [sys.executable, "-m", "envproxy", "serve", "--listen", "127.0.0.1:0", "--data", str(data)]
    environ = {**os.environ, "ENVPROXY_LOG_ACCESS": "false", "ENVPROXY_LOG_LEVEL": "error", **settings}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise SystemExit("the proxy did not start; its message is above")
            yield line.split(" on ")[1].split("/pypi/")[0]
        finally:
            process.terminate()


def stats(base: str) -> dict[str, Any]:
    """The proxy's counts so far."""
    with urllib.request.urlopen(f"{base}/api/stats") as answer:
        return json.load(answer)


def files(counts: dict[str, Any], result: str) -> int:
    """Files and their metadata that were served with `result`."""
    return sum(counts["cache"][kind][result] for kind in ("artifact", "metadata"))


def install(client: str, base: str, target: Path) -> None:
    """Install PROJECT into an empty directory, through the proxy, without the client's own cache."""
    index = f"{base}/pypi/main/simple/"
    commands = {
        "uv": [find_uv_bin(), "pip", "install", "--quiet", "--no-cache", "--no-config", "--target", str(target),
               "--python", sys.executable, "--index-url", index, PROJECT],
        "pip": [sys.executable, "-m", "pip", "--isolated", "install", "--quiet", "--no-cache-dir",
                "--disable-pip-version-check", "--target", str(target), "--index-url", index, PROJECT],
    }  # fmt: skip
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    if subprocess.run(commands[client], check=False, env=clean).returncode:
        raise SystemExit(f"{client} could not install {PROJECT}; its message is above")


def measured(client: str, phase: str, base: str, room: Path) -> Row:
    """One install, and what it made the proxy do."""
    before, began = stats(base), time.perf_counter()
    install(client, base, room / f"{client}-{phase}")
    return row(client, phase, began, before, stats(base))


def row(client: str, phase: str, began: float, before: dict[str, Any], after: dict[str, Any]) -> Row:
    """What happened between two statistics."""
    seconds = time.perf_counter() - began
    cached, fetched = (files(after, result) - files(before, result) for result in ("hit", "miss"))
    asked = sum(after["upstream_requests"].values()) - sum(before["upstream_requests"].values())
    megabytes = (sum(after["upstream_bytes"].values()) - sum(before["upstream_bytes"].values())) / 1e6
    return Row(client, phase, seconds, cached, fetched, asked, megabytes)


def run(room: Path) -> list[Row]:
    """All installs."""
    rows = []
    for client in CLIENTS:
        data = room / f"data-{client}"
        with proxy(data) as base:
            rows += [measured(client, phase, base, room) for phase in ("cold", "warm")]
        with proxy(data, ENVPROXY_PYPI_UPSTREAMS_PYPI_URL=NOWHERE) as base:
            rows.append(measured(client, "cut off", base, room))
    return rows


async def conda(room: Path, console: Console, *, with_pypi: bool) -> tuple[list[Row], list[Step]]:
    """Environments on three machines that know nothing of each other: proxy cold, warm, and cut off.

    Then one by the agent, with a package of PyPI in it, if there is a PyPI.
    """
    with proxy(room / "data-forge") as base:
        if await is_reachable(base, CONDA_FORGE, room / "probe"):
            rows = await conda_rows(room, CONDA_FORGE)
            return rows, await mixed(room, CONDA_FORGE) if with_pypi else []
    console.print("conda-forge cannot be reached from here: a channel of real packages on this machine stands in.")
    async with stand_in() as channel:
        rows = await conda_rows(room, channel)
        found = await mixed(room, channel) if with_pypi else []
    await asyncio.sleep(0.2)  # py-rattler's runtime closes down; an interpreter that ends under it can crash
    return rows, found


async def conda_rows(room: Path, channel: Channel) -> list[Row]:
    """The environments, from one channel."""
    rows = []
    for phase in ("cold", "warm", "cut off"):
        upstream = NOWHERE if phase == "cut off" else channel.url
        with proxy(room / "data-conda", **{channel.variable: upstream}) as base:
            before, began = await asyncio.to_thread(stats, base), time.perf_counter()
            await create(base, channel, room / f"machine-{phase}")
            rows.append(row("py-rattler", phase, began, before, await asyncio.to_thread(stats, base)))
    return rows


async def mixed(room: Path, channel: Channel) -> list[Step]:
    """Conda's Python, and a package of PyPI beside Conda's own; nothing where the stand-in has no Python."""
    if not channel.proof:
        return []
    specs = [word for spec in channel.specs for word in ("--conda", spec)]
    with proxy(room / "data-mixed", **{channel.variable: channel.url}) as base:
        words = (room / "mixed", base, "idna", "--channel", channel.name, *specs)
        return await asyncio.to_thread(lambda: list(steps(*words)))


async def swarm(room: Path, console: Console) -> None:
    """Nodes that want the same files at once, behind a proxy that has none of them."""
    with proxy(room / "data-swarm", **SETTINGS) as base:
        shares = await together(room, base)
    count, ratio = len(shares), origin_ratio(shares)
    show_shares(f"{' and '.join(WANTED)} on {count} nodes at once, through the swarm", shares, console)
    console.print(f"Origin ratio {ratio:.2f}: each byte left the proxy {ratio:.2f} times for {count} nodes.")


def show(title: str, rows: list[Row], console: Console) -> None:
    """The table."""
    table = Table(title=title)
    for heading in ("client", "proxy is", "seconds", "files from cache", "files from upstream", "upstream requests",
                    "MB from upstream"):  # fmt: skip
        is_name = heading in ("client", "proxy is")
        table.add_column(heading, justify="left" if is_name else "right", no_wrap=is_name)
    for one in rows:
        table.add_row(
            one.client, one.phase, f"{one.seconds:.1f}", str(one.cached), str(one.fetched), str(one.upstream),
            f"{one.megabytes:.1f}",
        )  # fmt: skip
    console.print(table)


def show_steps(title: str, found: list[Step], console: Console) -> None:
    """The agent's table."""
    table = Table("envagent", Column("seconds", justify="right"), "result", title=title)
    for step in found:
        table.add_row(step.name, f"{step.seconds:.2f}", step.result)
    console.print(table)


def show_shares(title: str, shares: list[Share], console: Console) -> None:
    """The nodes' table."""
    headings = ("files", "MB from origin", "MB from peers", "seconds")
    table = Table("node", *(Column(heading, justify="right") for heading in headings), title=title)
    for one in shares:
        origin, peers = (f"{size / 1e6:.1f}" for size in (one.from_origin, one.from_peers))
        table.add_row(one.node, str(one.files), origin, peers, f"{one.seconds:.1f}")
    console.print(table)


def project(room: Path) -> list[Step]:
    """The project's environment, by the agent."""
    with proxy(room / "data-agent") as base:
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        return list(steps(room / "project", base, PROJECT, "--python", python))


def main(room: Path) -> None:
    """All of it, or what goes without PyPI."""
    console = Console()
    with proxy(room / "data-probe") as base:
        has_pypi = asyncio.run(can_reach_pypi(base))
    if has_pypi:
        show(f"{PROJECT} and its dependencies, through envproxy", run(room), console)
    else:
        console.print(WITHOUT_PYPI)
    rows, both = asyncio.run(conda(room, console, with_pypi=has_pypi))
    show("a Conda environment, through envproxy", rows, console)
    if has_pypi:
        show_steps(f"{PROJECT}, by the agent", project(room), console)
    if both:
        show_steps("Conda and PyPI in one prefix, by the agent", both, console)
    console.print("Warm installs fetched nothing from upstream; the cut-off ones ran with no upstream at all.")
    if has_pypi:
        asyncio.run(swarm(room, console))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="envmesh-demo-") as directory:
        main(Path(directory))
