"""Tickets: why an agent may have a private artifact from a peer, verified by that peer without asking anybody.

A ticket names the artifact, the node that is to give it, the tenant, and an end that is at most LONGEST_S away. Its
MAC is made with a key that belongs to the tenant alone, so an agent cannot make tickets for another tenant. It is
bound to the giver, not to the taker: whoever overhears one can use it against one node, for one artifact, and soon
no more. TLS between agents is what keeps it from being overheard. The form is in docs/swarm.md.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from typing import Final

import msgspec

LONGEST_S: Final = 300
LIFE_S: Final = 240  # of a new one, so that the clock of a node may be a minute behind
_PURPOSE: Final = b"envmesh swarm tickets 1\0"


class Ticket(msgspec.Struct, frozen=True, array_like=True):
    """`node` may give the artifact `sha256` to agents of `tenant` until `expiry`, in seconds since the epoch."""

    sha256: str
    node: str
    tenant: str
    expiry: int


def key_of(secret: str, tenant: str) -> bytes:
    """The key for a tenant's tickets; what it is derived from cannot be told from it."""
    return hmac.digest(secret.encode(), _PURPOSE + tenant.encode(), "sha256")


def sign(ticket: Ticket, key: bytes) -> str:
    """The ticket as it stands in a header."""
    payload = msgspec.msgpack.encode(ticket)
    return f"{_text(payload)}.{_text(hmac.digest(key, payload, 'sha256'))}"


def admits(text: str, key: bytes, *, sha256: str, node: str, tenant: str, now: float) -> bool:
    """Whether `text` is a ticket with which `node` may give the artifact to an agent of its tenant now.

    A ticket that ends further away than LONGEST_S was not made by a directory, so it is worth nothing.
    """
    payload, _, mac = text.partition(".")
    try:
        data, seal = _data(payload), _data(mac)
    except NotBase64:
        return False
    if not hmac.compare_digest(hmac.digest(key, data, "sha256"), seal):
        return False
    try:
        ticket = msgspec.msgpack.decode(data, type=Ticket)
    except msgspec.DecodeError:
        return False
    is_for_this = (ticket.sha256, ticket.node, ticket.tenant) == (sha256, node, tenant)
    return is_for_this and now < ticket.expiry <= now + LONGEST_S


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _data(text: str) -> bytes:
    return urlsafe_b64decode(text.encode("ascii", "replace") + b"=" * (-len(text) % 4))
