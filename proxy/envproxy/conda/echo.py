"""The token of a channel in what its upstream says: some servers repeat it in the URLs that they state.

It is the operator's, so no client may read it: `/t/<token>/x` becomes `/x`, which is the same place for somebody who
has no token. Only whole segments of paths count, also with the escaped slashes that JSON allows; a token in another
encoding is not looked for. Pure.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from .repodata import Buffer, Repodata


def echoes(buffer: Buffer, token: str | None) -> bool:
    """Whether the token may be in there."""
    return token is not None and buffer.find(token.encode()) >= 0


def without_token(data: bytes, token: str | None) -> bytes:
    """The same without the token in any path."""
    if token is None or not echoes(data, token):
        return data
    return re.sub(rb"\\?/t\\?/" + re.escape(token.encode()) + rb"(?![A-Za-z0-9_-])", b"", data)


def silenced(repodata: Repodata, token: str | None) -> Repodata:
    """Repodata without the token in its info and its records."""
    info: dict[str, Any] = msgspec.json.decode(without_token(msgspec.json.encode(repodata.info), token))
    lines = {
        name: [line._replace(raw=msgspec.Raw(without_token(bytes(line.raw), token))) for line in lines]
        for name, lines in repodata.lines.items()
    }
    return Repodata(info, lines, repodata.removed)
