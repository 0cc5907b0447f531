"""How commands show data: a table for people, JSON for programs, both on stdout.

On a terminal a table takes its width; in a pipe no cell is ever cut or wrapped, so grep and cut can be relied on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence

_PIPE_COLUMNS = 1000


def print_json(value: object) -> None:
    """One JSON document."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_lines(lines: Iterable[str]) -> None:
    """One line each."""
    sys.stdout.writelines(f"{line}\n" for line in lines)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table without lines, headed by the names of its columns; nothing of a cell is taken for markup."""
    from rich.console import Console  # noqa: PLC0415  # slow to import, and few commands print a table
    from rich.table import Table  # noqa: PLC0415

    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = _PIPE_COLUMNS
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def say(text: str) -> None:
    """One line of talk, on stderr."""
    sys.stderr.write(text + "\n")


def shown_size(count: int) -> str:
    """Bytes for people: `3.4 GB`."""
    from rich.filesize import decimal  # noqa: PLC0415  # as above

    return decimal(count)


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 file`, `2 files`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
