"""`envagent verify`: whether an environment still is what it was made of."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from envagent.materialize.verify import verify
from envproxy.commands.output import counted, print_json, print_lines, say

if TYPE_CHECKING:
    from argparse import Namespace


def run(args: Namespace) -> int:
    """Name every file that is not as it was; exit code 1 if there is one."""
    findings = verify(Path(args.prefix))
    if args.json:
        print_json({"prefix": args.prefix, "findings": [asdict(finding) for finding in findings]})
        return 1 if findings else 0
    print_lines(f"{each.what}: {each.path}" + (f" ({each.source})" if each.source else "") for each in findings)
    if findings:
        say(f"{args.prefix}: {counted(len(findings), 'file')} not as made; make it again beside it, then remove it")
        return 1
    say(f"{args.prefix} is as it was made")
    return 0
