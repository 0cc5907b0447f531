"""Who may do what: optional tokens, presented as Basic (any user name; `__token__` is usual) or Bearer.

A protected proxy answers 401 with WWW-Authenticate to whoever brings no valid token, and never a thinner 200: pip
asks its keyring only after a 401, and uv sends credentials it has only after one. What probes and Prometheus read is
open to all. Secrets are compared in constant time and never shown.
"""

from __future__ import annotations

import hmac
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from .errors import ClientError, Unauthorized

Scope = Literal["read", "upload"]


class Forbidden(ClientError):
    """The token is valid, but not for this."""

    status = 403
    title = "Forbidden"


@dataclass(frozen=True, slots=True)
class Grant:
    """A token: its name for the log, its secret, and what it may do."""

    name: str
    secret: str
    scopes: frozenset[str]

    def __repr__(self) -> str:
        return f"Grant({self.name}, {sorted(self.scopes)})"


class Gate:
    """Checks requests. With `open_to_read` nobody needs a token to read; uploading always takes one."""

    def __init__(self, grants: Sequence[Grant], *, open_to_read: bool) -> None:
        self._grants = tuple(grants)
        self._open_to_read = open_to_read

    @property
    def open_to_read(self) -> bool:
        """Whether reading needs no token."""
        return self._open_to_read

    def admit(self, authorization: str | None, scope: Scope) -> str:
        """The name of the token that allows `scope`, "" for an anonymous reader. Raises Unauthorized, Forbidden."""
        if scope == "read" and self._open_to_read:
            return ""
        secret = presented(authorization)
        if secret is None:
            raise Unauthorized(
                f"this proxy wants a token to {scope}", hint="user __token__, the token as password, or Bearer"
            )
        # All of them, so that the time does not tell which one came close.
        known = [grant for grant in self._grants if hmac.compare_digest(grant.secret.encode(), secret)]
        if not known:
            raise Unauthorized("this proxy does not know that token")
        grant = known[0]
        if scope not in grant.scopes:
            raise Forbidden(f"token {grant.name} may not {scope}", hint=f"add {scope!r} to its scopes")
        return grant.name

    def middlewares(self) -> list[Middleware]:
        """None if everybody may read; else one that demands the read scope for each GET and HEAD but those of probes.

        Uploads ask for their scope themselves, and the swarm for its secret.
        """
        if self._open_to_read:
            return []

        @web.middleware
        async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.method in ("GET", "HEAD") and not _is_open(request.path):
                self.admit(credentials(request), "read")
            return await handler(request)

        return [gate]


def credentials(request: web.Request) -> str | None:
    """What the request brings: an Authorization header, or the token in the path of a Conda URL (`/t/<token>/`).

    The path wins: conda sends whatever netrc has for the host beside it.
    """
    token = request.match_info.get("token")
    return request.headers.get("Authorization") if token is None else f"Bearer {token}"


_OPEN = frozenset({"/healthz", "/readyz", "/metrics"})


def _is_open(path: str) -> bool:
    return path in _OPEN or path.startswith("/swarm/")


def presented(authorization: str | None) -> bytes | None:
    """The secret in an Authorization header (RFC 7617, RFC 6750); a JFrog-style token may stand as the user name.

    Bytes, since a header may hold any: aiohttp gives what is no UTF-8 as lone surrogates.
    """
    kind, _, value = (authorization or "").partition(" ")
    secret = value.strip().encode("utf-8", "surrogateescape")
    if kind.lower() == "bearer":
        return secret or None
    if kind.lower() != "basic":
        return None
    try:
        user, _, password = b64decode(secret, validate=True).partition(b":")
    except ValueError:
        return None
    return password or user or None
