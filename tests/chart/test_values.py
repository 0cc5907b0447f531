"""values.yaml, its schema, the README and ci/full.yaml agree; and what is wrong is refused, with its place."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fixtures.chart import CHART, ROOT, Helm

REFERENCE = ROOT / "deploy" / "helm" / "reference.py"


def places(node: object, schema: dict[str, object], place: str = "") -> set[str]:
    """The dotted places of values: into mappings that the schema closes, and no further."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {place}
    assert isinstance(node, dict), place
    assert schema["additionalProperties"] is False, place
    return {
        one for name, inner in node.items() for one in places(inner, properties[name], f"{place}.{name}".strip("."))
    }


def places_of_schema(schema: dict[str, object], place: str = "") -> set[str]:
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {place}
    return {
        one for name, inner in properties.items() for one in places_of_schema(inner, f"{place}.{name}".strip("."))
    } - {"global"}  # what Helm gives to a subchart


def loaded(name: str) -> dict[str, object]:
    return yaml.safe_load((CHART / name).read_text("utf-8"))


def test_values_schema_readme_and_the_full_example_have_the_same_keys():
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    values = places(loaded("values.yaml"), schema)
    rows = [line for line in (CHART / "README.md").read_text("utf-8").splitlines() if line.startswith("| `")]

    assert places_of_schema(schema) == values
    assert places(loaded("ci/full.yaml"), schema) == values
    assert sorted(row.split("`")[1] for row in rows) == sorted(values)


def test_every_setting_of_the_agent_can_be_set_or_is_the_chart_s_own():
    documented = re.findall(
        r"^\| `([a-z-]+)` \| `ENVAGENT_", (ROOT / "docs" / "agent-cli.md").read_text("utf-8"), re.M
    )
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))

    can_be_set = schema["$defs"]["agentConfig"]["properties"].keys()

    charts_own = {"data", "proxy", "clients", "zone", "tenant"}
    of_certificates = {"peers-listen", "peers-cert", "peers-key", "peers-ca"}
    assert set(documented) == charts_own | of_certificates | can_be_set
    assert loaded("ci/full.yaml")["agent"]["config"].keys() == can_be_set - {
        "swarm-secret"
    }  # of swarm.existingSecret


def test_every_value_says_what_it_is():
    rows = [line for line in (CHART / "README.md").read_text("utf-8").splitlines() if line.startswith("| `")]

    assert [row for row in rows if row.endswith("|  |")] == []


def test_the_full_example_changes_every_value_that_has_a_choice():
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    default, full = loaded("values.yaml"), loaded("ci/full.yaml")

    def at(values: object, place: str) -> object:
        for part in place.split("."):
            values = values[part]
        return values

    same = {place for place in places(default, schema) if at(default, place) == at(full, place)}
    assert same == {
        "agent.affinity",  # contradicts gpuNodesOnly
        "agent.cache.kind",
        "agent.cache.takeOwnership",
        "agent.enabled",
        "agent.serviceAccount.annotations",  # of an account that the chart makes
        "blobStore.existingSecret",
        "blobStore.kind",
        "checkFirst",
        "coordination.engine",
        "coordination.existingSecret",
        "monitoring.dashboards.enabled",
        "monitoring.rules.enabled",
        "proxy.enabled",
        "proxy.replicas",
        "proxy.serviceAccount.create",
        "proxy.storage.existingClaim",  # contradicts claim
        "proxy.storage.kind",
    }


def test_what_make_chart_writes_is_what_the_repository_holds(tmp_path: Path):
    chart = shutil.copytree(CHART, tmp_path / "envmesh")
    subprocess.run([sys.executable, REFERENCE, chart, ROOT / "grafana"], check=True, timeout=110)

    def contents(folder: Path) -> dict[str, bytes]:
        return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    written, held = contents(chart), contents(CHART)
    assert {name for name in written | held if written.get(name) != held.get(name)} == set(), "run `make chart`"


