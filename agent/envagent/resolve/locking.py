"""One lock, from beginning to end: the solvers are put together, used and closed.

What is kept between locks (uv's cache, repodata, notes) is below `resolve` in the data directory; all of it may be
lost. The environment variables come in by argument.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from envagent.fetch.artifacts import Artifacts
from envagent.resolve import conda
from envagent.resolve.asking import asking
from envagent.resolve.building import Builder
from envagent.resolve.solving import Solver
from envagent.resolve.uv import Login, Uv

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from envagent.lock.model import Environment
    from envagent.resolve.asked import Asked


async def locked(
    asked: Asked,
    *,
    data: Path,
    proxy: str,
    environ: Mapping[str, str],
    token: str = "",
    tell: Callable[[str], None] = lambda _: None,
    warn: Callable[[str], None] = lambda _: None,
) -> Environment:
    """The environment that was asked for; `proxy` is an envproxy's origin or "", `token` what it wants to see.
    `tell` hears what is done, `warn` what may be amiss, a line at a time.

    Raises Unresolvable, SourceUnreachable, UsageError, LockRefused, BuildFailed.
    """
    cache = data / "resolve"
    artifacts = Artifacts(data / "artifacts")
    async with asking(artifacts, proxy, token) as ask:
        uv = Uv(cache / "uv", Path(sys.executable), environ, Login(proxy, token))
        client = conda.client(proxy, token)
        solver = Solver(
            places=ask.places,
            ask=ask,
            uv=uv,
            builder=Builder(uv, ask, cache / "built", environ, tell),
            client=client,
            gateway=conda.gateway(cache / "repodata", client, fresh=asked.upgrade.wants_news),
            cache=cache,
            tell=tell,
            warn=warn,
        )
        environment = await solver.environment(asked)
    await asyncio.to_thread(artifacts.settle)
    return environment
