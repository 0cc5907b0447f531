"""Log lines: their two forms, that they tell no secret, and the buffer of the access log."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest

from envproxy.logs import LineBuffer, LineFormatter, redact, setup


def record(message: str, *args: object, error: BaseException | None = None, **extra: object) -> logging.LogRecord:
    made = logging.getLogger("envproxy.test").makeRecord(
        "envproxy.test",
        logging.WARNING,
        "file.py",
        1,
        message,
        args,
        error and (type(error), error, None),
        extra=extra,
    )
    made.created = 1795332600.12
    return made


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:pw@pkgs.example.org/simple/", "https://***@pkgs.example.org/simple/"),
        ("https://token@pkgs.example.org", "https://***@pkgs.example.org"),
        ("https://u:p@ss@pkgs.example.org/ and //a:b@c/", "https://***@pkgs.example.org/ and //***@c/"),
        ("https://pkgs.example.org/@scope/name", "https://pkgs.example.org/@scope/name"),
        ("write to admin@example.org", "write to admin@example.org"),
    ],
)
def test_userinfo_in_urls_is_hidden_and_nothing_else(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_a_text_line_has_time_level_logger_message_and_extra_fields() -> None:
    line = LineFormatter("text").format(record("%s failed", "numpy", upstream="corp", seconds=0.5, why="no route"))
    assert line == (
        '2026-11-22T07:30:00.120Z WARNING envproxy.test numpy failed upstream=corp seconds=0.5 why="no route"'
    )


def test_a_json_line_has_the_same_fields() -> None:
    line = LineFormatter("json").format(record("%s failed", "numpy", upstream="corp", seconds=0.5))
    assert json.loads(line) == {
        "time": "2026-11-22T07:30:00.120Z",
        "level": "WARNING",
        "logger": "envproxy.test",
        "message": "numpy failed",
        "upstream": "corp",
        "seconds": 0.5,
    }


def test_a_message_cannot_forge_a_second_line() -> None:
    forged = record("absent: %s", "x\n2026-11-22T07:30:01Z INFO envproxy all is well", name_="a\nb")
    assert len(LineFormatter("text").format(forged).splitlines()) == 1


@pytest.mark.parametrize("style", ["text", "json"])
def test_no_part_of_a_line_shows_credentials(style: str) -> None:
    secret = "https://user:hunter2@pkgs.example.org/"
    line = LineFormatter(style).format(
        record("fetching %s", secret, error=OSError(f"{secret} is down"), url=secret, urls=[secret])
    )
    assert "hunter2" not in line
    assert line.count("//***@pkgs.example.org/") == 4
    assert style == "text" or "is down" in json.loads(line)["traceback"]


@pytest.fixture
def untouched_logging() -> Iterator[None]:
    root, server = logging.getLogger(), logging.getLogger("aiohttp.server")
    before = root.handlers[:], root.level, server.filters[:]
    yield
    root.handlers[:], root.level, server.filters[:] = before


@pytest.mark.usefixtures("untouched_logging")
def test_set_up_twice_each_line_still_goes_to_stderr_once(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        setup("warning", "json")
    logging.getLogger("envproxy.test").info("quiet")
    logging.getLogger("envproxy.test").warning("loud")
    out, err = capsys.readouterr()
    assert (out, [json.loads(line)["message"] for line in err.splitlines()]) == ("", ["loud"])
    assert len(logging.getLogger("aiohttp.server").filters) == 1


# --- the buffer -----------------------------------------------------------------------------------------


class Sink:
    """Where batches go; `batches` may be awaited from the loop although they are written in a thread."""

    def __init__(self) -> None:
        self.batches: asyncio.Queue[bytes] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def __call__(self, batch: bytes) -> None:
        self._loop.call_soon_threadsafe(self.batches.put_nowait, batch)


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_lines_that_come_together_are_written_together() -> None:
    sink = Sink()
    lines = LineBuffer(sink, interval_s=0.01)
    running = asyncio.create_task(lines.run())
    for line in (b"one\n", b"two\n"):
        lines.append(line)
    assert await sink.batches.get() == b"one\ntwo\n"
    lines.append(b"three\n")
    assert await sink.batches.get() == b"three\n"
    await stop(running)


async def test_a_full_batch_does_not_wait_for_its_time() -> None:
    sink = Sink()
    lines = LineBuffer(sink, interval_s=3600, batch=2)
    running = asyncio.create_task(lines.run())
    lines.append(b"one\n")
    lines.append(b"two\n")
    assert await sink.batches.get() == b"one\ntwo\n"
    await stop(running)


async def test_what_is_left_is_written_at_the_end() -> None:
    written: list[bytes] = []
    lines = LineBuffer(written.append, interval_s=3600)
    running = asyncio.create_task(lines.run())
    lines.append(b"one\n")
    await asyncio.sleep(0)
    await stop(running)
    assert b"".join(written) == b"one\n"


async def test_lines_are_dropped_and_counted_while_the_sink_is_stuck(caplog: pytest.LogCaptureFixture) -> None:
    sink = Sink()
    lines = LineBuffer(sink, interval_s=3600, batch=2, limit=2)
    for line in (b"one\n", b"two\n", b"lost\n", b"lost\n"):
        lines.append(line)
    running = asyncio.create_task(lines.run())
    assert await sink.batches.get() == b"one\ntwo\n"
    await stop(running)
    assert [record.lines for record in caplog.records] == [2]


async def test_a_sink_that_fails_costs_its_batch_and_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    sink = Sink()
    failures = [OSError("no space left")]

    def failing_once(batch: bytes) -> None:
        if failures:
            raise failures.pop()
        sink(batch)

    lines = LineBuffer(failing_once, interval_s=3600, batch=1)
    running = asyncio.create_task(lines.run())
    lines.append(b"one\n")
    while failures:
        await asyncio.sleep(0)
    lines.append(b"two\n")
    assert await sink.batches.get() == b"two\n"
    await stop(running)
    assert [record.getMessage() for record in caplog.records] == ["access log lines lost: no space left"]
