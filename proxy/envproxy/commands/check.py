"""`envproxy check`: everything that is wrong with a configuration, as the server would find it at its start."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from envproxy.conda.policy import ChannelPolicy
from envproxy.config import examine
from envproxy.errors import ConfigError, EnvproxyError, Problem
from envproxy.policy import Policy
from envproxy.tables import Config
from envproxy.trust import logins_of, tls_of

from .output import counted


def run(args: Namespace) -> int:
    """Print a summary of the file. Raises ConfigError with all its problems."""
    config, problems = examine(Path(args.file), environ=os.environ)
    problems = [*problems, *_policy_problems(config), *_trust_problems(config)]
    if problems:
        raise ConfigError(problems)
    sys.stdout.write(f"{args.file} is fine: {_summary(config)}\n")
    return 0


def _policy_problems(config: Config) -> Iterator[Problem]:
    for name, index in config.pypi.indexes.items():
        try:
            Policy.from_config(index.policy, where=f"pypi.indexes.{name}.policy")
        except ConfigError as error:
            yield from error.problems
    for name, channel in config.conda.channels.items():
        try:
            ChannelPolicy(channel.policy, where=f"conda.channels.{name}.policy")
        except ConfigError as error:
            yield from error.problems


def _trust_problems(config: Config) -> Iterator[Problem]:
    upstreams, channels = config.pypi.upstreams.values(), config.conda.channels.values()
    for site in upstreams:
        yield from _tried(f"pypi.upstreams.{site.name}.ca-file", partial(tls_of, site))
    for channel in channels:
        yield from _tried(f"conda.channels.{channel.name}.ca-file", partial(tls_of, channel))
    yield from _tried("netrc", partial(logins_of, [*upstreams, *channels]))


def _tried(where: str, work: Callable[[], object]) -> Iterator[Problem]:
    try:
        work()
    except EnvproxyError as error:
        yield Problem(where, error.message, error.hint)


def _summary(config: Config) -> str:
    indexes = [f"{name} ({' > '.join(index.sources)})" for name, index in config.pypi.indexes.items()]
    channels = sorted(config.conda.channels)
    return (
        f"serves {', '.join([*indexes, *channels])} on {config.server.listen}, keeps {config.server.data}, "
        f"knows {counted(len(config.auth.tokens), 'token')}"
    )
