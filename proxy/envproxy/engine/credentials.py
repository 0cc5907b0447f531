"""Who is shown which credentials: the one place that makes an Authorization header for an upstream.

An upstream's own credentials are for its own origin (scheme, host and port) and nobody else. Another host gets what
the link itself carries, or what netrc has for its name. Across redirects aiohttp drops the header with the origin.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass

from yarl import URL

Login = Callable[[str], tuple[str, str] | None]
"""User and password for a host name, None if there are none."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The Authorization header for one origin; never shown."""

    origin: URL
    header: str

    def __repr__(self) -> str:
        return f"Credentials({self.origin}, ***)"

    @classmethod
    def basic(cls, url: str, username: str, password: str) -> Credentials:
        """Basic credentials for the origin of `url` (RFC 7617)."""
        return cls(URL(url).origin(), _basic(username, password))

    @classmethod
    def bearer(cls, url: str, token: str) -> Credentials:
        """A bearer token for the origin of `url` (RFC 6750)."""
        return cls(URL(url).origin(), f"Bearer {token}")


def authorization(target: URL, own: Credentials | None, login: Login) -> dict[str, str]:
    """The header to send to `target`, if any."""
    if own is not None and target.origin() == own.origin:
        return {"Authorization": own.header}
    if target.user is not None:
        return {"Authorization": _basic(target.user, target.password or "")}
    if target.host and (found := login(target.host)) is not None:
        return {"Authorization": _basic(*found)}
    return {}


def _basic(username: str, password: str) -> str:
    return "Basic " + b64encode(f"{username}:{password}".encode()).decode()
