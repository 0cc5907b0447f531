"""What operators ask: alive, ready, metrics, statistics.

Ready means that this process can serve: catalog open, disk writable, not draining. Upstream's health is no part of
it: an upstream outage must not take away the proxies just when their stale answers matter.
"""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import dataclass

from aiohttp import web

from .engine.catalog import Catalog
from .engine.store import BlobStore
from .metrics import Metrics


@dataclass(slots=True)
class State:
    """Where the process is in its life."""

    ready: bool = False
    draining: bool = False


class ServiceRoutes:
    """The handlers of /healthz, /readyz, /metrics and /api/stats."""

    def __init__(self, metrics: Metrics, state: State, catalog: Catalog, store: BlobStore) -> None:
        self._metrics = metrics
        self._state = state
        self._catalog = catalog
        self._store = store

    def add_to(self, app: web.Application) -> None:
        """Register the URLs."""
        app.router.add_get("/healthz", self.alive, name="health")
        app.router.add_get("/readyz", self.ready, name="health.ready")
        app.router.add_get("/metrics", self.metrics, name="metrics")
        app.router.add_get("/api/stats", self.stats, name="stats")

    async def alive(self, _request: web.Request) -> web.Response:
        """The event loop answers."""
        return web.json_response({"status": "alive"})

    async def ready(self, _request: web.Request) -> web.Response:
        """503 while starting or draining, or when the disk or the catalog refuses."""
        why = await self._unready()
        if why:
            return web.json_response({"status": "not ready", "reason": why}, status=503)
        return web.json_response({"status": "ready"})

    async def metrics(self, request: web.Request) -> web.Response:
        """The Prometheus exposition."""
        body, content_type = await asyncio.to_thread(self._metrics.render, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def stats(self, _request: web.Request) -> web.Response:
        """Counts since the start, as JSON (docs/metrics.md)."""
        return web.json_response(self._metrics.snapshot())

    async def _unready(self) -> str:
        if not self._state.ready:
            return "starting"
        if self._state.draining:
            return "draining"
        if self._catalog.damaged:
            return "the catalog is damaged: a restart makes it anew and takes back uploads"
        try:
            await self._catalog.totals()
            partial = await asyncio.to_thread(self._store.create_partial)
            await asyncio.to_thread(partial.close)
        except OSError as error:
            return f"the data directory is not usable: {error.strerror or error}"
        except sqlite3.Error as error:
            return f"the catalog is not usable: {error}"
        return ""
