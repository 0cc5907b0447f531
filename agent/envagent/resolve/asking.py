"""What resolving asks of the proxy, or of indexes without one, beyond what uv and py-rattler ask themselves.

Small documents in memory: origins, and the metadata of wheels. A 404 is an answer, anything else that is not one is
SourceUnreachable: nothing is guessed from a failure.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp

from envagent.errors import ArtifactRefused, SourceUnreachable
from envagent.resolve.places import Places

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_AT_ONCE = 16
_TIMEOUT = aiohttp.ClientTimeout(total=120, connect=10)


class Asking:
    """A client for the length of one lock."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._free = asyncio.Semaphore(_AT_ONCE)

    async def get(self, url: str) -> bytes | None:
        """The body, None where there is nothing. Raises SourceUnreachable."""
        async with self._free, self._answer("GET", url) as answer:
            return None if answer is None else await answer.read()

    async def file(self, url: str, sha256: str) -> bytes:
        """A whole file, which must have that digest. Raises SourceUnreachable, ArtifactRefused."""
        body = await self.get(url)
        if body is None:
            raise SourceUnreachable(f"{url} is not there, though its index lists it", hint="try again later")
        if hashlib.sha256(body).hexdigest() != sha256:
            raise ArtifactRefused(url.rpartition("/")[2], f"its sha256 is not {sha256}, as its index says")
        return body

    async def size(self, url: str) -> int:
        """The size of a file in bytes, 0 where its server does not tell. Raises SourceUnreachable."""
        async with self._free, self._answer("HEAD", url) as answer:
            return int(answer.headers.get("Content-Length", 0)) if answer else 0

    async def json(self, url: str) -> Any:  # noqa: ANN401  # whatever it says
        """The JSON document there, None where there is nothing. Raises SourceUnreachable."""
        body = await self.get(url)
        try:
            return None if body is None else json.loads(body)
        except ValueError as error:
            raise SourceUnreachable(f"{url} did not answer with JSON: {error}", hint="is that an envproxy?") from None

    @asynccontextmanager
    async def _answer(self, method: str, url: str) -> AsyncIterator[aiohttp.ClientResponse | None]:
        try:
            async with self._session.request(method, url, headers={"Accept-Encoding": "identity"}) as answer:
                if answer.status in {404, 410}:
                    yield None
                elif answer.status >= 400:
                    raise SourceUnreachable(f"{url} answered {answer.status} {answer.reason}", hint="try again later")
                else:
                    yield answer
        except (aiohttp.ClientError, TimeoutError) as error:
            raise SourceUnreachable(f"{url} does not answer: {error}", hint="is its server up?") from None


@asynccontextmanager
async def asking() -> AsyncIterator[Asking]:
    """A client that is closed in the end; proxies of the environment and netrc hold for it."""
    async with aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=True) as session:
        yield Asking(session)


async def places(ask: Asking, proxy: str) -> Places:
    """Where things are asked: as the proxy says, or directly where `proxy` is "". Raises SourceUnreachable."""
    if not proxy:
        return Places()
    proxy = proxy.rstrip("/")
    said = await ask.json(f"{proxy}/api/origins")
    if not isinstance(said, dict) or not {"indexes", "channels"} <= said.keys():
        raise SourceUnreachable(
            f"{proxy} does not say what it serves", hint="--proxy names the origin of an envproxy"
        )
    return Places(proxy, said["indexes"], said["channels"])
