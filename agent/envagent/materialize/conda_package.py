"""What a conda package says of itself, held against what was unpacked, and where each file goes (CEP 34, CEP 20).

Pure. Invariant: of a `Package` every path is one that was unpacked,
with the size and sha256 that paths.json promises, and no two of them are installed as one. Files that paths.json does
not list are not installed, as with every conda client.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from envagent.materialize import scripts
from envagent.materialize.layout import BIN, site_packages
from envagent.materialize.member import Damaged
from envagent.materialize.paths import fault

if TYPE_CHECKING:
    from envagent.materialize.scripts import EntryPoint
    from envagent.materialize.untar import Contents


_T = TypeVar("_T")
_OLD_PLACEHOLDER = "/opt/anaconda1anaconda2anaconda3"  # where has_prefix names none


class PathEntry(msgspec.Struct, omit_defaults=True, rename={"path": "_path"}):
    """An entry of paths.json, and of `paths_data` in conda-meta. Sizes are in bytes, digests hexadecimal."""

    path: str
    path_type: str
    sha256: str | None = None
    sha256_in_prefix: str | None = None
    size_in_bytes: int | None = None
    file_mode: Literal["text", "binary"] | None = None
    prefix_placeholder: str | None = None


class _Paths(msgspec.Struct):
    paths: list[PathEntry]


class _Noarch(msgspec.Struct):
    entry_points: list[str] = []


class _Link(msgspec.Struct):
    noarch: _Noarch = msgspec.field(default_factory=_Noarch)


@dataclass(frozen=True)
class Package:
    """A package that may be installed. `index` is its index.json; `installed` pairs each path with its place.

    Directories are entries of the type "directory". `is_python` says that it is one without a platform.
    """

    index: dict[str, Any]
    is_python: bool
    installed: tuple[tuple[PathEntry, str], ...]
    entry_points: tuple[EntryPoint, ...]


def read_package(contents: Contents, *, stem: str, library: str) -> Package:
    """Read and check the metadata of the package `stem` for a Python's `library` directory. Raises Damaged."""
    index = _document(contents, "info/index.json", dict[str, Any])
    own = "-".join(str(index.get(name)) for name in ("name", "version", "build"))
    if own != stem:
        raise Damaged(f"inside it calls itself {own}")
    is_python = index.get("noarch") == "python"
    if is_python and not library:
        raise Damaged("it is a noarch Python package, and the environment has no Python")
    is_old = "info/paths.json" not in contents.documents and "info/files" in contents.documents
    entries = _old_entries(contents) if is_old else _document(contents, "info/paths.json", _Paths).paths
    for entry in entries:
        _check(entry, contents)
    has_link = is_python and "info/link.json" in contents.documents
    points = _entry_points(_document(contents, "info/link.json", _Link)) if has_link else ()
    installed = tuple((entry, _place(entry.path, library) if is_python else entry.path) for entry in entries)
    made = [*(f"{BIN}/{point.name}" for point in points), f"conda-meta/{stem}.json"]
    _check_unique([*(place for _, place in installed), *made])
    return Package(index, is_python, installed, points)


def _old_entries(contents: Contents) -> list[PathEntry]:
    """What packages from before paths.json (conda-build 2.1, 2017) say: names, and which files have a placeholder.

    They promise no digest; that of what was unpacked is noted.
    """
    prefixes: dict[str, tuple[str, str]] = {}
    try:
        for line in contents.documents.get("info/has_prefix", b"").decode().splitlines():
            words = shlex.split(line)
            if words:
                prefixes[words[-1]] = (words[0], words[1]) if len(words) == 3 else (_OLD_PLACEHOLDER, "text")
        names = [name for line in contents.documents["info/files"].decode().splitlines() if (name := line.strip())]
    except ValueError as error:
        raise Damaged(f"its info/files or info/has_prefix is not understood ({error})") from None
    return [_old_entry(name, contents, *prefixes.get(name, ("", "text"))) for name in names]


def _old_entry(name: str, contents: Contents, placeholder: str, mode: str) -> PathEntry:
    if name in contents.links:
        return PathEntry(name, "softlink")
    file = contents.files.get(name)
    if file is None or mode not in {"text", "binary"}:
        raise Damaged(f"info/files lists {name}, which is not in the archive, or has a prefix of no known kind")
    said = PathEntry(name, "hardlink", file.sha256.hex(), None, file.size)
    if placeholder:
        said.prefix_placeholder, said.file_mode = placeholder, "binary" if mode == "binary" else "text"
    return said


def _document(contents: Contents, name: str, kind: type[_T]) -> _T:
    if name not in contents.documents:
        raise Damaged(f"it has no {name}")
    try:
        return msgspec.json.decode(contents.documents[name], type=kind)
    except msgspec.MsgspecError as error:
        raise Damaged(f"its {name} is not understood ({error})") from None


def _check(entry: PathEntry, contents: Contents) -> None:
    """That what was unpacked is what the entry says."""
    if problem := fault(entry.path):
        raise Damaged(f"paths.json: {entry.path!r} {problem}")
    if entry.path_type == "directory":
        return
    if entry.path_type not in {"hardlink", "softlink"}:
        raise Damaged(f"paths.json says that {entry.path} is a {entry.path_type!r}")
    if entry.path_type == "softlink":
        if entry.path not in contents.links:
            raise Damaged(f"paths.json lists the link {entry.path}, which is not in the archive")
        return
    file = contents.files.get(entry.path)
    if file is None:
        raise Damaged(f"paths.json lists {entry.path}, which is not in the archive")
    if entry.size_in_bytes not in {None, file.size} or entry.sha256 not in {None, file.sha256.hex()}:
        raise Damaged(f"{entry.path} is not the file that paths.json promises (its size or sha256 is another)")


def _entry_points(link: _Link) -> tuple[EntryPoint, ...]:
    section = "".join(f"{declared}\n" for declared in link.noarch.entry_points)
    try:
        return scripts.entry_points(f"[console_scripts]\n{section}".encode())
    except ValueError as problem:
        raise Damaged(str(problem)) from None


def moves(library: str) -> dict[str, str]:
    """Where the two directories of a noarch Python package go (CEP 20)."""
    return {"site-packages": site_packages(library), "python-scripts": BIN}


def _place(path: str, library: str) -> str:
    top, slash, rest = path.partition("/")
    return f"{moves(library).get(top, top)}{slash}{rest}"


def _check_unique(places: list[str]) -> None:
    seen = set()
    for place in places:
        if place in seen:
            raise Damaged(f"two of its files would be installed as {place}")
        seen.add(place)
