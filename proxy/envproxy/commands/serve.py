"""`envproxy serve`."""

from __future__ import annotations

from argparse import Namespace

from envproxy import serve

from .data import config_of


def run(args: Namespace) -> int:
    """Serve until stopped."""
    return serve.run(config_of(args))
