"""Where indexes and channels are asked, and what a lock calls what they answer.

With a proxy, names are the proxy's, and so is everything that is fetched; without one, an index is a URL, and a
channel's name is conda-forge's neighbour. A lock holds upstream's own URLs either way: `Places` knows the way back
for channels, the proxy's `origins` pages for the files of projects. Pure: who asks is question.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from envagent.errors import UsageError
from envagent.lock import rules
from envproxy.config import default_endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROXY_INDEX = "main"
"""The index of a proxy that is meant when none is named."""

CHANNEL = "conda-forge"
"""The channel that is meant when none is named."""

_CHANNELS = "https://conda.anaconda.org"


@dataclass(frozen=True, slots=True)
class Places:
    """`proxy` is its origin without a slash, "" for none. The others are its /api/origins: names to URLs."""

    proxy: str = ""
    indexes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    channels: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def index_names(self, asked: Sequence[str]) -> tuple[str, ...]:
        """The indexes that are meant, by priority, as a lock names them. Raises UsageError."""
        _check("index", asked)
        return tuple(self._index_name(name) for name in asked) or (PROXY_INDEX if self.proxy else default_endpoint(),)

    def index_url(self, name: str) -> str:
        """The root of its simple API (PEP 503), with a slash at the end. Raises UsageError."""
        if "://" in name:
            return f"{name.rstrip('/')}/"
        self._known("index", name, self.indexes)
        return f"{self.proxy}/pypi/{name}/simple/"

    def index_of(self, url: str, names: Sequence[str]) -> str:
        """The index whose file this URL names, "" where the URL does not say."""
        own = {f"{self.proxy}/pypi/{name}/files/": name for name in names if "://" not in name}
        found = next((name for prefix, name in own.items() if url.startswith(prefix)), "")
        return found or (names[0] if len(names) == 1 and "://" in names[0] else "")

    def channel_names(self, asked: Sequence[str]) -> tuple[str, ...]:
        """The channels that are meant, by priority, as a lock names them. Raises UsageError."""
        _check("channel", asked)
        return tuple(self._channel_name(name) for name in asked) or (CHANNEL,)

    def channel_url(self, name: str) -> str:
        """Where the channel is asked, without a slash at the end. Raises UsageError."""
        if "://" in name:
            return name.rstrip("/")
        if not self.proxy:
            return f"{_CHANNELS}/{name}"
        self._known("channel", name.partition("/")[0], self.channels)
        return f"{self.proxy}/conda/{name}"

    def upstream_channel(self, name: str) -> str:
        """The channel's own URL, without a slash; a channel that the proxy hosts has no other than the proxy's."""
        if not self.proxy or "://" in name:
            return self.channel_url(name)
        channel, slash, label = name.partition("/")
        first = next(iter(self.channels[channel]), self.channel_url(channel))
        return f"{first.rstrip('/')}{slash}{label}"

    def _index_name(self, asked: str) -> str:
        """A URL that is the only source of one of the proxy's indexes is asked there."""
        return next((name for name, urls in self.indexes.items() if _same(urls[:2], asked)), asked)

    def _channel_name(self, asked: str) -> str:
        return next((name for name, urls in self.channels.items() if _same(urls[:1], asked)), asked)

    def _known(self, what: str, name: str, names: Mapping[str, object]) -> None:
        if not self.proxy:
            raise UsageError(f"the {what} {name!r} is a name, and names are a proxy's", hint="give --proxy or a URL")
        if name not in names:
            raise UsageError(
                f"the proxy has no {what} {name!r}", hint=f"it has: {', '.join(sorted(names)) or 'none'}"
            )


def _check(what: str, asked: Sequence[str]) -> None:
    """Refuse what a lock must not name, without saying it again: it may hold a password."""
    for problem in filter(None, map(rules.source, asked)):
        hint = (
            f"let a proxy log in there, and give the {what} by the proxy's name" if "credentials" in problem else ""
        )
        raise UsageError(f"one {what} that is asked for {problem}", hint=hint)


def _same(urls: Sequence[str], asked: str) -> bool:
    return [url.rstrip("/") for url in urls] == [asked.rstrip("/")]
