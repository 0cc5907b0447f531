"""The ceiling: what aiohttp can do when it has nothing to decide. `python -m bench.ceiling --port PORT ...`.

One process, one port, no middleware, no access log, no look at the request. It sends the very bytes that envproxy
sends: the page from memory, a bare 304, the wheel by `FileResponse`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from aiohttp import web

PAGE, UNCHANGED, WHEEL = "/page", "/unchanged", "/wheel"


def application(page: bytes, content_type: str, etag: str, wheel: Path) -> web.Application:
    """Three handlers. `page` is gzipped."""
    shown = {"Content-Type": content_type, "Content-Encoding": "gzip", "ETag": etag}
    unchanged = {"ETag": etag}

    async def send_page(_request: web.Request) -> web.Response:
        return web.Response(body=page, headers=shown)

    async def send_unchanged(_request: web.Request) -> web.Response:
        return web.Response(status=304, headers=unchanged)

    async def send_wheel(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(wheel)

    app = web.Application()
    app.router.add_get(PAGE, send_page)
    app.router.add_get(UNCHANGED, send_unchanged)
    app.router.add_get(WHEEL, send_wheel)
    return app


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.ceiling")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--page", type=Path, required=True)
    parser.add_argument("--content-type", required=True)
    parser.add_argument("--etag", required=True)
    parser.add_argument("--wheel", type=Path, required=True)
    args = parser.parse_args()
    app = application(args.page.read_bytes(), args.content_type, args.etag, args.wheel)
    web.run_app(app, host="127.0.0.1", port=args.port, access_log=None, print=None, backlog=1024)


if __name__ == "__main__":
    main()
