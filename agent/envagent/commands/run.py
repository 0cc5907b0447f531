"""`envagent run` and `envagent shell`: a command inside the environment of a lock, in the place of this process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from envagent.activation import enter
from envagent.commands.materialize import made_for

if TYPE_CHECKING:
    from argparse import Namespace


def run(args: Namespace) -> int:
    """Make or find the environment, and become the command; its exit code is the answer."""
    return enter(str(made_for(args).prefix), args.command, os.environ)


def shell(args: Namespace) -> int:
    """Become the shell of whoever asks, inside the environment."""
    return enter(str(made_for(args).prefix), [os.environ.get("SHELL") or "/bin/sh"], os.environ)
