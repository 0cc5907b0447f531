"""A dashboard as rows of panels, and the JSON that Grafana 10 and later import.

Panels flow from left to right on Grafana's 24 columns, so no position is written by hand. Every panel asks the data
source that the reader chose, and only for the jobs and instances chosen; a dashboard is not editable in Grafana,
since the next upgrade would undo what was changed there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

DIRECTORY: Final = Path(__file__).parent / "dashboards"
COLUMNS: Final = 24
CHOSEN: Final = 'job=~"$job",instance=~"$instance"'
"""The matchers that keep a query to what the reader chose."""

_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_SCHEMA_VERSION: Final = 38  # Grafana 10.0; newer ones migrate it as they load it


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression; `legend` names its series by their labels, as in `{{route}}`."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph, or one number; `unit` is Grafana's name of it, `most` the end of the axis, `width` in columns."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Literal["timeseries", "stat"] = "timeseries"
    width: int = 8
    most: float | None = None

    @property
    def height(self) -> int:
        """In Grafana's rows of 30 pixels."""
        return 4 if self.kind == "stat" else 8

    def at(self, x: int, y: int, number: int) -> dict[str, Any]:
        """The panel as Grafana has it, with its upper left corner there."""
        scale: dict[str, Any] = {"unit": self.unit, "min": 0}
        if self.most is not None:
            scale["max"] = self.most
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": _SOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "fieldConfig": {"defaults": scale, "overrides": []},
            "options": _OPTIONS[self.kind],
            "targets": [
                {
                    "refId": chr(ord("A") + place),
                    "datasource": _SOURCE,
                    "expr": query.expr,
                    "legendFormat": query.legend,
                }
                for place, query in enumerate(self.queries)
            ],
        }


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of a dashboard: the values that `label` has on the series of `metric`."""

    label: str
    metric: str

    def to_grafana(self) -> dict[str, Any]:
        """The variable as Grafana has it: several may be chosen, and all are at first."""
        query = f"label_values({self.metric}, {self.label})"
        return {
            "name": self.label,
            "label": self.label,
            "type": "query",
            "datasource": _SOURCE,
            "definition": query,
            "query": {"query": query, "refId": self.label},
            "refresh": 2,  # whenever the time range changes
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".+",
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        }


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page of Grafana. `name` is that of its file; its uid, which links point to, is made of it."""

    name: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]

    def json(self) -> str:
        """The file."""
        return json.dumps(self._to_grafana(), indent=2) + "\n"

    def _to_grafana(self) -> dict[str, Any]:
        return {
            "uid": f"envmesh-{self.name}",
            "title": self.title,
            "description": self.description,
            "tags": ["envmesh"],
            "schemaVersion": _SCHEMA_VERSION,
            "editable": False,
            "graphTooltip": 1,  # one cross-hair over all panels
            "refresh": "30s",
            "timezone": "browser",
            "time": {"from": "now-6h", "to": "now"},
            "templating": {"list": [_DATASOURCE, *(variable.to_grafana() for variable in self.variables)]},
            "annotations": {"list": []},
            "links": [_OTHER_DASHBOARDS],
            "panels": list(self._panels()),
        }

    def _panels(self) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = []
        y = 0
        for row in self.rows:
            made.append(_heading(row.title, y, len(made) + 1))
            x, y, height = 0, y + 1, 0
            for panel in row.panels:
                if x + panel.width > COLUMNS:
                    x, y, height = 0, y + height, 0
                made.append(panel.at(x, y, len(made) + 1))
                x, height = x + panel.width, max(height, panel.height)
            y += height
        return made


def rate(metric: str, *matchers: str) -> str:
    """The increase a second of a counter, for series that have these labels and were chosen."""
    return f"rate({chosen(metric, *matchers)}[$__rate_interval])"


def chosen(metric: str, *matchers: str) -> str:
    """The series of a metric that have these labels and were chosen."""
    return f"{metric}{{{','.join((*matchers, CHOSEN))}}}"


def by(series: str, *labels: str, how: Literal["sum", "min", "max", "count"] = "sum") -> Query:
    """A line for each value of the labels, which is its name; `how` makes one of the series that share it."""
    return Query(f"{how} by ({', '.join(labels)}) ({series})", " ".join(f"{{{{{label}}}}}" for label in labels))


def share(part: str, whole: str) -> str:
    """The sum of `part` over the sum of `whole`; nothing of a part that never happened counts as zero."""
    return f"(sum({part}) or vector(0)) / sum({whole})"


def quantiles(histogram: str, *matchers: str) -> tuple[Query, ...]:
    """The median and the slow end of a histogram."""
    buckets = f"sum by (le) ({rate(f'{histogram}_bucket', *matchers)})"
    return tuple(Query(f"histogram_quantile({q}, {buckets})", f"p{q * 100:g}") for q in (0.5, 0.95, 0.99))


PROXIES: Final = (Variable("job", "envmesh_build_info"), Variable("instance", 'envmesh_build_info{job=~"$job"}'))

_DATASOURCE: Final = {
    "name": "datasource",
    "label": "data source",
    "type": "datasource",
    "query": "prometheus",
    "refresh": 1,
    "current": {},
}
_OTHER_DASHBOARDS: Final = {
    "type": "dashboards",
    "title": "envmesh",
    "tags": ["envmesh"],
    "asDropdown": True,
    "includeVars": True,
    "keepTime": True,
}
_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "graphMode": "area",
        "colorMode": "none",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    },
}


def _heading(title: str, y: int, number: int) -> dict[str, Any]:
    position = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": position, "panels": []}
