"""The commands of envagent, declared once: parser, help and docs/agent-cli.md are made from this table."""

from __future__ import annotations

import argparse
import importlib
from dataclasses import replace
from typing import TYPE_CHECKING

from envagent.errors import UsageError
from envproxy import __version__
from envproxy.command import RUN, Argument, Command, make_parser, reference_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_JSON = Argument("print JSON, for programs", "--json")
_DATA = Argument("where everything is kept (default ~/.local/share/envagent)", "--data", "DIR")
_CONFIG = Argument("TOML with the same settings (default ~/.config/envagent/config.toml)", "--config", "FILE")
_PLACE = (_DATA, _CONFIG)
_LOCK = Argument("a lock of any format (docs/lock.md)", metavar="LOCK")
_ENV = Argument("which of the lock's environments (default: the only one, or default)", "--env", "NAME")
_TARGET = Argument("which of the environment's targets (default: the only one)", "--target", "NAME")
_WHICH = Argument("a lock of any format (docs/lock.md)", "--lock", "LOCK")
_NETWORK = (
    Argument("an envproxy to ask first (default: none)", "--proxy", "URL"),
    Argument("never ask anybody else when there is a proxy", "--no-proxy-fallback"),
)
_MAKING = (
    Argument("where to make it (default: below the data directory, named by the lock)", "--prefix", "DIR"),
    *_NETWORK,
    Argument("hardlink (default), reflink, copy, overlay or writable-overlay", "--link-mode", "MODE"),
    Argument("leave compiled modules out", "--no-bytecode"),
    Argument("be there before modules are compiled and RECORD is proven, which another process does", "--early"),
    *_PLACE,
)
_OUTPUT = Argument("where to write it (default: stdout)", "--output", "FILE", short="-o")
_MACHINES = (
    Argument(
        "a machine to read formats for that name none (default: this one); may be given again",
        "--platform",
        "PLATFORM",
        many=True,
    ),
    Argument("the Python version of these machines (default: that of envagent)", "--python", "VERSION"),
)

