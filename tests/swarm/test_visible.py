"""Who finds what on the port of a node: its own machine everything, the network what it is given."""

import pytest

from envagent.peers.face import visible

FACES = ["/pypi/main/simple/alpha/", "/conda/lab/noarch/repodata.json", "/files/python/3.12/x.tgz", "/api/origins"]
OF_THE_MACHINE = ["/status", "/events", "/api/stats", "/", "/pypi", "/materialize"]


@pytest.mark.parametrize("path", [*FACES, *OF_THE_MACHINE, "/readyz"])
@pytest.mark.parametrize("remote", ["127.0.0.1", "127.8.0.1", "::1"])
def test_its_own_machine_finds_everything(path: str, remote: str):
    assert visible(path, remote, for_network=False)


@pytest.mark.parametrize("remote", ["192.0.2.7", "2001:db8::7", "fe80::7%eth0", None])
def test_others_find_no_faces_unless_the_operator_opens_them(remote: str | None):
    assert [path for path in FACES if visible(path, remote, for_network=False)] == []
    assert [path for path in FACES if visible(path, remote, for_network=True)] == FACES


@pytest.mark.parametrize("for_network", [False, True])
def test_others_never_find_what_is_for_the_machine(for_network: bool):
    assert [path for path in OF_THE_MACHINE if visible(path, "192.0.2.7", for_network=for_network)] == []


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_probes_and_prometheus_are_answered_wherever_they_come_from(path: str):
    assert visible(path, "192.0.2.7", for_network=False)
