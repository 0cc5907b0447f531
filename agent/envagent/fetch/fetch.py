"""Every artifact of a target on this machine: what is here is found, the rest is downloaded, many at a time.

If all is here, nothing is asked of anybody and nothing of the network is imported. The largest files begin first.
What cannot be had is reported together at the end, and what has arrived by then stays for the next time. Whoever must
be sure that gc takes nothing away meanwhile holds the lock of the node store.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from envagent import disk
from envagent.errors import DiskRefused, FetchFailed, Problem, SourceUnreachable
from envagent.fetch.report import Report
from envagent.lock.model import PythonPackage

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from pathlib import Path

    from envagent.fetch.artifacts import Artifacts
    from envagent.fetch.download import Patience, Unavailable
    from envagent.fetch.network import Bring, Network
    from envagent.fetch.sources import Sources
    from envagent.lock.model import Package

_SILENT = Report()
_ANEW = "what came is kept, so the same command again asks for the rest only"


def fetch_all(
    packages: Sequence[Package],
    artifacts: Artifacts,
    sources: Sources,
    *,
    report: Report = _SILENT,
    token: str = "",
    bring: Bring | None = None,
) -> Mapping[str, Path]:
    """As `fetch`, for a caller without an event loop. `bring` is of a proxy in this process."""
    paths = _found(packages, artifacts, report)
    if missing := _missing(packages, paths):
        import asyncio  # noqa: PLC0415 - a third of the time of a command that has everything

        paths |= asyncio.run(_downloaded(missing, artifacts, sources, report, token, bring))
    return paths


async def fetch(
    packages: Sequence[Package], artifacts: Artifacts, sources: Sources, *, report: Report = _SILENT, token: str = ""
) -> Mapping[str, Path]:
    """The files of the packages by their sha256, every one verified. `token` is for the proxy.

    Raises FetchFailed, SourceUnreachable (a proxy that is needed and does not answer), AccessRefused and DiskRefused.
    """
    paths = _found(packages, artifacts, report)
    if missing := _missing(packages, paths):
        paths |= await _downloaded(missing, artifacts, sources, report, token)
    return paths


async def download(
    packages: Sequence[Package],
    artifacts: Artifacts,
    sources: Sources,
    network: Network,
    *,
    report: Report,
    patience: Patience,
) -> dict[str, Path]:
    """The files of packages that are not here. Raises as `fetch`."""
    import asyncio  # noqa: PLC0415 - see above

    from envagent.fetch.download import Download, Unavailable  # noqa: PLC0415 - see above
    from envagent.fetch.network import FILES_AT_ONCE  # noqa: PLC0415 - see above

    sources = await informed(sources, network, report)
    slots = asyncio.Semaphore(FILES_AT_ONCE)
    report.missing(len(packages), sum(package.size for package in packages))

    async def one(package: Package) -> Path | Unavailable:
        places = sources.places(package)
        if not places:
            return Unavailable([_homeless(package, sources)], hint="")
        try:
            with disk.errors_in_words():
                path = await Download(package, places, artifacts, network, report, patience).run(slots)
        except Unavailable as failure:
            return failure
        report.arrived(package, path)
        return path

    try:
        return _paths(await _together(one, sorted(packages, key=lambda package: -package.size)))
    except DiskRefused:
        await asyncio.to_thread(artifacts.sweep)  # the others' beginnings would go on filling the disk
        raise


async def _together(
    one: Callable[[Package], Coroutine[None, None, Path | Unavailable]], packages: Sequence[Package]
) -> dict[Package, Path | Unavailable]:
    """`one` for all packages at once; the first exception ends the others."""
    import asyncio  # noqa: PLC0415 - see above

    try:
        async with asyncio.TaskGroup() as group:
            tasks = {package: group.create_task(one(package)) for package in packages}
    except ExceptionGroup as troubles:
        raise troubles.exceptions[0] from None
    return {package: task.result() for package, task in tasks.items()}


def _paths(results: Mapping[Package, Path | Unavailable]) -> dict[str, Path]:
    failures = {package: found for package, found in results.items() if not isinstance(found, os.PathLike)}
    if failures:
        problems = [Problem(package.filename, str(failure)) for package, failure in failures.items()]
        raise FetchFailed(problems, hint=next((failure.hint for failure in failures.values() if failure.hint), _ANEW))
    return {package.sha256: path for package, path in results.items() if isinstance(path, os.PathLike)}


async def _downloaded(
    packages: Sequence[Package],
    artifacts: Artifacts,
    sources: Sources,
    report: Report,
    token: str,
    bring: Bring | None = None,
) -> dict[str, Path]:
    from envagent.fetch.download import Patience  # noqa: PLC0415 - see above
    from envagent.fetch.network import Network  # noqa: PLC0415 - see above

    async with Network(sources.proxy, token, bring=bring) as network:
        return await download(packages, artifacts, sources, network, report=report, patience=Patience())


async def informed(sources: Sources, network: Network, report: Report) -> Sources:
    """The sources with what the proxy says of itself; without the proxy if it does not answer and need not."""
    if not sources.proxy or sources.origins is not None:
        return sources
    try:
        return replace(sources, origins=await network.origins())
    except SourceUnreachable as error:
        if not sources.fallback:
            raise
        report.troubled("the proxy", f"{error}; upstream is asked instead")
        return replace(sources, proxy="")


def _found(packages: Sequence[Package], artifacts: Artifacts, report: Report) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for package in packages:
        if package.sha256 not in paths and (path := artifacts.find(package.sha256, package.size)):
            artifacts.touch(package.sha256)
            paths[package.sha256] = path
            report.arrived(package, path)
    return paths


def _missing(packages: Sequence[Package], paths: Mapping[str, Path]) -> list[Package]:
    return list({package.sha256: package for package in packages if package.sha256 not in paths}.values())


def _homeless(package: Package, sources: Sources) -> str:
    """Why there is nowhere to ask for it."""
    if isinstance(package, PythonPackage) and package.built_from:
        return f"it was built from {package.built_from} and is not on this machine: lock it again here, or publish it"
    if sources.proxy:
        return "the proxy has no such index or channel, and upstream is not to be asked"
    return "the lock does not say where it is"
