"""An index, a channel and the proxy before them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixtures.channel import FakeChannel
from fixtures.proxy import running_proxy
from fixtures.upstream import FakeIndex

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fixtures.proxy import LocalProxy


@pytest.fixture
async def index() -> AsyncIterator[FakeIndex]:
    async with FakeIndex() as upstream:
        yield upstream


@pytest.fixture
async def channel() -> AsyncIterator[FakeChannel]:
    async with FakeChannel() as upstream:
        yield upstream


@pytest.fixture
async def proxy(tmp_path: Path, index: FakeIndex, channel: FakeChannel) -> AsyncIterator[LocalProxy]:
    home = tmp_path / "proxy"
    home.mkdir()
    async with running_proxy(home, upstream=index, settings=channel.settings) as running:
        yield running


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"
