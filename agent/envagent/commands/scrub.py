"""`envagent scrub`: is every tree of the node store still what it was?"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from envagent.config import config_of
from envagent.materialize.scrub import scrub
from envagent.store.node import NodeStore
from envproxy.commands.output import counted, print_json, say

if TYPE_CHECKING:
    from argparse import Namespace


def run(args: Namespace) -> int:
    """Name what was wrong and was removed; exit code 1 if there was any."""
    config = config_of(args)
    found = scrub(NodeStore(config.store)) if config.store.is_dir() else []
    if args.json:
        print_json([asdict(poisoned) for poisoned in found])
    else:
        for poisoned in found:
            say(str(poisoned))
        say(
            f"removed {counted(len(found), 'tree')}; each is built anew when it is wanted" if found else "all is well"
        )
    return 1 if found else 0
