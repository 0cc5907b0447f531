"""Progress on stderr: bars where a person watches, a line a stage where a log is written.

Nothing is shown, and nothing imported for it, before there is something to tell. Reports come from any thread. A
server that fails is a line of its own in both, once: the next one may be slower, and the line tells why. Some of them
do, where a server is down that all files come from.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from envagent.fetch.report import Report

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from envagent.lock.model import Package
    from envagent.materialize.progress import Progress

_TROUBLES = 10  # lines that say why
_DOING = {"unpack": "unpacking", "compile": "compiling", "link": "linking"}
_DONE = {"unpack": "unpacked", "compile": "compiled", "link": "linked"}


class Console(Report):
    """Shows the progress of one command on `stream`, until `close`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._told: set[str] = set()
        self._lock = threading.Lock()  # downloads and unpacking tell of themselves at the same time

    # --- downloads (fetch.report) -----------------------------------------------------------------------

    def missing(self, files: int, size: int) -> None:
        """Downloads begin."""
        if self._stream.isatty():
            self._task("fetching", size)
        else:
            shown = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
            self._stream.write(f"fetching {files} {'file' if files == 1 else 'files'}, {shown}\n")

    def received(self, count: int) -> None:
        """Bytes came."""
        if self._bars:
            self._bars.advance(self._task("fetching"), count)

    def troubled(self, name: str, why: str) -> None:
        """A server failed."""
        line = f"{name}: {why}\n"
        if line in self._told or len(self._told) > _TROUBLES:
            return
        self._told.add(line)
        if len(self._told) > _TROUBLES:
            line = "there is more trouble of this kind\n"
        if self._bars:
            self._bars.console.print(line, end="", markup=False, highlight=False)
        else:
            self._stream.write(line)

    def arrived(self, package: Package, path: Path) -> None:
        """A file is here."""
        self.shown(package.filename)

    def shown(self, name: str) -> None:
        """The file that came last."""
        if self._bars:
            self._bars.update(self._task("fetching"), name=name)

    # --- environments (materialize.progress) ------------------------------------------------------------

    def progress(self, progress: Progress) -> None:
        """A step was made."""
        if self._stream.isatty():
            task = self._task(_DOING[progress.stage], progress.total)
            self._started().update(task, completed=progress.done, name=progress.name)
        elif progress.done == progress.total:
            self._stream.write(f"{_DONE[progress.stage]} {progress.total}\n")

    def close(self) -> None:
        """Take the bars away; what is written from here on stands in their place."""
        if self._bars:
            self._bars.stop()

    # --- bars -------------------------------------------------------------------------------------------

    def _task(self, name: str, total: int = 0) -> TaskID:
        with self._lock:
            if name not in self._tasks:
                self._tasks[name] = self._started().add_task(name, total=total, name="")
            return self._tasks[name]

    def _started(self) -> Bars:
        if self._bars is None:
            from rich.console import Console as Terminal  # noqa: PLC0415  # slow to import, and only for people
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn  # noqa: PLC0415

            columns = (
                TextColumn("{task.description:>10}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[name]}", markup=False),
            )
            self._bars = Progress(*columns, console=Terminal(file=self._stream), transient=True)
            self._bars.start()
        return self._bars
