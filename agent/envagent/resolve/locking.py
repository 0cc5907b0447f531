"""One lock, from beginning to end: the solvers are put together, used and closed.

What is kept between locks (uv's cache, repodata, notes) is below `resolve` in the data directory; all of it may be
lost. The environment variables come in by argument.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from envagent.resolve import conda
from envagent.resolve.asking import asking, places
from envagent.resolve.solving import Solver
from envagent.resolve.uv import Uv

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envagent.lock.model import Environment
    from envagent.resolve.asked import Asked


async def locked(asked: Asked, *, data: Path, proxy: str, environ: Mapping[str, str]) -> Environment:
    """The environment that was asked for; `proxy` is an envproxy's origin or "".

    Raises Unresolvable, SourceUnreachable, UsageError, LockRefused.
    """
    cache = data / "resolve"
    async with asking() as ask:
        solver = Solver(
            places=await places(ask, proxy),
            ask=ask,
            uv=Uv(cache / "uv", Path(sys.executable), environ),
            client=conda.client(),
            gateway=conda.gateway(cache / "repodata"),
            cache=cache,
        )
        return await solver.environment(asked)
