"""What the start reads of certificates and netrc. What it says when it cannot is in test_cli.py."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from envproxy.tables import UpstreamConfig
from envproxy.trust import logins_of, tls_of


def site(*, netrc: bool = False, ca_file: Path | None = None) -> UpstreamConfig:
    return UpstreamConfig(name="corp", url="https://pkgs.example.org/simple/", netrc=netrc, ca_file=ca_file)


def test_netrc_gives_the_login_of_a_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").touch(mode=0o600)  # it is refused if others could read it
    (tmp_path / ".netrc").write_text("machine pkgs.example.org login ci password secret\n")
    login = logins_of([site(), site(netrc=True)])
    assert login("pkgs.example.org") == ("ci", "secret")
    assert login("files.example.org") is None


def test_netrc_is_not_read_unless_an_upstream_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine")
    assert logins_of([site()])("pkgs.example.org") is None


def test_a_ca_file_adds_to_the_authorities_of_the_system(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(ca))
    context = tls_of(site(ca_file=ca))
    assert isinstance(context, ssl.SSLContext)
    assert len(context.get_ca_certs()) == len(ssl.create_default_context().get_ca_certs()) + 1


def test_without_a_ca_file_the_system_decides() -> None:
    assert tls_of(site()) is True
