"""`envagent gc`: makes room."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

from envagent.config import config_of
from envagent.errors import UsageError
from envagent.garbage import Removed, collect
from envproxy.commands.output import counted, print_json, say, shown_size
from envproxy.kinds import BadValueError, duration, size

if TYPE_CHECKING:
    from argparse import Namespace

_UNUSED = "30d"


def run(args: Namespace) -> int:
    """Say what went, or would go."""
    budget, unused_s = _read(args)
    config = config_of(args)
    removed = (
        collect(config, now=time(), unused_s=unused_s, budget=budget, dry_run=args.dry_run)
        if config.store.is_dir()
        else Removed((), 0, 0, 0)
    )
    if args.json:
        environments = [str(path) for path in removed.environments]
        print_json(
            {
                "environments": environments,
                "trees": removed.trees,
                "artifacts": removed.artifacts,
                "size": removed.size,
                "dry_run": args.dry_run,
            }
        )
        return 0
    parts = (
        counted(len(removed.environments), "environment"),
        counted(removed.trees, "tree"),
        counted(removed.artifacts, "download"),
    )
    say(f"{'would remove' if args.dry_run else 'removed'} {', '.join(parts)}: {shown_size(removed.size)}")
    return 0


def _read(args: Namespace) -> tuple[int, int]:
    """The budget in bytes and how long is unused, in seconds. Raises UsageError."""
    values = {"--budget": (size, args.budget or "0"), "--unused": (duration, args.unused or _UNUSED)}
    found = []
    for flag, (read, text) in values.items():
        try:
            found.append(read(text))
        except BadValueError as error:
            raise UsageError(f"{flag} {text!r} {error.rule}", hint=error.hint) from None
    return found[0], found[1]
