"""What a failing network means: aiohttp's exceptions, translated into the errors of `errors.py`.

A server that cannot be reached, falls silent or hangs up may do better next time: `connect` or `timeout`. One that
answers something unusable would do so again: `bad_body`. Messages name the host and the file, never a whole URL, for
its user or query may be a secret. What to do about a failure (retry, resume, leave alone) is not decided here.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError
from yarl import URL

from envproxy.errors import BadUpstreamBody, UpstreamError

NETWORK = (aiohttp.ClientError, asyncio.TimeoutError, OSError, UnicodeError)
"""What a request, or reading its answer, may raise. (A host name that IDNA does not allow is a UnicodeError.)"""

_STATUSES = frozenset(HTTPStatus)
_LONGEST_REASON = 200  # characters


def translated(error: Exception, url: URL) -> UpstreamError:
    """One of `NETWORK`, raised by a request for `url`."""
    host = url.host or "upstream"
    match error:
        case TimeoutError():
            return UpstreamError(f"{host} did not answer in time", cause="timeout")
        case aiohttp.TooManyRedirects():
            return BadUpstreamBody(f"{host} redirects {file_of(url)} too many times")
        case aiohttp.RedirectClientError():
            return BadUpstreamBody(f"{host} redirects {file_of(url)} to something that is no HTTP URL")
        case aiohttp.InvalidURL() | UnicodeError():
            return BadUpstreamBody(f"the URL of {file_of(url)} cannot be used ({type(error).__name__})")
        case aiohttp.ClientHttpProxyError() | aiohttp.ClientProxyConnectionError():
            return UpstreamError(
                f"the forward proxy does not let us reach {host} ({type(error).__name__})",
                cause="connect",
                hint="check HTTP_PROXY, HTTPS_PROXY and NO_PROXY",
            )
        case aiohttp.ClientPayloadError() if not isinstance(error.__cause__, ContentEncodingError):
            return UpstreamError(f"{host} cut {file_of(url)} short", cause="connect")
        case aiohttp.ClientPayloadError() | aiohttp.ClientResponseError():
            return BadUpstreamBody(f"{host} answers for {file_of(url)} with something that is not HTTP")
        case aiohttp.ClientConnectorCertificateError():
            return UpstreamError(
                f"the TLS certificate of {host} is not trusted", cause="connect", hint="set ca-file of this upstream"
            )
        case _:
            return UpstreamError(f"{host} cannot be reached ({type(error).__name__})", cause="connect")


def file_of(url: URL) -> str:
    """The last path segment that says something: for messages."""
    return next((part for part in reversed(url.path.split("/")) if part), "/")


def said_of(status: int, reason: str | None) -> str:
    """What a status line says beyond its number, after a colon: a policy, say, puts its only visible words there."""
    said = (reason or "").strip()[:_LONGEST_REASON]
    usual = HTTPStatus(status).phrase.lower() if status in _STATUSES else ""
    return f": {said}" if said and said.isprintable() and said.lower() != usual else ""
