"""Whom connections to upstreams trust, and as whom they log in: what is read from files at the start.

A certificate or a netrc that cannot be used is said at once and by name, for later it would look like an upstream
that fails.
"""

from __future__ import annotations

import netrc
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from .errors import EnvproxyError


class Site(Protocol):
    """A server to fetch from, as the configuration describes it."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""

    @property
    def netrc(self) -> bool:
        """Whether it takes credentials from netrc."""

    @property
    def ca_file(self) -> Path | None:
        """Certificates that its TLS is verified with."""


def tls_of(site: Site) -> ssl.SSLContext | bool:
    """What verifies the upstream's certificate; True for the system's authorities. Raises EnvproxyError."""
    if site.ca_file is None:
        return True
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(site.ca_file)
    except (ssl.SSLError, OSError) as error:
        raise EnvproxyError(
            f"the ca-file of upstream {site.name}, {site.ca_file}, cannot be used: {error.strerror or error}",
            hint="it must hold certificates in PEM form: -----BEGIN CERTIFICATE-----",
        ) from error
    return context


def logins_of(sites: Iterable[Site]) -> Callable[[str], tuple[str, str] | None]:
    """Credentials by host name from the user's netrc, which is read only if an upstream wants it.

    Raises EnvproxyError if that cannot be done.
    """
    names = [site.name for site in sites if site.netrc]
    if not names:
        return no_login
    try:
        known = netrc.netrc()
    except (OSError, netrc.NetrcParseError) as error:
        raise EnvproxyError(
            f"upstream {names[0]} takes its credentials from netrc, which cannot be read: {error}",
            hint="write ~/.netrc, readable by this user alone, or set username and password",
        ) from error

    def login(host: str) -> tuple[str, str] | None:
        found = known.authenticators(host)
        return (found[0], found[2] or "") if found else None

    return login


def no_login(_host: str) -> None:
    """Credentials for nobody."""
