"""`envagent check`: everything that is wrong with the settings, as any other command would find it at its start."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from envagent.config import load

if TYPE_CHECKING:
    from argparse import Namespace


def run(args: Namespace) -> int:
    """Print what holds. Raises ConfigRefused with all that is wrong, variables and secrets included."""
    config = load({}, os.environ, file=args.file)
    asked = f"asks {config.proxy}" if config.proxy else "asks no proxy"
    fallback = " and upstream where that fails" if config.proxy and config.proxy_fallback else ""
    sys.stdout.write(
        f"{args.file or 'what is set'} is fine: keeps {config.data}, {asked}{fallback}, links by {config.link_mode}\n"
    )
    return 0
