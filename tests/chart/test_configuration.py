"""The configuration that the chart renders: the commands accept it, and say in one line what is missing around it."""

import os
import re
import signal
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from fixtures.chart import EXAMPLES, Helm, Object, one

BIN = Path(sys.executable).parent
SECRETS = {
    "SWARM_SECRET": "a-secret-of-agents",
    "CI_TOKEN": "a-token-of-ci",
    "CORP_PASSWORD": "a-password",
    "LAB_TOKEN": "a-token-of-lab",
}


def rendered(helm: Helm, example: str, values: dict[str, object] | None = None, *, component: str = "proxy") -> str:
    (text,) = one(helm.objects(example, values), "ConfigMap", component)["data"].values()
    return text


def without(name: str) -> dict[str, str]:
    return {other: value for other, value in SECRETS.items() if other != name}


def run(program: str, *words: str | Path, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / program, *words],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env={"PATH": os.defpath, **(environ or {})},
    )


def mounted(text: str, room: Path) -> Path:
    """The file, with what the pod mounts beside it at hand in `room`."""
    (room / "corp-ca").mkdir()
    trustme.CA().cert_pem.write_to_path(room / "corp-ca" / "ca.crt")
    (room / "release").mkdir()
    (room / "release" / "token").write_text("a-token-of-release\n")
    file = room / "envproxy.toml"
    file.write_text(text.replace("/etc/envmesh-files", str(room)), "utf-8")
    return file


@pytest.mark.parametrize("example", EXAMPLES)
def test_envproxy_check_accepts_what_the_chart_renders(helm4: Helm, example: str):
    done = run("envproxy", "check", mounted(rendered(helm4, example), helm4.room), environ=SECRETS)

    assert done.returncode == 0, done.stderr
    assert "on 0.0.0.0:8417, keeps /var/lib/envmesh" in done.stdout


@pytest.mark.parametrize("example", EXAMPLES)
def test_envagent_check_accepts_what_the_chart_renders(helm4: Helm, example: str):
    file = helm4.room / "envagent.toml"
    file.write_text(rendered(helm4, example, component="agent"), "utf-8")

    done = run("envagent", "check", file, environ=SECRETS)

    assert done.returncode == 0, done.stderr
    table = tomllib.loads(file.read_text("utf-8"))
    assert table["data"] == "/var/lib/envmesh"
    assert table["proxy"] == ("https://envmesh.example.org" if example == "full" else proxy_of(helm4, example))


def proxy_of(helm: Helm, example: str) -> str:
    service = one(helm.objects(example), "Service", "proxy")
    name, namespace = (service["metadata"][key] for key in ("name", "namespace"))
    return f"http://{name}.{namespace}:{service['spec']['ports'][0]['port']}"


def test_values_arrive_as_they_were_written(helm: Helm):
    table = tomllib.loads(rendered(helm, "full"))

    assert table["server"] == {"listen": "0.0.0.0:8417", "data": "/var/lib/envmesh", "drain": "120s"}
    assert table["log"] == {"level": "debug", "format": "json", "access": False}
    corp = table["pypi"]["upstreams"]["corp"]
    assert (corp["max-connections"], corp["read-timeout"]) == (7, 2.5)
    assert isinstance(corp["max-connections"], int)
    assert table["pypi"]["hosted"]["team"]["description"] == 'Packages of the team: "ours" & <theirs>'
    assert table["pypi"]["indexes"]["main"]["policy"]["freeze"] == "2026-01-31"
    assert table["conda"]["channels"]["conda-forge"]["url"] == [
        "https://conda.example.org/conda-forge",
        "https://mirror.example.org/conda-forge",
    ]


def test_large_numbers_stay_whole(helm: Helm):
    values = {"proxy": {"config": {"store": {"limit": 200_000_000_000, "min-free": 0}}}}

    table = tomllib.loads(rendered(helm, "default", values))

    assert table["store"] == {"limit": 200_000_000_000, "min-free": 0}


def test_of_the_patterns_that_own_names_the_longest_comes_first(helm: Helm):
    owners = {"*": "pypi", "corp-*": "corp", "corp-public-*": "pypi"}
    upstreams = {"corp": {"url": "https://pkgs.example.org/simple/"}}
    indexes = {"main": {"sources": ["corp", "pypi"], "owners": owners}}

    table = tomllib.loads(rendered(helm, "default", {"proxy": {"config": {"pypi": {
        "upstreams": upstreams, "indexes": indexes,
    }}}}))  # fmt: skip

    assert list(table["pypi"]["indexes"]["main"]["owners"]) == ["corp-public-*", "corp-*", "*"]


def test_names_with_dots_stay_one_name(helm: Helm):
    upstreams = {"corp.internal": {"url": "https://pkgs.example.org/simple/"}}

    table = tomllib.loads(rendered(helm, "default", {"proxy": {"config": {"pypi": {"upstreams": upstreams}}}}))

    assert table["pypi"]["upstreams"] == upstreams


