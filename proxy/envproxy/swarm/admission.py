"""Which tenant an agent belongs to: what its secret makes it, never what it says.

Secrets are compared in constant time and never shown.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from envproxy.auth import Forbidden, presented
from envproxy.errors import Unauthorized

from .tickets import key_of


class Admission:
    """Knows the secret of each tenant."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = {tenant: secret.encode() for tenant, secret in secrets.items()}
        self._keys = {tenant: key_of(secret, tenant) for tenant, secret in secrets.items()}

    def tenant(self, authorization: str | None) -> str:
        """The tenant that an Authorization header makes its sender. Raises Unauthorized."""
        secret = presented(authorization)
        if secret is None:
            raise Unauthorized("the swarm wants its secret", hint="send it as Bearer")
        # All of them, so that the time does not tell which one came close.
        known = [tenant for tenant, own in self._secrets.items() if hmac.compare_digest(own, secret)]
        if not known:
            raise Unauthorized("the swarm does not know that secret")
        return known[0]

    def key(self, tenant: str) -> bytes:
        """The key for the tickets of a tenant."""
        return self._keys[tenant]


def check_stated(tenant: str, stated: str) -> None:
    """Refuse an agent that takes itself for another tenant's. Raises Forbidden."""
    if stated not in ("", tenant):
        raise Forbidden(
            f"that secret is tenant {tenant}'s, not {stated}'s", hint="give the agent its tenant's secret"
        )
