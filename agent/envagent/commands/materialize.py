"""`envagent materialize`: the environment of a lock, made or found; its path is all that stdout gets."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import msgspec

from envagent.app import App, Made, Order
from envagent.commands.locks import file_at
from envagent.config import config_of
from envagent.console import Console
from envagent.errors import UsageError
from envagent.places import SOCKET
from envagent.recall import PYTHON
from envproxy.commands.output import say

if TYPE_CHECKING:
    from argparse import Namespace
    from types import SimpleNamespace

    from envagent.config import Config


def run(args: Namespace | SimpleNamespace) -> int:
    """Make it, and say where it is."""
    made = made_for(args)
    sys.stdout.write((msgspec.json.encode(made).decode() if args.json else made.prefix) + "\n")
    return 0


def made_for(args: Namespace | SimpleNamespace) -> Made:
    """The environment that the flags ask for. Raises every EnvagentError; OSError passes."""
    if args.prefix == "":
        raise UsageError("--prefix names no directory: it is empty", hint="is the variable of the shell set?")
    file = file_at(args.lock)
    prefix = str(Path(args.prefix).absolute()) if args.prefix else ""
    order = Order(file.read_bytes(), file.name, env=args.env or "", target=args.target or "", prefix=prefix)
    config = config_of(args)
    console = Console(sys.stderr)
    try:
        made = _handed_over(order, config, console) or _app(config, console).materialize(order)
    finally:
        console.close()
    _warn(made)
    return made


def _handed_over(order: Order, config: Config, console: Console) -> Made | None:
    """What a daemon made of it, where there is one; what is mounted must be mounted by whoever uses it."""
    if config.mounts or not (config.data / SOCKET).exists():
        return None
    from envagent.daemon.client import handed_over  # noqa: PLC0415  # few have a daemon

    return handed_over(order, config, console)


def _app(config: Config, console: Console) -> App:
    return App(config, os.environ, perf_counter, downloads=console, progress=console.progress, python=PYTHON)


def _warn(made: Made) -> None:
    for clobber in made.clobbers:
        say(f"warning: {clobber}")
    for name in made.link_scripts:
        say(f"warning: {name} has a script to run after it is installed, which was not run")
