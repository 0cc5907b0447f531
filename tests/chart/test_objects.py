"""What the checkers of schemas let pass: objects that are valid one by one and do not fit one another."""

from typing import Any

import pytest

from fixtures.chart import EXAMPLES, MONITORING, NAMESPACE, NEWEST, OLDEST, Helm, Object, containers, one, pods


@pytest.fixture(
    scope="module", params=[(example, version) for example in EXAMPLES for version in (OLDEST, NEWEST)], ids="-".join
)
def objects(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    """Everything, of every example, on the oldest and the newest Kubernetes."""
    example, version = request.param
    return Helm("helm4", tmp_path_factory.mktemp("helm")).objects(example, kubernetes=version, apis=[MONITORING])


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [item for item in objects if item["kind"] in kinds]


def fits(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return bool(selector) and selector.items() <= labels.items()


def named_ports(pod: Object) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for item in containers(pod) for port in item.get("ports", [])}


def every_value(node: Any, key: str) -> list[Any]:
    """What stands under `key`, anywhere below."""
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    found = [node[key]] if isinstance(node, dict) and key in node else []
    return found + [one for item in inner for one in every_value(item, key)]


def test_everything_is_in_the_namespace_of_the_release_and_has_a_name_of_its_own(objects: list[Object]):
    names = [(item["kind"], item["metadata"]["name"]) for item in objects]

    assert {item["metadata"]["namespace"] for item in objects} == {NAMESPACE}
    assert len(names) == len(set(names))
    assert max(len(name) for _, name in names) <= 63


def test_names_stay_within_their_bounds_when_the_release_has_a_long_one(helm4: Helm):
    objects = helm4.objects("default", {"fullnameOverride": "x" * 80}, apis=[MONITORING])

    assert max(len(item["metadata"]["name"]) for item in objects) <= 63


def test_workloads_select_their_own_pods_and_no_others(objects: list[Object]):
    for workload in of_kind(objects, "StatefulSet", "DaemonSet"):
        selector = workload["spec"]["selector"]["matchLabels"]
        chosen = [item for item, pod in pods(objects) if fits(selector, pod["metadata"]["labels"])]

        assert chosen == [workload]


def test_services_monitors_budgets_and_policies_select_pods_of_one_kind_and_ports_that_these_have(
    objects: list[Object],
):
    for service in of_kind(objects, "Service"):
        (pod,) = (pod for _, pod in pods(objects) if fits(service["spec"]["selector"], pod["metadata"]["labels"]))
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named_ports(pod).keys()
    for other in of_kind(objects, "PodMonitor", "PodDisruptionBudget", "NetworkPolicy"):
        selector = (other["spec"].get("selector") or other["spec"]["podSelector"])["matchLabels"]
        (pod,) = (pod for _, pod in pods(objects) if fits(selector, pod["metadata"]["labels"]))
        wanted = {port["port"] for port in other["spec"].get("podMetricsEndpoints", [])}
        wanted |= {port["port"] for rule in other["spec"].get("ingress", []) for port in rule["ports"]}
        assert wanted <= named_ports(pod).keys()
    for monitor in of_kind(objects, "ServiceMonitor"):
        selector = monitor["spec"]["selector"]["matchLabels"]
        (service,) = (item for item in of_kind(objects, "Service") if fits(selector, item["metadata"]["labels"]))
        ports = {port["name"] for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports


def test_the_stateful_set_has_its_headless_service(objects: list[Object]):
    (workload,) = of_kind(objects, "StatefulSet")
    (service,) = (item for item in objects if item["metadata"]["name"] == workload["spec"]["serviceName"])

    assert service["kind"] == "Service"
    assert service["spec"]["clusterIP"] == "None"


def test_what_is_mounted_is_there_and_what_is_there_is_mounted(objects: list[Object]):
    for workload, pod in pods(objects):
        volumes = [volume["name"] for volume in pod["spec"].get("volumes", [])]
        volumes += [claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])]
        mounts = [mount for item in containers(pod) for mount in item.get("volumeMounts", [])]

        assert sorted(set(volumes)) == sorted(volumes)
        assert {mount["name"] for mount in mounts} == set(volumes)
        for item in containers(pod):
            paths = [mount["mountPath"] for mount in item.get("volumeMounts", [])]
            assert len(paths) == len(set(paths))


def test_probes_ask_ports_that_the_container_has(objects: list[Object]):
    probed = [
        (probe, {port["name"] for port in item["ports"]})
        for _, pod in pods(objects)
        for item in containers(pod)
        for probe in (item.get("startupProbe"), item.get("readinessProbe"), item.get("livenessProbe"))
        if probe
    ]

    assert len(probed) == 6
    assert [probe for probe, ports in probed if probe["httpGet"]["port"] not in ports] == []


