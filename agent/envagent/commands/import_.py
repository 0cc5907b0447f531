"""`envagent import`: another tool's lock as a lock.json."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from envagent.commands.locks import check_output, file_at, machines, write_out
from envagent.completing import LateCompleter
from envagent.config import config_of
from envagent.console import Console
from envagent.lock.canonical import canonical_bytes, lock_id
from envagent.lock.formats import import_bytes
from envproxy.commands.output import say

if TYPE_CHECKING:
    from argparse import Namespace


def run(args: Namespace) -> int:
    """Write the lock, and say its id."""
    check_output(args.output)
    console = Console(sys.stderr)
    try:
        completer = LateCompleter(config_of(args), console)
        place = file_at(args.file)
        data = place.read_bytes()  # once: it may be a pipe
        targets = machines(data, place.name, args)
        if targets and not (args.platform and args.python):
            say(f"reading it for {targets[0].platform} and Python {targets[0].python_version}")
        lock = import_bytes(data, place.name, completer, machines=targets)
    finally:
        console.close()
    write_out(canonical_bytes(lock), args.output)
    if args.output:
        say(f"{args.output}: lock {lock_id(lock)}")
    return 0
