"""The script for the clients that are not on PyPI: it tries those that are installed, and says why not the others."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fixtures.channel import FakeChannel
from fixtures.conda_packages import chain, with_prefixes
from fixtures.proxy import running_proxy
from fixtures.repodata import FLAT_ONLY, Style

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SCRIPT = Path(__file__).parents[2] / "examples" / "conda-clients.sh"
CLIENTS = ("conda", "mamba", "micromamba", "pixi")
NONE = {client.upper(): "no-such-command" for client in CLIENTS}


@pytest.fixture
async def upstream() -> AsyncIterator[FakeChannel]:
    async with FakeChannel() as channel:
        channel.add(*chain(3), with_prefixes())
        yield channel


async def script(*arguments: str, **environ: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        "sh", SCRIPT, *arguments, env={**os.environ, **environ}, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


@pytest.mark.clients
@pytest.mark.parametrize("style", [Style(), FLAT_ONLY], ids=["all-forms", "flat"])
async def test_every_client_that_is_installed_works_through_the_proxy(
    upstream: FakeChannel, tmp_path: Path, style: Style
) -> None:
    upstream.style = style
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy:
        code, said = await script(proxy.channel(), "link-01", "prefixed")
    assert code == 0, said
    verdict = r"(works, 4 packages|skipped, it is not installed)"
    assert re.fullmatch("".join(f"{client}: {verdict}\n" for client in CLIENTS), said), said


async def test_a_client_that_is_not_there_is_skipped_and_one_that_fails_is_shown() -> None:
    commands = {**NONE, "MAMBA": "ls /no-such-directory"}
    code, said = await script("http://127.0.0.1:9/demo", "link-01", **commands)
    assert code == 1
    assert said.startswith("conda: skipped, it is not installed\nmamba: failed\n    ls: ")


async def test_a_client_that_goes_around_the_channel_has_failed(tmp_path: Path) -> None:
    stray = tmp_path / "stray"
    stray.write_text(
        '#!/bin/sh\nmkdir -p "$HOME/env/conda-meta"\n'
        """echo '{"url": "https://elsewhere.example.org/noarch/a-1-0.conda"}' > "$HOME/env/conda-meta/a-1-0.json"\n"""
    )
    stray.chmod(0o755)
    code, said = await script("http://127.0.0.1:9/demo", "link-01", **{**NONE, "CONDA": str(stray)})
    assert code == 1
    assert "conda: failed, only 0 of 1 packages came from http://127.0.0.1:9/demo\n" in said
