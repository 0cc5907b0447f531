"""Commands as data: each is declared once, and parser, help and reference are made from that.

What a command does is a function that it names, imported when it is run and not before: help costs nothing. This
module knows no program and no command by name; the proxy's cli.py and the agent's table.py declare them.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .errors import EnvproxyError

RUN = "run"
"""The attribute of the parsed arguments that names the function to run."""


class UsageError(EnvproxyError):
    """The command line names something that there is not: exit code 2."""

    title = "Bad command line"


@dataclass(frozen=True, slots=True)
class Argument:
    """An option (`--json`), a switch unless it has a `metavar`; or a positional argument, by its metavar alone.

    `many` positional arguments may be given, none at all if `optional`; an option of which `many` may be given is a
    list, and one whose value is `optional` is "" without. An option that is `required` must be there; `short` is its
    other spelling.
    """

    meaning: str
    flag: str = ""
    metavar: str = ""
    many: bool = False
    optional: bool = False
    required: bool = False
    short: str = ""

    @property
    def usage(self) -> str:
        """As it stands in a line of usage."""
        if self.flag:
            shown = f"{self.short or self.flag} {self._value}".strip()
            return shown if self.required else f"[{shown}]" + ("..." if self.many else "")
        shown = f"{self.metavar}..." if self.many else self.metavar
        return f"[{shown}]" if self.optional else shown

    @property
    def shown(self) -> str:
        """As it stands in a list of arguments."""
        spelled = f"{self.short}, {self.flag}" if self.short else self.flag
        return f"{spelled} {self._value}".strip()

    @property
    def _value(self) -> str:
        return f"[{self.metavar}]" if self.flag and self.optional else self.metavar

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Make the parser understand it."""
        if not self.flag:
            nargs = ("*" if self.optional else "+") if self.many else ("?" if self.optional else None)
            parser.add_argument(self.metavar.lower(), metavar=self.metavar, nargs=nargs, help=self.meaning)
            return
        spellings = [self.short, self.flag] if self.short else [self.flag]
        if not self.metavar:
            parser.add_argument(*spellings, action="store_true", help=self.meaning)
        elif self.many:
            nargs, without = ("?", "") if self.optional else (None, None)
            parser.add_argument(
                *spellings, metavar=self.metavar, action="append", nargs=nargs, const=without, default=[],
                help=self.meaning,
            )  # fmt: skip
        else:
            parser.add_argument(*spellings, metavar=self.metavar, required=self.required, help=self.meaning)


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `name` may have two words; `run` is `module:function` among the commands, (args) -> exit code.

    `does` is one line for lists, `more` what a newcomer should know, `examples` command lines with what they are for.
    """

    name: str
    run: str
    does: str
    more: str
    arguments: tuple[Argument, ...]
    examples: tuple[tuple[str, str], ...]

    def usage_in(self, program: str) -> str:
        """How to call it, on one line."""
        return " ".join([f"{program} {self.name}", *(argument.usage for argument in self.arguments)])


def make_parser(parser: argparse.ArgumentParser, commands: Sequence[Command], groups: Mapping[str, str]) -> None:
    """Let `parser` know all commands; `groups` says what the first word of two-word ones is about."""
    top = parser.add_subparsers(required=True, metavar="COMMAND")
    families = {"": top}
    for command in commands:
        group, _, name = command.name.rpartition(" ")
        if group not in families:
            below = top.add_parser(group, help=groups[group], description=f"{_sentence(groups[group])}.")
            families[group] = below.add_subparsers(required=True, metavar="COMMAND")
        one = families[group].add_parser(
            name,
            help=command.does,
            description=f"{_sentence(command.does)}.\n\n{textwrap.fill(command.more, 100)}",
            epilog=_examples(command),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        one.set_defaults(**{RUN: command.run})
        for argument in command.arguments:
            argument.add_to(one)


def reference_of(program: str, commands: Sequence[Command]) -> str:
    """Every command with every argument, in Markdown."""
    return "\n".join(_section(program, command) for command in commands)


def _section(program: str, command: Command) -> str:
    rows = [f"| `{argument.shown}` | {argument.meaning} |" for argument in command.arguments]
    lines = [
        f"### {program} {command.name}",
        f"{_sentence(command.does)}. {command.more}",
        f"```\n{command.usage_in(program)}\n```",
        "\n".join(["| Argument | Meaning |", "|---|---|", *rows]),
        "```console\n" + "\n".join(f"$ {line}  # {why}" for line, why in command.examples) + "\n```",
    ]
    return "\n\n".join(lines) + "\n"


def _examples(command: Command) -> str:
    width = max(len(line) for line, _ in command.examples)
    return "examples:\n" + "\n".join(f"  {line.ljust(width)}  {why}" for line, why in command.examples)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
