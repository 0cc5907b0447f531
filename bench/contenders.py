"""Who is measured: envproxy, the ceiling, and the peers, each in front of the same upstream.

A peer that is not installed, or does not do its job here, raises `Missing` with the reason; it is skipped, never
replaced by a guess. Each is started as its own documentation says, with its access log on where that is its default.
"""

from __future__ import annotations

import base64
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urldefrag, urljoin

import aiohttp

from . import ceiling as bare
from .corpus import NUMPY, NUMPY_WHEEL, WHEEL_BYTES
from .server import Command, Server, finished, free_port, running
from .upstream import JSON

HERE = Path(__file__).parent
PEERS = HERE.parent / ".bench"
ASK_PAGE = {"Accept": JSON, "Accept-Encoding": "gzip"}


class Missing(Exception):
    """Why a peer cannot take part."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A warm server and where its copy of the page and of the wheel are."""

    server: Server
    page_url: str
    wheel_url: str


@dataclass(frozen=True, slots=True)
class Sent:
    """What came; the body still compressed."""

    body: bytes
    content_type: str
    etag: str


@asynccontextmanager
async def upstream(
    place: Path, shelves: Sequence[str], *, latency_s: float = 0.0, rate: float | None = None,
    cold_files: int = 1, cold_bytes: int = 1_000_000, wheels: Path | None = None,
) -> AsyncIterator[Server]:  # fmt: skip
    """The far index with these shelves, and the wheels of a directory."""
    port = free_port()
    argv = [sys.executable, "-m", "bench.upstream", "--port", str(port), "--latency", str(latency_s)]
    argv += [part for shelf in shelves for part in ("--shelf", shelf)]
    argv += ["--cold-files", str(cold_files), "--cold-bytes", str(cold_bytes)]
    argv += ["--rate", str(rate)] if rate else []
    argv += ["--wheels", str(wheels)] if wheels else []
    log = place / "upstream.log"
    async with running("upstream", argv, port=port, ready="/-/ready", log=log, env=importing_bench()) as server:
        yield server


@asynccontextmanager
async def envproxy(place: Path, upstream_url: str | None) -> AsyncIterator[Server]:
    """Ours, on its default configuration: only socket, directory and upstream (None: the built-in one) are given."""
    port = free_port()
    serve = [sys.executable, "-m", "envproxy", "serve", "--listen", f"127.0.0.1:{port}"]
    argv: Command = [*serve, "--data", place / "data"]
    if upstream_url:
        env = {"ENVPROXY_PYPI_UPSTREAMS_PYPI_URL": f"{upstream_url}/simple/"}
    else:  # the way to the public index may need this site's certificates and forward proxies
        env = {name: value for name, value in os.environ.items() if not name.startswith("ENVPROXY_")}
    async with running("envproxy", argv, port=port, ready="/readyz", log=place / "envproxy.log", env=env) as server:
        yield server


@asynccontextmanager
async def warm_envproxy(place: Path, upstream_url: str) -> AsyncIterator[Contender]:
    """Ours, with page and wheel at hand."""
    async with envproxy(place, upstream_url) as server:
        yield await _warmed(server, f"{simple(server)}{NUMPY}/")


def simple(server: Server) -> str:
    """The index URL of an envproxy."""
    return f"{server.url}/pypi/main/simple/"


@asynccontextmanager
async def ceiling(place: Path, page: Sent, wheel: Path) -> AsyncIterator[Contender]:
    """Bare aiohttp that sends `page` and `wheel`."""
    body = place / "page.gz"
    body.write_bytes(page.body)
    port = free_port()
    argv: Command = [
        sys.executable, "-m", "bench.ceiling", "--port", str(port), "--page", body, "--wheel", wheel,
        "--content-type", page.content_type, "--etag", page.etag,
    ]  # fmt: skip
    log = place / "ceiling.log"
    async with running("ceiling", argv, port=port, ready=bare.PAGE, log=log, env=importing_bench()) as server:
        yield Contender(server, server.url + bare.PAGE, server.url + bare.WHEEL)


@asynccontextmanager
async def nginx(place: Path, upstream_url: str) -> AsyncIterator[Contender]:
    """Debian's nginx with bench/nginx.conf."""
    async with running_nginx(place, "nginx.conf", {"@UPSTREAM@": upstream_url}) as server:
        yield await _warmed(server, f"{server.url}/simple/{NUMPY}/")


