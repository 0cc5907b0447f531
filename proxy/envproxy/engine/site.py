"""What the configuration tells the engine about one upstream."""

from __future__ import annotations

from typing import Protocol


class Site(Protocol):
    """What must be known about an upstream: see `tables.UpstreamConfig`."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def url(self) -> str: ...  # noqa: D102
    @property
    def connect_timeout_s(self) -> float: ...  # noqa: D102
    @property
    def read_timeout_s(self) -> float: ...  # noqa: D102
    @property
    def max_connections(self) -> int: ...  # noqa: D102
    @property
    def forbidden_is_absent(self) -> bool: ...  # noqa: D102
