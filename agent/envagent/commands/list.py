"""`envagent list`: the environments that the node store knows of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from envagent.config import config_of
from envagent.materialize.ready import manifest_path, read_ready
from envagent.store.manifest import Manifest, TornManifest
from envagent.store.references import References
from envproxy.commands.output import print_json, print_table, shown_size

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from envagent.materialize.ready import Ready


@dataclass(frozen=True, slots=True)
class Made:
    """An environment: how many packages, bytes of their files, and when it was last made or asked for.

    The size is None where its manifests were damaged.
    """

    prefix: str
    packages: int
    size: int | None
    used: float


def run(args: Namespace) -> int:
    """Print them, the one used last first."""
    found = sorted(environments(config_of(args).store), key=lambda made: -made.used)
    if args.json:
        print_json([{**_document(made), "size": made.size, "packages": made.packages} for made in found])
    else:
        rows = [(made.prefix, str(made.packages), _size(made), _when(made)) for made in found]
        print_table(("prefix", "packages", "size", "last used"), rows)
    return 0


def environments(store: Path) -> Iterator[Made]:
    """Those that still exist; none where there is no store."""
    if not store.is_dir():
        return
    references = References(store)
    for reference in references.prefixes():
        prefix = Path(reference.path)
        if ready := read_ready(prefix):
            used = references.place(prefix).stat().st_mtime
            yield Made(reference.path, len(ready.parts), _size_of(prefix, ready), used)


def _size_of(prefix: Path, ready: Ready) -> int | None:
    try:
        return sum(Manifest.read(manifest_path(prefix, part)).size for part in [*ready.parts, *ready.bytecode])
    except (TornManifest, FileNotFoundError):
        return None


def _size(made: Made) -> str:
    return "damaged" if made.size is None else shown_size(made.size)


def _document(made: Made) -> dict[str, object]:
    return {"prefix": made.prefix, "used": _when(made)}


def _when(made: Made) -> str:
    return datetime.fromtimestamp(made.used, UTC).isoformat(timespec="seconds")