@asynccontextmanager
async def running_nginx(place: Path, template: str, marks: Mapping[str, str]) -> AsyncIterator[Server]:
    """Debian's nginx with a configuration out of bench/, its marks filled in."""
    binary = shutil.which("nginx", path=os.environ["PATH"] + os.pathsep + "/usr/sbin")
    if binary is None:
        raise Missing("nginx is not installed: run sh bench/setup.sh as root")
    port = free_port()
    settings = (HERE / template).read_text()
    user = "user root;" if os.geteuid() == 0 else ""  # the scratch directory is ours alone
    for mark, value in {**marks, "@PLACE@": str(place), "@PORT@": str(port), "@USER@": user}.items():
        settings = settings.replace(mark, value)
    file = place / "nginx.conf"
    file.write_text(settings)
    argv: Command = [binary, "-e", place / "error.log", "-c", file]
    async with running("nginx", argv, port=port, ready="/-/ready", log=place / "nginx.log") as server:
        yield server


@asynccontextmanager
async def devpi(place: Path, upstream_url: str) -> AsyncIterator[Contender]:
    """The devpi-server on its defaults, with one mirror index."""
    home = _installed("devpi", "devpi-server")
    port = free_port()
    data: Command = ["--serverdir", place / "data"]
    await finished([home / "devpi-init", *data, "--no-root-pypi"], log=place / "init.log")
    argv: Command = [home / "devpi-server", *data, "--host", "127.0.0.1", "--port", str(port)]
    async with running("devpi", argv, port=port, ready="/+api", log=place / "devpi.log") as server:
        await _add_mirror(server.url, f"{upstream_url}/simple/")
        yield await _warmed(server, f"{server.url}/root/far/+simple/{NUMPY}/")


@asynccontextmanager
async def proxpi(place: Path, upstream_url: str) -> AsyncIterator[Contender]:
    """The proxpi under gunicorn, one worker with two threads, as its image runs it."""
    home = _installed("proxpi", "gunicorn")
    port = free_port()
    env = {"PROXPI_INDEX_URL": f"{upstream_url}/simple/", "PROXPI_CACHE_DIR": str(place / "data")}
    argv: Command = [
        home / "gunicorn", "--workers", "1", "--threads", "2", "--bind", f"127.0.0.1:{port}",
        "--access-logfile", "-", "proxpi.server:app",
    ]  # fmt: skip
    async with running("proxpi", argv, port=port, ready="/health", log=place / "proxpi.log", env=env) as server:
        yield await _warmed(server, f"{server.url}/index/{NUMPY}/")


async def fetch(url: str, headers: Mapping[str, str]) -> Sent:
    """A body as it comes, still compressed."""
    async with aiohttp.ClientSession(auto_decompress=False) as session, session.get(url, headers=headers) as got:
        got.raise_for_status()
        return Sent(await got.read(), got.headers["Content-Type"], got.headers.get("ETag", ""))


async def find_file(page_url: str, filename: str) -> str:
    """The URL of a file, from the page that lists it."""
    async with aiohttp.ClientSession() as session, session.get(page_url, headers=ASK_PAGE) as got:
        got.raise_for_status()
        files = (await got.json(content_type=None))["files"]
    link: str = next(file["url"] for file in files if file["filename"] == filename)
    return urldefrag(urljoin(page_url, link)).url


async def _warmed(server: Server, page_url: str) -> Contender:
    wheel_url = await find_file(page_url, NUMPY_WHEEL)
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            async with session.get(wheel_url, allow_redirects=False) as got:
                size = len(await got.read())
            if (got.status, size) != (200, WHEEL_BYTES):
                raise Missing(f"{server.name} answered {got.status} with {size} bytes for the wheel")
    return Contender(server, page_url, wheel_url)


async def _add_mirror(origin: str, simple_url: str) -> None:
    async with aiohttp.ClientSession(origin) as session:
        async with session.post("/+login", json={"user": "root", "password": ""}) as got:
            token = (await got.json())["result"]["password"]
        credentials = base64.b64encode(f"root:{token}".encode()).decode()
        index = {"type": "mirror", "mirror_url": simple_url}
        async with session.put("/root/far", json=index, headers={"X-Devpi-Auth": credentials}) as got:
            if got.status != 200:
                raise Missing(f"devpi answered {got.status} when asked for a mirror: {await got.text()}")


def _installed(name: str, command: str) -> Path:
    home = PEERS / name / "bin"
    if not (home / command).exists():
        raise Missing(f"{name} is not installed: see whether sh bench/install.sh works")
    return home


def importing_bench() -> dict[str, str]:
    """The environment of a process that is a module of bench/."""
    return {"PYTHONPATH": str(HERE.parent)}
