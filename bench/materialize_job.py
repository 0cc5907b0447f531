"""`python -m bench.materialize_job PLAN STORE PREFIX ...`: materialize wheels as a command would, in this process.

PLAN is JSON, a list of [path, sha256]. The last line on stdout is the seconds that the call itself took, without the
start of Python.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from envagent.materialize.interpreters import Interpreters
from envagent.materialize.plan import Plan, WheelFile
from envagent.materialize.prefix import materialize
from envagent.store.node import NodeStore


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("plan", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("prefix", type=Path)
    parser.add_argument("--bytecode", choices=["compile", "stored", "none"], default="none")
    parser.add_argument("--link-mode", choices=["hardlink", "copy", "overlay"], default="hardlink")
    parser.add_argument("--proof", choices=["now", "later"], default="now")
    args = parser.parse_args()
    wheels = tuple(
        WheelFile(Path(path), digest, Path(path).name) for path, digest in json.loads(args.plan.read_text())
    )
    plan = Plan(wheels, Interpreters(args.store.with_name("pythons")).describe(Path(sys.executable)))
    began = time.perf_counter()
    materialize(
        plan,
        NodeStore(args.store),
        args.prefix,
        bytecode=args.bytecode,
        link_mode=args.link_mode,
        proof=args.proof,
    )
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # as the command ends
