"""What Helm itself does with the chart: lint, render on old and new clusters, package, install's last words."""

import tarfile
from pathlib import Path

import pytest

from fixtures.chart import CHART, EXAMPLES, MONITORING, NAMESPACE, NEWEST, OLDEST, RELEASE, Helm, one, parsed


@pytest.mark.parametrize("example", EXAMPLES)
def test_lint_has_nothing_to_say(helm: Helm, example: str):
    done = helm.run("lint", "--strict", CHART, *helm.values_of(example, None))

    assert done.returncode == 0, done.stdout
    assert "1 chart(s) linted, 0 chart(s) failed" in done.stdout
    assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize("example", EXAMPLES)
def test_both_helms_render_the_same(tmp_path: Path, example: str):
    rendered = [Helm(name, tmp_path).objects(example, apis=[MONITORING]) for name in ("helm3", "helm4")]

    assert rendered[0] == rendered[1]


def test_one_command_installs_proxy_and_agents(helm: Helm):
    kinds = sorted(item["kind"] for item in helm.objects("default") if item["metadata"].get("name", "") != "")

    assert [kind for kind in kinds if kind in ("StatefulSet", "DaemonSet", "Service", "Pod")] == [
        "DaemonSet", "Pod", "Service", "Service", "Service", "StatefulSet",
    ]  # fmt: skip


def test_an_older_cluster_than_the_templates_need_is_refused(helm: Helm):
    done = helm.template("default", kubernetes="1.26")

    assert done.returncode != 0
    assert "requires kubeVersion: >=1.27.0-0" in done.stderr


def test_clusters_of_a_cloud_with_letters_in_their_version_are_new_enough(helm4: Helm):
    done = helm4.run("template", RELEASE, CHART, "--kube-version", "v1.27.3-eks-4f4795d")

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("kubernetes", "locality", "expected"),
    [
        ("1.27", "auto", {}),
        ("1.30", "auto", {}),
        ("1.31", "auto", {"trafficDistribution": "PreferClose"}),
        ("1.33", "auto", {"trafficDistribution": "PreferClose"}),
        ("1.34", "auto", {"trafficDistribution": "PreferSameNode"}),
        ("1.37", "auto", {"trafficDistribution": "PreferSameNode"}),
        ("1.27", "node", {"internalTrafficPolicy": "Local"}),
        ("1.37", "node", {"internalTrafficPolicy": "Local"}),
        ("1.37", "cluster", {}),
    ],
)
def test_the_agent_of_ones_own_node_is_preferred_as_far_as_the_cluster_can(
    helm4: Helm, kubernetes: str, locality: str, expected: dict[str, str]
):
    objects = helm4.objects("default", {"agent": {"service": {"locality": locality}}}, kubernetes=kubernetes)

    spec = one(objects, "Service", "agent")["spec"]
    assert {key: spec[key] for key in spec if key in ("trafficDistribution", "internalTrafficPolicy")} == expected


@pytest.mark.parametrize(("kubernetes", "told"), [("1.34", False), ("1.35", True)])
def test_agents_learn_their_zone_where_pods_have_the_labels_of_their_node(helm4: Helm, kubernetes: str, told: bool):
    objects = helm4.objects("default", kubernetes=kubernetes)

    (agent,) = one(objects, "DaemonSet", "agent")["spec"]["template"]["spec"]["containers"]
    assert ("ENVAGENT_ZONE" in [variable["name"] for variable in agent["env"]]) is told


def test_a_zone_that_is_set_wins_over_that_of_the_node(helm4: Helm):
    objects = helm4.objects("default", {"agent": {"zone": "rack-7"}}, kubernetes=NEWEST)

    (agent,) = one(objects, "DaemonSet", "agent")["spec"]["template"]["spec"]["containers"]
    assert "ENVAGENT_ZONE" not in [variable["name"] for variable in agent["env"]]
    assert 'zone = "rack-7"' in one(objects, "ConfigMap", "agent")["data"]["envagent.toml"].splitlines()


