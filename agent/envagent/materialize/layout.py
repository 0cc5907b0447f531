"""Where each file of a wheel lands, relative to a prefix (PEP 427 "Spread", PEP 491 data directories).

    site-packages   lib/<library>/site-packages     purelib and platlib alike, as in every virtual environment
    scripts         bin                             entry points win over a wheel's own script of the same name
    headers         include/site/<library>/<name>   the normalized name, as uv does in a virtual environment
    data            the prefix itself

Pure: a wheel's members in, installed paths out. Invariant: no two of them are one path, and none leaves the prefix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from envagent.errors import ArtifactRefused
from envagent.materialize.paths import collision

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from envagent.materialize.member import Member
    from envagent.materialize.wheel import Wheel

BIN = "bin"
_INSTALLERS_OWN = ("INSTALLER", "REQUESTED", "direct_url.json")  # who installs writes these, not who builds


class Placed(NamedTuple):
    """A member and its path in the prefix; `is_script` says that its first line names the interpreter to fill in."""

    member: Member
    path: str
    is_script: bool


def site_packages(library: str) -> str:
    """The directory of importable things; `library` is the interpreter's own name of it, such as python3.11."""
    return f"lib/{library}/site-packages"


def compiled_path(source: str, cache_tag: str) -> str:
    """Where the bytecode of a module belongs (PEP 3147)."""
    folder, _, name = source.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.{cache_tag}.pyc".lstrip("/")


def lacks_bytecode(paths: Collection[str], library: str, cache_tag: str) -> bool:
    """Whether there is a module in site-packages whose bytecode is not among the paths."""
    site = f"{site_packages(library)}/"
    modules = [path for path in paths if path.startswith(site) and path.endswith(".py")]
    return bool(modules) and not {compiled_path(path, cache_tag) for path in modules} <= set(paths)


def spread(wheel: Wheel, library: str, is_python_script: Callable[[Member], bool]) -> list[Placed]:
    """Every member and where it goes; `is_python_script` is asked of those in the scripts directory.

    Raises ArtifactRefused where the wheel leaves that open.
    """
    schemes = {
        "purelib": site_packages(library),
        "platlib": site_packages(library),
        "scripts": BIN,
        "headers": f"include/site/{library}/{wheel.name}",
        "data": "",
    }
    ours = {f"{wheel.stem}.dist-info/{name}" for name in _INSTALLERS_OWN}
    generated = {f"{BIN}/{point.name}" for point in wheel.entry_points}
    site, data = f"{site_packages(library)}/", f"{wheel.stem}.data/"
    placed, is_moved = [], False
    for member in wheel.members:
        if not member.path.startswith(data):
            if member.path not in ours:
                placed.append(Placed(member, site + member.path, is_script=False))
            continue
        scheme, path = _installed(wheel, member, data, schemes)
        is_moved = True
        if scheme != "scripts":
            placed.append(Placed(member, path, is_script=False))
        elif path not in generated:
            placed.append(Placed(replace(member, executable=True), path, is_script=is_python_script(member)))
    # Where all lie in site-packages as in the archive, whose names are unique, only the rest can clash.
    doubtful = [place.path for place in placed] if is_moved else []
    if clash := collision([*doubtful, *sorted(generated), record_path(wheel, library)]):
        raise ArtifactRefused(wheel.filename, f"{clash[0]} and {clash[1]} would be the same installed file")
    return placed


def record_path(wheel: Wheel, library: str) -> str:
    """Where the installed RECORD is."""
    return f"{site_packages(library)}/{wheel.stem}.dist-info/RECORD"


def _installed(wheel: Wheel, member: Member, data: str, schemes: dict[str, str]) -> tuple[str, str]:
    """The scheme that a member of the data directory is in, and its path in the prefix."""
    scheme, _, path = member.path.removeprefix(data).partition("/")
    if scheme not in schemes or not path:
        raise ArtifactRefused(wheel.filename, f"{member.path} is in no data directory that wheels have")
    return scheme, f"{schemes[scheme]}/{path}".lstrip("/")
