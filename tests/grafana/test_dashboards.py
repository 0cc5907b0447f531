"""The dashboards, read as a linter would: they ask for what the proxy exposes, and only for what the reader chose.

The rules are those of Grafana's dashboard linter, and stricter where a metric's labels are closed sets.
"""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana.dashboard import Dashboard
from grafana.overview import OVERVIEW
from grafana.swarm import SWARM
from grafana.upstreams import UPSTREAMS

from fixtures.exposed import exposed_series
from fixtures.promql import asked

GRAFANA = Path(__file__).parents[2] / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
DASHBOARDS = [pytest.param(json.loads(file.read_text("utf-8")), id=file.stem) for file in FILES]
PANELS = [
    pytest.param(panel, dashboard.values[0], id=f"{dashboard.id}: {panel['title']}")
    for dashboard in DASHBOARDS
    for panel in dashboard.values[0]["panels"]
    if panel["type"] != "row"
]
RULES = [
    pytest.param(rule, id=rule.get("alert", rule.get("record")))
    for file in sorted((GRAFANA / "alerts").glob("*.yaml"))
    for group in yaml.safe_load(file.read_text("utf-8"))["groups"]
    for rule in group["rules"]
]

MADE = (OVERVIEW, SWARM, UPSTREAMS)
OF_EVERY_TARGET = {"job", "instance"}
# What Prometheus itself makes of scrapes and rules.
FROM_PROMETHEUS = {
    "up": {},
    "ALERTS": {"alertname": (), "alertstate": ("pending", "firing")},
    **{rule.values[0]["record"]: {} for rule in RULES if "record" in rule.values[0]},
}
SERIES = exposed_series() | FROM_PROMETHEUS


def queries(panel: dict[str, Any]) -> list[str]:
    """The expressions of a panel, with variables that a parser takes for values."""
    return [target["expr"].replace("$__rate_interval", "5m") for target in panel["targets"]]


def wrongs(expr: str) -> list[str]:
    """What the expression asks for that no proxy has: series, labels, values of labels."""
    found = []
    query = asked(expr)
    labels = OF_EVERY_TARGET.union(*(SERIES.get(selector.name, {}) for selector in query.series))
    found += [f"grouped by {label}" for label in query.grouped - labels]
    for selector in query.series:
        if selector.name not in SERIES:
            found.append(selector.name)
            continue
        known = SERIES[selector.name]
        for matcher in selector.matchers.matchers:
            if matcher.name not in known.keys() | OF_EVERY_TARGET:
                found.append(f"{selector.name}, label {matcher.name}")
            elif closed := known.get(matcher.name):
                found += [f"{matcher.name}={value}" for value in matcher.value.split("|") if value not in closed]
    return found


@pytest.mark.parametrize(("panel", "dashboard"), PANELS)
def test_panels_ask_for_series_labels_and_values_that_exist(panel: dict[str, Any], dashboard: dict[str, Any]) -> None:
    for expr in queries(panel):
        assert wrongs(expr) == [], expr


@pytest.mark.parametrize("rule", RULES)
def test_rules_ask_for_series_labels_and_values_that_exist(rule: dict[str, Any]) -> None:
    assert wrongs(rule["expr"]) == []
    shown = set(re.findall(r"\$labels\.(\w+)", str(rule.get("annotations"))))
    assert shown <= (asked(rule["expr"]).grouped or OF_EVERY_TARGET)


def test_a_wrong_series_label_or_value_would_be_found() -> None:
    assert wrongs("envmesh_hits_total") == ["envmesh_hits_total"]
    assert wrongs('envmesh_bytes_served_total{origin="disk"}') == ["envmesh_bytes_served_total, label origin"]
    assert wrongs('envmesh_bytes_served_total{source=~"disk|tape"}') == ["source=tape"]
    assert wrongs("sum by (origin) (envmesh_bytes_served_total)") == ["grouped by origin"]


def test_every_metric_is_on_a_dashboard_or_in_a_rule() -> None:
    exprs = [expr for panel in PANELS for expr in queries(panel.values[0])]
    exprs += [rule.values[0]["expr"] for rule in RULES]
    used = {selector.name.removesuffix("_bucket") for expr in exprs for selector in asked(expr).series}
    ours = {name for name in exposed_series() if name.startswith("envmesh_")}
    assert {name for name in ours if re.sub("_(bucket|count|sum)$", "", name) not in used} == set()


@pytest.mark.parametrize(("panel", "dashboard"), PANELS)
def test_variables_are_defined_and_the_choice_of_the_reader_is_kept(
    panel: dict[str, Any], dashboard: dict[str, Any]
) -> None:
    defined = {variable["name"] for variable in dashboard["templating"]["list"]}
    for expr in queries(panel):
        assert set(re.findall(r"\$(\w+)", expr)) <= defined
        for selector in asked(expr).series:
            if selector.name not in FROM_PROMETHEUS:
                asks_for = {(matcher.name, matcher.value) for matcher in selector.matchers.matchers}
                assert asks_for >= {("job", "$job"), ("instance", "$instance")}


@pytest.mark.parametrize(("panel", "dashboard"), PANELS)
def test_counters_are_shown_as_rates_over_the_interval_that_grafana_chooses(
    panel: dict[str, Any], dashboard: dict[str, Any]
) -> None:
    for expr in queries(panel):
        assert not {name for name in asked(expr).raw if re.search("_(total|bucket|count|sum)$", name)}, expr
    for target in panel["targets"]:
        assert set(re.findall(r"\[(.*?)\]", target["expr"])) <= {"$__rate_interval"}


@pytest.mark.parametrize(("panel", "dashboard"), PANELS)
def test_a_panel_has_a_title_a_description_a_unit_legends_and_the_chosen_data_source(
    panel: dict[str, Any], dashboard: dict[str, Any]
) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert [panel["datasource"], *(target["datasource"] for target in panel["targets"])] == [
        chosen for _ in (panel, *panel["targets"])
    ]
    for target in panel["targets"]:
        labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert labels == asked(target["expr"].replace("$__rate_interval", "5m")).grouped - {"le"}


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_a_dashboard_is_not_editable_and_lets_its_reader_choose(dashboard: dict[str, Any]) -> None:
    assert dashboard["editable"] is False
    assert re.fullmatch("envmesh-[a-z]+", dashboard["uid"])
    source, *variables = dashboard["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert {variable["name"] for variable in variables} >= OF_EVERY_TARGET
    for variable in variables:
        assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, ".+")
        series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
        assert wrongs(f"sum by ({label}) ({series})") == []


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_panels_have_ids_of_their_own_and_do_not_overlap(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)
    assert max(panel["gridPos"]["x"] + panel["gridPos"]["w"] for panel in panels) == 24


@pytest.mark.parametrize("dashboard", MADE, ids=lambda dashboard: dashboard.name)
def test_the_file_is_what_the_module_makes(dashboard: Dashboard) -> None:
    assert (GRAFANA / "dashboards" / f"{dashboard.name}.json").read_text("utf-8") == dashboard.json()


def test_there_is_no_file_that_no_module_makes() -> None:
    assert {file.stem for file in FILES} == {dashboard.name for dashboard in MADE}