def test_config_maps_that_pods_name_are_made_here_or_by_the_operator(objects: list[Object]):
    made = {item["metadata"]["name"] for item in of_kind(objects, "ConfigMap")}
    named = {
        volume["configMap"]["name"]
        for _, pod in pods(objects)
        for volume in pod["spec"].get("volumes", [])
        if "configMap" in volume
    }

    assert named - made <= {"corp-ca"}  # of the full example
    assert {name for name in made if name.endswith(("-proxy", "-agent"))} <= named


def test_no_secret_is_made_and_no_value_of_one_is_anywhere(objects: list[Object]):
    assert of_kind(objects, "Secret") == []
    assert every_value(objects, "stringData") == []


def test_service_accounts_that_pods_name_exist_and_have_no_token(objects: list[Object]):
    made = {item["metadata"]["name"] for item in of_kind(objects, "ServiceAccount")}

    assert {pod["spec"]["serviceAccountName"] for _, pod in pods(objects)} - made <= {"cache-agent", "default"}
    assert every_value(objects, "automountServiceAccountToken")
    assert not any(every_value(objects, "automountServiceAccountToken"))
    assert {pod["spec"]["automountServiceAccountToken"] for _, pod in pods(objects)} == {False}
    assert not of_kind(objects, "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")


def test_variables_are_set_once(objects: list[Object]):
    for _, pod in pods(objects):
        for item in containers(pod):
            names = [variable["name"] for variable in item.get("env", [])]
            assert len(names) == len(set(names))


def test_no_container_may_more_than_it_needs(objects: list[Object]):
    for _, pod in pods(objects):
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for item in containers(pod):
            security = item["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"]["drop"] == ["ALL"]
            assert "privileged" not in security
            assert item["resources"]["limits"]["memory"]
            assert "cpu" not in item["resources"]["limits"]


def test_root_is_one_container_with_one_capability_that_hands_a_directory_over(helm4: Helm):
    objects = helm4.objects("default")

    roots = [
        item
        for _, pod in pods(objects)
        for item in containers(pod)
        if item["securityContext"].get("runAsUser") == 0 or item["securityContext"]["capabilities"].get("add")
    ]
    assert [item["name"] for item in roots] == ["take-ownership"]
    assert roots[0]["command"] == ["chown", "10001:10001", "/var/lib/envmesh"]
    assert roots[0]["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["CHOWN"]}
    assert [mount["name"] for mount in roots[0]["volumeMounts"]] == ["data"]


def test_in_a_locked_down_cluster_nothing_is_root_and_nothing_is_of_the_node(helm4: Helm):
    objects = helm4.objects("locked-down")

    assert every_value(objects, "hostPath") == []
    assert every_value(objects, "hostPort") == []
    assert every_value(objects, "initContainers") == []
    assert every_value(objects, "runAsUser") == []
    assert every_value(objects, "add") == []


def test_agents_bear_the_taint_of_gpu_nodes_and_request_no_gpu(helm4: Helm):
    agents = one(helm4.objects("default"), "DaemonSet", "agent")

    pod = agents["spec"]["template"]["spec"]
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["tolerations"]
    assert "affinity" not in pod
    assert "nvidia.com/gpu" not in {**pod["containers"][0]["resources"]["requests"]}


def test_agents_for_gpus_only_run_where_one_of_two_labels_tells_of_a_gpu(helm4: Helm):
    agents = one(helm4.objects("default", {"agent": {"gpuNodesOnly": True}}), "DaemonSet", "agent")

    affinity = agents["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert [term["matchExpressions"][0]["key"] for term in terms] == [
        "nvidia.com/gpu.present",
        "feature.node.kubernetes.io/pci-10de.present",
    ]


def test_a_pod_has_time_to_leave_its_services_and_to_drain(helm4: Helm):
    proxy = one(
        helm4.objects("default", {"proxy": {"drainSeconds": 300, "preStopSeconds": 20}}), "StatefulSet", "proxy"
    )

    pod = proxy["spec"]["template"]["spec"]
    assert pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "20"]
    assert pod["terminationGracePeriodSeconds"] > 300 + 20


@pytest.mark.parametrize(
    "change",
    [
        {"proxy": {"config": {"log": {"level": "debug"}}}},
        {"proxy": {"drainSeconds": 31}},
    ],
)
def test_a_change_of_the_configuration_makes_a_new_pod(helm4: Helm, change: dict[str, object]):
    def annotations(values: dict[str, object]) -> dict[str, str]:
        return one(helm4.objects("default", values), "StatefulSet", "proxy")["spec"]["template"]["metadata"][
            "annotations"
        ]

    assert annotations(change) != annotations({})


