"""`envproxy stats`: the counts of a running server, or without one what is in the data directory."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import aiohttp
from yarl import URL

from envproxy.conda import packages
from envproxy.errors import EnvproxyError
from envproxy.files import collection
from envproxy.tables import Config

from .data import config_of, opened
from .output import print_json, print_table, say, shown_size

_PATIENCE_S = 5.0
_ALL_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (where to connect to a server that binds these)
_HINT = "is it running? The URL is its origin: http://HOST:PORT, with __token__:TOKEN@ before HOST where it wants one"

Counts = dict[str, Any]


class _NoAnswerError(EnvproxyError):
    pass


def run(args: Namespace) -> int:
    """Show the counts; `server` among them is the URL of who told them, None if that is the data directory."""
    counts = asyncio.run(_counts(config_of(args), args.url))
    if args.json:
        print_json(counts)
    else:
        print_table(("what", "count"), _rows(counts))
    return 0


async def _counts(config: Config, url: str | None) -> Counts:
    if url is not None:
        return await _asked(URL(url), {})
    if (own := _own_url(config)) is not None:
        try:
            return await _asked(own, _own_credentials(config))
        except _NoAnswerError as error:
            say(f"{error.message}: this is what is in the data directory")
    return await _kept(config)


async def _asked(url: URL, headers: Mapping[str, str]) -> Counts:
    """Credentials may also be in the URL. Raises _NoAnswerError."""
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
    shown = url.with_user(None)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
            session.get(url / "api/stats", headers=headers) as answer,
        ):
            return {"server": str(shown), **await answer.json()}
    except aiohttp.ClientResponseError as error:
        raise _NoAnswerError(f"{shown} answered {error.status}", hint=_HINT) from error
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise _NoAnswerError(f"no envproxy answers at {shown}", hint=_HINT) from error


async def _kept(config: Config) -> Counts:
    async with opened(config) as data:
        totals = await data.catalog.totals()
        stored = {blob.sha256 for blob in await data.catalog.blob_rows()}
        sources = Counter(file.source for file in await data.catalog.artifacts() if file.sha256 in stored)
        return {
            "server": None,
            "data": str(config.server.data),
            "blobs": {kind: number for kind, (number, _) in totals.items()},
            "blob_bytes": {kind: size for kind, (_, size) in totals.items()},
            "cache_limit_bytes": config.store.limit_bytes,
            "pages": {name: len(await data.catalog.page_names(name)) for name in config.pypi.upstreams},
            "packages": {name: sources[packages.source_of(name)] for name in config.conda.channels},
            "files": {name: sources[collection.source_of(name)] for name in config.files},
            "hosted_files": len(await data.hosted_files()),
            "hosted_packages": len(await data.hosted_packages()),
            "pins": len(await data.catalog.pins()),
        }


def _own_url(config: Config) -> URL | None:
    """Where a server with this configuration listens, unless the system chose its port."""
    host, port = config.server.host, config.server.port
    return URL.build(scheme="http", host=_ALL_ADDRESSES.get(host, host), port=port) if port else None


def _own_credentials(config: Config) -> dict[str, str]:
    """A token that may read, where that takes one."""
    if config.auth.read == "anonymous":
        return {}
    secret = next(token.secret for token in config.auth.tokens if "read" in token.scopes)
    return {"Authorization": f"Bearer {secret.reveal()}"}


def _rows(counts: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Nested counts as lines, bytes with their unit; of those inside, the zeros are left out."""
    for key, value in counts.items():
        name = f"{above} {key}".strip().replace("_", " ")
        if isinstance(value, Mapping):
            yield from _rows(value, name)
        elif value or (value == 0 and not above):
            yield name, shown_size(value) if "bytes" in name else str(value)
