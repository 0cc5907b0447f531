"""The far channel, a process of its own: `python -m bench.conda_upstream --port PORT --root DIR ...`.

A directory, served as a CDN serves a flat channel: ETag, 304, max-age, no shards; or, once it was told so, without
validators. Latency and the shared line are those of `bench.upstream`. It counts requests by path, and the bytes of
bodies that it sent.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from pathlib import Path

from aiohttp import web

from .upstream import PIECE_BYTES, Line

SENT = "/-/sent"
VALIDATORS = "/-/validators"


class FarChannel:
    """The handlers."""

    def __init__(self, root: Path, *, latency_s: float, rate: float | None) -> None:
        self._root = root
        self._latency_s = latency_s
        self._line = Line(rate)
        self._requests: Counter[str] = Counter()
        self._sent = 0
        self._validates = True

    def app(self) -> web.Application:
        """The application."""
        app = web.Application()
        app.router.add_get("/-/ready", self.ready)
        app.router.add_get(SENT, self.sent)
        app.router.add_put(VALIDATORS, self.give_validators)
        app.router.add_delete(VALIDATORS, self.take_validators)
        app.router.add_get("/{subdir}/{filename}", self.file)
        return app

    async def ready(self, _request: web.Request) -> web.Response:
        """It listens."""
        return web.Response()

    async def sent(self, _request: web.Request) -> web.Response:
        """What was asked for, and how many bytes of bodies went out."""
        return web.json_response({"requests": self._requests, "bytes": self._sent})

    async def give_validators(self, _request: web.Request) -> web.Response:
        """From now on answers have an ETag."""
        self._validates = True
        return web.Response()

    async def take_validators(self, _request: web.Request) -> web.Response:
        """From now on they have none, and nothing is ever unchanged."""
        self._validates = False
        return web.Response()

    async def file(self, request: web.Request) -> web.StreamResponse:
        """One file."""
        self._requests[f"{request.method} {request.path}"] += 1
        await asyncio.sleep(self._latency_s)
        path = self._root / request.match_info["subdir"] / request.match_info["filename"]
        if not path.is_file():
            raise web.HTTPNotFound
        status = path.stat()
        headers = {"Cache-Control": "public, max-age=600"}
        if self._validates:
            headers["ETag"] = f'"{status.st_mtime_ns:x}"'
            if request.headers.get("If-None-Match") == headers["ETag"]:
                return web.Response(status=304, headers=headers)
        response = web.StreamResponse(headers=headers)
        response.content_length = status.st_size
        await response.prepare(request)
        if request.method != "HEAD":
            await self._send(path, response)
        await response.write_eof()
        return response

    async def _send(self, path: Path, response: web.StreamResponse) -> None:
        with path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                await self._line.carry(len(piece))
                await response.write(piece)
                self._sent += len(piece)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.conda_upstream")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--rate", type=float, metavar="BYTES_PER_SECOND")
    args = parser.parse_args()
    channel = FarChannel(args.root, latency_s=args.latency, rate=args.rate)
    web.run_app(channel.app(), host="127.0.0.1", port=args.port, access_log=None, print=None, backlog=1024)


if __name__ == "__main__":
    main()