@pytest.mark.parametrize(
    ("values", "apis", "expected"),
    [
        ({}, [], []),
        ({}, [MONITORING], ["PodMonitor", "PrometheusRule", "ServiceMonitor"]),
        ({"enabled": True}, [], ["PodMonitor", "PrometheusRule", "ServiceMonitor"]),
        ({"enabled": False}, [MONITORING], []),
        ({"rules": {"enabled": False}}, [MONITORING], ["PodMonitor", "ServiceMonitor"]),
    ],
)
def test_monitors_are_made_where_the_operator_is_or_where_they_are_demanded(
    helm: Helm, values: dict[str, object], apis: list[str], expected: list[str]
):
    objects = helm.objects("default", {"monitoring": values}, apis=apis)

    assert sorted({item["kind"] for item in objects if item["apiVersion"].startswith("monitoring")}) == expected


def test_agents_alone_ask_the_proxy_that_they_are_told(helm: Helm):
    objects = helm.objects(
        "default", {"proxy": {"enabled": False}, "agent": {"proxyUrl": "https://cache.example.org"}}
    )

    assert not [item for item in objects if item["metadata"]["name"].endswith("-proxy")]
    toml = one(objects, "ConfigMap", "agent")["data"]["envagent.toml"]
    assert 'proxy = "https://cache.example.org"\n' in f"{toml}\n"


@pytest.mark.parametrize("kubernetes", [OLDEST, NEWEST])
def test_the_package_has_dashboards_and_rules_and_renders_as_the_folder_does(helm: Helm, kubernetes: str):
    done = helm.run("package", CHART, "--destination", helm.room)
    assert done.returncode == 0, done.stderr
    (package,) = helm.room.glob("envmesh-*.tgz")

    with tarfile.open(package) as archive:
        names = set(archive.getnames())
    files = {f"envmesh/{file.relative_to(CHART).as_posix()}" for file in (CHART / "files").rglob("*.*")}
    assert files <= names
    assert not [name for name in names if name.startswith("envmesh/ci/")]
    words = ["--kube-version", f"{kubernetes}.0", "--namespace", NAMESPACE, f"--api-versions={MONITORING}"]
    rendered = [helm.run("template", RELEASE, chart, *words).stdout for chart in (package, CHART)]
    assert parsed(rendered[0]) == parsed(rendered[1])


def notes(helm4: Helm, values: dict[str, object]) -> str:
    done = helm4.run(
        "install", RELEASE, CHART, "--dry-run=client", "--namespace", NAMESPACE, *helm4.values_of(None, values)
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:")[2]


def test_the_notes_point_every_client_at_the_agents(helm4: Helm):
    said = notes(helm4, {})

    near = "http://cache-envmesh-agent.python:8418"
    assert f"PIP_INDEX_URL={near}/pypi/main/simple/" in said
    assert "PIP_TRUSTED_HOST=cache-envmesh-agent.python\n" in said
    assert f"UV_DEFAULT_INDEX={near}/pypi/main/simple/" in said
    assert f"-c {near}/conda/conda-forge" in said
    assert f"CONDA_CHANNELS={near}/conda/conda-forge" in said
    assert "helm test cache -n python" in said


def test_without_agents_the_notes_point_at_the_proxy_and_have_nothing_to_warn_of(helm4: Helm):
    said = notes(helm4, {"agent": {"enabled": False}, "monitoring": {"rules": {"enabled": False}}})

    assert "UV_DEFAULT_INDEX=http://cache-envmesh-proxy.python:8417/pypi/main/simple/" in said
    assert "WARNING" not in said


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        ({}, "pod-security.kubernetes.io/enforce=privileged"),
        ({}, "there are no monitors and no alerts"),
        (
            {"proxy": {"storage": {"kind": "emptyDir"}, "config": {"pypi": {"hosted": {"team": {}}}}}},
            "the cache dies with the pod, and with it everything that was uploaded",
        ),
        ({"proxy": {"podDisruptionBudget": {"enabled": True, "maxUnavailable": 0}}}, "waits until somebody deletes"),
        ({"proxy": {"service": {"type": "LoadBalancer"}}}, "whoever reaches it installs from your private"),
        ({}, "share nothing with one another: swarm.existingSecret lets them"),
        ({"agent": {"service": {"locality": "node"}}}, "installs fail on nodes whose agent is not ready"),
    ],
)
def test_the_notes_warn_of_what_works_and_may_surprise(helm4: Helm, values: dict[str, object], warning: str):
    assert warning in notes(helm4, values).partition("WARNING")[2]
