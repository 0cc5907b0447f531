"""What most tests here fetch with: a proxy in front of the test's own index, and an empty folder of artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from envagent.fetch.artifacts import Artifacts
from fixtures.proxy import running_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fixtures.proxy import LocalProxy
    from fixtures.upstream import FakeIndex


@pytest.fixture
async def proxy(tmp_path: Path, upstream: FakeIndex) -> AsyncIterator[LocalProxy]:
    async with running_proxy(tmp_path, upstream=upstream) as running:
        yield running


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path / "artifacts")
