"""What a project and its files may be called.

Invariant: a name that passed `normalize` or `check_filename` is safe as a key, a path segment and a header value.
Versions are read from filenames with the project's name in hand: an sdist's name is ambiguous without it
(`foo-1.0-1.tar.gz` is foo 1.0.post1 on the page of foo), so the guessing parsers of `packaging` are not used.
This module does not judge whether a wheel's tags make sense, nor whether a project exists.
"""

from __future__ import annotations

import re

from packaging.utils import InvalidName, canonicalize_name, is_normalized_name
from packaging.version import InvalidVersion, Version

from envproxy.errors import ClientError

MAX_NAME_CHARS = 200
MAX_FILENAME_BYTES = 255

# What installers take or once took; the long ones first, so that `.tar.gz` is not read as `.gz`.
_EXTENSIONS = (
    ".tar.gz",
    ".tar.bz2",
    ".tar.xz",
    ".whl",
    ".zip",
    ".tgz",
    ".tar",
    ".egg",
    ".exe",
    ".msi",
)
_DASHED = (".whl", ".egg")  # these escape `-` inside a part, so the version ends at the next one
# bdist_dumb and bdist_wininst put the platform behind the version: `1.0.linux-x86_64`, `1.0.win32-py2.7`.
_PLATFORM = re.compile(r"\.(?:win|linux|macosx|cygwin|darwin|solaris)[\w.-]*\Z", re.ASCII)


def normalize(name: str) -> str:
    """The normal form of a project name (PEP 503). Raises ClientError for what is no name (PEP 508)."""
    if len(name) > MAX_NAME_CHARS:
        raise ClientError(f"a project name of {len(name)} characters: at most {MAX_NAME_CHARS} are allowed")
    try:
        return canonicalize_name(name, validate=True)
    except InvalidName:
        raise ClientError(
            f"{name!r} is not a project name",
            hint="letters, digits, '.', '_' and '-' are allowed, with a letter or digit at both ends (PEP 508)",
        ) from None


def is_normal(name: str) -> bool:
    """Whether `normalize` accepts the name and leaves it as it is."""
    return len(name) <= MAX_NAME_CHARS and is_normalized_name(name)


def check_filename(filename: str) -> None:
    """Raises ClientError for what must never become a path segment: a separator, a dot file, an unprintable."""
    problem = _filename_problem(filename)
    if problem:
        raise ClientError(f"{filename[:MAX_FILENAME_BYTES]!r} is not a file name: it {problem}")


def _filename_problem(filename: str) -> str | None:
    if not filename or filename.startswith("."):
        return "is empty or begins with a dot"
    if "/" in filename or "\\" in filename:
        return "has a path separator"
    if not filename.isprintable():
        return "has a control or invisible character"
    if len(filename.encode()) > MAX_FILENAME_BYTES:
        return f"is longer than {MAX_FILENAME_BYTES} bytes"
    return None


def is_distribution(filename: str) -> bool:
    """Whether the name ends like a wheel, an sdist or a legacy installer (egg, exe, msi)."""
    stem, extension = _split(filename)
    return bool(stem and extension)


def version_of(filename: str, project: str) -> str | None:
    """The version that a file of `project` (normal form) holds; None when its name does not begin with the project.

    Normalised as PEP 440 says, or literally as the name has it where it is no such version (old releases).
    """
    stem, extension = _split(filename)
    if not extension:
        return None
    for dash in re.finditer("-", stem):
        if canonicalize_name(stem[: dash.start()]) == project:
            rest = stem[dash.end() :]
            return _normal_version(rest.partition("-")[0] if extension in _DASHED else rest)
    return None


def _split(filename: str) -> tuple[str, str]:
    lower = filename.lower()
    for extension in _EXTENSIONS:
        if lower.endswith(extension):
            return filename[: -len(extension)], extension
    return filename, ""


def _normal_version(text: str) -> str | None:
    for candidate in (text, _PLATFORM.sub("", text)):
        try:
            return str(Version(candidate))
        except InvalidVersion:
            continue
    return text or None
