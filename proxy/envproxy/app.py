"""The composition root: every part of the proxy, built in dependency order and taken down in reverse.

`build` makes the application from a configuration; what lives long hangs on its cleanup contexts. Nothing is loaded
at start and no upstream is asked, so a proxy is ready at once, also without a network.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from aiohttp import web
from prometheus_client import CollectorRegistry

from . import __version__
from .auth import Gate, Grant
from .conda.assemble import Conda
from .conda.assemble import assemble as assemble_conda
from .conda.routes import CondaRoutes
from .conda.upload import CondaUploadRoutes
from .demands import say_vary
from .engine.artifacts import Artifacts
from .engine.catalog import FILENAME, BlobKind, Catalog
from .engine.credentials import Credentials
from .engine.evict import Evictor, Limits
from .engine.flights import Flights, Tasks
from .engine.store import BlobStore
from .engine.upstream import Upstream
from .files.assemble import assemble as assemble_files
from .files.collection import Collection
from .files.routes import FilesRoutes
from .foundation import Engine
from .logs import LineBuffer
from .metrics import Metrics, watch_loop_lag
from .middleware import AccessLog, observe
from .origins import OriginRoutes
from .policy import Policy
from .problems import problems
from .pypi.admission import Admission
from .pypi.files import Files
from .pypi.front import Front
from .pypi.hosted import HostedSource
from .pypi.index import CacheResult, Index
from .pypi.listing import Listing, Made
from .pypi.owners import Owners
from .pypi.routes import PypiRoutes
from .pypi.shelf import Ready, Shelf
from .pypi.sidecars import Sidecars
from .pypi.source import MirroredSource, Source
from .pypi.upload import UploadRoutes
from .reporter import CountingReporter
from .scrubs import ScrubCounts
from .service import ServiceRoutes, State
from .swarm.assemble import assemble as assemble_swarm
from .swarm.routes import SwarmRoutes
from .tables import Config, IndexConfig, UpstreamConfig
from .trust import logins_of, no_login, tls_of

LOOK_AROUND_S = 1.0  # how often the catalog is looked at for edits by the CLI
LAG_INTERVAL_S = 1.0
BLOB_LABELS: Final[Mapping[BlobKind, str]] = {"artifact": "artifact", "metadata": "metadata", "listing": "index"}

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Parts:
    """What the application is made of; tests and the demo look inside."""

    config: Config
    metrics: Metrics
    catalog: Catalog
    store: BlobStore
    artifacts: Artifacts
    tasks: Tasks
    shelf: Shelf
    files: Files
    upstreams: list[Upstream]
    indexes: dict[str, Index]
    listings: dict[str, Listing]
    conda: Conda
    collections: dict[str, Collection]
    swarm: SwarmRoutes | None
    state: State
    scrubs: ScrubCounts


PARTS = web.AppKey("parts", Parts)
FRONT = web.AppKey("front", Front)  # to stand before the application, once its runner is set up


def build(
    config: Config,
    *,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    http_proxies: Mapping[str, str] | None = None,
    access_log: Callable[[bytes], object] | None = None,
    component: Literal["proxy", "agent"] = "proxy",
) -> web.Application:
    """The application for `config`. `http_proxies` maps URL schemes to forward proxies; `access_log` takes lines.

    `component` says in the metrics whose requests were answered.
    """
    parts = _assemble(config, clock, monotonic, http_proxies or {}, component)
    lines = LineBuffer(access_log) if access_log is not None and config.log.access else None
    access = AccessLog(lines, "json" if config.log.format == "json" else "text") if lines is not None else None
    gate = _gate(config)
    app = web.Application(
        middlewares=[observe(parts.metrics, access), problems, *gate.middlewares()],
        client_max_size=0,
    )
    app.on_response_prepare.append(say_vary)
    app[PARTS] = parts
    shared = "public" if gate.open_to_read else "private"
    pypi = PypiRoutes(parts.indexes, parts.listings, parts.files, parts.artifacts, parts.metrics, shared=shared)
    pypi.add_to(app)
    if gate.open_to_read:
        app[FRONT] = Front(pypi, parts.metrics.http, access)
    UploadRoutes(parts.indexes, gate, parts.artifacts, parts.catalog, parts.shelf, clock=clock).add_to(app)
    CondaRoutes(parts.conda.channels, parts.artifacts, parts.metrics, shared=shared, clock=clock).add_to(app)
    CondaUploadRoutes(parts.conda.hosted, gate, parts.artifacts, parts.catalog, clock=clock).add_to(app)
    FilesRoutes(parts.collections, parts.artifacts, parts.metrics, shared=shared, clock=clock).add_to(app)
    if parts.swarm is not None:
        parts.swarm.add_to(app)
    OriginRoutes(config, parts.indexes).add_to(app)
    ServiceRoutes(parts.metrics, parts.state, parts.catalog, parts.store).add_to(app)
    app.cleanup_ctx.append(_storage)
    app.cleanup_ctx.append(_network)
    if lines is not None:
        app.cleanup_ctx.append(_running(lines.run))
    app.cleanup_ctx.append(_running(lambda: watch_loop_lag(parts.metrics, LAG_INTERVAL_S)))
    app.cleanup_ctx.append(_running(parts.artifacts.flush_often))
    app.cleanup_ctx.append(_running(lambda: _look_around(parts)))
    return app


def _assemble(
    config: Config,
    clock: Callable[[], float],
    monotonic: Callable[[], float],
    http_proxies: Mapping[str, str],
    component: str,
) -> Parts:
    metrics = Metrics(CollectorRegistry(), component=component, version=__version__)
    metrics.cache_limit_bytes.set(config.store.limit_bytes)
    reporter = CountingReporter(metrics)
    tasks = Tasks()
    store = BlobStore(config.server.data)
    catalog = Catalog(config.server.data / FILENAME)
    limits = Limits(config.store.limit_bytes, config.store.min_free_bytes)
    shelf = Shelf(config.memory.pages_bytes)
    evictor = Evictor(store, catalog, limits, clock, lambda: artifacts.busy(), reporter=reporter)  # noqa: PLW0108 (made below)
    artifacts = Artifacts(store, catalog, evictor, tasks, reporter=reporter, clock=clock)
    sidecars = Sidecars(
        artifacts, catalog, Flights(tasks, reporter, name="metadata"), tasks, changed=shelf.forget, clock=clock
    )
    upstreams: list[Upstream] = []
    sources: dict[str, Source] = {name: HostedSource(name, catalog, clock=clock) for name in config.pypi.hosted}
    login = logins_of([*config.pypi.upstreams.values(), *config.conda.channels.values(), *config.files.values()])

    def connect(site: UpstreamConfig) -> Upstream:
        upstreams.append(
            Upstream(
                site,
                credentials=_credentials(site),
                login=login if site.netrc else no_login,
                tls=tls_of(site),
                http_proxies=http_proxies,
                reporter=reporter,
                clock=clock,
            )
        )
        return upstreams[-1]

    for name, site in config.pypi.upstreams.items():
        sources[name] = MirroredSource(
            connect(site), catalog, Flights(tasks, reporter, name="page"),
            fresh_for_s=site.fresh_for_s, reporter=reporter, clock=clock,
        )  # fmt: skip
    indexes = {
        name: _index(index, sources, sidecars, shelf, Flights(tasks, reporter, name="index"), clock)
        for name, index in config.pypi.indexes.items()
    }
    lists = Flights[str, Made](tasks, reporter, name="listing")
    listings = {
        name: Listing(
            name, index.sources, artifacts, catalog, lists, admission=Admission.under(index.policy), clock=clock
        )
        for name, index in indexes.items()
    }
    files = Files(
        artifacts,
        catalog,
        sidecars,
        Flights(tasks, reporter, name="file"),
        refused=lambda index, rule: metrics.policy_refusals[index, rule].inc(),
        clock=clock,
    )
    engine = Engine(connect, artifacts, store, catalog, tasks, metrics, reporter, clock, monotonic)
    conda = assemble_conda(config.conda, engine)
    collections = assemble_files(config.files, engine)
    swarm = assemble_swarm(config, engine, indexes, files, conda.channels, collections)
    return Parts(
        config, metrics, catalog, store, artifacts, tasks, shelf, files, upstreams, indexes, listings, conda,
        collections, swarm, State(), ScrubCounts(catalog, metrics),
    )  # fmt: skip


def _index(
    config: IndexConfig,
    sources: Mapping[str, Source],
    sidecars: Sidecars,
    shelf: Shelf,
    flights: Flights[tuple[str, str, int], tuple[Ready, CacheResult]],
    clock: Callable[[], float],
) -> Index:
    return Index(
        config.name,
        Owners([sources[name] for name in config.sources], config.owners),
        policy=Policy.from_config(config.policy, where=f"pypi.indexes.{config.name}.policy"),
        sidecars=sidecars,
        shelf=shelf,
        flights=flights,
        clock=clock,
    )


def _credentials(site: UpstreamConfig) -> Credentials | None:
    if site.bearer is not None:
        return Credentials.bearer(site.url, site.bearer.reveal())
    if site.password is not None:
        return Credentials.basic(site.url, site.username or "", site.password.reveal())
    return None


def _gate(config: Config) -> Gate:
    grants = [Grant(token.name, token.secret.reveal(), token.scopes) for token in config.auth.tokens]
    return Gate(grants, open_to_read=config.auth.read == "anonymous")


async def _storage(app: web.Application) -> AsyncIterator[None]:
    parts = app[PARTS]
    await asyncio.to_thread(parts.store.prepare)
    async with parts.catalog:
        if parts.catalog.is_new:
            await parts.catalog.adopt(await asyncio.to_thread(lambda: list(parts.store.walk())))
        parts.state.ready = True
        yield
        parts.state.ready = False
        await parts.artifacts.flush()


async def _network(app: web.Application) -> AsyncIterator[None]:
    parts = app[PARTS]
    for upstream in parts.upstreams:
        upstream.open()
    yield
    await parts.tasks.close()
    for upstream in parts.upstreams:
        await upstream.close()


async def _look_around(parts: Parts) -> None:
    """Look once a while, for ever. A disk in trouble is said once, /readyz says it as long as it lasts."""
    in_trouble = False
    while True:
        try:
            await _look_once(parts)
            in_trouble = False
        except (OSError, sqlite3.Error) as error:
            if not in_trouble:
                _log.warning("the catalog or its disk cannot be looked at: %s", error)
            in_trouble = True
        await asyncio.sleep(LOOK_AROUND_S)


async def _look_once(parts: Parts) -> None:
    """Notice what another process changed in the catalog, and keep the gauges of the store up to date."""
    if await parts.catalog.changes_elsewhere():
        parts.shelf.forget()
        parts.files.forget()
        parts.conda.forget()
        for collection in parts.collections.values():
            collection.changing.forget()
    totals = await parts.catalog.totals()
    parts.metrics.cache_bytes.set(sum(size for _, size in totals.values()))
    for kind, label in BLOB_LABELS.items():
        number, _ = totals.get(kind, (0, 0))
        parts.metrics.cache_entries[(label,)].set(number)
    await parts.scrubs.look()
    parts.metrics.disk_free_bytes.set(await asyncio.to_thread(parts.store.free_bytes))


def _running(work: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[web.Application], AsyncIterator[None]]:
    """A background task for as long as the application runs; should it end before, the loop's handler says why."""

    async def context(app: web.Application) -> AsyncIterator[None]:
        task = app[PARTS].tasks.spawn(work(), name="background")
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    return context
