"""The main job, once through: a real project's dependencies, installed by uv and by pip through envproxy.

For each client: cold (nothing cached), warm (the proxy has it), and cut off (the proxy restarted with an upstream
that does not exist). Clients start without caches of their own each time. Prints where every file came from.
"""

from __future__ import annotations

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

from rich.console import Console
from rich.table import Table
from uv import find_uv_bin

PROJECT = "datasette"  # a real web application with some twenty-five dependencies
NOWHERE = "http://127.0.0.1:9/simple/"  # the discard port: nobody listens
CLIENTS = ("uv", "pip")


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
    subprocess.run(commands[client], check=True, env=clean)


def measured(client: str, phase: str, base: str, room: Path) -> Row:
    """One install, and what it made the proxy do."""
    before, began = stats(base), time.perf_counter()
    install(client, base, room / f"{client}-{phase}")
    seconds, after = time.perf_counter() - began, stats(base)
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


def show(rows: list[Row]) -> None:
    """The table."""
    table = Table(title=f"{PROJECT} and its dependencies, through envproxy")
    for heading in ("client", "proxy is", "seconds", "files from cache", "files from upstream", "upstream requests",
                    "MB from upstream"):  # fmt: skip
        table.add_column(heading, justify="left" if heading in ("client", "proxy is") else "right")
    for row in rows:
        table.add_row(
            row.client, row.phase, f"{row.seconds:.1f}", str(row.cached), str(row.fetched), str(row.upstream),
            f"{row.megabytes:.1f}",
        )  # fmt: skip
    console = Console()
    console.print(table)
    console.print("Warm installs asked upstream for nothing; the last ones ran with no upstream at all.")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="envmesh-demo-") as directory:
        show(run(Path(directory)))
