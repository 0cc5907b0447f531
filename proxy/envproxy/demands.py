"""The digest that a client demands in a header, and what the caches between it and us must know of that.

Another demand under the same URL may have another answer, be it bytes or a 404: an answer that was made with an eye
to the header says so in Vary (RFC 9110, section 12.5.5), whatever it is and wherever it is made. Digests in URLs are
no matter of this module.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

HEADER: Final = "X-Expected-SHA256"
_HEEDED: Final = web.RequestKey("heeded", bool)


def demands(request: web.Request) -> list[str]:
    """What the header demands, as it was sent. From here on the answer depends on it."""
    request[_HEEDED] = True
    return request.headers.getall(HEADER, [])


async def say_vary(request: web.Request, response: web.StreamResponse) -> None:
    """Complete the head of an answer, as a receiver of `Application.on_response_prepare`."""
    if _HEEDED in request:
        response.headers["Vary"] = HEADER
