"""Certificates between the nodes of a swarm: who has none of its authority gives no pieces and gets none.

Off unless told. Then peers have a port of their own, on which both sides present a certificate, and the port of the
faces has no pieces. The names in a certificate are not compared with anything: nodes come and go, with addresses that
no authority knows beforehand, so whoever has a certificate of this authority is a peer. Who may have what is said by
tickets, with TLS as without. The files are read when the node starts.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envagent.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from envagent.config import Config
    from envproxy.kinds import Address

SETTINGS = ("peers-listen", "peers-cert", "peers-key", "peers-ca")


@dataclass(frozen=True, slots=True)
class Trust:
    """Where peers are listened to, and the contexts with which this node answers them and asks them."""

    listen: Address
    answering: ssl.SSLContext
    asking: ssl.SSLContext


def trust_of(config: Config) -> Trust | None:
    """What the configuration says (blocking); None without certificates. Raises UsageError."""
    listen, cert, key, ca = config.peers_listen, config.peers_cert, config.peers_key, config.peers_ca
    if listen is None and cert is None and key is None and ca is None:
        return None
    if listen is None or cert is None or key is None or ca is None:
        raise UsageError(
            "certificates between peers are half configured", hint=f"{', '.join(SETTINGS)} go together: all or none"
        )
    asking = _context(ssl.PROTOCOL_TLS_CLIENT, cert, key, ca)
    return Trust(listen, _context(ssl.PROTOCOL_TLS_SERVER, cert, key, ca), asking)


def _context(protocol: int, cert: Path, key: Path, ca: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # see above: the authority alone counts
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(cert, key)
    except OSError as error:  # an SSLError is one
        raise UsageError(
            f"no certificate with its key can be read from {cert} and {key}: {error.strerror or error}",
            hint="peers-cert and peers-key are files in PEM; the key has no passphrase",
        ) from error
    try:
        context.load_verify_locations(ca)
    except OSError as error:
        raise UsageError(
            f"no certificates can be read from {ca}: {error.strerror or error}",
            hint="peers-ca is a file in PEM: the authority of the peers' certificates",
        ) from error
    return context
