"""`envagent verify`: whether an environment still is what it was made of."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from envagent.materialize.verify import verify
from envproxy.commands.output import counted, print_json, print_lines, say

if TYPE_CHECKING:
    from argparse import Namespace

    from envagent.materialize.verify import Finding


def run(args: Namespace) -> int:
    """Name every file that is not as it was; exit code 1 if there is one that is no edit in a writable overlay."""
    findings = verify(Path(args.prefix))
    damage = [finding for finding in findings if not finding.is_edit]
    if args.json:
        print_json({"prefix": args.prefix, "findings": [asdict(finding) for finding in findings]})
        return 1 if damage else 0
    print_lines(_line(finding) for finding in findings)
    if damage:
        say(f"{args.prefix}: {counted(len(damage), 'file')} not as made; make it again beside it, then remove it")
        return 1
    edits = len(findings)
    say(f"{args.prefix} is as it was made" + (f", but for {counted(edits, 'edit')} of its own" if edits else ""))
    return 0


def _line(finding: Finding) -> str:
    what = f"own edit, {finding.what}" if finding.is_edit else finding.what
    return f"{what}: {finding.path}" + (f" ({finding.source})" if finding.source else "")
