"""A parsed document (JSON, YAML, TOML) being read: every value knows its place, and every mistake is kept.

A Node never raises while reading: it notes what is wrong and hands out a harmless stand-in, so that one pass finds
all problems. `refuse_if_any` ends the pass. Paths are JSONPath (RFC 9535): `$.environments.default.targets[0]`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from envagent.errors import LockRefused, Problem
from envagent.lock import rules

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}")
_MAX_PROBLEMS = 100
_T = TypeVar("_T")
_NAMES: dict[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    int: "an integer",
    bool: "true or false",
}


class _Missing:
    """The value of a member that is not there."""


MISSING = _Missing()


class Node:
    """One value of a document. `where` is its path, `problems` is shared by the whole document."""

    __slots__ = ("problems", "value", "where")

    def __init__(self, value: object, where: str = "$", problems: list[Problem] | None = None) -> None:
        self.value = value
        self.where = where
        self.problems: list[Problem] = [] if problems is None else problems

    def refuse(self, what: str, hint: str = "") -> None:
        """Note that this value `what`: a sentence that begins with the value."""
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(Problem(self.where, what, hint))

    def refuse_if_any(self, name: str) -> None:
        """End of the pass: raises LockRefused with every problem noted so far."""
        if self.problems:
            raise LockRefused(name, self.problems)

    # --- what is inside ---------------------------------------------------------------------------------

    def member(self, key: str) -> Node:
        """The member called `key`, which may be missing; of anything but an object, every member is."""
        value = self.value.get(key, MISSING) if isinstance(self.value, dict) else MISSING
        step = f".{key}" if _PLAIN.fullmatch(key) else f"[{key[:128]!r}]"
        return Node(value, self.where + step, self.problems)

    def has(self, key: str) -> bool:
        """Whether there is such a member, and it is not null."""
        return self.member(key).there

    @property
    def there(self) -> bool:
        """Whether there is a value at all."""
        return self.value is not MISSING and self.value is not None

    def members(self, key: str) -> Iterator[tuple[str, Node]]:
        """The members of the object `key`; a missing one has none."""
        node = self.member(key)
        for name in node.expect(dict, {}) if node.there else ():
            yield name, node.member(name)

    def elements(self, key: str) -> Iterator[Node]:
        """The elements of the array `key`; a missing one has none."""
        node = self.member(key)
        for position, value in enumerate(node.expect(list, []) if node.there else ()):
            yield Node(value, f"{node.where}[{position}]", self.problems)

    def only(self, *keys: str) -> None:
        """Refuse what is no object, and members that are not named here."""
        for key in sorted(set(self.expect(dict, {})) - set(keys)):
            self.member(key).refuse("is not known to this version", hint="made by a newer envagent, or misspelt")

    # --- single values ----------------------------------------------------------------------------------

    def text(self, key: str, rule: rules.Rule = rules.text, default: str | None = None) -> str:
        """The string `key`; without a default it must be there."""
        node = self.member(key)
        if not node.there and default is not None:
            return default
        return node.as_text(rule)

    def as_text(self, rule: rules.Rule = rules.text) -> str:
        """The value itself as a string that keeps the rule."""
        word = self.expect(str, "")
        if isinstance(self.value, str) and (problem := rules.text(word) or rule(word)):
            self.refuse(problem)
        return word

    def number(self, key: str, *, least: int = 0, most: int = 2**53 - 1, default: int | None = None) -> int:
        """The integer `key` between `least` and `most`; without a default it must be there."""
        node = self.member(key)
        if not node.there and default is not None:
            return default
        number = node.expect(int, least)
        if not least <= number <= most:
            node.refuse(f"is not between {least} and {most}")
        return number

    def texts(self, key: str, rule: rules.Rule = rules.text) -> tuple[str, ...]:
        """The array of strings `key`; a missing one is empty."""
        return tuple(element.as_text(rule) for element in self.elements(key))

    def expect(self, kind: type[_T], stand_in: _T) -> _T:
        """The value itself if it is of that kind; else its stand-in, and a problem."""
        if isinstance(self.value, kind) and not (kind is int and isinstance(self.value, bool)):
            return self.value
        if self.value is MISSING:
            self.refuse("is missing")
        else:
            self.refuse(f"is not {_NAMES[kind]}")
        return stand_in
