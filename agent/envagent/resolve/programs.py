"""Programs that resolving runs: uv and git, with the network's settings of this machine and nobody else's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_SETTINGS = ("UV_HTTP_", "UV_CONCURRENT_")  # of uv's variables, those that change how it asks and not what it answers
_OTHERS_SETTINGS = ("UV_", "PIP_", "VIRTUAL_ENV", "CONDA_", "PYTHON", "GIT_")


async def run(words: Sequence[str | Path], folder: Path, environ: Mapping[str, str]) -> tuple[int, str]:
    """The exit code, and what was said on standard error. The program is killed when this is cancelled."""
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=folder,
        env=environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, said.decode(errors="replace")


def surroundings(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of the machine and its network, without those by which a person sets up such programs."""
    return {
        name: value
        for name, value in environ.items()
        if name.startswith(_SETTINGS) or not name.startswith(_OTHERS_SETTINGS)
    }


def indented(text: str) -> str:
    """Lines of another program, set off from our own words."""
    return "\n".join(f"  {line.strip()}" for line in text.splitlines() if line.strip())
