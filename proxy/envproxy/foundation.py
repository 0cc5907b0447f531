"""What every face stands on: the parts of the engine, made once by the composition root and handed to each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .engine.artifacts import Artifacts
from .engine.catalog import Catalog
from .engine.flights import Tasks
from .engine.report import Reporter
from .engine.store import BlobStore
from .engine.upstream import Upstream
from .metrics import Metrics
from .tables import UpstreamConfig


@dataclass(frozen=True, slots=True)
class Engine:
    """`connect` makes the upstream of a site, which is opened with the application.

    `clock` counts seconds from the epoch and may be set by whoever keeps the machine's time; `monotonic` never is.
    """

    connect: Callable[[UpstreamConfig], Upstream]
    artifacts: Artifacts
    store: BlobStore
    catalog: Catalog
    tasks: Tasks
    metrics: Metrics
    reporter: Reporter
    clock: Callable[[], float]
    monotonic: Callable[[], float]
