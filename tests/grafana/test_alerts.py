"""The alerts, judged by promtool: they fire when they should, only then, and none for want of series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fixtures.prometheus import NEEDS_PROMETHEUS, promtool

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "grafana" / "alerts").glob("*.yaml"))
CASES = Path(__file__).parent / "alerts"
DOCUMENT = ROOT / "docs" / "monitoring.md"


def rules_of(file: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(file.read_text("utf-8"))["groups"] for rule in group["rules"]]


def alerts_of(file: Path) -> list[dict[str, Any]]:
    return [rule for rule in rules_of(file) if "alert" in rule]


EVERY_ALERT = [pytest.param(alert, id=alert["alert"]) for file in RULES for alert in alerts_of(file)]


@NEEDS_PROMETHEUS
@pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
async def test_promtool_finds_nothing_wrong_with_the_rules(file: Path) -> None:
    code, said = await promtool("check", "rules", "--lint-fatal", file)
    assert code == 0, said


@NEEDS_PROMETHEUS
@pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
async def test_alerts_fire_when_they_should_and_only_then(file: Path) -> None:
    code, said = await promtool("test", "rules", CASES / file.name)
    assert code == 0, said


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
def test_every_alert_has_a_case_in_which_it_fires_one_in_which_not_and_one_without_series(file: Path) -> None:
    cases = yaml.safe_load((CASES / file.name).read_text("utf-8"))
    names = [case["name"] for case in cases["tests"]]
    for alert in alerts_of(file):
        assert f"{alert['alert']} fires" in names
        assert any(name.startswith(f"{alert['alert']} does not fire") for name in names), alert["alert"]
    [absent] = [case for case in cases["tests"] if not case["input_series"]]
    assert [test["expr"] for test in absent["promql_expr_test"]] == ['ALERTS{alertstate="firing"}']


@pytest.mark.parametrize("alert", EVERY_ALERT)
def test_an_alert_says_how_urgent_it_is_what_is_wrong_and_what_it_means(alert: dict[str, Any]) -> None:
    assert alert["alert"].startswith("Envmesh")
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert set(alert["annotations"]) == {"summary", "description"}


def test_the_documentation_lists_every_alert_with_its_severity_and_no_other() -> None:
    rows = [line.split("|") for line in DOCUMENT.read_text("utf-8").splitlines() if line.startswith("| `Envmesh")]
    documented = {(name.strip(" `"), severity.strip()) for _, name, severity, *_ in rows}
    assert documented == {(alert.values[0]["alert"], alert.values[0]["labels"]["severity"]) for alert in EVERY_ALERT}
