"""`envagent import`: another tool's lock as a lock.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envagent.commands.locks import lock_of, write_out
from envagent.lock.canonical import canonical_bytes, lock_id
from envproxy.commands.output import say

if TYPE_CHECKING:
    from argparse import Namespace


def run(args: Namespace) -> int:
    """Write the lock, and say its id."""
    lock = lock_of(args.file, args)
    write_out(canonical_bytes(lock), args.output)
    if args.output:
        say(f"{args.output}: lock {lock_id(lock)}")
    return 0
