"""The command line of envproxy: what can be asked of it, and how it is answered.

Data goes to stdout, talk to stderr. Exit codes: 0 done, 1 it failed, 2 the command line or the configuration is
wrong. Every command works beside a running server and without one. docs/cli.md has the reference made from here.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from dataclasses import replace

from . import __version__
from .command import RUN, Argument, Command, UsageError, make_parser, reference_of
from .errors import ConfigError, EnvproxyError

_CONFIG = Argument("TOML; every key has an ENVPROXY_ variable too", "--config", "FILE")
_DATA = Argument("where everything is kept (default envmesh-data)", "--data", "DIR")
_JSON = Argument("print JSON, for programs", "--json")
_PLACE = (_CONFIG, _DATA)
_SPECS = Argument("a SHA-256, a file name, or project==version", metavar="SPEC", many=True)
_MAYBE_SPECS = replace(_SPECS, optional=True)
_SOURCE = Argument("a hosted index of the configuration", metavar="SOURCE")
_CHANNEL = Argument("a hosted channel of the configuration", metavar="CHANNEL")
_PACKAGES = Argument("the file name of a package", metavar="PACKAGE", many=True)
_HOSTED_SEEN = "A running server shows the change within about a second."

COMMANDS = (
    Command(
        "serve",
        "serve:run",
        "run the proxy in the foreground",
        "Without any configuration it serves PyPI as index main. It prints the URL of each index to stdout once it "
        "answers, and its log to stderr. SIGTERM and Ctrl-C let running downloads finish first.",
        (Argument("the socket to serve on (default 127.0.0.1:8417)", "--listen", "HOST:PORT"), *_PLACE),
        (
            ("envproxy serve", "PyPI, on this machine only"),
            ("envproxy serve --config proxy.toml --listen 0.0.0.0:8417", "for a network"),
        ),
    ),
    Command(
        "check",
        "check:run",
        "find every problem of a configuration file",
        "The file is read as the server would read it, variables included: also the rules of policies, certificates "
        "and netrc. Exit code 2 if there are problems.",
        (Argument("the TOML file", metavar="FILE"),),
        (("envproxy check proxy.toml", "before a restart"),),
    ),
    Command(
        "gc",
        "gc:run",
        "bring the cache within its limits, and sweep up",
        "A server does this by itself whenever something new comes; run it after lowering store.limit. Evicts what "
        "was used longest ago and is largest, never what is pinned, and removes the leftovers of crashed downloads.",
        (Argument("only say what would go", "--dry-run"), _JSON, *_PLACE),
        (("envproxy gc --dry-run", "what would go?"), ("envproxy gc", "let it go")),
    ),
    Command(
        "scrub",
        "scrub:run",
        "read every file in the cache again and compare it with its digest",
        "What no longer matches (a failing disk) is moved to quarantine/ and fetched anew when somebody asks; files "
        "that were uploaded here must be uploaded again. Exit code 1 if anything was corrupt.",
        (_JSON, *_PLACE),
        (("envproxy scrub", "once a month, or after trouble with the disk"),),
    ),
    Command(
        "stats",
        "stats:run",
        "show what the proxy did, or what it has",
        "Asks the running server for its counts since it started (docs/metrics.md). If none answers, shows what is "
        "in the data directory.",
        (
            _JSON,
            Argument("the server to ask (default: where the configuration says that it listens)", "--url", "URL"),
            *_PLACE,
        ),
        (
            ("envproxy stats", "hits, misses, bytes"),
            ("envproxy stats --json --url http://cache.example.org:8417", "another machine's, for a program"),
        ),
    ),
    Command(
        "pin",
        "pins:pin",
        "keep files in the cache, whatever its limits",
        "Pins what is cached, with the metadata of wheels; the rest is named on stderr, and exit code 1 says that a "
        "SPEC matched nothing. With --lock, every SHA-256 in a lock file is looked up, and it is no mistake that the "
        "cache lacks some: locks name the files of every platform.",
        (
            _MAYBE_SPECS,
            Argument("requirements.txt with hashes, uv.lock, poetry.lock, Pipfile.lock, pdm.lock", "--lock", "FILE"),
            *_PLACE,
        ),
        (
            ("envproxy pin numpy==2.1.0", "every cached file of a release"),
            ("envproxy pin --lock uv.lock", "everything that a project needs"),
        ),
    ),
    Command(
        "unpin",
        "pins:unpin",
        "let files be evicted again",
        "Takes the same names as pin. Files that were uploaded here stay pinned until they are deleted.",
        (
            _MAYBE_SPECS,
            Argument("the lock file that was pinned", "--lock", "FILE"),
            *_PLACE,
        ),
        (("envproxy unpin --lock uv.lock", "the project has moved on"),),
    ),
    Command(
        "pins",
        "pins:show",
        "list what is pinned, and why",
        "Uploaded files pin themselves, with the reason hosted:SOURCE.",
        (_JSON, *_PLACE),
        (("envproxy pins", "for people"), ("envproxy pins --json", "for programs")),
    ),
    Command(
        "policy",
        "policy:run",
        "show which files of a project a policy hides, why, and until when",
        "A dry run on the page as it is cached; nobody is asked and nothing changes. Give it a changed configuration "
        "to see what the change would do.",
        (
            Argument("an index of the configuration", metavar="INDEX"),
            Argument("a project that somebody asked the proxy for before", metavar="PROJECT"),
            _JSON,
            *_PLACE,
        ),
        (
            ("envproxy policy main requests", "as it is"),
            ("envproxy policy main requests --config stricter.toml", "as it would be"),
        ),
    ),
    Command(
        "hosted list",
        "hosted:show",
        "list the files that were uploaded to a hosted index",
        "All of them, or those of one project.",
        (_SOURCE, Argument("only this project", metavar="PROJECT", optional=True), _JSON, *_PLACE),
        (("envproxy hosted list team", "everything"), ("envproxy hosted list team train", "one project")),
    ),
    Command(
        "hosted yank",
        "hosted:yank",
        "take files back softly (PEP 592)",
        f"Installers leave them out unless they are pinned to exactly that version. {_HOSTED_SEEN}",
        (_SOURCE, _SPECS, Argument("shown to whoever installs it all the same", "--reason", "TEXT"), *_PLACE),
        (("envproxy hosted yank team train==1.0 --reason 'loses data'", "a whole release"),),
    ),
    Command(
        "hosted unyank",
        "hosted:unyank",
        "undo a yank",
        _HOSTED_SEEN,
        (_SOURCE, _SPECS, *_PLACE),
        (("envproxy hosted unyank team train==1.0", "it was all right after all"),),
    ),
    Command(
        "hosted delete",
        "hosted:delete",
        "delete uploaded files for good",
        "Their bytes go too, unless something else pins them. Their names are never free again for other bytes, and "
        f"later sources are still not asked for the project. To take a release back softly, yank it. {_HOSTED_SEEN}",
        (_SOURCE, _SPECS, *_PLACE),
        (("envproxy hosted delete team train-1.0-py3-none-any.whl", "it had a password in it"),),
    ),
    Command(
        "conda upload",
        "conda:upload",
        "publish packages in a hosted Conda channel",
        "Each goes into the subdir that it names itself, and is in the channel's repodata when the command ends. The "
        "same file again is no mistake; other bytes under a published name are refused.",
        (
            Argument("a .conda or .tar.bz2 file", metavar="FILE", many=True),
            Argument("a hosted channel of the server", "--channel", "NAME", required=True),
            Argument("the server to send to (default http://127.0.0.1:8417)", "--url", "URL"),
            Argument("a token with the scope upload: env:NAME or file:PATH", "--token", "REFERENCE"),
        ),
        (("envproxy conda upload dist/train-1.0-0.conda --channel team --token env:RELEASE_TOKEN", "one package"),),
    ),
    Command(
        "conda list",
        "conda:show",
        "list the packages that were uploaded to a hosted Conda channel",
        "All of them, in every subdir.",
        (_CHANNEL, _JSON, *_PLACE),
        (("envproxy conda list team", "for people"), ("envproxy conda list team --json", "with their records")),
    ),
    Command(
        "conda yank",
        "conda:yank",
        "take packages back softly (CEP 36)",
        "Solvers do not see them any more; whoever has a lock still gets them. The same upload again undoes it. "
        f"{_HOSTED_SEEN}",
        (_CHANNEL, _PACKAGES, *_PLACE),
        (("envproxy conda yank team train-1.0-0.conda", "it loses data"),),
    ),
    Command(
        "conda delete",
        "conda:delete",
        "delete packages for good",
        f"Their bytes go too, and their names are never free again for other bytes. {_HOSTED_SEEN}",
        (_CHANNEL, _PACKAGES, *_PLACE),
        (("envproxy conda delete team train-1.0-0.conda", "it had a password in it"),),
    ),
)
_GROUPS = {"hosted": "look after uploaded files", "conda": "look after hosted Conda channels"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    args = parser().parse_args(argv)
    try:
        module, _, function = getattr(args, RUN).partition(":")
        code: int = getattr(importlib.import_module(f"envproxy.commands.{module}"), function)(args)
    except ConfigError as error:
        from .config import describe  # noqa: PLC0415 (commands that succeed without it start faster)

        sys.stderr.write(describe(error.problems) + "\n")
        return 2
    except EnvproxyError as error:
        sys.stderr.write(f"error: {error.message}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return 2 if isinstance(error, UsageError) else 1
    except OSError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130  # as shells report a death by SIGINT
    return code


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    made = argparse.ArgumentParser(
        prog="envproxy",
        description="A caching, verifying proxy for Python package repositories.",
        epilog="`envproxy serve` is all it takes to begin; `envproxy COMMAND --help` has examples.",
    )
    made.add_argument("--version", action="version", version=f"envproxy {__version__}")
    make_parser(made, COMMANDS, _GROUPS)
    return made


def reference() -> str:
    """The commands in docs/cli.md."""
    return reference_of("envproxy", COMMANDS)
