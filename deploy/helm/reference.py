"""What the chart says about itself and does not keep by hand: `make chart` writes it.

- `values.schema.json` gets the settings of envproxy as `$defs.proxyConfig`, from their declarations; all else in it
  is kept by hand.
- `README.md` gets a table of every value, from the comments and the defaults in `values.yaml`.
- `files/` gets the dashboards and rule files of `grafana/`. Helm reads nothing outside a chart, and a link instead
  of copies would be lost in archives of the sources and in checkouts without links.

Invariant: running it twice changes nothing. tests/chart fails where the repository holds something else.
"""
# ruff: noqa: INP001 - a script beside the chart, in no package

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from envproxy.config import KEYS
from envproxy.settings import Key

CHART = Path(__file__).parent / "envmesh"
GRAFANA = Path(__file__).parents[2] / "grafana"
CHARTS_OWN = "server"  # the section of the configuration that follows from other values
BEGIN, END = "<!-- values: written by make chart -->", "<!-- end of values -->"

_TEXTS = {"type": "array", "items": {"type": "string", "minLength": 1}}
_KINDS: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "true or false": {"type": "boolean"},
    "whole number": {"type": "integer", "minimum": 1},
    "size": {"$ref": "#/$defs/size"},
    "duration": {"$ref": "#/$defs/duration"},
    "date-time": {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].+)?$"},
    "URL": {"type": "string", "pattern": r"^https?://[^@?#\s]+$"},
    "file": {"type": "string", "pattern": "^/"},
    "secret": {"$ref": "#/$defs/secret"},
    "list of rules": _TEXTS,
    "list of names": {**_TEXTS, "minItems": 1, "uniqueItems": True},
    "list of URLs or directories": {"type": ["string", "array"], "items": {"type": "string"}, "minLength": 1},
    "table": {"type": "object", "additionalProperties": {"type": "string", "minLength": 1}},
}


class Value(NamedTuple):
    """One value of the chart: its dotted place, its default as JSON, and the comment above it."""

    place: str
    default: str
    comment: str


def main(chart: Path, grafana: Path) -> None:
    """Write all three into `chart`."""
    schema = chart / "values.schema.json"
    schema.write_text(with_settings(schema.read_text("utf-8")), "utf-8")
    readme = chart / "README.md"
    readme.write_text(with_values(readme.read_text("utf-8"), (chart / "values.yaml").read_text("utf-8")), "utf-8")
    for room, pattern in {"alerts": "*.yaml", "dashboards": "*.json"}.items():
        copy_all(sorted((grafana / room).glob(pattern)), chart / "files" / room)


# --- the schema of the configuration --------------------------------------------------------------------


def with_settings(schema: str) -> str:
    """The schema of the values with that of the settings in it."""
    document = json.loads(schema)
    document["$defs"]["proxyConfig"] = settings_schema([key for key in KEYS if key.place[0] != CHARTS_OWN])
    return json.dumps(document, indent=2) + "\n"


def settings_schema(keys: list[Key]) -> dict[str, Any]:
    """The JSON schema of a table with these settings, closed at every level."""
    root = _closed()
    for key in keys:
        table = root
        for part in key.place[:-1]:
            table = _below(table, part)
        table["properties"][key.place[-1]] = {**_kind(key.kind.name), "description": key.meaning}
    return root


def _closed() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": {}}


def _below(table: dict[str, Any], part: str) -> dict[str, Any]:
    if part == "<name>":
        place, part = table.setdefault("patternProperties", {}), "^[a-z0-9][a-z0-9_.-]*$"
    else:
        place = table["properties"]
    inner: dict[str, Any] = place.setdefault(part, _closed())
    return inner


def _kind(name: str) -> dict[str, Any]:
    """Raises KeyError for a kind that this file does not know: add it above."""
    if words := re.fullmatch("one of (.+)", name):
        return {"enum": words[1].split(", ")}
    if (words := re.fullmatch("list of (.+, .+)", name)) and name not in _KINDS:
        return {"type": "array", "items": {"enum": words[1].split(", ")}, "minItems": 1, "uniqueItems": True}
    return _KINDS[name]


# --- the table of values --------------------------------------------------------------------------------


def with_values(readme: str, values: str) -> str:
    """The README with the table of values in its place."""
    before, _, rest = readme.partition(BEGIN)
    after = rest.partition(END)[2]
    rows = [f"| `{value.place}` | `{value.default}` | {value.comment} |" for value in values_of(values)]
    return "\n".join([f"{before}{BEGIN}", "| Value | Default | Meaning |", "|---|---|---|", *rows, f"{END}{after}"])


def values_of(text: str) -> Iterator[Value]:
    """Every value in the order of the file; a mapping that the chart itself defines is gone into."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    yield from _walk(root, "", text.splitlines())


def _walk(node: yaml.MappingNode, place: str, lines: list[str]) -> Iterator[Value]:
    for key, value in node.value:
        here = f"{place}{key.value}"
        # A mapping in one line is a value; one that is spread over lines is a section with values in it.
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            yield from _walk(value, f"{here}.", lines)
        else:
            default = json.dumps(yaml.safe_load(yaml.serialize(value)))
            yield Value(here, default, _comment_above(lines, key.start_mark.line))


def _comment_above(lines: list[str], number: int) -> str:
    first = number
    while first and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return " ".join(line.strip().removeprefix("#").strip() for line in lines[first:number]).replace("|", "\\|")


# --- dashboards and rules -------------------------------------------------------------------------------


def copy_all(sources: list[Path], folder: Path) -> None:
    """Make `folder` hold these files and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for source in sources:
        shutil.copyfile(source, folder / source.name)


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:]) if sys.argv[1:] else (CHART, GRAFANA))
