"""The kinds of values that a setting can have: sizes, durations, addresses, references to secrets and the like.

A `Kind` takes a value as a TOML file holds it (text, number, list, table) or as a variable holds it (always
text) and returns the typed one, or raises `BadValueError` with the rule that it broke. Invariant: a value that may
carry a secret is never repeated in an error. Only `SECRET` and `FILE` look beyond the value itself, and what
they may look at comes in as `Surroundings`. Rules between settings are not here: see contradictions.py.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)")
_ADDRESS = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:\[\]/\s]+)):(?P<port>[0-9]{1,5})")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REFERENCE = re.compile(r"(env|file):(.+)")
# The comma inside a version specifier ("pandas>=2,<3") does not end an item.
_ITEM_END = re.compile(r",(?!\s*[<>=!~])")

_SIZES = {"": 1, "b": 1}
_SIZES |= {f"{letter}b": 10 ** (3 * power) for power, letter in enumerate("kmgt", 1)}
_SIZES |= {f"{letter}ib": 2 ** (10 * power) for power, letter in enumerate("kmgt", 1)}
_DURATIONS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
# Keeps every "now minus duration" a date that datetime can express.
_LONGEST_S = 100 * 365 * 86_400


class BadValueError(ValueError):
    """The rule that a value broke; `shown` is false where repeating the value adds nothing or may leak."""

    def __init__(self, rule: str, *, hint: str = "", shown: bool = True) -> None:
        super().__init__(rule)
        self.rule = rule
        self.hint = hint
        self.shown = shown


class Secret:
    """A value that shows itself only to `reveal()`: not in repr, str, format, nor `dataclasses.asdict`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself. Call it where the value is used, and keep no copy."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(...)"


class Address(NamedTuple):
    """Where a server listens. `host` has no brackets; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a value may refer to: variables, and files relative to `base`."""

    environ: Mapping[str, str]
    base: Path


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """A kind by its name in the reference, and how its values are read (raises BadValueError).

    `blank` stands in for a required value that is missing or bad, until the problem is raised.
    """

    name: str
    read: Callable[[object, Surroundings], T]
    blank: T | None = None


def likely(wrong: str, known: Iterable[str], *, prefix: str = "") -> str:
    """The hint "did you mean ...?" or the empty string; `prefix` is shown, but not compared."""
    close = difflib.get_close_matches(wrong, sorted(known), n=1)
    return f"did you mean {prefix + close[0]!r}?" if close else ""


def _quantity(value: object, units: Mapping[str, int]) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    found = _QUANTITY.fullmatch(str(value).strip())
    if found is None or found[2] not in units:
        return None
    return Decimal(found[1]) * units[found[2]]


def size(value: object) -> int:
    """Bytes of "200GB" (10^9), "1.5GiB" (2^30), "512" or 512; the case of units does not matter."""
    quantity = _quantity(value.casefold() if isinstance(value, str) else value, _SIZES)
    if quantity is None:
        raise BadValueError("must be a size in bytes", hint='such as "200GB", "512MiB" or 1000000')
    return int(quantity)


def budget(value: object) -> int:
    """A size of at least one byte."""
    found = size(value)
    if found < 1:
        raise BadValueError("must be more than 0 bytes")
    return found


def _seconds(value: object) -> Decimal:
    quantity = _quantity(value, _DURATIONS)
    if quantity is None:
        raise BadValueError("must be a duration", hint='such as "30s", "10m", "6h", "7d", "2w" or 90 (seconds)')
    if quantity > _LONGEST_S:
        raise BadValueError("must be at most 100 years")
    return quantity


def duration(value: object) -> int:
    """Whole seconds of "30s", "10m", "6h", "7d", "2w", "90" or 90."""
    found = _seconds(value)
    if found != int(found):
        raise BadValueError("must be a whole number of seconds")
    return int(found)


def timeout(value: object) -> float:
    """Seconds, more than 0, fractions allowed ("0.5s")."""
    found = float(_seconds(value))
    if found <= 0:
        raise BadValueError("must be more than 0 seconds")
    return found


