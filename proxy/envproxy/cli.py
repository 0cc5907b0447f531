"""The command line of envproxy: what can be asked of it, and how it is answered.

Data goes to stdout, talk to stderr. Exit codes: 0 done, 1 it failed, 2 the command line or the configuration is
wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__
from .config import Config, describe, load
from .errors import ConfigError, EnvproxyError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    args = _parser().parse_args(argv)
    try:
        code: int = args.run(args)
    except ConfigError as error:
        sys.stderr.write(describe(error.problems) + "\n")
        return 2
    except EnvproxyError as error:
        sys.stderr.write(f"error: {error.message}\n" + (f"\nhint: {error.hint}\n" if error.hint else ""))
        return 1
    except OSError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="envproxy", description="A caching, verifying proxy for Python package repositories."
    )
    parser.add_argument("--version", action="version", version=f"envproxy {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="run the proxy in the foreground")
    _configured(serve)
    serve.add_argument("--listen", metavar="HOST:PORT", help="the socket to serve on (default 127.0.0.1:8417)")
    serve.set_defaults(run=_serve)
    return parser


def _configured(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", type=Path, metavar="FILE", help="TOML; every key has an ENVPROXY_ variable too")
    command.add_argument("--data", metavar="DIR", help="where everything is kept (default envmesh-data)")


def _config(args: argparse.Namespace) -> Config:
    flags = {"server.listen": getattr(args, "listen", None), "server.data": args.data}
    file = args.config or (Path(os.environ["ENVPROXY_CONFIG"]) if "ENVPROXY_CONFIG" in os.environ else None)
    return load(file, environ=os.environ, overrides={key: value for key, value in flags.items() if value is not None})


def _serve(args: argparse.Namespace) -> int:
    from .serve import run  # noqa: PLC0415 (the server's imports would slow every other command down)

    return run(_config(args))
