"""What tests of envagent start from: an index that has what a lock names, and the agent with a home of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixtures.agent import Agent
from fixtures.upstream import FakeIndex

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def upstream() -> AsyncIterator[FakeIndex]:
    async with FakeIndex() as index:
        yield index


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path)
