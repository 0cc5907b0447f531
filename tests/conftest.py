"""What every test runs under: an event loop on which our own code never blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from blockbuster import blockbuster_ctx

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _our_code_never_blocks_the_loop() -> Iterator[None]:
    """A test itself may block: only calls with a frame of the package below them count."""
    with blockbuster_ctx("envproxy"):
        yield
