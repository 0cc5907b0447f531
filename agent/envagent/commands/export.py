"""`envagent export`: a lock in another tool's format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envagent.commands.locks import file_at, write_out
from envagent.lock.formats import export, read

if TYPE_CHECKING:
    from argparse import Namespace


def run(args: Namespace) -> int:
    """Write it."""
    data = export(read(file_at(args.lock)), args.env, args.format, target=args.target, partial=args.partial)
    write_out(data, args.output)
    return 0
