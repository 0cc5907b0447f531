"""Files that are passed on: what each must be, and what of it does not fit our own server.

A file is one JSON document, or anything at all (RSS). All of it goes through byte for byte but two things: a
`base_url`, for packages are beside the repodata here (CEP 15), and the token of the channel. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from envproxy.errors import BadUpstreamBody

from .echo import echoes, without_token
from .repodata import BROKEN, Buffer, without_base_url


def fitting(filename: str, buffer: Buffer, token: str | None) -> bytes | None:
    """The content of a file as it is to be passed on, None if that is as it came. Raises BadUpstreamBody."""
    content = _content(filename)
    try:
        document = None if content is None else msgspec.json.decode(buffer, type=content)
        changed = _without_base(document) if isinstance(document, dict) else None
    except BROKEN as error:
        raise BadUpstreamBody(f"{filename} is not JSON as it should be: {error}") from error
    if changed is None and not echoes(buffer, token):
        return None
    return without_token(changed or buffer[:], token)


def _content(filename: str) -> object:
    """What JSON a file must hold: an object, anything for signatures; None if it is something else."""
    if ".json" in filename:
        return dict[str, msgspec.Raw]
    return msgspec.Raw if ".sigs" in filename else None


def _without_base(document: Mapping[str, msgspec.Raw]) -> bytes | None:
    """The document without the `base_url` in its info, None if it has none."""
    info = msgspec.json.decode(document["info"]) if "info" in document else None
    if not isinstance(info, dict) or "base_url" not in info:
        return None
    own = msgspec.json.encode(without_base_url(info))
    members = (
        msgspec.json.encode(key) + b":" + (own if key == "info" else bytes(raw)) for key, raw in document.items()
    )
    return b"{" + b",".join(members) + b"}"
