"""`python -m bench [NAME ...]`: measure what is named (default: all), print tables, write every round as JSON.

Ctrl-C and SIGTERM end every process that was started, and leave no network namespace and no scratch behind.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path

from rich.console import Console

from . import cold, conda, install, materialize, memory, swarm, swarm_directory, swarm_small, warm, whole_job
from .plan import Plan, Result
from .report import describe_machine, print_machine, print_result, write_json

BENCHMARKS: Mapping[str, Callable[[Plan], Coroutine[None, None, Result]]] = {
    "warm": warm.measure,
    "cold": cold.measure,
    "install": install.measure,
    "memory": memory.measure,
    "conda": conda.measure,
    "materialize": materialize.measure,
    "whole-job": whole_job.measure,
    "swarm": swarm.measure,
    "swarm-small": swarm_small.measure,
    "swarm-directory": swarm_directory.measure,
}
ROUNDS = 5
QUICK_ROUNDS = 2


def main() -> None:
    signal.signal(signal.SIGTERM, _interrupt)
    args = _parser().parse_args()
    place: Path = args.scratch
    place.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="run-", dir=place.resolve()))
    plan = Plan(scratch, args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS), args.quick, args.live)
    console = Console(width=160)
    machine = describe_machine()
    print_machine(console, machine)
    results: dict[str, Result] = {}
    try:
        for name in args.benchmarks or BENCHMARKS:
            results[name] = asyncio.run(BENCHMARKS[name](plan))
            print_result(console, results[name])
    except Exception:
        console.print(f"the logs of this run are in {scratch}", soft_wrap=True)
        raise
    except KeyboardInterrupt:
        shutil.rmtree(scratch)
        raise
    shutil.rmtree(scratch)
    if args.json:
        write_json(args.json, machine, results)


def _interrupt(*_: object) -> None:
    """As Ctrl-C, once: `timeout` sends its signal twice, to the process and to its group."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.raise_signal(signal.SIGINT)


def _name(text: str) -> str:
    # Not `choices`: argparse takes the empty list for one of them and refuses it.
    if text not in BENCHMARKS:
        raise argparse.ArgumentTypeError(f"no benchmark {text!r}, choose from {', '.join(BENCHMARKS)}")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="envproxy beside its peers and its ceiling")
    names = ", ".join(BENCHMARKS)
    parser.add_argument("benchmarks", nargs="*", type=_name, metavar="BENCHMARK", help=f"{names} (default: all)")
    parser.add_argument("--rounds", type=int, help=f"of everything that is compared (default {ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="see that it works; nothing follows from the numbers")
    parser.add_argument("--live", action="store_true", help="also install from the public index")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round there")
    parser.add_argument(
        "--scratch", type=Path, default=Path(".bench"), metavar="DIR", help="where caches are put (default .bench)"
    )
    return parser


if __name__ == "__main__":
    main()