COMMANDS = (
    Command(
        "lock",
        "lock:run",
        "resolve what is asked for to a lock.json",
        "Reads requirements.txt, pyproject.toml, environment.yml, pixi.toml and an earlier lock.json, joined. "
        "Conda is resolved first, and what it provides to Python is given for PyPI. What an earlier lock has, also "
        "one at the place of the new one, stays where it can; its other environments stay as they are.",
        (
            Argument("a file that says what to lock", metavar="FILES", many=True, optional=True),
            Argument("a requirement (PEP 508); may be given again", "--pypi", "SPEC", many=True),
            Argument("a conda match spec, or one with a platform: 'htop; unix'", "--conda", "SPEC", many=True),
            Argument("a channel, by name or URL, the first one first", "--channel", "NAME", many=True),
            Argument("an index, by name or URL, the first one first", "--index", "NAME", many=True),
            Argument("the version of Python, or specifiers such as '>=3.11'", "--python", "VERSION"),
            Argument(
                "a machine such as linux-64 or linux-64+cuda=12.4 (default: this one)",
                "--platform",
                "PLATFORM",
                many=True,
            ),
            Argument("an extra of pyproject.toml; may be given again", "--extra", "NAME", many=True),
            Argument("a dependency group of pyproject.toml; may be given again", "--group", "NAME", many=True),
            Argument("the environment in the lock (default: default)", "--env", "NAME"),
            Argument("an envproxy to ask (default: none, indexes and channels are asked directly)", "--proxy", "URL"),
            Argument("let one package change, or everything", "--upgrade", "NAME", many=True, optional=True),
            Argument("no release after this date or RFC 3339 time", "--exclude-newer", "DATE"),
            Argument("build nothing: only wheels, no sdists and no repositories", "--only-binary"),
            Argument("bring an archive of Python along where Conda brings none", "--standalone-python"),
            _OUTPUT,
            _JSON,
            *_PLACE,
        ),
        (
            ("envagent lock pyproject.toml --group test -o lock.json", "a project with its tests"),
            ("envagent lock --pypi torch --conda ffmpeg --platform linux-64+cuda=12.4 -o lock.json", "both in one"),
            ("envagent lock lock.json --upgrade numpy -o lock.json", "the rest stays"),
        ),
    ),
    Command(
        "materialize",
        "materialize:run",
        "make the environment of a lock, or find it",
        "Prints the path of the environment and nothing else on stdout. Without --prefix it lies below the data "
        "directory and is named by the lock; the same lock again returns at once. Environments are never changed: a "
        "path where another one lies, or anything else, is refused. LOCK may be of any format.",
        (_LOCK, _ENV, _TARGET, *_MAKING, _JSON),
        (
            ("envagent materialize lock.json --prefix .venv", "like any other virtual environment"),
            ("envagent materialize lock.json", "in a script: the path is all that stdout gets"),
            ("envagent materialize lock.json --proxy http://127.0.0.1:8417 --json", "for programs"),
        ),
    ),
    Command(
        "run",
        "run:run",
        "run a command inside the environment of a lock",
        "Makes or finds the environment and becomes the command: signals reach it, and its exit code is the answer. "
        "Exit code 127 if there is no such command, 126 if it cannot be run.",
        (
            replace(_WHICH, required=True),
            _ENV,
            _TARGET,
            *_MAKING,
            Argument(
                "what to run: all words from its name on are its own, also without --", metavar="COMMAND", many=True
            ),
        ),
        (("envagent run --lock lock.json -- python -m pytest", "tests, in what they were locked for"),),
    ),
    Command(
        "shell",
        "run:shell",
        "start a shell inside the environment of a lock",
        "The shell is $SHELL. What its start-up files put at the front of PATH comes before the environment.",
        (replace(_WHICH, required=True), _ENV, _TARGET, *_MAKING),
        (("envagent shell --lock lock.json", "leave it with exit"),),
    ),
    Command(
        "import",
        "import_:run",
        "make a lock.json of another tool's lock",
        "Reads pixi.lock, conda-lock.yml, pylock.toml, requirements.txt, @EXPLICIT lists and uv.lock. The lock "
        "names every file with its size and sha256; what FILE leaves out is completed from its index, or refused.",
        (replace(_LOCK, metavar="FILE"), _OUTPUT, *_MACHINES, *_NETWORK, *_PLACE),
        (
            ("envagent import pixi.lock -o lock.json", "all environments and platforms"),
            ("envagent import uv.lock --platform linux-64 --python 3.12 -o lock.json", "it names no machine itself"),
        ),
    ),
    Command(
        "export",
        "export:run",
        "write a lock in the format of another tool",
        "Formats are pylock, pixi, conda-lock, requirements, explicit and envmesh. Packages without a place there "
        "are refused by name; docs/lock.md says what else each of them loses.",
        (
            _LOCK,
            Argument("the format to write", "--format", "FORMAT", required=True),
            _OUTPUT,
            _ENV,
            _TARGET,
            Argument("leave out packages of kinds that the format does not know", "--partial"),
            *_MACHINES,
        ),
        (("envagent export lock.json --format pylock -o pylock.toml", "for pip, uv and pdm"),),
    ),
    Command(
        "diff",
        "diff:run",
        "show what is different between two locks",
        "Package by package, for every environment and target. Exit code 0 whether they differ or not.",
        (replace(_LOCK, metavar="OLD"), replace(_LOCK, metavar="NEW"), *_MACHINES, _JSON),
        (("envagent diff lock.json new.json", "before a merge"),),
    ),
    Command(
        "tree",
        "tree:run",
        "show which package needs which",
        "One target of one environment. What was shown before with all below it is marked with (*).",
        (_LOCK, _ENV, _TARGET, *_MACHINES),
        (("envagent tree lock.json", "why is this package here?"),),
    ),
    Command(
        "sbom",
        "sbom:run",
        "print a CycloneDX 1.6 bill of materials",
        "Of one environment with all its targets; the same lock gives the same bytes.",
        (_LOCK, _ENV, _OUTPUT, *_MACHINES),
        (("envagent sbom lock.json -o sbom.json", "for an audit"),),
    ),
    Command(
        "list",
        "list:run",
        "list the environments that were made here",
        "Their paths, packages, sizes and when each was last made or asked for. Environments share files, so "
        "sizes do not add up.",
        (_JSON, *_PLACE),
        (("envagent list", "for people"), ("envagent list --json", "for programs")),
    ),
    Command(
        "gc",
        "gc:run",
        "remove what no environment needs",
        "First environments that were made without --prefix and not asked for in a while go, unless a command runs "
        "in one. Then trees that no environment refers to, and downloads, the longest unused first. A wheel that was "
        "built here stays as long as an environment has it, and as long as one may go unused.",
        (
            Argument("how much of these to keep, such as 20GB (default: nothing)", "--budget", "SIZE"),
            Argument("how long an environment may go unused (default 30d)", "--unused", "DURATION"),
            Argument("only say what would go", "--dry-run"),
            _JSON,
            *_PLACE,
        ),
        (
            ("envagent gc --dry-run", "what would go?"),
            ("envagent gc --budget 20GB", "once a night"),
        ),
    ),
    Command(
        "scrub",
        "scrub:run",
        "compare every tree of the node store with its digests",
        "A tree that is not what it was, by an edit in an environment or a failing disk, is removed and built anew "
        "when it is next wanted; the environments that share its files are named. Exit code 1 if there is any.",
        (_JSON, *_PLACE),
        (("envagent scrub", "once a week"),),
    ),
    Command(
        "check",
        "check:run",
        "list everything that is wrong with the settings",
        "Of FILE, or of the file that other commands would read; together with the variables that are set, and with "
        "what the settings refer to. Exit code 2 if anything is wrong.",
        (Argument("the configuration (default ~/.config/envagent/config.toml)", metavar="FILE", optional=True),),
        (("envagent check agent.toml", "before it is rolled out"),),
    ),
    Command(
        "serve",
        "serve:run",
        "run the daemon in the foreground",
        "`materialize` and `run` hand their work to the daemon of their data directory, if there is one. It prints "
        "where it serves once it answers; SIGTERM and Ctrl-C let running work finish. docs/daemon.md has its API. "
        "With a proxy and an address it is a node of the swarm, too: it takes pieces of artifacts from its peers and "
        "gives them on, and clients of this machine find the faces of the proxy there (docs/node.md).",
        (
            Argument(
                "show status and events to this machine, too (loopback, unless there is a proxy)",
                "--listen",
                "HOST:PORT",
            ),
            Argument("an envproxy, to be a node of its swarm", "--proxy", "URL"),
            Argument("where this machine is: peers of the same zone come first", "--zone", "ZONE"),
            Argument("whose this machine is (default: what its secret says)", "--tenant", "TENANT"),
            Argument(
                "where its peers come, if both sides present a certificate: all of the four or none",
                "--peers-listen",
                "HOST:PORT",
            ),
            Argument("the certificate of this node, in PEM", "--peers-cert", "FILE"),
            Argument("the key of that, in PEM without a passphrase", "--peers-key", "FILE"),
            Argument("the authority of all its peers' certificates, in PEM", "--peers-ca", "FILE"),
            *_PLACE,
        ),
        (
            ("envagent serve --listen 127.0.0.1:8418", "a daemon that can be watched"),
            ("envagent serve --proxy http://proxy.example.org:8417 --listen 0.0.0.0:8418", "a node of the swarm"),
        ),
    ),
    Command(
        "status",
        "swarm:status",
        "show what the node of this data directory holds, and what moves",
        "Of the daemon that serves the data directory, which must be a node of a swarm.",
        (_JSON, *_PLACE),
        (("envagent status", "is it fetching, and from whom?"),),
    ),
    Command(
        "peers",
        "swarm:peers",
        "show the peers that this node knows",
        "Those that its directory named lately: what was taken from each, and how they behaved.",
        (_JSON, *_PLACE),
        (("envagent peers", "does anybody misbehave?"),),
    ),
    Command(
        "trace",
        "swarm:trace",
        "show where each piece of an artifact came from, and who took it",
        "From the log of events of this node, which keeps the last of them; no daemon is needed. ARTIFACT is the "
        "beginning of a SHA-256.",
        (Argument("the beginning of a SHA-256", metavar="ARTIFACT"), _JSON, *_PLACE),
        (("envagent trace 3f1a", "who had it?"),),
    ),
    Command(
        "verify",
        "verify:run",
        "compare every file of an environment with its digest",
        "Finds what is missing, and what was edited here or through a hardlink in another environment. Exit code 1 "
        "if there is any. Edits in a writable overlay are listed, and are no damage.",
        (Argument("the path of an environment", metavar="PREFIX"), _JSON),
        (("envagent verify .venv", "did anybody edit site-packages?"),),
    ),
)
_GROUPS: dict[str, str] = {}


