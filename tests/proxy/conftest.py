"""What tests of the PyPI face start from: an index, a proxy in front of it, and a client that hides nothing.

The proxy's clock stands at noon of 8 March 2024, a week after the fixture wheels were uploaded. Nothing is listed
until a test adds it. A test that wants another configuration runs a proxy of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixtures.airport import Airport
from fixtures.clock import FakeClock
from fixtures.proxy import LocalProxy, running_proxy
from fixtures.reports import Reports
from fixtures.upstream import FakeIndex
from fixtures.wire import Ask, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def index() -> AsyncIterator[FakeIndex]:
    async with FakeIndex() as index:
        yield index


@pytest.fixture
def upstream(index: FakeIndex) -> FakeIndex:
    """The index, as what stands behind a proxy; modules about the engine's `Upstream` put that in its place."""
    return index


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def read_timeout_s() -> float:
    """How long an airport waits for a byte of upstream: beyond any load, unless a test of silence makes it short."""
    return 60.0


@pytest.fixture
async def airport(tmp_path: Path, read_timeout_s: float) -> AsyncIterator[Airport]:
    async with Airport(tmp_path, read_timeout_s) as airport:
        yield airport


@pytest.fixture
async def proxy(tmp_path: Path, upstream: FakeIndex, clock: FakeClock) -> AsyncIterator[LocalProxy]:
    async with running_proxy(tmp_path, upstream=upstream, clock=clock) as running:
        yield running


@pytest.fixture
async def ask(proxy: LocalProxy) -> AsyncIterator[Ask]:
    async with wire(proxy.url) as asking:
        yield asking
