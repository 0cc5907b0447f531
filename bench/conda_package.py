"""A package of 16 MB that is in the cache, under load: beside the ceiling, and nginx on the same directory."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from . import contenders
from .conda_contenders import channel, envproxy, upstream
from .conda_corpus import PACKAGE, PACKAGE_BYTES
from .contenders import Missing, Sent
from .load import is_installed
from .plan import Plan, Result
from .warm import WHEEL_CONNECTIONS, Stand, errors, in_turns, of_a_file


async def measure(plan: Plan, root: Path, result: Result) -> None:
    """Needs wrk. Raises RuntimeError if the proxy does not give the package."""
    if not is_installed():
        result.notes.append("package under load is skipped: wrk is not installed: run sh bench/setup.sh as root")
        return
    path = f"noarch/{PACKAGE}"
    async with AsyncExitStack() as stack:
        far = await stack.enter_async_context(upstream(plan.place("far"), root))
        ours = await stack.enter_async_context(envproxy(plan.place("envproxy"), far.url))
        url = f"{channel(ours)}/{path}"
        got = await contenders.fetch(url, {})
        if len(got.body) != PACKAGE_BYTES:
            raise RuntimeError(f"envproxy gave {len(got.body)} bytes of {PACKAGE}")
        bare = await stack.enter_async_context(
            contenders.ceiling(plan.place("ceiling"), Sent(b"", "text/plain", '""'), root / path)
        )
        stands = {"envproxy": Stand(ours, url, {}), "ceiling": Stand(bare.server, bare.wheel_url, {})}
        try:
            nginx = await stack.enter_async_context(
                contenders.running_nginx(plan.place("nginx"), "nginx-files.conf", {"@ROOT@": str(root)})
            )
            stands["nginx"] = Stand(nginx, f"{nginx.url}/{path}", {})
        except (Missing, RuntimeError, TimeoutError) as reason:
            result.notes.append(f"nginx is skipped: {reason}")
        spells = await in_turns(plan, stands, connections=WHEEL_CONNECTIONS)
        result.findings.extend(of_a_file("package", spells))
        result.notes.extend(errors("package", spells))