def parser(commands: Sequence[Command] = COMMANDS) -> argparse.ArgumentParser:
    """The parser of a command line with these commands."""
    made = argparse.ArgumentParser(
        prog="envagent",
        description="Locks Python environments and makes them: PyPI and Conda in one prefix, every byte verified.",
        epilog="`envagent COMMAND --help` has examples.",
    )
    made.add_argument("--version", action="version", version=f"envagent {__version__}")
    make_parser(made, commands, _GROUPS)
    return made


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """What is asked. Raises UsageError for a command or a word that there is not, with the likely one.

    SystemExit passes: of --help, and of whatever else argparse itself finds wrong.
    """
    commands = {command.name: command for command in COMMANDS}
    if words and not words[0].startswith("-") and words[0] not in commands:
        raise UsageError(f"there is no command {words[0]!r}", hint=_likely(words[0], commands, "envagent"))
    command = commands.get(words[0]) if words else None
    # The parsers of all commands take longer to make than some of their work does.
    args, unknown = parser((command,) if command else COMMANDS).parse_known_args(words)
    if unknown:
        name = next(word for word in words if word in commands)
        flags = [argument.flag for argument in commands[name].arguments if argument.flag]
        hint = _likely(unknown[0].partition("=")[0], flags, f"envagent {name}")
        raise UsageError(f"envagent {name} knows nothing of {unknown[0]!r}", hint=hint)
    return args


def _likely(wrong: str, known: Iterable[str], helper: str) -> str:
    from envproxy.kinds import likely  # noqa: PLC0415  # for mistakes

    return likely(wrong, known) or f"`{helper} --help` lists what there is"


def called(args: argparse.Namespace) -> int:
    """Run the command that was parsed; the exit code. Raises what the command raises."""
    module, _, function = getattr(args, RUN).partition(":")
    code: int = getattr(importlib.import_module(f"envagent.commands.{module}"), function)(args)
    return code


def reference() -> str:
    """The commands in docs/agent-cli.md."""
    return reference_of("envagent", COMMANDS)
