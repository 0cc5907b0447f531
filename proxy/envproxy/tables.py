"""The tables of the configuration file, as frozen dataclasses: what an operator can set, and what it means.

Each setting is declared once, where its field is: its name in the file, its kind, its default and a sentence for
docs/configuration.md. Values are parsed by kinds.py and put in place by settings.py. Invariant: a `Config` is plain
data that says nothing of where it came from, and no text made from it shows a secret. What may not be said together
is in contradictions.py.
"""
# ruff: noqa: RUF009 - the calls in the dataclasses below make fields

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from envproxy import kinds
from envproxy.kinds import Address, Secret
from envproxy.settings import key, named, optional, required, section

DEFAULT_TENANT = "default"


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The process and its socket."""

    listen: Address = key(
        "listen", kinds.ADDRESS, "127.0.0.1:8417", "`HOST:PORT` or `[IPv6]:PORT`; port 0 lets the system choose"
    )
    data: Path = key(
        "data", kinds.DIRECTORY, "envmesh-data", "where everything is kept; relative to the working directory"
    )
    drain_s: int = key("drain", kinds.DURATION, "30s", "how long running downloads may finish after SIGTERM")

    @property
    def host(self) -> str:
        """The host to bind, without brackets."""
        return self.listen.host

    @property
    def port(self) -> int:
        """The port to bind; 0 lets the system choose."""
        return self.listen.port


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What is logged, and how it looks."""

    level: str = key(
        "level", kinds.choice("debug", "info", "warning", "error"), "info", "the least severity that is logged"
    )
    format: str = key("format", kinds.choice("text", "json"), "text", "for people, or one JSON object a line")
    access: bool = key("access", kinds.BOOLEAN, "true", "a line for every request")


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """The bounds of the disk cache."""

    limit_bytes: int = key("limit", kinds.BUDGET, "200GB", "budget of the cache on disk")
    min_free_bytes: int = key("min-free", kinds.SIZE, "10GB", "free space that the cache leaves on its disk")


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """The bounds of what is kept in memory."""

    pages_bytes: int = key("pages", kinds.SIZE, "24MB", "budget for ready-made pages in memory")


@dataclass(frozen=True, slots=True)
class Token:
    """One client credential: a name for logs, the secret it presents, what it may do."""

    name: str
    secret: Secret = required("secret", kinds.SECRET, "what the client presents: `env:NAME` or `file:PATH`")
    scopes: frozenset[str] = key("scopes", kinds.choices("read", "upload"), "read", "what it may do")


