"""What every test runs under: an event loop on which our own code never blocks, and no judgement on speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import HealthCheck, settings

from fixtures.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator

# Hypothesis would fail a test for being slow, which on a loaded machine says nothing of the test.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _our_code_never_blocks_the_loop() -> Iterator[None]:
    """A test itself may block: only calls with a frame of the package below them count."""
    with blockbuster_ctx("envproxy"):
        yield


@pytest.fixture
def clock() -> FakeClock:
    """What a proxy or an engine of the test takes for the time."""
    return FakeClock()
