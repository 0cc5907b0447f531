"""Progress: bars for a terminal, lines for a log, and nothing that hides a server that fails."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from envagent.console import Console
from envagent.materialize.progress import Progress
from fixtures.locks import wheel

ALPHA = wheel("alpha", "1.0")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def work_on(console: Console) -> None:
    console.missing(1, 2_500_000)
    console.received(2_500_000)
    for _ in range(3):
        console.troubled(ALPHA.filename, "the proxy answered 503")
    console.arrived(ALPHA, Path("alpha"))
    console.progress(Progress("unpack", ALPHA.filename, 1, 2))
    console.progress(Progress("unpack", "[bold]beta", 2, 2))
    console.close()


def test_a_log_gets_a_line_a_stage() -> None:
    log = io.StringIO()
    work_on(Console(log))
    assert log.getvalue().splitlines() == [
        "fetching 1 file, 2.5 MB",
        f"{ALPHA.filename}: the proxy answered 503",
        "unpacked 2",
    ]


def test_a_terminal_gets_bars_that_name_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    work_on(Console(terminal))
    shown = terminal.getvalue()
    for expected in ("fetching", "unpacking", "100%", "[bold]beta", f"{ALPHA.filename}: the proxy answered 503\n"):
        assert expected in shown


def test_a_server_that_is_down_for_all_files_is_told_of_for_some() -> None:
    log = io.StringIO()
    console = Console(log)
    for number in range(300):
        console.troubled(f"alpha-{number}.whl", "the proxy answered 503")
    lines = log.getvalue().splitlines()
    assert lines[0] == "alpha-0.whl: the proxy answered 503"
    assert lines[9:] == ["alpha-9.whl: the proxy answered 503", "there is more trouble of this kind"]


def test_a_command_without_work_writes_nothing() -> None:
    terminal = Terminal()
    Console(terminal).close()
    assert terminal.getvalue() == ""
