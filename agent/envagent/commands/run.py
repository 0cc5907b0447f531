"""`envagent run` and `envagent shell`: a command inside the environment of a lock, in the place of this process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from envagent.activation import enter
from envagent.commands.materialize import made_for
from envagent.config import config_of

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence


def run(args: Namespace) -> int:
    """Make or find the environment, and become the command; its exit code is the answer."""
    return _inside(args, args.command)


def shell(args: Namespace) -> int:
    """Become the shell of whoever asks, inside the environment."""
    return _inside(args, [os.environ.get("SHELL") or "/bin/sh"])


def _inside(args: Namespace, command: Sequence[str]) -> int:
    """With overlays, in namespaces of its own: anyone may mount there, and the mount ends with the command."""
    if config_of(args).mounts:
        from envagent.materialize.overlay import enter_namespace  # noqa: PLC0415  # few ask for it

        enter_namespace()
    return enter(made_for(args).prefix, command, os.environ)
