"""Completion of foreign locks by the network, which is imported only when something is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envagent.config import Config
    from envagent.fetch.report import Report
    from envagent.lock.complete import KnownFile, Wanted


class LateCompleter:
    """A `lock.complete.Completer` that asks the proxy of a configuration, else indexes and channels."""

    def __init__(self, config: Config, report: Report) -> None:
        self._config = config
        self._report = report

    def find(self, wanted: Sequence[Wanted]) -> Mapping[Wanted, Sequence[KnownFile]]:
        """Every file of each release (blocking). Raises SourceUnreachable."""
        from envagent.fetch.completer import NetworkCompleter  # noqa: PLC0415  # aiohttp
        from envagent.fetch.sources import Sources  # noqa: PLC0415

        sources = Sources(self._config.proxy, self._config.proxy_fallback)
        return NetworkCompleter(sources, self._config.proxy_token, self._report).find(wanted)
