"""Puts the files face together: every collection of the configuration, in dependency order."""

from __future__ import annotations

from collections.abc import Mapping

from envproxy.engine.files import FileRules, Shelved, UpstreamFiles
from envproxy.engine.flights import Flights
from envproxy.engine.mirrors import Mirror, Mirrors
from envproxy.foundation import Engine
from envproxy.tables import FilesConfig

from .changing import Changing
from .collection import Collection, source_of

LIMIT_BYTES = 1_000_000_000  # of a file that may change


def assemble(config: Mapping[str, FilesConfig], engine: Engine) -> dict[str, Collection]:
    """Every collection by its name."""
    return {name: _collection(one, engine) for name, one in config.items()}


def _collection(config: FilesConfig, engine: Engine) -> Collection:
    upstream = engine.connect(config)
    reporter, clock = engine.reporter, engine.clock
    files = UpstreamFiles(
        source_of(config.name),
        Mirrors([Mirror(upstream, config.url)]),
        engine.artifacts,
        engine.store,
        engine.catalog,
        rules=FileRules(config.fresh_for_s, limit_bytes=lambda _: LIMIT_BYTES, is_asked_for=lambda _: False),
        clock=clock,
    )
    flights = Flights[str, Shelved](engine.tasks, reporter, name="file")
    changing = Changing(config.name, files, flights, engine.artifacts, reporter=reporter, clock=clock)
    return Collection(config, upstream, changing, engine.artifacts, engine.catalog, clock=clock)
