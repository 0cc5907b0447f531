"""Puts the Conda face together: every channel of the configuration, in dependency order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from envproxy.engine.files import FileRules, UpstreamFiles
from envproxy.engine.flights import Flights
from envproxy.engine.mirrors import Mirror, Mirrors
from envproxy.foundation import Engine
from envproxy.tables import ChannelConfig, CondaConfig, UpstreamConfig

from .channel import SHARD_INDEX, is_asked_for
from .directory import Directory
from .face import Channel
from .generations import Generations, Rules
from .hosted import HostedChannel
from .mirrored import MirroredChannel
from .packages import Packages
from .policy import ChannelPolicy
from .shards import INDEX_LIMIT_BYTES
from .subdirs import Subdirs
from .worker import Workshop


@dataclass(slots=True)
class Conda:
    """The channels by name; those in `hosted` take uploads."""

    channels: dict[str, Channel]
    hosted: dict[str, HostedChannel]

    def forget(self) -> None:
        """Drop what is in memory: the catalog changed behind our back."""
        for channel in self.channels.values():
            channel.forget()


def assemble(config: CondaConfig, engine: Engine) -> Conda:
    """Every channel. Raises ConfigError for a policy with rules that are none."""
    workshop = Workshop(engine.store, limit_bytes=config.repodata_limit_bytes)
    channels: dict[str, Channel] = {}
    for name, channel in config.channels.items():
        mirrors = Mirrors([_mirror(channel, number, engine) for number in range(len(channel.url))])
        channels[name] = _mirrored(channel, mirrors, workshop, engine, limit_bytes=config.repodata_limit_bytes)
    hosted = {name: _hosted(name, workshop, engine) for name in config.hosted}
    return Conda({**channels, **hosted}, hosted)


def _hosted(name: str, workshop: Workshop, engine: Engine) -> HostedChannel:
    artifacts, catalog, clock = engine.artifacts, engine.catalog, engine.clock
    rules = Rules("always", None)
    conversions = Flights[str, str | None](engine.tasks, engine.reporter, name="convert")
    generations = Generations(
        name, rules, artifacts, engine.store, catalog, workshop, conversions=conversions, clock=clock
    )
    return HostedChannel(name, generations, artifacts, catalog, clock=clock)


def _mirror(config: ChannelConfig, number: int, engine: Engine) -> Mirror:
    url = config.url[number]
    name = config.name if number == 0 else f"{config.name}#{number + 1}"
    if url.startswith("file:"):
        return Mirror(Directory(name, Path(unquote(urlsplit(url).path))), url)
    site = UpstreamConfig(
        name=name,
        url=url,
        username=config.username,
        password=config.password,
        bearer=config.bearer,
        netrc=config.netrc,
        ca_file=config.ca_file,
        fresh_for_s=config.fresh_for_s,
        connect_timeout_s=config.connect_timeout_s,
        read_timeout_s=config.read_timeout_s,
        max_connections=config.max_connections,
        forbidden_is_absent=config.forbidden_is_absent,
    )
    return Mirror(engine.connect(site), url, config.token.reveal() if config.token else None)


def _mirrored(
    config: ChannelConfig, mirrors: Mirrors, workshop: Workshop, engine: Engine, *, limit_bytes: int
) -> MirroredChannel:
    name, artifacts, catalog, store, clock = (
        config.name, engine.artifacts, engine.catalog, engine.store, engine.clock,
    )  # fmt: skip
    reporter = engine.reporter
    policy = ChannelPolicy(config.policy, where=f"conda.channels.{name}.policy")
    token = config.token.reveal() if config.token else None
    rules = Rules(config.shards, None if policy.is_open else config.policy, token)
    file_rules = FileRules(
        fresh_for_s=config.fresh_for_s,
        limit_bytes=lambda path: INDEX_LIMIT_BYTES if path.endswith(SHARD_INDEX) else limit_bytes,
        is_asked_for=is_asked_for,
        hint="conda.repodata-limit bounds repodata",
    )
    files = UpstreamFiles(name, mirrors, artifacts, store, catalog, rules=file_rules, clock=clock)
    generations = Generations(
        name, rules, artifacts, store, catalog, workshop,
        conversions=Flights(engine.tasks, reporter, name="convert"), clock=clock,
    )  # fmt: skip
    subdirs = Subdirs(
        name, rules, generations, files, mirrors, artifacts, catalog,
        flights=lambda kind: Flights(engine.tasks, reporter, name=kind), reporter=reporter, clock=clock,
    )  # fmt: skip
    packages = Packages(
        name, subdirs, mirrors, policy, artifacts, catalog,
        refused=lambda rule: engine.metrics.policy_refusals[name, rule].inc(), clock=clock,
    )  # fmt: skip
    return MirroredChannel(
        name, subdirs, packages, files, workshop, artifacts,
        serves_shards=config.shards != "never", filtered=not policy.is_open, token=token,
        flights=lambda kind: Flights(engine.tasks, reporter, name=kind), reporter=reporter, clock=clock,
    )  # fmt: skip
