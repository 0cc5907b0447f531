"""What a single word in a lock may be. A rule takes the word and says what is wrong with it, or nothing.

Locks come from strangers: every name here ends up in a path, a URL or a command line, so each rule says which
characters there may be rather than which may not. Rules know no documents and no places: document.py does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from envagent.lock import plain

Rule = Callable[[str], str]
"""A check of one word: "" when it is right, else the end of the sentence that begins with the word."""

MAX_SIZE = 2**40
"""Bytes: 1 TiB, far above any artifact, far below where integers stop being exact in JSON."""

OF_THIS_MACHINE = "is on this machine alone, and a lock names what others have too"

_MAX_TEXT = 4096
_ELSEWHERE = re.compile(r"(?!file:)[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_SDIST_ENDINGS = (".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz")
_VCS = re.compile(r"git\+(https?://[^\s@]+)@([0-9a-f]{40}|[0-9a-f]{64})(#subdirectory=[A-Za-z0-9._/-]+)?")
_SOURCE = re.compile(r"(https?://[^\s#]+)#sha256=[0-9a-f]{64}")


def matching(pattern: str, what: str) -> Rule:
    """The rule that the whole word matches `pattern`."""

    def rule(word: str) -> str:
        return "" if re.fullmatch(pattern, word) else f"is not {what}"  # compiled when first used: most never are

    return rule


sha256 = matching(r"[0-9a-f]{64}", "a sha256 (64 lower-case hexadecimal digits)")
md5 = matching(r"[0-9a-f]{32}", "an md5 (32 lower-case hexadecimal digits)")
subdir = matching(r"noarch|[a-z0-9]{2,16}-[a-z0-9_]{2,16}", "a conda subdir such as linux-64 or noarch")
platform = matching(r"[a-z0-9]{2,16}-[a-z0-9_]{2,16}", "a platform such as linux-64 or osx-arm64")
conda_name = matching(r"(?!__)[a-z0-9_][a-z0-9_.+-]{0,127}", "a name of a conda package")
conda_version = matching(r"[A-Za-z0-9][A-Za-z0-9_.+!~]{0,127}", "a conda version")
conda_build = matching(r"[A-Za-z0-9_.+]{1,128}", "a conda build string")
noarch = matching(r"python|generic", "one of python, generic")
label = matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "a name of letters, digits, dots, dashes and underscores")
archive_name = matching(r"[a-z0-9][a-z0-9._-]{0,63}", "a lower-case name")
virtual_name = matching(r"__[a-z0-9_]{1,64}", "a virtual package such as __glibc")
virtual_version = matching(r"([<>=!]{1,2} ?)?[A-Za-z0-9_.*+!-]{0,64}(=[A-Za-z0-9_.*-]{1,64})?", "a version")


def text(word: str) -> str:
    """Printable and of bounded length: no control characters, no half surrogates."""
    if len(word) > _MAX_TEXT:
        return f"has {len(word)} characters, more than {_MAX_TEXT}"
    return "" if word.isprintable() else "holds characters that cannot be printed"


def filename(word: str) -> str:
    """A single path segment that means the same on every file system."""
    if not word or len(word.encode(errors="replace")) > 255:
        return "is not a file name of 1 to 255 bytes"
    if word in {".", ".."} or not word.isprintable() or any(char in '/\\:*?"<>|' for char in word):
        return "is not a plain file name (no path, no special characters)"
    return ""


def relative_path(word: str) -> str:
    """A path that stays below where it starts, with forward slashes."""
    if any(segment in {"", ".", ".."} for segment in word.split("/")) or "\\" in word or ":" in word:
        return "is not a relative path without `..`"
    return text(word)


def url(word: str) -> str:
    """An http(s) URL of a file or an index: no credentials, no query, no fragment, no way up."""
    if text(word) or " " in word or "\\" in word:
        return "is not a URL"
    try:
        parts = urlsplit(word)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in {"http", "https"} or not host:
        return "is not an http or https URL"
    if "@" in parts.netloc or parts.path.startswith("/t/"):
        return "carries credentials, which a lock must not"
    if "?" in word or "#" in word:
        return "has a query or a fragment: a lock names files by plain URLs"
    return _segments(parts.path)


def _segments(path: str) -> str:
    for segment in path.split("/"):
        plain = unquote(segment)
        if plain in {".", ".."} or "/" in plain or "\\" in plain or not plain.isprintable():
            return "has a path that does not mean what it says (`..` or an encoded separator)"
    return ""


def source(word: str) -> str:
    """A channel or an index: a name that the proxy knows, or a URL."""
    if "://" in word:
        return url(word)
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}", word) and not relative_path(word):
        return ""
    return "is neither the name of a channel or index nor its URL"


def project(word: str) -> str:
    """A Python project's name in the one spelling of PEP 503."""
    if re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,126}[a-z0-9])?", word) and "--" not in word:
        return ""
    return "is not a normalized project name (PEP 503: lower case, single dashes)"


