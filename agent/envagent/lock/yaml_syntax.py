"""From bytes to plain values and back: YAML, read strictly and without recursion.

No anchors and no tags (a lock needs none, and aliases blow up), no key twice, bounded depth. Of YAML's guesses only
null, booleans and decimal integers are made, so that the version 1.10 stays "1.10" and a build called `no` a string.
"""

from __future__ import annotations

import re

import yaml

from envagent.lock.syntax import decoded, refused

_MAX_DEPTH = 40
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "true": True, "false": False}
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(data: bytes, name: str) -> object:
    """The one document of a YAML stream; raises LockRefused."""
    text = decoded(data, name)
    tree = _Tree()
    try:
        for event in yaml.parse(text, Loader=_Loader):
            tree.feed(event)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise refused(name, f"is not YAML that a lock may use: {' '.join(str(error).split())}") from error
    return tree.value


class _Tree:
    """Builds values of YAML's events, with a stack of its own: no nesting exhausts the interpreter's."""

    def __init__(self) -> None:
        self.value: object = None
        self._open: list[_Open] = []
        self._documents = 0

    def feed(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 0
        if getattr(event, "anchor", None) is not None or getattr(event, "tag", None) is not None:
            raise ValueError(f"an anchor, alias or tag in line {line}")
        if isinstance(event, yaml.ScalarEvent):
            self._put(_scalar(event.value) if event.implicit[0] else event.value, line)
        elif isinstance(event, yaml.MappingStartEvent):
            self._start({}, line)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._start([], line)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._open.pop()
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise ValueError("more than one document")

    def _start(self, container: dict[str, object] | list[object], line: int) -> None:
        if len(self._open) >= _MAX_DEPTH:
            raise ValueError(f"nested deeper than {_MAX_DEPTH} levels")
        self._put(container, line)
        self._open.append(_Open(container))

    def _put(self, value: object, line: int) -> None:
        if self._open:
            self._open[-1].put(value, line)
        else:
            self.value = value


class _Open:
    """A mapping or a sequence whose end has not come yet."""

    __slots__ = ("_container", "_key")

    def __init__(self, container: dict[str, object] | list[object]) -> None:
        self._container = container
        self._key: str | None = None

    def put(self, value: object, line: int) -> None:
        if isinstance(self._container, list):
            self._container.append(value)
        elif self._key is not None:
            self._container[self._key] = value
            self._key = None
        elif isinstance(value, dict | list):
            raise ValueError(f"a key in line {line} is not a string")
        else:
            self._key = "" if value is None else str(value)
            if self._key in self._container:
                raise ValueError(f"the key {self._key[:128]!r} stands twice in one object, again in line {line}")


def _scalar(word: str) -> object:
    if word in _WORDS:
        return _WORDS[word]
    return int(word) if _INTEGER.fullmatch(word) else word


# --- writing --------------------------------------------------------------------------------------------

_NUMBER_LIKE = re.compile(r"[-+]?(\.?[0-9][0-9._]*([eE][-+]?[0-9]+)?|0[xob][0-9a-fA-F_]+)")


def write_yaml(value: object) -> bytes:
    """The text of a document of plain values, in the order of its keys, the same for readers of YAML 1.1 and 1.2."""
    text = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**16, default_flow_style=False
    )
    return text.encode()


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _quoted_if_like_a_number(dumper: _Dumper, word: str) -> yaml.ScalarNode:
    """PyYAML quotes what YAML 1.1 takes for a number; 1.2 has others, such as 1e5."""
    style = '"' if _NUMBER_LIKE.fullmatch(word) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", word, style=style)


_Dumper.add_representer(str, _quoted_if_like_a_number)
