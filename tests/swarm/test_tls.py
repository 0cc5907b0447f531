"""Nodes whose peers come with a certificate: of the same authority, of another, with none."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
import trustme

from envagent.config import Config
from envagent.config import config_of as command_config
from envagent.errors import UsageError
from envagent.peers.tls import trust_of
from envagent.table import parsed
from envproxy.kinds import Address
from envproxy.swarm.layout import Layout
from fixtures.agent import Agent
from fixtures.node import HOST, running_node
from fixtures.site import path_of, weights

if TYPE_CHECKING:
    from fixtures.proxy import ProxyProcess
    from fixtures.upstream import FakeIndex

DIST = weights("alpha", 9 << 20)


def certified(ca: trustme.CA, folder: Path) -> dict[str, str]:
    """The files of a node with a certificate of the authority, and the variables that name them."""
    folder.mkdir()
    cert = ca.issue_cert("node.example.org")
    cert.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    cert.private_key_pem.write_to_path(str(folder / "key.pem"))
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    files = {f"ENVAGENT_PEERS_{name.upper()}": str(folder / f"{name}.pem") for name in ("cert", "key", "ca")}
    return {"ENVAGENT_PEERS_LISTEN": f"{HOST}:0", **files}


def config_of(folder: Path) -> Config:
    """The configuration that names the files in a folder."""
    listen = Address(HOST, 0)
    files = {f"peers_{name}": folder / f"{name}.pem" for name in ("cert", "key", "ca")}
    return Config(folder, peers_listen=listen, **files)


@pytest.fixture
async def proxy(origin: ProxyProcess, index: FakeIndex) -> ProxyProcess:
    index.add(DIST)
    return origin


async def test_nodes_of_one_authority_share_and_a_stranger_gets_nothing(tmp_path: Path, proxy: ProxyProcess) -> None:
    ours, others = trustme.CA(), trustme.CA()
    async with (
        running_node(tmp_path / "a", proxy.url, environ=certified(ours, tmp_path / "cert-a")) as first,
        running_node(tmp_path / "b", proxy.url, environ=certified(ours, tmp_path / "cert-b")) as second,
        running_node(tmp_path / "c", proxy.url, environ=certified(others, tmp_path / "cert-c")) as stranger,
    ):
        got = [await node.get(path_of(DIST)) for node in (first, second, stranger)]
        found = [await node.status() for node in (first, second, stranger)]
        address = found[0]["address"]
        pieces = f"/swarm/v1/artifacts/{DIST.sha256}/pieces/0"
        async with aiohttp.ClientSession() as session:
            async with session.get(first.url + pieces) as answer:
                plain = answer.status
            with pytest.raises(aiohttp.ClientError):
                await session.get(address + pieces, ssl=ssl._create_unverified_context())
            admitted = (await asyncio.to_thread(trust_of, config_of(tmp_path / "cert-b"))).asking
            async with session.get(address + pieces, ssl=admitted) as answer:
                piece = await answer.read()
    assert got == [DIST.sha256] * 3
    assert [(one["origin_bytes"], one["peer_bytes_down"]) for one in found] == [
        (len(DIST.data), 0),
        (0, len(DIST.data)),
        (len(DIST.data), 0),
    ]
    assert address.startswith("https://")
    assert plain == 404
    assert piece == DIST.data[slice(*Layout.of(len(DIST.data)).span(0))]


async def test_a_node_with_a_certificate_takes_nothing_from_one_without(tmp_path: Path, proxy: ProxyProcess) -> None:
    async with (
        running_node(tmp_path / "a", proxy.url) as plain,
        running_node(tmp_path / "b", proxy.url, environ=certified(trustme.CA(), tmp_path / "cert-b")) as secured,
    ):
        got = [await node.get(path_of(DIST)) for node in (plain, secured)]
        found = await secured.status()
    assert got == [DIST.sha256] * 2
    assert (found["origin_bytes"], found["peer_bytes_down"]) == (len(DIST.data), 0)


def test_each_setting_has_a_flag_of_its_name(tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.pem" for name in ("cert", "key", "ca")}
    flags = [f"--peers-{name}={file}" for name, file in files.items()]
    config = command_config(parsed(["serve", "--peers-listen", "127.0.0.1:8419", *flags]))
    assert config.peers_listen == Address("127.0.0.1", 8419)
    assert (config.peers_cert, config.peers_key, config.peers_ca) == tuple(files.values())


async def test_a_port_for_peers_that_another_has_is_refused_by_its_own_name(tmp_path: Path) -> None:
    variables = certified(trustme.CA(), tmp_path / "node")
    with socket.create_server((HOST, 0)) as other:
        taken = f"{HOST}:{other.getsockname()[1]}"
        agent = Agent(tmp_path, {**variables, "ENVAGENT_PEERS_LISTEN": taken})
        said = await agent.run("serve", "--proxy", "http://127.0.0.1:1", "--listen", f"{HOST}:0")
    assert (said.code, said.err.splitlines()[0]) == (2, f"error: --peers-listen {taken}: address already in use")


def test_without_any_of_the_settings_there_is_no_tls(tmp_path: Path) -> None:
    assert trust_of(Config(tmp_path)) is None


@pytest.mark.parametrize("missing", ["peers_listen", "peers_cert", "peers_key", "peers_ca"])
def test_some_of_the_settings_are_as_good_as_none_and_refused(tmp_path: Path, missing: str) -> None:
    with pytest.raises(UsageError, match="half configured"):
        trust_of(replace(config_of(tmp_path), **{missing: None}))


@pytest.mark.parametrize(("spoilt", "said"), [("key", "no certificate with its key"), ("ca", "no certificates")])
def test_files_that_are_no_certificates_are_refused_by_name(tmp_path: Path, spoilt: str, said: str) -> None:
    certified(trustme.CA(), tmp_path / "node")
    (tmp_path / "node" / f"{spoilt}.pem").write_text("nonsense")
    with pytest.raises(UsageError, match=f"{said} .*{spoilt}.pem"):
        trust_of(config_of(tmp_path / "node"))
