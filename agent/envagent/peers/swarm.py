"""All artifacts that this node has or fetches by pieces: one download for each, however many want it.

Who asks gets the file that is here, or joins the download. A download goes on when its first reader has left: peers
count on it. Faults of peers are told to the directory a moment later, together.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from envagent.peers.downloader import Download
from envproxy.errors import EnvproxyError, UpstreamError
from envproxy.swarm.messages import Fault, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from envagent.peers.surroundings import Surroundings, Wanted
    from envproxy.engine.flights import Tasks
    from envproxy.swarm.messages import Wrong

MOST_FAULTS = 100  # in one report

_log = logging.getLogger(__name__)


class Faults:
    """What peers did wrong, told to the directory in batches; what it does not hear is lost, for it is soft state."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, int, str, Wrong]] = []
        self._some = asyncio.Event()

    def note(self, sha256: str, piece: int, node: str, wrong: Wrong) -> None:
        """`node` failed to give a piece as it should."""
        self._waiting.append((sha256, piece, node, wrong))
        self._some.set()

    async def report_often(self, around: Surroundings) -> None:
        """Tell the directory whenever there is something, for ever."""
        while True:
            await self._some.wait()
            self._some.clear()
            told, self._waiting = self._waiting[:MOST_FAULTS], []
            try:
                await around.wire.report(self._report(around, told))
            except EnvproxyError as error:
                _log.info("the directory did not hear of %d faults of peers: %s", len(told), error)

    @staticmethod
    def _report(around: Surroundings, told: list[tuple[str, int, str, Wrong]]) -> Report:
        me = around.membership
        return Report(
            node=me.identity.node,
            epoch=me.identity.epoch,
            directory=me.directory,
            faults=[
                Fault(
                    sha256=sha256,
                    private=around.publicity.is_private(sha256),
                    piece=piece,
                    peer=node,
                    wrong=wrong,
                )
                for sha256, piece, node, wrong in told
            ],
        )


class Swarm:
    """See the module."""

    def __init__(self, around: Surroundings, tasks: Tasks) -> None:
        self._around = around
        self._tasks = tasks
        self.downloads: dict[str, Download] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    async def find(self, sha256: str) -> Path | None:
        """The whole artifact, if it is here."""
        return await self._around.inventory.find(sha256)

    async def bring(self, wanted: Wanted, received: Callable[[int], None]) -> bool:
        """Wait until the artifact is here, and tell how many bytes came; False if it cannot be had by pieces.

        Raises UpstreamError, if that may pass.
        """
        if await self.find(wanted.sha256):
            return True
        try:
            async with aclosing(self.download(wanted).growth()) as growth:
                async for count in growth:
                    received(count)
        except UpstreamError:
            raise
        except EnvproxyError:
            return False
        return True

    def download(self, wanted: Wanted) -> Download:
        """The download of the artifact, begun now unless it is in the air."""
        running = self.downloads.get(wanted.sha256)
        if running is not None:
            return running
        download = self.downloads[wanted.sha256] = Download(wanted, self._around)
        self._spawn(download.run(), f"swarm:{wanted.sha256}", lambda ended: self._landed(download, ended))
        return download

    def _landed(self, download: Download, task: asyncio.Task[None]) -> None:
        del self.downloads[download.wanted.sha256]
        self.tasks.discard(task)
        if not task.cancelled() and download.path is None:
            self._spawn(download.renounce(), f"renounce:{download.wanted.sha256}", self.tasks.discard)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str, after: Callable[[asyncio.Task[None]], None]) -> None:
        task = self._tasks.spawn(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(after)