def test_every_variable_that_the_configuration_names_comes_from_a_secret(helm4: Helm):
    objects = helm4.objects("full")

    for kind, component in (("StatefulSet", "proxy"), ("DaemonSet", "agent")):
        (container,) = one(objects, kind, component)["spec"]["template"]["spec"]["containers"]
        given = {item["name"] for item in container["env"] if "secretKeyRef" in item.get("valueFrom", {})}
        (text,) = one(objects, "ConfigMap", component)["data"].values()
        assert set(re.findall(r'"env:(\w+)"', text)) == given


def test_a_secret_that_is_missing_is_said_before_the_proxy_starts(helm4: Helm):
    file = mounted(rendered(helm4, "full"), helm4.room)

    done = run("envproxy", "serve", "--config", file, environ=without("CORP_PASSWORD"))

    assert done.returncode == 2
    (line,) = (line for line in done.stderr.splitlines() if "CORP_PASSWORD" in line)
    assert "pypi.upstreams.corp.password" in line
    assert done.stdout == ""


def test_a_volume_that_cannot_be_written_is_said_before_the_proxy_starts(helm4: Helm):
    text = rendered(helm4, "default").replace("/var/lib/envmesh", "/proc/envmesh")
    file = helm4.room / "envproxy.toml"
    file.write_text(text.replace("0.0.0.0:8417", "127.0.0.1:0"), "utf-8")

    done = run("envproxy", "serve", "--config", file)

    assert done.returncode == 1
    (line,) = (line for line in done.stderr.splitlines() if "/proc/envmesh" in line)
    assert "the data directory /proc/envmesh cannot be used" in line
    assert done.stdout == ""


def test_a_cache_that_cannot_be_written_is_said_before_the_agent_starts(helm4: Helm):
    (helm4.room / "no-directory").touch()
    text = rendered(helm4, "default", component="agent")
    file = helm4.room / "envagent.toml"
    file.write_text(text.replace("/var/lib/envmesh", f"{helm4.room}/no-directory/envmesh"), "utf-8")

    done = run("envagent", "serve", "--config", file, "--listen", "127.0.0.1:0")

    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == (
        f"error: {helm4.room}/no-directory/envmesh cannot be used: a part of its path is a file"
    )
    assert done.stdout == ""


@contextmanager
def started(command: list[str], file: Path, text: str) -> Iterator[str]:
    """The origin that a container's command serves; `text` is its configuration, moved to this machine."""
    data = file.with_suffix("")
    file.write_text(text.replace("0.0.0.0:8417", "127.0.0.1:0").replace("/var/lib/envmesh", str(data)), "utf-8")
    moved = {"/etc/envmesh/": str(file), "0.0.0.0:": "127.0.0.1:0"}
    words = [next((to for start, to in moved.items() if word.startswith(start)), word) for word in command]
    process = subprocess.Popen(
        [BIN / words[0], *words[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={"PATH": os.defpath, "HOME": str(file.parent), **SECRETS},
    )
    with process:
        try:
            # A node names its proxy first, and then itself.
            said = (re.findall(r"http://127\.0\.0\.1:\d+", line) for line in process.stdout)
            yield next(found for found in said if found)[-1]
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def the_container(objects: list[Object], kind: str, name: str) -> Object:
    (container,) = one(objects, kind, name)["spec"]["template"]["spec"]["containers"]
    return container


def answers(origin: str, container: Object) -> dict[str, int]:
    """The status with which each probe of a container is answered."""
    found = {}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        with urllib.request.urlopen(origin + container[probe]["httpGet"]["path"]) as answer:
            found[probe] = answer.status
    return found


def test_what_the_chart_starts_answers_its_probes_and_the_hook_of_helm_test(helm4: Helm):
    objects = helm4.objects("default", {"swarm": {"existingSecret": "swarm"}})
    proxy = the_container(objects, "StatefulSet", "proxy")
    agent = the_container(objects, "DaemonSet", "agent")
    hook = one(objects, "Pod", "test")["spec"]["containers"][0]["command"]
    (of_proxy,), (of_agent,) = (one(objects, "ConfigMap", name)["data"].values() for name in ("proxy", "agent"))
    fine = {"startupProbe": 200, "readinessProbe": 200, "livenessProbe": 200}

    with started(proxy["command"], helm4.room / "p.toml", of_proxy) as origin:
        assert answers(origin, proxy) == fine
        stats = run(*hook[:-1], origin)
        of_agent = of_agent.replace("http://cache-envmesh-proxy.python:8417", origin)
        with started(agent["command"], helm4.room / "a.toml", of_agent) as node:
            assert node != origin
            assert answers(node, agent) == fine

    assert stats.returncode == 0, stats.stderr
    assert "requests" in stats.stdout


def test_the_hook_of_helm_test_fails_where_nothing_answers(helm4: Helm):
    hook = one(helm4.objects("default"), "Pod", "test")["spec"]["containers"][0]["command"]

    done = run(*hook[:-1], "http://127.0.0.1:1")

    assert done.returncode != 0
