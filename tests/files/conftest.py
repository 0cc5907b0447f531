"""What tests of the files face start from: a file host, a proxy in front of it, and a client that hides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixtures.clock import FakeClock
from fixtures.collection import FakeFiles
from fixtures.proxy import LocalProxy, running_proxy
from fixtures.wire import Ask, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def upstream() -> AsyncIterator[FakeFiles]:
    async with FakeFiles() as host:
        yield host


@pytest.fixture
async def proxy(tmp_path: Path, upstream: FakeFiles, clock: FakeClock) -> AsyncIterator[LocalProxy]:
    """It has the collection `demo`, which publishes checksums and has a folder of things that change."""
    settings = {
        "files.demo.url": upstream.url,
        "files.demo.checksums": "SHA256SUMS",
        "files.demo.changing": "latest/*",
    }
    async with running_proxy(tmp_path, settings=settings, clock=clock) as running:
        yield running


@pytest.fixture
async def ask(proxy: LocalProxy) -> AsyncIterator[Ask]:
    async with wire(proxy.url) as asking:
        yield asking
