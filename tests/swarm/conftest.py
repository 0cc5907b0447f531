"""What tests of the swarm start from: a file host, a proxy with a swarm before it, agents, machines of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from fixtures.clock import FakeClock
from fixtures.collection import FakeFiles
from fixtures.namespaces import Network, Refused, network
from fixtures.node import SECRET as OF_NODES
from fixtures.node import SWARM
from fixtures.proxy import LocalProxy, ProxyProcess, proxy_process, running_proxy
from fixtures.swarm import SECRET, Agent
from fixtures.upstream import FakeIndex

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

Come = Callable[..., Awaitable[Agent]]

SETTLED_S = 60.0  # after this the directory does not wait any more for what agents may say


@pytest.fixture
async def upstream() -> AsyncIterator[FakeFiles]:
    async with FakeFiles() as host:
        yield host


@pytest.fixture
async def proxy(tmp_path: Path, upstream: FakeFiles, clock: FakeClock) -> AsyncIterator[LocalProxy]:
    """It has the public collection `demo` and `corp`, the same behind a token; `lab` is a tenant of its own."""
    settings = {
        "files.demo.url": upstream.url,
        "files.corp.url": upstream.url,
        "files.corp.bearer": "env:CORP",
        "swarm.enabled": "true",
        "swarm.secret": "env:SWARM",
        "swarm.tenants.lab.secret": "env:LAB",
        "swarm.unleased": "10MB",
    }
    environ = {"SWARM": SECRET, "LAB": "the secret of the lab", "CORP": "corp-token"}
    async with running_proxy(tmp_path, settings=settings, environ=environ, clock=clock) as running:
        clock.advance(SETTLED_S)
        yield running


@pytest.fixture
async def index() -> AsyncIterator[FakeIndex]:
    """What the proxy `origin` is before."""
    async with FakeIndex() as index:
        yield index


@pytest.fixture
async def origin(tmp_path: Path, index: FakeIndex) -> AsyncIterator[ProxyProcess]:
    """A proxy with a swarm, in a process of its own, for nodes in theirs."""
    home = tmp_path / "proxy"
    home.mkdir()
    async with proxy_process(home, upstream=index, settings=SWARM, environ=OF_NODES) as running:
        yield running


@pytest.fixture
def come(proxy: LocalProxy) -> Come:
    """Makes an agent that has said hello."""

    async def come(node: str, **others: object) -> Agent:
        agent = Agent(proxy.url, node, **others)  # type: ignore[arg-type] # what Agent takes
        await agent.hello()
        return agent

    return come


@pytest.fixture
def net(request: pytest.FixtureRequest) -> Iterator[Network]:
    """The machines that the parameter asks for, in words of `network`."""
    try:
        with network(**request.param) as made:
            yield made
    except Refused as refused:
        pytest.skip(f"no such network can be had here: {refused}")
