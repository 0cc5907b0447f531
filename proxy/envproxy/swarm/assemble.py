"""Puts the swarm together: directory, pieces and their routes, in dependency order."""

from __future__ import annotations

import time
from collections.abc import Mapping
from random import Random
from uuid import uuid4

from envproxy.conda.face import Channel
from envproxy.engine.flights import Flights
from envproxy.files.collection import Collection
from envproxy.foundation import Engine
from envproxy.pypi.files import Files
from envproxy.pypi.index import Index
from envproxy.tables import Config

from .admission import Admission
from .allowance import Allowance
from .bell import Bell
from .counting import CountingSwarmReporter
from .desk import Desk
from .directory import Rules
from .local import LocalDirectory
from .pieces import Cut, Pieces
from .places import Places
from .privacy import public_places
from .routes import SwarmRoutes

RING_S = 0.05  # hundreds of waiters look again at most so often
ALLOWED_AT_ONCE_S = 2  # seconds' worth of pieces that may be fetched at once without a lease


def assemble(
    config: Config,
    engine: Engine,
    indexes: Mapping[str, Index],
    files: Files,
    channels: Mapping[str, Channel],
    collections: Mapping[str, Collection],
) -> SwarmRoutes | None:
    """The swarm of a proxy with these faces, None if it has none."""
    if not config.swarm.enabled:
        return None
    own, monotonic, reporter = config.swarm, engine.monotonic, CountingSwarmReporter(engine.metrics)
    bell = Bell(RING_S)
    rules = Rules(leases=own.leases, lease_s=own.lease_s, expiry_s=own.expiry_s)
    # Not a seed that others could know: choices are no secret, but nobody needs to foresee them.
    random = Random(uuid4().int)  # noqa: S311 (no secret)
    directory = LocalDirectory(rules, clock=monotonic, random=random, ring=bell.ring, reporter=reporter)
    places = Places(indexes, files, channels, collections, engine.artifacts, public=public_places(config))
    cuts = Flights[tuple[str, str], Cut](engine.tasks, engine.reporter, name="pieces")
    looks = Flights[tuple[str, str], int | None](engine.tasks, engine.reporter, name="look")
    pieces = Pieces(places, engine.artifacts, cuts, engine.tasks, ring=bell.ring, monotonic=monotonic)
    admission = Admission(own.secrets)
    desk = Desk(
        uuid4().hex,
        directory,
        pieces,
        places,
        looks,
        admission,
        bell,
        rules,
        heartbeat_s=own.heartbeat_s,
        clock=engine.clock,
        monotonic=monotonic,
        worked=time.thread_time,
        random=random,
    )
    allowance = Allowance(own.unleased_bytes, own.unleased_bytes * ALLOWED_AT_ONCE_S)
    return SwarmRoutes(desk, directory, pieces, admission, allowance, reporter=reporter, monotonic=monotonic)
