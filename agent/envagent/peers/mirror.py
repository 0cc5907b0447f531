"""The configuration of the agent's own cache engine: everything that its proxy serves, with the proxy as upstream.

What a proxy serves is asked when the agent starts, and kept for a start while the proxy is away. Pure but for that
one file; who asks the proxy is not decided here.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from envagent.fetch.sources import Origins
from envproxy.config import load
from envproxy.kinds import Address, Secret
from envproxy.tables import CondaConfig, Config, PypiConfig, StoreConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

USER = "__token__"
CACHE_SHARE = 10
CACHE_LEAST = 1_000_000_000
"""The cache may have a tenth of what artifacts may, but not less than the index files of a large channel take."""

_NOTHING: Mapping[str, str] = MappingProxyType({})


def mirroring(
    origins: bytes, proxy: str, token: str, *, data: Path, listen: Address, budget: int, min_free: int
) -> Config:
    """The configuration of an engine below `data`. `origins` is the proxy's answer of /api/origins.

    `budget` is what the node may keep of artifacts, `min_free` what it leaves free, in bytes; 0 is no bound.

    Raises msgspec.DecodeError for another answer.
    """
    served = msgspec.json.decode(origins, type=Origins)
    built_in = load(None, environ=_NOTHING)
    user, password = (USER, Secret(token)) if token else (None, None)
    upstream = replace(built_in.pypi.upstreams["pypi"], username=user, password=password)
    channel = replace(built_in.conda.channels["conda-forge"], username=user, password=password)
    index = built_in.pypi.indexes["main"]
    return replace(
        built_in,
        server=replace(built_in.server, data=data, listen=listen),
        log=replace(built_in.log, access=False),
        store=StoreConfig(
            limit_bytes=max(CACHE_LEAST, budget // CACHE_SHARE) if budget else built_in.store.limit_bytes,
            min_free_bytes=min_free,
        ),
        pypi=PypiConfig(
            upstreams={
                name: replace(upstream, name=name, url=f"{proxy}/pypi/{name}/simple/") for name in served.indexes
            },
            hosted={},
            indexes={name: replace(index, name=name, sources=(name,), owners=()) for name in served.indexes},
        ),
        conda=CondaConfig(
            repodata_limit_bytes=built_in.conda.repodata_limit_bytes,
            channels={name: replace(channel, name=name, url=(f"{proxy}/conda/{name}/",)) for name in served.channels},
            hosted={},
        ),
        files={},
    )
