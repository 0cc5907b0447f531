"""Which places of the proxy everybody may read, so that their artifacts are shared between tenants.

Whatever is not certainly public is private: places behind credentials, places that take uploads, and everything as
soon as reading the proxy takes a token. Pure; it knows nothing but the configuration.
"""

from __future__ import annotations

from collections.abc import Iterator

from envproxy.tables import ChannelConfig, Config, IndexConfig, UpstreamConfig


def public_places(config: Config) -> frozenset[str]:
    """The public ones, as their paths begin: `pypi/<index>`, `conda/<channel>`, `files/<name>`."""
    return frozenset(_public(config)) if config.auth.read == "anonymous" else frozenset()


def _public(config: Config) -> Iterator[str]:
    for name, index in config.pypi.indexes.items():
        if _has_only_public_sources(index, config):
            yield f"pypi/{name}"
    for name, channel in config.conda.channels.items():
        if not _has_credentials(channel):
            yield f"conda/{name}"
    for name, files in config.files.items():
        if not _has_credentials(files):
            yield f"files/{name}"


def _has_only_public_sources(index: IndexConfig, config: Config) -> bool:
    return all(
        source in config.pypi.upstreams and not _has_credentials(config.pypi.upstreams[source])
        for source in index.sources
    )


def _has_credentials(site: UpstreamConfig | ChannelConfig) -> bool:
    token = site.token if isinstance(site, ChannelConfig) else None
    return site.netrc or any(secret is not None for secret in (site.password, site.bearer, token))
