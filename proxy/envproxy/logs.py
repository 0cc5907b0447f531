"""Log lines: how they look, that they tell no secret, and how the many of the access log reach stderr cheaply.

Every line, whether of `LineFormatter` or of the access log, went through `redact`, the last defence against
credentials in URLs; whoever writes one is still expected to put none in it. The text form is `time LEVEL logger
message key=value`, the JSON form one object a line with the same fields. What is logged is not decided here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import SupportsBytes

from aiohttp.http_exceptions import HttpProcessingError

_USERINFO = re.compile(r"//[^/\s]*@")
_PATH_TOKEN = re.compile(r"((?:^|//[^/\s]+|/conda)/t/)[^/\s]+")
_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_log = logging.getLogger(__name__)


def redact(text: str) -> str:
    """Hide user and password of every URL in `text` (RFC 3986, 3.2.1), and the token in the path of a Conda URL.

    `//user:pw@` becomes `//***@`, `/t/<token>/` at the start of a path becomes `/t/***/`.
    """
    shown = _USERINFO.sub("//***@", text) if "@" in text else text
    return _PATH_TOKEN.sub(r"\1***", shown) if "/t/" in shown else shown


class LineFormatter(logging.Formatter):
    """One line a record (and its traceback), with everything the caller gave as `extra`."""

    def __init__(self, style: str) -> None:
        super().__init__()
        self._as_json = style == "json"

    def format(self, record: logging.LogRecord) -> str:
        """The record as text or JSON; each string redacted before it is quoted, so the JSON stays whole."""
        fields = {name: _plain(value) for name, value in vars(record).items() if name not in _OWN_FIELDS}
        when, message = instant(record.created), redact(record.getMessage())
        trace = redact(self.formatException(record.exc_info)) if record.exc_info else ""
        if self._as_json:
            head = {"time": when, "level": record.levelname, "logger": record.name, "message": message}
            return json.dumps({**head, **fields, **({"traceback": trace} if trace else {})})
        line = f"{when} {record.levelname} {record.name} {' '.join(message.splitlines())}"
        line += "".join(f" {name}={_quoted(value)}" for name, value in fields.items())
        return f"{line}\n{trace}" if trace else line


def setup(level: str, style: str) -> None:
    """Send every logger's lines at `level` (any case) or above to stderr, as `style`: text or json."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(style))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    server = logging.getLogger("aiohttp.server")
    if unparsable not in server.filters:
        server.addFilter(unparsable)


def unparsable(record: logging.LogRecord) -> bool:
    """Log filter for "aiohttp.server": what is no HTTP is the client's fault, worth a line and no traceback."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg = f"{record.msg}: {gist(error)}"
        record.exc_info = record.exc_text = None
    return True


def gist(error: HttpProcessingError) -> str:
    """What was wrong with a request; behind the colon aiohttp quotes what it read, maybe an Authorization header."""
    return error.message.partition(":")[0]


def instant(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 in UTC, to the millisecond."""
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{_second(whole)}.{thousandths:03}Z"


@lru_cache(maxsize=2)  # thousands of access lines share a second
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class LineBuffer:
    """Collects lines; soon after the first, all of them are made into bytes and written in one piece, in a thread.

    A batch goes out `interval_s` after its first line, or as soon as it holds `batch` of them. When `write` cannot
    keep up, lines beyond `limit` are dropped and their number is logged: the log never delays a request.
    """

    def __init__(
        self, write: Callable[[bytes], object], *, interval_s: float = 0.25, batch: int = 8192, limit: int = 32768
    ) -> None:
        self._write = write
        self._interval_s = interval_s
        self._batch = batch
        self._limit = limit
        self._lines: list[SupportsBytes] = []
        self._dropped = 0
        self._begun = asyncio.Event()
        self._full = asyncio.Event()

    def append(self, line: SupportsBytes) -> None:
        """Add what `bytes()` will make a line, newline included, and which changes no more. Never blocks."""
        held = len(self._lines)
        if held >= self._limit:
            self._dropped += 1
            return
        self._lines.append(line)
        if not held:
            self._begun.set()
        if held + 1 == self._batch:
            self._full.set()

    async def run(self) -> None:
        """Write batches until cancelled; what is left then is written before this returns."""
        try:
            while True:
                await self._begun.wait()
                await self._ripen()
                await asyncio.to_thread(self._put, *self._take())
        finally:
            self._put(*self._take())

    async def _ripen(self) -> None:
        try:
            async with asyncio.timeout(self._interval_s):
                await self._full.wait()
        except TimeoutError:
            return

    def _take(self) -> tuple[list[SupportsBytes], int]:
        taken = self._lines, self._dropped
        self._lines, self._dropped = [], 0
        self._begun.clear()
        self._full.clear()
        return taken

    def _put(self, lines: list[SupportsBytes], dropped: int) -> None:
        if dropped:
            _log.warning("access log lines dropped: they are not written fast enough", extra={"lines": dropped})
        try:
            self._write(b"".join(map(bytes, lines)))
        except OSError as error:  # the log must not take the service down with it
            _log.warning("access log lines lost: %s", error, extra={"lines": len(lines)})


def _plain(value: object) -> object:
    return value if isinstance(value, bool | int | float | None) else redact(str(value))


def _quoted(value: object) -> object:
    return json.dumps(value) if isinstance(value, str) and any(map(str.isspace, value)) else value