def address(value: object) -> Address:
    """HOST:PORT or [IPv6]:PORT."""
    found = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if found is None or int(found["port"]) > 65_535:
        raise BadValueError("must be HOST:PORT", hint='such as "127.0.0.1:8417", "[::1]:8417" or "0.0.0.0:8417"')
    if found["v6"] is not None:
        try:
            ipaddress.IPv6Address(found["v6"])
        except ValueError as error:
            raise BadValueError("must have an IPv6 address between the brackets") from error
    return Address(found["v6"] or found["host"], int(found["port"]))


def url(value: object) -> str:
    """An http(s) URL without credentials, query or fragment; it comes back with a trailing slash."""
    text = words(value)
    rule = BadValueError("must be an http:// or https:// URL", shown=not {"@", "?"} & set(text))
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise rule from error
    if "@" in parts.netloc:
        hint = 'set username and password = "env:NAME" instead'
        raise BadValueError("must not embed credentials", hint=hint, shown=False)
    if not usable or re.search(r"\s", text):
        raise rule
    if parts.query or parts.fragment:
        raise BadValueError("must have neither query nor fragment", shown=False)
    return text.rstrip("/") + "/"


def mirrors(value: object) -> tuple[str, ...]:
    """One or more http(s) URLs or absolute paths of directories; paths come back as file: URLs, all with a slash."""
    found = names(value)
    return tuple(Path(one).as_uri() + "/" if Path(one).is_absolute() else url(one) for one in found)


def boolean(value: object) -> bool:
    """True or false, as TOML or as text."""
    found = {"true": True, "false": False}.get(value) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise BadValueError("must be true or false")
    return found


def count(value: object) -> int:
    """A whole number of at least 1."""
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        raise BadValueError("must be a whole number of at least 1")
    return int(text)


def words(value: object) -> str:
    """Any text."""
    if not isinstance(value, str):
        raise BadValueError("must be text")
    return value


def directory(value: object) -> Path:
    """The path of a directory, which need not exist yet."""
    if not isinstance(value, str) or not value:
        raise BadValueError("must be a path")
    return Path(value)


def instant(value: object) -> datetime:
    """An instant in UTC, from a TOML or RFC 3339 date-time with offset, or a date (its 00:00 UTC)."""
    rule = BadValueError("must be a date or a date-time with offset", hint='such as "2026-01-31T00:00:00Z"')
    try:
        found = _instant_of_text(value) if isinstance(value, str) else value
        if isinstance(found, datetime) and found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise rule from error
    if isinstance(found, date) and not isinstance(found, datetime):
        return datetime.combine(found, time(), UTC)
    raise rule


def _instant_of_text(text: str) -> date:
    return datetime.fromisoformat(text) if "T" in text or " " in text else date.fromisoformat(text)


def items(value: object) -> tuple[str, ...]:
    """A list of texts, or one text with commas between them."""
    found = value
    if isinstance(value, str):
        found = _ITEM_END.split(value) if value.strip() else []
    if not isinstance(found, list) or not all(isinstance(item, str) and item.strip() for item in found):
        raise BadValueError("must be a list of texts", hint='such as ["one", "two"], in a variable one,two')
    return tuple(item.strip() for item in found)


def names(value: object) -> tuple[str, ...]:
    """A list with at least one name and none twice."""
    found = items(value)
    if not found:
        raise BadValueError("must name at least one", shown=False)
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise BadValueError(f"names {', '.join(twice)} more than once", shown=False)
    return found


def owners(value: object) -> tuple[tuple[str, str], ...]:
    """(pattern, source) pairs in written order, from a table or from text: "corp-*=corp,other=pypi"."""
    found = value
    if isinstance(value, str):
        found = {key.strip(): source.strip() for key, _, source in (item.partition("=") for item in items(value))}
    if not isinstance(found, dict) or not all(isinstance(item, str) and item for item in found.values()):
        raise BadValueError("must map patterns of names to sources", hint='such as "corp-*" = "corp"')
    for pattern in found:
        # A pattern that no normalised name can match would give the name away to whichever source has it.
        normal = re.sub(r"[-_.]+", "-", pattern).lower()
        if pattern != normal:
            raise BadValueError(
                f"has the pattern {pattern!r}, but project names are normalised (PEP 503)",
                hint=f"write {normal!r}",
                shown=False,
            )
    return tuple(found.items())


