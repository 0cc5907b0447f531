"""`envagent sbom`: the bill of materials of an environment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from envagent.commands.locks import lock_of, write_out
from envagent.lock.sbom import sbom

if TYPE_CHECKING:
    from argparse import Namespace


def run(args: Namespace) -> int:
    """Write it as JSON."""
    bill = sbom(lock_of(args.lock, args), args.env)
    write_out((json.dumps(bill, indent=2, ensure_ascii=False) + "\n").encode(), args.output)
    return 0
