"""Repodata records of Conda packages (CEP 16, 36), by py-rattler: the sizes and digests that a channel tells.

Shards are read where a channel has them, so a few names cost little of even the largest channel. A package that its
channel does not list is left out.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from rattler import Channel
from rattler.exceptions import GatewayError
from rattler.networking import AuthenticationMiddleware, Client
from rattler.repo_data import Gateway

from envagent.errors import SourceUnreachable
from envagent.lock import conda_url
from envagent.lock.complete import KnownFile
from envagent.lock.model import CondaPackage
from envproxy.logs import redact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envagent.fetch.sources import Sources
    from envagent.lock.complete import Wanted


async def known_packages(wanted: Sequence[Wanted], sources: Sources, token: str) -> Mapping[Wanted, list[KnownFile]]:
    """What the channels say of packages that are named by their URLs. Raises SourceUnreachable."""
    asked: defaultdict[str, list[Wanted]] = defaultdict(list)
    for one in wanted:
        if channel := _channel(one, sources):
            asked[channel].append(one)
    found: dict[Wanted, list[KnownFile]] = {}
    with tempfile.TemporaryDirectory() as cache:
        gateway = Gateway(cache_dir=Path(cache), client=Client([AuthenticationMiddleware()]))
        for channel, ones in asked.items():
            found |= await _of_channel(gateway, _logged_in(channel, sources.proxy, token), ones, shown=channel)
    return found


async def _of_channel(
    gateway: Gateway, channel: str, wanted: Sequence[Wanted], *, shown: str
) -> dict[Wanted, list[KnownFile]]:
    subdirs = {parts.subdir for one in wanted if (parts := conda_url.parse(one.url))}
    names = {one.name for one in wanted}
    try:
        results = await gateway.query(
            [Channel(channel)],
            subdirs,  # type: ignore[arg-type]  # any subdir's name
            names,
            recursive=False,
        )
    except GatewayError as error:
        why = redact(str(error))  # it names the URL, in which the token may be
        raise SourceUnreachable(
            f"the channel {shown} does not answer: {why}", hint="is it a channel, and up?"
        ) from None
    known = {
        (record.subdir, record.file_name): KnownFile(
            record.file_name, "", record.size or 0, (record.sha256 or b"").hex(), md5=(record.md5 or b"").hex()
        )
        for records in results
        for record in records
    }
    return {one: [replace(known[place], url=one.url)] for one in wanted if (place := _place(one)) in known}


def _place(wanted: Wanted) -> tuple[str, str]:
    subdir, _, filename = wanted.url.rpartition("/")
    return subdir.rpartition("/")[2], filename


def _channel(wanted: Wanted, sources: Sources) -> str:
    """The channel to ask for the package, best first; "" if there is none."""
    parts = conda_url.parse(wanted.url)
    if parts is None:
        return ""
    package = CondaPackage(
        name=parts.name,
        version=parts.version,
        build=parts.build,
        url=wanted.url,
        channel=wanted.source,
        subdir=parts.subdir,
    )
    places = sources.places(package)
    return places[0].url.rsplit("/", 2)[0] if places else ""


def _logged_in(channel: str, proxy: str, token: str) -> str:
    """The channel with the proxy's token in its path, where py-rattler can be given one; never to be shown."""
    if not (proxy and token and channel.startswith(f"{proxy}/")):
        return channel
    return f"{proxy}/t/{quote(token, safe='')}{channel.removeprefix(proxy)}"