def version(word: str) -> str:
    """A version of PEP 440."""
    if plain.is_version(word):
        return text(word)
    from packaging.version import InvalidVersion, Version  # noqa: PLC0415  # for what is not plain, as below

    try:
        Version(word)
    except InvalidVersion:
        return "is not a version (PEP 440)"
    return text(word)


@lru_cache(4096)
def specifiers(word: str) -> str:
    """A set of version specifiers (PEP 440), as in Requires-Python."""
    if plain.is_specifiers(word):
        return text(word)
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # noqa: PLC0415

    try:
        SpecifierSet(word)
    except InvalidSpecifier:
        return "is not a set of version specifiers (PEP 440)"
    return text(word)


@lru_cache(4096)
def requirement(word: str) -> str:
    """A dependency specifier (PEP 508) without credentials."""
    if plain.is_requirement(word):
        return text(word)
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415

    try:
        parsed = Requirement(word)
    except (InvalidRequirement, RecursionError):
        return "is not a requirement (PEP 508)"
    if parsed.url and "@" in parsed.url.partition("://")[2].partition("/")[0]:
        return "carries credentials, which a lock must not"
    return text(word)


def asked_requirement(word: str) -> str:
    """The same, as somebody asks for it: from an index, or from a URL."""
    from packaging.requirements import Requirement  # noqa: PLC0415

    return requirement(word) or place(Requirement(word).url)


def place(asked: str | None) -> str:
    """The URL of a requirement, if it has one: not a path, nor a file of this machine."""
    return "" if asked is None or _ELSEWHERE.match(asked) else OF_THIS_MACHINE


def python_filename(word: str, *, kind: str, name: str, version: str) -> str:
    """That a wheel's file name tells the same project and version as its entry; that an sdist's ends like one."""
    if problem := filename(word):
        return problem
    if kind == "sdist":
        return "" if word.lower().endswith(_SDIST_ENDINGS) else "is not the name of a source archive"
    if plain.is_wheel(word, name=name, version=version):
        return ""
    from packaging.utils import InvalidWheelFilename, canonicalize_version, parse_wheel_filename  # noqa: PLC0415
    from packaging.version import InvalidVersion  # noqa: PLC0415

    try:
        its_name, its_version, _, _ = parse_wheel_filename(word)
    except (InvalidWheelFilename, InvalidVersion):
        return "is not the name of a wheel"
    if its_name != name or canonicalize_version(its_version) != canonicalize_version(version):
        return f"is not a wheel of {name} {version}"
    return ""


def conda_filename(word: str, *, name: str, version: str, build: str) -> str:
    """That a conda file name tells the same package as its entry."""
    stem = f"{name}-{version}-{build}"
    return "" if word in {f"{stem}.conda", f"{stem}.tar.bz2"} else f"is not {stem}.conda or .tar.bz2"


def built_from(word: str) -> str:
    """A source that cannot change under its name: a git commit, or an archive with its sha256."""
    for pattern in (_VCS, _SOURCE):
        if found := pattern.fullmatch(word):
            return url(found.group(1))
    return "is neither git+https://...@<commit> nor https://...#sha256=<digest>"