def test_the_volume_of_the_proxy_outlives_the_release(helm4: Helm):
    proxy = one(helm4.objects("default"), "StatefulSet", "proxy")

    assert proxy["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Retain"
    assert proxy["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "250Gi"


@pytest.mark.parametrize(
    ("storage", "volume"),
    [
        ({"kind": "existingClaim", "existingClaim": "old"}, {"persistentVolumeClaim": {"claimName": "old"}}),
        ({"kind": "emptyDir", "size": "300Gi"}, {"emptyDir": {"sizeLimit": "300Gi"}}),
    ],
)
def test_the_proxy_takes_other_volumes(helm4: Helm, storage: dict[str, str], volume: dict[str, object]):
    proxy = one(helm4.objects("default", {"proxy": {"storage": storage}}), "StatefulSet", "proxy")

    assert "volumeClaimTemplates" not in proxy["spec"]
    assert {"name": "data", **volume} in proxy["spec"]["template"]["spec"]["volumes"]


def test_policies_open_what_is_needed_and_nothing_else(helm4: Helm):
    objects = helm4.objects("full")

    proxy, agent = (one(objects, "NetworkPolicy", name)["spec"] for name in ("proxy", "agent"))
    client = {"namespaceSelector": {"matchLabels": {"python": "yes"}}}
    for policy in (proxy, agent):
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        rule = policy["ingress"][0]
        components = [
            peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
            for peer in rule["from"]
            if peer != client
        ]
        assert components == ["agent", "test"]
        assert client in rule["from"]
    assert proxy["ingress"][1:] == []
    (between_agents,) = agent["ingress"][1:]
    (peer,) = between_agents["from"]
    assert between_agents["ports"] == [{"port": "peers", "protocol": "TCP"}]
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "agent"
    names, upstreams = proxy["egress"]
    assert {(port["port"], port["protocol"]) for port in names["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert [port["port"] for port in upstreams["ports"]] == [443, 8443, 3128]
    assert upstreams["to"] == [{"ipBlock": {"cidr": "192.0.2.0/24"}}]
    peers = agent["egress"][1]
    assert [peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in peers["to"]] == [
        "proxy",
        "agent",
    ]
    assert agent["egress"][2] == upstreams


def test_without_a_list_of_clients_everybody_may_ask(helm4: Helm):
    objects = helm4.objects("default", {"networkPolicy": {"enabled": True}})

    assert one(objects, "NetworkPolicy", "proxy")["spec"]["ingress"] == [
        {"ports": [{"port": "http", "protocol": "TCP"}]}
    ]


def test_dashboards_carry_what_the_sidecar_of_grafana_looks_for(helm4: Helm):
    found = [item for item in helm4.objects("default") if "-dashboard-" in item["metadata"]["name"]]

    assert found
    for item in found:
        assert item["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert item["metadata"]["annotations"] == {"grafana_folder": "envmesh"}
        assert sum(len(text) for text in item["data"].values()) < 1_000_000  # of the 1 MiB that a ConfigMap holds


def test_the_hook_of_helm_test_asks_the_service_of_the_proxy(helm4: Helm):
    objects = helm4.objects("default")

    hook = one(objects, "Pod", "test")
    service = one(objects, "Service", "proxy")
    assert hook["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert hook["spec"]["containers"][0]["command"][-1] == (
        f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    )


@pytest.mark.parametrize(
    ("component", "kind", "program"), [("proxy", "StatefulSet", "envproxy"), ("agent", "DaemonSet", "envagent")]
)
def test_the_configuration_is_checked_before_anything_of_a_release_changes(
    helm4: Helm, component: str, kind: str, program: str
):
    objects = helm4.objects("full")

    job, before = one(objects, "Job", f"check-{component}"), one(objects, "ConfigMap", f"check-{component}")
    assert {item["metadata"]["annotations"]["helm.sh/hook"] for item in (job, before)} == {"pre-install,pre-upgrade"}
    assert int(before["metadata"]["annotations"]["helm.sh/hook-weight"]) < 0
    assert before["data"] == one(objects, "ConfigMap", component)["data"]
    # It sees what the command will see, and needs nothing that the release is yet to make.
    (check,), (serve,) = (
        item["spec"]["template"]["spec"]["containers"] for item in (job, one(objects, kind, component))
    )
    assert check["env"] == serve["env"]
    assert [mount for mount in serve["volumeMounts"] if mount["name"] != "data"] == check["volumeMounts"]
    assert check["command"][:2] == [program, "check"]
    assert check["command"][2] == serve["command"][3]
    assert job["spec"]["template"]["spec"]["serviceAccountName"] == "default"


def test_the_check_can_be_left_out(helm4: Helm):
    objects = helm4.objects("default", {"checkFirst": False})

    assert of_kind(objects, "Job") == []
