"""What may not be said together in a configuration: rules between settings, each a problem with a hint.

One setting alone is judged by its kind (kinds.py); here are the names that must exist, those that must not exist
twice, and values of which one makes the other void. Every function is pure and reports all that it finds. The
syntax of policy rules is not checked here but by policy.py, which knows what they mean.
"""

from __future__ import annotations

from collections.abc import Iterator

from envproxy.errors import Problem
from envproxy.kinds import likely
from envproxy.settings import Place, Settings
from envproxy.tables import DEFAULT_TENANT, Config, IndexConfig, PypiConfig, SwarmConfig


def contradictions(config: Config, settings: Settings) -> Iterator[Problem]:
    """Each contradiction, at the setting to change; `settings` tells what was written, and where."""
    if config.auth.read == "token" and not any("read" in token.scopes for token in config.auth.tokens):
        what = "is token, but no token has the scope read"
        yield Problem(settings.where(("auth", "read")), what, 'add [auth.tokens.NAME] with scopes = ["read"]')
    for upstream in config.pypi.upstreams.values():
        yield from _credential_problems(("pypi", "upstreams", upstream.name), upstream.netrc, settings)
    for channel in config.conda.channels.values():
        yield from _credential_problems(("conda", "channels", channel.name), channel.netrc, settings)
        if channel.name in config.conda.hosted:
            yield Problem(f"conda.hosted.{channel.name}", "is also the name of a channel", "choose another name")
    for files in config.files.values():
        yield from _credential_problems(("files", files.name), files.netrc, settings)
    for name in config.pypi.hosted:
        if name in config.pypi.upstreams:
            yield Problem(f"pypi.hosted.{name}", "is also the name of an upstream", "choose another name")
    for index in config.pypi.indexes.values():
        yield from _source_problems(index, config.pypi, settings)
    yield from _swarm_problems(config.swarm, settings)


def _swarm_problems(swarm: SwarmConfig, settings: Settings) -> Iterator[Problem]:
    has_own_secret = settings.has(("swarm", "secret"))
    if swarm.enabled and not (has_own_secret or swarm.tenants):
        where = settings.where(("swarm", "enabled"))
        yield Problem(where, "is true, but nothing says whom to admit", 'add secret = "env:NAME"')
    if has_own_secret and DEFAULT_TENANT in swarm.tenants:
        yield Problem(f"swarm.tenants.{DEFAULT_TENANT}", "is the tenant of swarm.secret", "choose another name")
    if swarm.expiry_s < 2 * swarm.heartbeat_s:
        where = settings.where(("swarm", "expiry"))
        yield Problem(where, "is less than two heartbeats", "a heartbeat that is lost must not matter")
    found = dict[str, str]()
    for tenant, secret in swarm.secrets.items():
        if secret in found:
            where = settings.where(("swarm", "tenants", tenant, "secret"))
            yield Problem(where, f"is also that of {found[secret]}", "give each tenant its own")
        found[secret] = tenant


def _credential_problems(place: Place, netrc: bool, settings: Settings) -> Iterator[Problem]:
    # By what was written, not by what came of it: an unset variable is one problem, not two.
    written = {one for one in ("username", "password", "bearer", "token") if settings.has((*place, one))}
    if "username" in written and "password" not in written:
        yield Problem(settings.where((*place, "username")), "is set without a password", "add password")
    if "password" in written and "username" not in written:
        yield Problem(settings.where((*place, "password")), "is set without a username", "add username")
    rivals = [*sorted(written & {"password", "bearer", "token"}), *(["netrc"] if netrc else [])]
    if len(rivals) > 1:
        where = settings.where((*place, rivals[0]))
        yield Problem(where, f"is set, but so is {' and '.join(rivals[1:])}", "keep one kind of credential")


def _source_problems(index: IndexConfig, pypi: PypiConfig, settings: Settings) -> Iterator[Problem]:
    where = settings.where(("pypi", "indexes", index.name, "sources"))
    known = {*pypi.upstreams, *pypi.hosted}
    for source in index.sources:
        if source not in known:
            hint = likely(source, known) or f"known are {', '.join(sorted(known))}"
            yield Problem(where, f"names {source!r}, which is neither an upstream nor a hosted index", hint)
    if not index.sources:  # already reported
        return
    for pattern, source in index.owners:
        if source not in index.sources:
            where = settings.where(("pypi", "indexes", index.name, "owners"))
            what = f"gives {pattern!r} to {source!r}, which is not among the sources of this index"
            yield Problem(where, what, likely(source, index.sources) or f"add it to the sources of {index.name}")
