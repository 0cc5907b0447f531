"""`envagent export`: a lock in another tool's format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envagent.commands.locks import lock_of, write_out
from envagent.lock.formats import export

if TYPE_CHECKING:
    from argparse import Namespace


def run(args: Namespace) -> int:
    """Write it."""
    data = export(lock_of(args.lock, args), args.env, args.format, target=args.target, partial=args.partial)
    write_out(data, args.output)
    return 0