def _in_order(tokens: dict[str, Token]) -> tuple[Token, ...]:
    return tuple(tokens.values())


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """Who may do what."""

    read: str = key(
        "read", kinds.choice("anonymous", "token"), "anonymous", "who may install: anyone, or holders of a token"
    )
    tokens: tuple[Token, ...] = named(Token, _in_order)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteConfig:
    """How a server that envproxy fetches from is reached. At most one kind of credential is set."""

    name: str
    username: str | None = optional("username", kinds.TEXT, "for Basic credentials, with `password`")
    password: Secret | None = optional("password", kinds.SECRET, "`env:NAME` or `file:PATH`")
    bearer: Secret | None = optional("bearer", kinds.SECRET, "a bearer token: `env:NAME` or `file:PATH`")
    netrc: bool = key("netrc", kinds.BOOLEAN, "false", "take credentials from netrc")
    ca_file: Path | None = optional(
        "ca-file", kinds.FILE, "certificates (PEM) that its TLS is verified with; relative to the file"
    )
    fresh_for_s: int = key(
        "fresh-for", kinds.DURATION, "10m", "how long a page is fresh that came without Cache-Control"
    )
    connect_timeout_s: float = key("connect-timeout", kinds.TIMEOUT, "5s", "to connect, TLS included")
    read_timeout_s: float = key("read-timeout", kinds.TIMEOUT, "10s", "without a byte of the response")
    max_connections: int = key("max-connections", kinds.COUNT, "50", "connections at the same time")
    forbidden_is_absent: bool = key(
        "forbidden-is-absent", kinds.BOOLEAN, "false", "a 403 means that it does not have the name"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamConfig(SiteConfig):
    """One index. `url` ends with a slash."""

    url: str = required("url", kinds.URL, "its simple API, http or https; built in for `pypi`")


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesConfig(UpstreamConfig):
    """Files of any kind below one URL, each pinned to its SHA-256, but those that may change."""

    url: str = required(
        "url", kinds.URL, "what their paths are below; built in for `python` and `python-build-standalone`"
    )
    fresh_for_s: int = key(
        "fresh-for", kinds.DURATION, "10m", "how long a file that may change is fresh, without Cache-Control"
    )
    checksums: str = key(
        "checksums",
        kinds.TEXT,
        "",
        "what upstream calls the SHA-256 sums beside its files: `SHA256SUMS`, or with `{name}`, `{name}.sha256`",
    )
    changing: tuple[str, ...] = key(
        "changing", kinds.RULES, "", "patterns of paths that may change (`*` crosses slashes); checksums may anyway"
    )
    pins: tuple[tuple[str, str], ...] = key("pins", kinds.PINS, "", "path to the SHA-256 that the file must have")


@dataclass(frozen=True, slots=True)
class HostedConfig:
    """A private index whose files are uploaded here."""

    name: str
    description: str = key("description", kinds.TEXT, "", "for people")


@dataclass(frozen=True, slots=True)
class ChannelPolicyConfig:
    """What a channel refuses. Rules are unparsed: conda/policy.py reads them. `freeze_at` is in UTC."""

    min_age_s: int = key("min-age", kinds.DURATION, "0s", "files uploaded more recently are refused")
    freeze_at: datetime | None = optional(
        "freeze", kinds.INSTANT, "files uploaded later are refused; a date means 00:00 UTC"
    )
    allow: tuple[str, ...] = key("allow", kinds.RULES, "", "if not empty, everything else is refused")
    deny: tuple[str, ...] = key("deny", kinds.RULES, "", "refused")
    allow_anyway: tuple[str, ...] = key(
        "allow-anyway", kinds.RULES, "", "waivers: exempt from `freeze` and `min-age`, not from `deny` or `allow`"
    )
    removed: str = key(
        "removed",
        kinds.choice("keep", "refuse"),
        "keep",
        "direct downloads of cached files that left the upstream page",
    )


@dataclass(frozen=True, slots=True)
class PolicyConfig(ChannelPolicyConfig):
    """What an index refuses. Rules are unparsed: policy.py reads them."""

    quarantined: str = key(
        "quarantined",
        kinds.choice("keep", "refuse"),
        "refuse",
        "direct downloads of cached files of a project that upstream quarantined",
    )


@dataclass(frozen=True, slots=True)
class IndexConfig:
    """What clients see under one name. The order of `sources` decides who owns a name, after `owners`."""

    name: str
    sources: tuple[str, ...] = required(
        "sources", kinds.NAMES, "upstreams and hosted indexes; the first that has a name owns it; `pypi` for `main`"
    )
    owners: tuple[tuple[str, str], ...] = key(
        "owners",
        kinds.OWNERS,
        "",
        "pattern of normalised names to the source that owns them; in a variable `corp-*=corp,other=pypi`",
    )
    policy: PolicyConfig = section(PolicyConfig)


@dataclass(frozen=True, slots=True)
class PypiConfig:
    """The PyPI face."""

    upstreams: Mapping[str, UpstreamConfig] = named(UpstreamConfig, MappingProxyType)
    hosted: Mapping[str, HostedConfig] = named(HostedConfig, MappingProxyType)
    indexes: Mapping[str, IndexConfig] = named(IndexConfig, MappingProxyType)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelConfig(SiteConfig):
    """A Conda channel that is mirrored on demand. `url` are its mirrors, each with a slash at the end."""

    url: tuple[str, ...] = required(
        "url",
        kinds.MIRRORS,
        "where it is: http, https or the path of a directory; of several the next one is asked if one fails; "
        "built in for `conda-forge`",
    )
    token: Secret | None = optional("token", kinds.SECRET, "a token for the path (`/t/<token>/`)")
    shards: str = key(
        "shards",
        kinds.choice("auto", "always", "never"),
        "auto",
        "`auto`: upstream's shards, or made here if it has none; `always`: made here; `never`: no shards",
    )
    fresh_for_s: int = key(
        "fresh-for", kinds.DURATION, "5m", "how long repodata is fresh that came without Cache-Control"
    )
    max_connections: int = key("max-connections", kinds.COUNT, "50", "connections at the same time, to each mirror")
    forbidden_is_absent: bool = key(
        "forbidden-is-absent", kinds.BOOLEAN, "false", "a 403 means that it does not have the file"
    )
    policy: ChannelPolicyConfig = section(ChannelPolicyConfig)


@dataclass(frozen=True, slots=True)
class HostedChannelConfig:
    """A private channel whose packages are uploaded here."""

    name: str
    description: str = key("description", kinds.TEXT, "", "for people")


@dataclass(frozen=True, slots=True)
class CondaConfig:
    """The Conda face."""

    repodata_limit_bytes: int = key(
        "repodata-limit", kinds.SIZE, "1GB", "the most that repodata may have, as it comes and decompressed"
    )
    channels: Mapping[str, ChannelConfig] = named(ChannelConfig, MappingProxyType)
    hosted: Mapping[str, HostedChannelConfig] = named(HostedChannelConfig, MappingProxyType)


@dataclass(frozen=True, slots=True)
class SwarmTenant:
    """Agents that share private artifacts with one another, and with nobody else."""

    name: str
    secret: Secret = required("secret", kinds.SECRET, "what its agents present: `env:NAME` or `file:PATH`")


@dataclass(frozen=True, slots=True)
class SwarmConfig:
    """The directory for agents that share pieces."""

    enabled: bool = key("enabled", kinds.BOOLEAN, "false", "whether agents may share pieces; takes a secret")
    secret: Secret | None = optional(
        "secret", kinds.SECRET, "what agents of the tenant `default` present: `env:NAME` or `file:PATH`"
    )
    tenants: Mapping[str, SwarmTenant] = named(SwarmTenant, MappingProxyType)
    leases: int = key("leases", kinds.COUNT, "8", "pieces of one artifact that leave the proxy at the same time")
    lease_s: float = key("lease", kinds.TIMEOUT, "5s", "how long a node has for a piece that does not move")
    heartbeat_s: float = key("heartbeat", kinds.TIMEOUT, "5s", "how often agents say that they live")
    expiry_s: float = key("expiry", kinds.TIMEOUT, "15s", "after which silence an agent is forgotten")
    unleased_bytes: int = key(
        "unleased", kinds.BUDGET, "25MB", "a second, for all agents that fetch pieces without a lease"
    )

    @property
    def secrets(self) -> dict[str, str]:
        """The secret of each tenant that has a usable one."""
        shared = {} if self.secret is None else {DEFAULT_TENANT: self.secret}
        all_of_them = {**shared, **{tenant.name: tenant.secret for tenant in self.tenants.values()}}
        return {tenant: secret.reveal() for tenant, secret in all_of_them.items() if secret.reveal()}


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that an operator can set."""

    server: ServerConfig = section(ServerConfig)
    log: LogConfig = section(LogConfig)
    store: StoreConfig = section(StoreConfig)
    memory: MemoryConfig = section(MemoryConfig)
    auth: AuthConfig = section(AuthConfig)
    pypi: PypiConfig = section(PypiConfig)
    conda: CondaConfig = section(CondaConfig)
    files: Mapping[str, FilesConfig] = named(FilesConfig, MappingProxyType)
    swarm: SwarmConfig = section(SwarmConfig)