REFUSED = {
    # values: (place, what is said of it); Helm's two libraries for schemas differ in their words
    "an unknown value": ({"proxy": {"replica": 2}}, "replica"),
    "an unknown section": ({"proxies": {}}, "proxies"),
    "a text for a number": ({"proxy": {"drainSeconds": "30s"}}, "drainSeconds"),
    "a port that is none": ({"agent": {"service": {"port": 99999}}}, "port"),
    "a kind of storage that is none": ({"proxy": {"storage": {"kind": "pvc"}}}, "kind"),
    "a size without meaning": ({"proxy": {"storage": {"size": "much"}}}, "size"),
    "a path that climbs": ({"agent": {"cache": {"path": "/var/../etc"}}}, "path"),
    "a root user": ({"securityContext": {"runAsUser": 0}}, "runAsUser"),
    "credentials in a URL": ({"agent": {"proxyUrl": "https://me:pw@cache.example.org"}}, "proxyUrl"),
    "our variables beside the configuration": ({"proxy": {"env": {"ENVPROXY_LOG_LEVEL": "debug"}}}, "env"),
    "an unknown setting of the agent": ({"agent": {"config": {"listen": "127.0.0.1:1"}}}, "listen"),
    "a setting that is none": ({"proxy": {"config": {"store": {"limits": "1GB"}}}}, "limits"),
    "a section that is the chart's": ({"proxy": {"config": {"server": {"listen": "x:1"}}}}, "server"),
    "a duration in words": (
        {"proxy": {"config": {"pypi": {"indexes": {"main": {"policy": {"min-age": "a week"}}}}}}},
        "min-age",
    ),
    "an engine that is not there yet": ({"coordination": {"engine": "redis"}}, "engine"),
    "a secret file and a config map at once": (
        {"proxy": {"files": [{"name": "x", "secret": "a", "configMap": "b"}]}},
        "files",
    ),
    "a digest that is none": ({"image": {"digest": "sha256:abc"}}, "digest"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_schema_refuses(helm: Helm, case: str):
    values, place = REFUSED[case]

    done = helm.template("default", values)

    assert done.returncode != 0
    assert "values don't meet the specifications of the schema" in done.stderr
    assert place in done.stderr


CONTRADICTIONS = {
    "swarm.existingSecret: is set, and so is proxy.config.swarm.secret": {
        "swarm": {"existingSecret": "swarm"},
        "proxy": {
            "config": {"swarm": {"secret": "env:OTHER"}},
            "secretEnv": [{"env": "OTHER", "secret": "other", "key": "secret"}],
        },
    },
    "agent.cache.sizeLimit: is 10Gi, which is less than artifacts-limit (40GB)": {
        "agent": {"cache": {"kind": "emptyDir", "sizeLimit": "10Gi"}}
    },
    "proxy.enabled: is false, and so is agent.enabled": {"proxy": {"enabled": False}, "agent": {"enabled": False}},
    "agent.proxyUrl: is empty, and this release has no proxy": {"proxy": {"enabled": False}},
    "proxy.replicas: is 2, but coordination.engine is none": {"proxy": {"replicas": 2}},
    "agent.affinity: is set, and so is agent.gpuNodesOnly": {
        "agent": {"gpuNodesOnly": True, "affinity": {"nodeAffinity": {}}}
    },
    "agent.cache.takeOwnership: is true, but securityContext leaves user or group to the cluster": {
        "securityContext": {"runAsUser": None}
    },
    "proxy.storage.existingClaim: is empty, but proxy.storage.kind is existingClaim": {
        "proxy": {"storage": {"kind": "existingClaim"}}
    },
    "proxy.storage.existingClaim: is set, but proxy.storage.kind is claim": {
        "proxy": {"storage": {"existingClaim": "old"}}
    },
    "proxy.storage.size: is 190Gi, which is less than store.limit (200GB) and store.min-free (10GB) together": {
        "proxy": {"storage": {"size": "190Gi"}}
    },
    "proxy.storage.size: is 1Ti, which is less than store.limit (1.1TB) and store.min-free (0) together": {
        "proxy": {"storage": {"size": "1Ti"}, "config": {"store": {"limit": "1.1TB", "min-free": 0}}}
    },
    "proxy.config.auth.read: is token, but there are no tokens": {"proxy": {"config": {"auth": {"read": "token"}}}},
    "agent.config.proxy-token: is not set, but the proxy wants a token": {
        "proxy": {"config": {"auth": {"read": "token"}}}
    },
    "proxy.config.pypi.indexes.main.sources: names crop, which is neither an upstream nor hosted": {
        "proxy": {"config": {"pypi": {"indexes": {"main": {"sources": ["crop", "pypi"]}}}}}
    },
    "proxy.config.auth.tokens.ci.secret: refers to env:CI_TOKEN, but the container has no such variable": {
        "proxy": {"config": {"auth": {"tokens": {"ci": {"secret": "env:CI_TOKEN"}}}}}
    },
    "agent.config.proxy-token: refers to env:TOKEN, but the container has no such variable": {
        "agent": {"config": {"proxy-token": "env:TOKEN"}}
    },
    "proxy.config.conda.channels.lab.ca-file: refers to /ca.pem, but the container has no such file": {
        "proxy": {
            "config": {"conda": {"channels": {"lab": {"url": "https://lab.example.org/", "ca-file": "/ca.pem"}}}}
        }
    },
    "proxy.config.files.models.url: is on port 8443, which networkPolicy.upstreamPorts does not open": {
        "networkPolicy": {"enabled": True},
        "proxy": {"config": {"files": {"models": {"url": "https://models.example.org:8443/"}}}},
    },
    "proxy.config.conda.channels.lab.url: is on port 80, which networkPolicy.upstreamPorts does not open": {
        "networkPolicy": {"enabled": True},
        "proxy": {"config": {"conda": {"channels": {"lab": {"url": ["http://lab.example.org/"]}}}}},
    },
}


@pytest.mark.parametrize("problem", CONTRADICTIONS)
def test_values_that_contradict_one_another_are_refused_with_a_hint(helm4: Helm, problem: str):
    done = helm4.template("default", CONTRADICTIONS[problem])

    assert done.returncode != 0
    said = done.stderr.splitlines()
    (number,) = (number for number, line in enumerate(said) if line.startswith(problem))
    assert said[number + 1].startswith("  hint: ")


def test_all_contradictions_are_said_at_once(helm: Helm):
    done = helm.template("default", {"proxy": {"replicas": 3, "storage": {"size": "1Gi"}}})

    assert done.returncode != 0
    assert done.stderr.count("  hint: ") == 2


@pytest.mark.parametrize(
    ("values", "place"),
    [
        (
            {"proxy": {"config": {"auth": {"tokens": {"ci": {"secret": "hunter2"}}}}}},
            "proxy.config.auth.tokens.ci.secret",
        ),
        (
            {"proxy": {"config": {"pypi": {"upstreams": {"corp": {"username": "ci", "password": "hunter2"}}}}}},
            "proxy.config.pypi.upstreams.corp.password",
        ),
        ({"agent": {"config": {"proxy-token": "hunter2"}}}, "agent.config.proxy-token"),
    ],
)
def test_a_secret_among_the_values_is_refused_and_not_repeated(helm: Helm, values: dict[str, object], place: str):
    done = helm.template("default", values)

    assert done.returncode != 0
    assert f"{place}: must be env:NAME or file:PATH: secrets are no values" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
