"""`envagent materialize`: the environment of a lock, made or found; its path is all that stdout gets."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from envagent.app import App, Made, Order
from envagent.commands.locks import file_at
from envagent.config import config_of
from envagent.console import Console
from envagent.recall import Answer
from envproxy.commands.output import say

if TYPE_CHECKING:
    from argparse import Namespace


def run(args: Namespace) -> int:
    """Make it, and say where it is."""
    made = made_for(args)
    sys.stdout.write((_said(made, is_new=made.is_new) if args.json else str(made.prefix)) + "\n")
    return 0


def made_for(args: Namespace) -> Made:
    """The environment that the flags ask for, noted for the next time. Raises every EnvagentError; OSError passes."""
    order = Order(file_at(args.lock), args.env, args.target, Path(args.prefix) if args.prefix else None)
    console = Console(sys.stderr)
    python = ".".join(map(str, sys.version_info[:3]))
    app = App(config_of(args), os.environ, perf_counter, downloads=console, progress=console.progress, python=python)
    try:
        made = app.materialize(order)
    finally:
        console.close()
    for clobber in made.clobbers:
        say(f"warning: {clobber}")
    Answer(str(made.prefix), _said(made, is_new=False), str(made.used)).write(str(made.note))
    return made


def _said(made: Made, *, is_new: bool) -> str:
    """What programs are told, on one line."""
    return json.dumps(
        {
            "prefix": str(made.prefix),
            "lock": made.lock_id,
            "environment": made.environment,
            "target": made.target,
            "new": is_new,
            "clobbers": [asdict(clobber) for clobber in made.clobbers],
            "seconds": made.seconds if is_new else {},
        }
    )
