"""Declared settings, and reading them from a TOML table, from variables and from flags.

A setting is declared once, as a field of a dataclass: `key` (with a default), `optional` or `required`, inside
`section` and `named` ones. From that declaration come the table of keys, the names of the variables, parsing,
defaults and the reference. Layers are added lowest first and later ones win. Invariant: a mistake becomes a
`Problem` and reading goes on, so one look finds them all; whoever builds must look at `problems` afterwards.
This module knows no setting by name (tables.py does), nor rules between settings (contradictions.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from envproxy.errors import Problem
from envproxy.kinds import BadValueError, Kind, Surroundings, likely

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
R = TypeVar("R")
D = TypeVar("D", bound="DataclassInstance")

Place = tuple[str, ...]
"""Where a setting is in the tree: ("pypi", "upstreams", "corp", "url")."""

PREFIX = "ENVPROXY_"
FILE_VARIABLE = "ENVPROXY_CONFIG"
"""The path of the TOML file: for the command line, not a setting."""

_NAME = "<name>"
_NAME_RULE = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_DECLARED = "declared"
# Kubernetes gives every pod variables for each Service of its namespace (service links), so a Service called
# "envproxy" sets these beside ours.
_SERVICE_LINK = re.compile(r"\w+_SERVICE_(HOST|PORT)(_\w+)?|\w+_PORT_[0-9]+_(TCP|UDP|SCTP)(_\w+)?")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")


def is_service_link(variable: str, text: str) -> bool:
    """Whether Kubernetes set the variable, to say where a service of that name is, and no operator did."""
    return bool(_SERVICE_LINK.fullmatch(variable) or _SERVICE_ADDRESS.match(text))


@dataclass(frozen=True, slots=True)
class Key:
    """One setting. `path` is dotted, with <name> for what the operator names; `default` is as one writes it."""

    path: str
    kind: Kind[Any]
    default: str
    meaning: str
    required: bool = False

    @property
    def place(self) -> Place:
        """The path in parts, <name> among them."""
        return tuple(self.path.split("."))

    @property
    def table(self) -> Place:
        """The place of the table of named tables that it belongs to; empty if to none."""
        return self.place[: self.place.index(_NAME)] if _NAME in self.place else ()

    @property
    def env(self) -> str:
        """The variable that sets it, with <NAME> for what the operator names."""
        return PREFIX + _shouted(self.path)


@dataclass(frozen=True, slots=True)
class _Section(Generic[D]):
    cls: type[D]


@dataclass(frozen=True, slots=True)
class _Named(Generic[D, R]):
    cls: type[D]
    collect: Callable[[dict[str, D]], R]


@dataclass(frozen=True, slots=True)
class _Written:
    value: object
    where: str


def key(name: str, kind: Kind[T], default: str, meaning: str) -> T:
    """Declare a setting with a default, written as in a variable."""
    value = kind.read(default, Surroundings({}, Path()))
    return field(default=value, metadata={_DECLARED: Key(name, kind, default, meaning)})


def optional(name: str, kind: Kind[T], meaning: str) -> T | None:
    """Declare a setting that is None unless written."""
    return field(default=None, metadata={_DECLARED: Key(name, kind, "", meaning)})


def required(name: str, kind: Kind[T], meaning: str) -> T:
    """Declare a setting that must be written."""
    declared: T = field(metadata={_DECLARED: Key(name, kind, "", meaning, required=True)})
    return declared


def section(cls: type[D]) -> D:
    """Declare a table of settings, called as the field is."""
    return field(default_factory=cls, metadata={_DECLARED: _Section(cls)})


def named(cls: type[D], collect: Callable[[dict[str, D]], R]) -> R:
    """Declare a table of tables that the operator names; `cls` has a field `name` for that."""
    return field(default_factory=lambda: collect({}), metadata={_DECLARED: _Named(cls, collect)})


def keys_of(cls: type[DataclassInstance], prefix: str = "") -> Iterator[Key]:
    """Every setting declared in `cls` and below: what must be written, then the rest in order of declaration."""
    for item in sorted(fields(cls), key=_may_be_left_out):
        match item.metadata.get(_DECLARED):
            case Key() as declared:
                yield replace(declared, path=prefix + declared.path)
            case _Section(inner):
                yield from keys_of(inner, f"{prefix}{item.name}.")
            case _Named(inner):
                yield from keys_of(inner, f"{prefix}{item.name}.{_NAME}.")
            case _:  # the field `name` of a named table
                continue


def _may_be_left_out(item: Field[Any]) -> bool:
    declared = item.metadata.get(_DECLARED)
    return not (isinstance(declared, Key) and declared.required)


def reference_table(keys: tuple[Key, ...]) -> str:
    """All keys as a table in Markdown."""
    lines = ["| Key | Variable | Kind | Default | Meaning |", "|---|---|---|---|---|"]
    for one in keys:
        default = f"`{one.default}`" if one.default else "required" if one.required else "none"
        lines.append(f"| `{one.path}` | `{one.env}` | {one.kind.name} | {default} | {one.meaning} |")
    return "\n".join(lines) + "\n"


def dotted(place: Place) -> str:
    """A place as one writes it in TOML, quoted where a part is not a bare key."""
    return ".".join(part if _BARE.fullmatch(part) else json.dumps(part) for part in place)


def _shouted(name: str) -> str:
    return re.sub(r"[-.]", "_", name).upper()


def _fits(pattern: Place, place: Place) -> bool:
    return len(pattern) == len(place) and all(
        want in (_NAME, part) for want, part in zip(pattern, place, strict=True)
    )


def _name_within(spelling: str, text: str) -> str | None:
    """What stands in `text` for the <name> of `spelling`; "" if both are equal, None if they do not fit."""
    head, _, rest = spelling.partition("<")
    tail = rest.partition(">")[2]
    if not rest:
        return "" if text == spelling else None
    fits = text.startswith(head) and text.endswith(tail) and len(text) > len(head) + len(tail)
    return text[len(head) : len(text) - len(tail)] if fits else None


class Settings:
    """What the operator wrote, layer over layer, and the problems found in it so far."""

    def __init__(self, keys: tuple[Key, ...], around: Surroundings) -> None:
        self.problems: list[Problem] = []
        self._keys = {one.place: one for one in keys}
        self._sections = {place[:end] for place in self._keys for end in range(1, len(place))}
        self._around = around
        self._written: dict[Place, _Written] = {}
        self._named: dict[Place, None] = {}

    def where(self, place: Place) -> str:
        """What to call a setting in a problem: the variable that set it, else its dotted key."""
        written = self._written.get(place)
        return written.where if written else dotted(place)

    def has(self, place: Place) -> bool:
        """Whether anyone wrote this setting, well or badly."""
        return place in self._written

    def names(self, section_place: Place) -> list[str]:
        """The names that the operator gave in a table of named tables, in written order."""
        return [place[-1] for place in self._named if place[:-1] == section_place]

    def add_table(self, table: Mapping[str, object], place: Place = ()) -> None:
        """Add a layer from a (part of a) TOML document."""
        for name, value in table.items():
            here = (*place, name)
            if any(_fits(known, here) for known in self._keys):
                self._written[here] = _Written(value, dotted(here))
                continue
            known = next((known for known in self._sections if _fits(known, here)), None)
            if known is None:
                self._problem(dotted(here), "is not a setting", self._hint_for(here))
            elif not isinstance(value, dict):
                self._problem(dotted(here), "must be a table", f"write [{dotted(here)}]")
            else:
                if known[-1] == _NAME:
                    self._admit(here)
                self.add_table(value, here)

    def add_environment(self, environ: Mapping[str, str]) -> None:
        """Add a layer from the ENVPROXY_ variables; a name is that of a known table, else in-lower-case."""
        for variable, text in sorted(environ.items()):
            if not variable.startswith(PREFIX) or variable == FILE_VARIABLE:
                continue
            found = self._find(variable, lambda one: one.env)
            if found:
                one, shouted = found
                self._write(one, self._name_of(one, shouted, variable), text, variable)
            elif not is_service_link(variable, text):
                self._problem(variable, "is not the variable of a setting", self._hint_for_variable(variable))

    def add_overrides(self, overrides: Mapping[str, str]) -> None:
        """Add a layer from command line flags: dotted key to text."""
        for path, text in overrides.items():
            found = self._find(path, lambda one: one.path)
            if found:
                self._write(*found, text, path)
            else:
                self._problem(path, "is not a setting", likely(path, (one.path for one in self._keys.values())))

    def build(self, cls: type[D], place: Place = ()) -> D:
        """The dataclass from what was written; mistakes go to `problems` and leave a default behind."""
        values: dict[str, Any] = {}
        for item in fields(cls):
            here = (*place, item.name)
            match item.metadata.get(_DECLARED):
                case Key() as declared:
                    values |= self._value(item.name, declared, (*place, declared.path))
                case _Section(inner):
                    values[item.name] = self.build(inner, here)
                case _Named(inner, collect):
                    members = {name: self.build(inner, (*here, name)) for name in self.names(here)}
                    values[item.name] = collect(members)
                case _:  # the field `name` of a named table
                    values[item.name] = place[-1]
        make: Callable[..., D] = cls
        return make(**values)

    def _value(self, field_name: str, declared: Key, place: Place) -> dict[str, object]:
        """The argument for one field, or none where its default holds."""
        written = self._written.get(place)
        if written:
            try:
                return {field_name: declared.kind.read(written.value, self._around)}
            except BadValueError as error:
                what = f"{error.rule}, not {written.value!r}" if error.shown else error.rule
                self._problem(written.where, what, error.hint)
        elif declared.required:
            variable = PREFIX + _shouted(".".join(place))
            self._problem(dotted(place), "is required", f"write it in the file or set {variable}")
        return {field_name: declared.kind.blank} if declared.required else {}

    def _find(self, text: str, spell: Callable[[Key], str]) -> tuple[Key, str] | None:
        """The key whose spelling fits `text`, with the name in it; the longest spelling wins."""
        fitting = [(one, name) for one in self._keys.values() if (name := _name_within(spell(one), text)) is not None]
        return max(fitting, key=lambda found: len(found[0].path), default=None)

    def _name_of(self, one: Key, shouted: str, variable: str) -> str:
        if not shouted:
            return ""
        known = [name for name in self.names(one.table) if _shouted(name) == shouted]
        if len(known) > 1:
            self._problem(variable, f"could mean {' or '.join(known)}", "set it in the file")
        return known[0] if known else shouted.lower().replace("_", "-")

    def _write(self, one: Key, name: str, text: str, where: str) -> None:
        place = tuple(name if part == _NAME else part for part in one.place)
        if name:
            self._admit((*one.table, name))
        self._written[place] = _Written(text, where)

    def _admit(self, place: Place) -> None:
        if place not in self._named and not _NAME_RULE.fullmatch(place[-1]):
            rule = "must have a name of lower-case letters, digits, dots, hyphens and underscores"
            self._problem(dotted(place), rule)
        self._named[place] = None

    def _hint_for(self, place: Place) -> str:
        siblings = {
            known[-1]
            for known in (*self._keys, *self._sections)
            if _fits(known[:-1], place[:-1]) and known[-1] != _NAME
        }
        elsewhere = (one.path for one in self._keys.values() if one.place[-1] == place[-1])
        return likely(place[-1], siblings) or next((f"did you mean {path!r}?" for path in elsewhere), "")

    def _hint_for_variable(self, variable: str) -> str:
        known = {
            one.env.removeprefix(PREFIX).replace(_NAME.upper(), _shouted(name))
            for one in self._keys.values()
            for name in (*self.names(one.table), _NAME)
        }
        # Without the prefix, for in so long a common beginning everything looks alike.
        close = likely(variable.removeprefix(PREFIX), known, prefix=PREFIX)
        return close or f"{PREFIX} is for settings only: call other variables otherwise"

    def _problem(self, where: str, what: str, hint: str = "") -> None:
        self.problems.append(Problem(where, what, hint))
