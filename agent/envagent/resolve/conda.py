"""The Conda packages of one target: py-rattler's solver over sharded repodata (CEP 16), strict channel priority.

The solver is told the virtual packages of the target and never those of this machine. What an earlier lock has is
preferred, not pinned. Records are believed as the channel has them; a lock gets upstream's URLs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rattler import Channel, GenericVirtualPackage, PackageName, RepoDataRecord, Version, solve
from rattler.exceptions import GatewayError, InvalidMatchSpecError, SolverError
from rattler.match_spec import MatchSpec
from rattler.networking import AddHeadersMiddleware, AuthenticationMiddleware, Client
from rattler.package import BuildString
from rattler.repo_data import Gateway, PackageRecord, SourceConfig

from envagent.errors import LockRefused, Problem, SourceUnreachable, Unresolvable, UsageError
from envagent.lock.model import CondaPackage
from envagent.resolve.machines import told_to_solver

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

    from envagent.lock.model import Target
    from envagent.resolve.places import Places

_ANSWER = "what the channels tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaQuestion:
    """What is asked for one target. `channels` are names or URLs, as a lock calls them; the first one goes first."""

    machine: Target
    specs: tuple[str, ...]
    channels: tuple[str, ...]
    kept: tuple[CondaPackage, ...] = ()
    exclude_newer: datetime | None = None


def client(proxy: str, token: str) -> Client:
    """A client that shows the token to the proxy; elsewhere it logs in as RATTLER_AUTH_FILE or the keyring says."""
    host = urlsplit(proxy).hostname

    def headers(asked: str, _path: str) -> dict[str, str] | None:
        return {"Authorization": f"Bearer {token}"} if token and asked == host else None

    return Client([AuthenticationMiddleware(), AddHeadersMiddleware(headers)])


def gateway(cache: Path, by: Client, *, fresh: bool) -> Gateway:
    """Where repodata come from; one for all targets of a lock. `cache` is a directory that may be lost.

    What is cached there is used as long as its channel says, unless it has to be `fresh`.
    """
    config = SourceConfig(cache_action="no-cache" if fresh else "cache-or-fetch")
    return Gateway(cache_dir=cache, default_config=config, client=by)


async def solved(question: CondaQuestion, places: Places, source: Gateway) -> tuple[CondaPackage, ...]:
    """The packages, by name. Raises Unresolvable, SourceUnreachable, UsageError, LockRefused."""
    urls = {places.channel_url(name): name for name in question.channels}
    specs = {text: parsed_spec(_placed(text, places)) for text in question.specs}
    kept = {fetched_from(package, places): package for package in question.kept}
    try:
        records = await solve(
            sources=[Channel(url) for url in urls],
            specs=list(specs.values()),
            gateway=source,
            platforms=[question.machine.platform, "noarch"],  # type: ignore[list-item]  # any platform's name
            locked_packages=[_record(package, url) for url, package in kept.items()],
            virtual_packages=list(_virtual(question.machine)),
            exclude_newer=question.exclude_newer,
        )
    except SolverError as error:
        raise Unresolvable(
            f"the conda packages cannot be resolved for {question.machine.name}:\n{_indented(str(error))}"
        ) from None
    except GatewayError as error:
        raise SourceUnreachable(
            f"a channel does not answer:\n{_indented(str(error))}", hint="is the channel reachable?"
        ) from None
    packages = tuple(
        replace(
            kept.get(record.url) or _package(record, urls, places),
            requested_by=tuple(text for text, spec in specs.items() if spec.matches(record)),
        )
        for record in records
    )
    _check_names(packages)
    return packages


def _check_names(packages: Iterable[CondaPackage]) -> None:
    """A channel that was indexed long ago may tell an md5 alone. Raises LockRefused."""
    if nameless := [package.url for package in packages if not (package.sha256 and package.size)]:
        what = "is listed without a sha256 or its size, and a lock names every file by both"
        raise LockRefused(_ANSWER, [Problem(url, what, "is its channel's index an old one?") for url in nameless])


def parsed_spec(text: str) -> MatchSpec:
    """A match spec (CEP 29). Raises UsageError."""
    try:
        return MatchSpec(text, strict=False)
    except InvalidMatchSpecError as error:
        why = str(error).partition("\n")[0]  # the causes that follow say it again
        raise UsageError(f"{text!r} is not a spec of a conda package: {why}", hint="such as 'numpy >=2'") from None


def fetched_from(package: CondaPackage, places: Places) -> str:
    """Where a package of a lock is to be had here and now."""
    return f"{places.channel_url(package.channel)}/{package.subdir}/{package.filename}"


def _placed(spec: str, places: Places) -> str:
    """The spec with the channel that it may name (`channel::name`) as it is asked here."""
    channel, colons, rest = spec.rpartition("::")
    return f"{places.channel_url(channel)}{colons}{rest}" if colons else spec


def _package(record: RepoDataRecord, channels: Mapping[str, str], places: Places) -> CondaPackage:
    said: dict[str, Any] = json.loads(record.to_json())
    channel = channels[(record.channel or "").rstrip("/")]
    subdir = str(said["subdir"])
    return CondaPackage(
        name=record.name.normalized,
        version=str(said["version"]),
        build=str(said["build"]),
        channel=channel,
        subdir=subdir,
        url=f"{places.upstream_channel(channel)}/{subdir}/{record.file_name}",
        size=said.get("size") or 0,
        sha256=said.get("sha256") or "",
        md5=said.get("md5") or "",
        depends=tuple(said.get("depends", ())),
        constrains=tuple(said.get("constrains", ())),
        noarch=said.get("noarch") or "",
        license=said.get("license") or "",
        timestamp=said.get("timestamp") or 0,
        purls=tuple(said.get("purls") or ()),
        python_site_packages_path=said.get("python_site_packages_path") or "",
    )


def _record(package: CondaPackage, url: str) -> RepoDataRecord:
    """The package as the solver knows it."""
    number = package.build.rpartition("_")[2]  # conda-build ends build strings with it
    record = PackageRecord(
        PackageName(package.name),
        package.version,
        BuildString(package.build),
        int(number) if number.isdecimal() else 0,
        package.subdir,
        noarch="python" if package.noarch == "python" else "generic" if package.noarch else None,
        depends=list(package.depends),
        constrains=list(package.constrains),
        sha256=bytes.fromhex(package.sha256),
    )
    channel = url.rsplit("/", 2)[0]
    return RepoDataRecord(record, package.filename, url, f"{channel}/")


def _virtual(machine: Target) -> Iterable[GenericVirtualPackage]:
    for name, (version, build) in told_to_solver(machine).items():
        yield GenericVirtualPackage(PackageName(name), Version(version), BuildString(build))


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines())
