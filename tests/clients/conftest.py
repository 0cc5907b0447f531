"""What every module of the suite starts from: an index with two projects, a proxy in front of it, a client to come.

The index has alpha 1.0, a wheel of 300 kB, which needs beta, and beta 2.1. The proxy's clock stands at noon of
8 March 2024, a week after both were uploaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixtures.clients import Uv
from fixtures.clock import FakeClock
from fixtures.proxy import LocalProxy, running_proxy
from fixtures.upstream import FakeIndex
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fixtures.clients import Client


@pytest.fixture
async def upstream() -> AsyncIterator[FakeIndex]:
    async with FakeIndex() as index:
        index.add(make_wheel("alpha", "1.0", requires=["beta>=2"], payload_size=300_000), make_wheel("beta", "2.1"))
        yield index


@pytest.fixture
def patience() -> str:
    """How long the proxy waits for a byte of upstream: beyond any load, unless a test of silence makes it short."""
    return "60s"


@pytest.fixture
async def proxy(tmp_path: Path, upstream: FakeIndex, clock: FakeClock, patience: str) -> AsyncIterator[LocalProxy]:
    settings = {"pypi.upstreams.pypi.read-timeout": patience}
    async with running_proxy(tmp_path, upstream=upstream, settings=settings, clock=clock) as running:
        yield running


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """Where clients may work."""
    room = tmp_path / "room"
    room.mkdir()
    return room


@pytest.fixture
def client(request: pytest.FixtureRequest, room: Path) -> Client:
    """The client that the test is parametrized with, indirectly."""
    return request.param(room)


@pytest.fixture
async def warm_proxy(proxy: LocalProxy, room: Path) -> LocalProxy:
    """The proxy after the quickest of the clients has installed alpha."""
    outcome = await Uv(room).install("alpha", proxy.simple())
    assert outcome.ok, outcome.output
    return proxy
