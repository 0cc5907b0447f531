"""The upstream of the benchmarks, a process of its own: `python -m bench.upstream --port PORT --shelf numpy ...`.

It behaves as the public index does towards an installer (JSON, gzip, ETag, max-age, sidecars, absolute links) and
adds what distance adds: `--latency` seconds before each answer, and a line of `--rate` bytes a second that **all**
connections share, first come, first served, as they would share an office's uplink. It counts requests by path.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

from . import corpus
from .corpus import Body, Project

JSON = "application/vnd.pypi.simple.v1+json"
COUNTS = "/-/requests"
PIECE_BYTES = 64 * 1024
BURST_S = 0.002  # what the line makes up for after a sleep that was too long: timers are no finer


class Line:
    """Bytes pass at `rate` a second (None: at once), in the order in which they were handed in."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._free_at = 0.0

    async def carry(self, size: int) -> None:
        """Return when `size` bytes have passed."""
        if self._rate is None:
            return
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now - BURST_S) + size / self._rate
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)


class FarIndex:
    """The handlers. `origin` is its own URL."""

    def __init__(self, projects: list[Project], *, origin: str, latency_s: float, rate: float | None) -> None:
        self._counts: Counter[str] = Counter()
        self._latency_s = latency_s
        self._line = Line(rate)
        self._listing = corpus.listing([project.name for project in projects])
        self._pages = {project.name: corpus.page(project, f"{origin}/packages") for project in projects}
        self._zipped = {name: gzip.compress(page, mtime=0) for name, page in self._pages.items()}
        self._bodies: dict[str, Body] = {
            f"{entry.path}{suffix}": body
            for project in projects
            for entry in project.entries
            for suffix in ("", ".metadata")
            if (body := project.bodies.get(entry.filename + suffix)) is not None
        }

    def app(self) -> web.Application:
        """The application."""
        app = web.Application()
        app.router.add_get("/-/ready", self.ready)
        app.router.add_get(COUNTS, self.counts)
        app.router.add_get("/simple/", self.index)
        app.router.add_get("/simple/{project}/", self.project)
        app.router.add_get("/packages/{path:.+}", self.file)
        return app

    async def ready(self, _request: web.Request) -> web.Response:
        """Everything is built."""
        return web.Response()

    async def counts(self, _request: web.Request) -> web.Response:
        """How often each method and path was asked for."""
        return web.json_response(self._counts)

    async def index(self, request: web.Request) -> web.StreamResponse:
        """Every project."""
        return await self._send(request, (self._listing,), {"Content-Type": JSON})

    async def project(self, request: web.Request) -> web.StreamResponse:
        """One page."""
        name = request.match_info["project"]
        if name not in self._pages:
            raise web.HTTPNotFound
        zipped = "gzip" in request.headers.get("Accept-Encoding", "")
        body = (self._zipped if zipped else self._pages)[name]
        headers = {"Content-Type": JSON, "Cache-Control": "max-age=600, public", "Vary": "Accept, Accept-Encoding"}
        headers["ETag"] = f'"{hashlib.sha256(body).hexdigest()}"'
        if zipped:
            headers["Content-Encoding"] = "gzip"
        return await self._send(request, (body,), headers)

    async def file(self, request: web.Request) -> web.StreamResponse:
        """One file or sidecar."""
        body = self._bodies.get(request.match_info["path"])
        if body is None:
            raise web.HTTPNotFound
        headers = {
            "Content-Type": "application/octet-stream",
            "Cache-Control": "max-age=365000000, immutable, public",
        }
        return await self._send(request, body, headers)

    async def _send(self, request: web.Request, body: Body, headers: dict[str, str]) -> web.StreamResponse:
        self._counts[f"{request.method} {request.path}"] += 1
        await asyncio.sleep(self._latency_s)
        response = web.StreamResponse(headers=headers)
        response.content_length = sum(len(piece) for piece in body)
        await response.prepare(request)
        if request.method != "HEAD":
            for piece in _pieces(body):
                await self._line.carry(len(piece))
                await response.write(piece)
        await response.write_eof()
        return response


def _pieces(body: Body) -> Iterator[memoryview]:
    for part in body:
        whole = memoryview(part)
        for start in range(0, len(whole), PIECE_BYTES):
            yield whole[start : start + PIECE_BYTES]


def _stock(args: argparse.Namespace) -> list[Project]:
    projects: list[Project] = list(corpus.wheels(args.wheels)) if args.wheels else []
    for shelf in args.shelf:
        match shelf:
            case "numpy":
                projects.append(corpus.numpy())
            case "tree":
                projects.extend(corpus.tree())
            case "huge":
                projects.append(corpus.huge())
            case _:
                projects.append(corpus.cold(args.cold_files, args.cold_bytes))
    return projects


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.upstream")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--shelf", action="append", choices=("numpy", "tree", "huge", "cold"), default=[])
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="also the wheels in this directory")
    parser.add_argument("--cold-files", type=int, default=1)
    parser.add_argument("--cold-bytes", type=int, default=corpus.WHEEL_BYTES)
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--rate", type=float, metavar="BYTES_PER_SECOND")
    args = parser.parse_args()
    index = FarIndex(_stock(args), origin=f"http://127.0.0.1:{args.port}", latency_s=args.latency, rate=args.rate)
    web.run_app(index.app(), host="127.0.0.1", port=args.port, access_log=None, print=None, backlog=1024)


if __name__ == "__main__":
    main()
