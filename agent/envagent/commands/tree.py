"""`envagent tree`: which package needs which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envagent.commands.locks import lock_of
from envagent.lock.graph import tree
from envproxy.commands.output import print_lines

if TYPE_CHECKING:
    from argparse import Namespace

    from envagent.lock.graph import Branch


def run(args: Namespace) -> int:
    """Print one line a package, indented below whoever needs it."""
    target = lock_of(args.lock, args).environment(args.env).target(args.target)
    print_lines(map(_line, tree(target)))
    return 0


def _line(branch: Branch) -> str:
    package = branch.package
    seen = " (*)" if branch.shown_before else ""
    return f"{'  ' * branch.depth}{package.name} {package.version} ({package.kind}){seen}"
