"""Completion of foreign locks by the network, which is imported only when something is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envagent.config import Config
    from envagent.fetch.report import Report
    from envagent.lock.complete import KnownFile, Wanted


@dataclass(frozen=True, slots=True)
class LateCompleter:
    """A `lock.complete.Completer` that asks the proxy of a configuration, else indexes and channels."""

    config: Config
    report: Report

    def find(self, wanted: Sequence[Wanted]) -> Mapping[Wanted, Sequence[KnownFile]]:
        """Every file of each release (blocking). Raises SourceUnreachable."""
        from envagent.fetch.completer import NetworkCompleter  # noqa: PLC0415  # aiohttp
        from envagent.fetch.sources import Sources  # noqa: PLC0415

        sources = Sources(self.config.proxy, self.config.proxy_fallback)
        return NetworkCompleter(sources, self.config.proxy_token, self.report).find(wanted)
