"""The rendered objects against the schemas of the oldest and the newest Kubernetes and of the Prometheus operator."""

import json
import subprocess
from typing import Any

import jsonschema
import pytest
import yaml

from fixtures.chart import CHART, EXAMPLES, MONITORING, NEWEST, OLDEST, TOOLS, Helm

CUSTOM = ("ServiceMonitor", "PodMonitor", "PrometheusRule")
CHECKS = TOOLS / "checks" / "bin"


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_knows_every_field_of_every_example(helm4: Helm, version: str):
    rendered = [helm4.template(example, kubernetes=version, apis=[MONITORING]).stdout for example in EXAMPLES]
    manifest = helm4.room / "manifest.yaml"
    manifest.write_text("\n".join(rendered), "utf-8")

    done = subprocess.run(
        [CHECKS / "kubernetes-validate", "--strict", "-k", f"{version}.0", manifest],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    said = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 0, said
    assert len([line for line in said if line.startswith("INFO")]) >= 10 * len(EXAMPLES)
    # A kind that it does not know is only a warning to it, and so is a misspelt one.
    strange = [line for line in said if not line.startswith("INFO")]
    assert [line for line in strange if not any(f"for kind {kind} with api" in line for kind in CUSTOM)] == []


@pytest.fixture(scope="module")
def custom_schemas() -> dict[str, dict[str, Any]]:
    """The schemas of the operator's kinds, made strict: its models take unknown keys."""
    return {kind: closed(schema) for kind, schema in json.loads((TOOLS / "operator.json").read_text("utf-8")).items()}


def closed(schema: Any) -> Any:
    """The schema with no room for unknown keys, wherever it names some."""
    if isinstance(schema, list):
        return [closed(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("pattern"), str):
        inner["pattern"] = schema["pattern"].replace("^(?i)", "(?i)^")  # Go has flags anywhere, Python in front
    return {**inner, "additionalProperties": False} if isinstance(schema.get("properties"), dict) else inner


@pytest.mark.parametrize("example", ["default", "full"])
def test_the_operator_knows_every_field(helm4: Helm, custom_schemas: dict[str, dict[str, Any]], example: str):
    objects = [item for item in helm4.objects(example, apis=[MONITORING]) if item["kind"] in CUSTOM]

    assert {item["kind"] for item in objects} == set(CUSTOM)
    for item in objects:
        jsonschema.validate(item, custom_schemas[item["kind"]])


def test_a_misspelt_field_of_the_operator_is_found(helm4: Helm, custom_schemas: dict[str, dict[str, Any]]):
    (monitor,) = (item for item in helm4.objects("default", apis=[MONITORING]) if item["kind"] == "PodMonitor")
    monitor["spec"]["podMetricsEndpoints"][0]["intervall"] = "30s"

    with pytest.raises(jsonschema.ValidationError, match="intervall"):
        jsonschema.validate(monitor, custom_schemas["PodMonitor"])


def test_the_rules_arrive_as_they_are_tested(helm4: Helm):
    for file in (CHART / "files" / "alerts").glob("*.yaml"):
        (rule,) = (
            item
            for item in helm4.objects("default", apis=[MONITORING])
            if item["kind"] == "PrometheusRule" and item["metadata"]["name"].endswith(f"-{file.stem}")
        )
        assert rule["spec"]["groups"] == yaml.safe_load(file.read_text("utf-8"))["groups"]
