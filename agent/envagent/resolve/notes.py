"""Small facts that never change, kept between locks: one JSON file each, named by what it is about.

A note may be lost or be another version's: then it is found out again. Written under another name and renamed, so a
reader sees all of it or nothing.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any


def recalled(folder: Path, name: str) -> Any:  # noqa: ANN401  # whatever was kept
    """What was kept under the name, None if there is nothing to be read."""
    try:
        return json.loads((folder / f"{name}.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def keep(folder: Path, name: str, fact: object) -> None:
    """Keep a JSON value under the name."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".part", delete=False, encoding="utf-8") as part:
        json.dump(fact, part)
    Path(part.name).replace(folder / f"{name}.json")