def pins(value: object) -> tuple[tuple[str, str], ...]:
    """(path, SHA-256) pairs, from a table or from text: "3.11.7/Python-3.11.7.tgz=<hex>,other=<hex>"."""
    found: object = value
    if isinstance(value, str):
        found = {path.strip(): pin.strip() for path, _, pin in (item.partition("=") for item in items(value))}
    if not isinstance(found, dict):
        raise BadValueError("must map paths to their SHA-256", hint='such as "3.11.7/Python-3.11.7.tgz" = "<hex>"')
    for path, pin in found.items():
        if not isinstance(pin, str) or not _SHA256.fullmatch(pin):
            raise BadValueError(f"has no SHA-256 in lower-case hex for {path!r}", shown=False)
        if {"", ".", ".."}.intersection(path.split("/")):
            raise BadValueError(f"has {path!r}, which is not the path of a file below the url", shown=False)
    return tuple(found.items())


def choice(*allowed: str) -> Kind[str]:
    """The kind of one word out of a closed set."""

    def read(value: object) -> str:
        if value not in allowed:
            raise BadValueError(f"must be one of {', '.join(allowed)}", hint=likely(str(value), allowed))
        return str(value)

    return _pure(f"one of {', '.join(allowed)}", read)


def choices(*allowed: str) -> Kind[frozenset[str]]:
    """The kind of a list of one or more words out of a closed set."""

    def read(value: object) -> frozenset[str]:
        found = frozenset(items(value))
        if not found or not found.issubset(allowed):
            raise BadValueError(f"must be a list of {', '.join(allowed)}")
        return found

    return _pure(f"list of {', '.join(allowed)}", read)


def secret(value: object, around: Surroundings) -> Secret:
    """What "env:NAME" or "file:PATH" refers to; one final newline of a file is not part of it."""
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        hint = 'write "env:NAME" or "file:PATH"'
        raise BadValueError("must be a reference to a secret, never the secret itself", hint=hint, shown=False)
    text = _variable(found[2], around) if found[1] == "env" else _content(found[2], around)
    if not text:
        raise BadValueError("refers to an empty secret")
    return Secret(text)


def _variable(name: str, around: Surroundings) -> str:
    if name not in around.environ:
        raise BadValueError(f"refers to the variable {name}, which is not set", shown=False)
    return around.environ[name]


def _content(path: str, around: Surroundings) -> str:
    try:
        return (around.base / path).read_text("utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise BadValueError(f"refers to {path}, which cannot be read: {error.strerror}", shown=False) from error
    except UnicodeDecodeError as error:
        raise BadValueError(f"refers to {path}, which is not UTF-8 text", shown=False) from error


def file(value: object, around: Surroundings) -> Path:
    """The path of an existing file."""
    found = around.base / directory(value)
    if not found.is_file():
        raise BadValueError("must be an existing file", hint=f"looked at {found}")
    return found


def _pure(name: str, parse: Callable[[object], T], blank: T | None = None) -> Kind[T]:
    return Kind(name, lambda value, _: parse(value), blank)


ADDRESS = _pure("address", address)
BOOLEAN = _pure("true or false", boolean)
BUDGET = _pure("size", budget)
COUNT = _pure("whole number", count)
DIRECTORY = _pure("directory", directory)
DURATION = _pure("duration", duration)
FILE = Kind("file", file)
INSTANT = _pure("date-time", instant)
MIRRORS: Kind[tuple[str, ...]] = _pure("list of URLs or directories", mirrors, blank=())
NAMES: Kind[tuple[str, ...]] = _pure("list of names", names, blank=())
OWNERS = _pure("table", owners)
PINS = _pure("table", pins)
RULES = _pure("list of rules", items)
SECRET = Kind("secret", secret, blank=Secret(""))
SIZE = _pure("size", size)
TEXT = _pure("text", words)
TIMEOUT = _pure("duration", timeout)
URL = _pure("URL", url)
