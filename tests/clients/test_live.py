"""One small project from PyPI itself, through a proxy without any configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixtures.clients import Client, Pip, Uv
from fixtures.proxy import running_proxy

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.clients, pytest.mark.live]


@pytest.mark.parametrize("client", [Pip, Uv], indirect=True)
async def test_six_installs_from_the_built_in_upstream(client: Client, tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as proxy:
        outcome = await client.install("six", proxy.simple())
        assert outcome.installed.keys() == {"six"}, outcome.output
