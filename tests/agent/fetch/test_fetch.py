"""Artifacts of a lock, through a real proxy and past it: from where, how often, and what is said of failures."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from envagent.errors import AccessRefused, DiskRefused, FetchFailed, Problem, SourceUnreachable
from envagent.fetch.artifacts import Artifacts
from envagent.fetch.fetch import download, fetch
from envagent.fetch.network import Network
from envagent.fetch.sources import Sources
from fixtures.channel import FakeChannel
from fixtures.clock import FakeClock
from fixtures.conda_packages import make_conda
from fixtures.disk import disk_that_takes
from fixtures.fetching import NoTime, Told, locked, locked_conda
from fixtures.proxy import running_proxy
from fixtures.upstream import FakeIndex, Gate, Status, Style
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from envagent.lock.model import PythonPackage
    from fixtures.proxy import LocalProxy

ALPHA, BETA = make_wheel("alpha", "1.0", payload_size=3_000_000), make_wheel("beta", "2.0")
NOBODY = "http://127.0.0.1:1"  # port 1: nobody listens there


@pytest.fixture
async def upstream() -> AsyncIterator[FakeIndex]:
    async with FakeIndex(Style(links="off-host")) as index:
        index.add(ALPHA, BETA)
        yield index


@pytest.fixture
def packages(upstream: FakeIndex) -> list[PythonPackage]:
    return [locked(dist, upstream.file_url(dist.filename)) for dist in (ALPHA, BETA)]


def files_asked_for(upstream: FakeIndex) -> int:
    return upstream.count("GET", "/files/*.whl")


async def test_artifacts_come_through_the_proxy_once_and_are_kept(
    artifacts: Artifacts, packages: list[PythonPackage], upstream: FakeIndex, proxy: LocalProxy
) -> None:
    told = Told()
    paths = await fetch(packages, artifacts, Sources(proxy.url), report=told)
    assert {digest: path.read_bytes() for digest, path in paths.items()} == {
        ALPHA.sha256: ALPHA.data,
        BETA.sha256: BETA.data,
    }
    assert {seen.headers["User-Agent"].partition("/")[0] for seen in upstream.requests} == {"envproxy"}
    assert files_asked_for(upstream) == 2
    assert told.to_come == (2, told.bytes)
    assert sorted(told.here) == ["alpha", "beta"]
    assert proxy.parts.metrics.snapshot()["cache"]["artifact"]["miss"] == 2


async def test_what_is_here_is_found_without_any_server(
    artifacts: Artifacts, packages: list[PythonPackage], proxy: LocalProxy, upstream: FakeIndex
) -> None:
    first = await fetch(packages, artifacts, Sources(proxy.url))
    asked, told = len(upstream.requests), Told()
    assert await fetch(packages, artifacts, Sources(NOBODY, fallback=False), report=told) == first
    assert (len(upstream.requests), told.here, told.to_come) == (asked, ["alpha", "beta"], (0, 0))


async def test_an_artifact_that_two_packages_share_comes_once(
    artifacts: Artifacts, packages: list[PythonPackage], upstream: FakeIndex
) -> None:
    await asyncio.gather(fetch(packages * 2, artifacts, Sources()), fetch(packages, artifacts, Sources()))
    assert files_asked_for(upstream) == 2


# --- without the proxy ----------------------------------------------------------------------------------


async def test_with_the_proxy_down_upstream_is_asked(
    artifacts: Artifacts, packages: list[PythonPackage], upstream: FakeIndex
) -> None:
    told = Told()
    assert len(await fetch(packages, artifacts, Sources(NOBODY), report=told)) == 2
    assert files_asked_for(upstream) == 2
    [(name, why)] = told.troubles
    assert name == "the proxy"
    assert "cannot be reached" in why


async def test_with_the_proxy_down_and_upstream_forbidden_it_is_said_so(
    artifacts: Artifacts, packages: list[PythonPackage], upstream: FakeIndex
) -> None:
    with pytest.raises(SourceUnreachable, match="cannot be reached"):
        await fetch(packages, artifacts, Sources(NOBODY, fallback=False))
    assert upstream.requests == []


async def test_a_proxy_that_answers_is_not_asked_whether_it_runs(upstream: FakeIndex, proxy: LocalProxy) -> None:
    upstream.fail("/simple/gamma/", Status(500))
    async with Network(proxy.url, "") as network:
        with pytest.raises(SourceUnreachable, match="the proxy answered 503") as failed:
            await network.files_of("main", "gamma")
    assert "does it run" not in failed.value.hint


async def test_what_is_no_envproxy_is_told_as_such(
    artifacts: Artifacts, packages: list[PythonPackage], upstream: FakeIndex
) -> None:
    with pytest.raises(SourceUnreachable, match="does not answer as an envproxy does"):
        await fetch(packages, artifacts, Sources(upstream.url.removesuffix("/simple/"), fallback=False))


async def test_an_index_that_the_proxy_does_not_have_leads_to_upstream_alone(
    artifacts: Artifacts, upstream: FakeIndex, proxy: LocalProxy
) -> None:
    package = locked(BETA, upstream.file_url(BETA.filename), index="elsewhere")
    await fetch([package], artifacts, Sources(proxy.url))
    assert proxy.parts.metrics.snapshot()["cache"]["artifact"]["miss"] == 0
    with pytest.raises(FetchFailed, match="the proxy has no such index or channel"):
        await fetch([locked(ALPHA, "", index="elsewhere")], artifacts, Sources(proxy.url, fallback=False))


async def test_a_file_that_left_its_page_is_taken_from_upstream(
    artifacts: Artifacts, packages: list[PythonPackage], upstream: FakeIndex, proxy: LocalProxy
) -> None:
    upstream.fail("/simple/alpha/", Status(404))
    told = Told()
    await fetch(packages, artifacts, Sources(proxy.url), report=told)
    assert [name for name, _ in told.troubles] == [ALPHA.filename]
    assert told.bytes == len(ALPHA.data) + len(BETA.data)


async def test_files_that_cannot_be_had_are_all_told_and_the_others_stay(
    artifacts: Artifacts, packages: list[PythonPackage], upstream: FakeIndex
) -> None:
    gamma = make_wheel("gamma", "1.0")
    upstream.add(gamma)
    gone = locked(gamma, upstream.file_url(gamma.filename))
    upstream.remove(gamma.filename)
    upstream.remove(BETA.filename)
    with pytest.raises(FetchFailed) as raised:
        await fetch([*packages, gone], artifacts, Sources())
    assert sorted(problem.where for problem in raised.value.problems) == [BETA.filename, gamma.filename]
    assert str(raised.value).startswith("2 files could not be fetched:\n  ")
    assert artifacts.find(ALPHA.sha256, len(ALPHA.data)) is not None


def test_of_hundreds_of_files_that_cannot_be_had_some_are_named() -> None:
    failed = FetchFailed([Problem(f"alpha-{number}.whl", "gone") for number in range(300)])
    lines = str(failed).splitlines()
    assert (lines[0], lines[1], lines[-1]) == (
        "300 files could not be fetched:",
        "  alpha-0.whl: gone",
        "  and 280 more",
    )
    assert len(lines) == 22
    assert len(failed.problems) == 300


async def test_a_built_wheel_that_is_not_here_is_explained(artifacts: Artifacts) -> None:
    source = f"git+https://git.example.org/alpha@{'ab' * 20}"
    built = replace(locked(ALPHA, "", index=""), built_from=source)
    with pytest.raises(FetchFailed, match=r"was built from git\+https.* and is not on this machine"):
        await fetch([built], artifacts, Sources())


# --- policy and credentials -----------------------------------------------------------------------------


async def test_what_the_policy_refuses_is_not_taken_from_upstream(
    tmp_path: Path, artifacts: Artifacts, packages: list[PythonPackage], upstream: FakeIndex
) -> None:
    toml = '[pypi.indexes.main.policy]\ndeny = ["alpha"]\n'
    async with running_proxy(tmp_path, upstream=upstream, toml=toml) as proxy:
        with pytest.raises(FetchFailed, match=r"the proxy answered 403 for alpha-1\.0-py3-none-any\.whl: "):
            await fetch(packages, artifacts, Sources(proxy.url))
    assert upstream.count(path="*alpha*") == 0


TOKEN = """
[auth]
read = "token"
[auth.tokens.node]
secret = "env:NODE"
"""


async def test_a_token_is_shown_to_the_proxy_and_to_nobody_else(
    tmp_path: Path, artifacts: Artifacts, packages: list[PythonPackage], upstream: FakeIndex
) -> None:
    upstream.fail("/simple/alpha/", Status(404))
    async with running_proxy(tmp_path, upstream=upstream, toml=TOKEN, environ={"NODE": "open-sesame"}) as proxy:
        with pytest.raises(AccessRefused, match="401") as raised:
            await fetch(packages, artifacts, Sources(proxy.url))
        assert "ENVAGENT_PROXY_TOKEN" in raised.value.hint
        assert upstream.requests == []
        assert len(await fetch(packages, artifacts, Sources(proxy.url), token="open-sesame")) == 2
    assert upstream.count() > 0
    assert not any("Authorization" in seen.headers for seen in upstream.requests)


# --- conda ----------------------------------------------------------------------------------------------


async def test_a_conda_package_comes_through_the_proxys_channel(tmp_path: Path, artifacts: Artifacts) -> None:
    delta = make_conda("delta")
    async with FakeChannel() as channel, running_proxy(tmp_path, settings=channel.settings) as proxy:
        channel.add(delta)
        package = locked_conda(delta, channel.url)
        paths = await fetch([package], artifacts, Sources(proxy.url, fallback=False))
        assert paths[delta.sha256].read_bytes() == delta.data
        assert channel.count("GET", "*.conda") == 1


async def test_a_conda_package_with_other_bytes_under_its_name_is_refused(
    tmp_path: Path, artifacts: Artifacts
) -> None:
    was, now = make_conda("delta"), make_conda("delta", extra={"license": "MIT"})
    async with FakeChannel() as channel, running_proxy(tmp_path, settings=channel.settings) as proxy:
        channel.add(now)
        package, clock = locked_conda(was, channel.url), FakeClock()
        async with Network(proxy.url, clock=clock) as network:
            with pytest.raises(FetchFailed, match=r"delta-1\.0-0\.conda: .*bytes, the lock names"):
                await download(
                    [package], artifacts, Sources(proxy.url), network, report=Told(), patience=NoTime(clock)
                )
    assert artifacts.find(was.sha256, len(was.data)) is None


# --- processes and disks --------------------------------------------------------------------------------

FETCHING = """
import sys
from pathlib import Path
from envagent.fetch.artifacts import Artifacts
from envagent.fetch.fetch import fetch_all
from envagent.fetch.sources import Sources
from envagent.lock.model import PythonPackage

root, url, size, sha256, filename = sys.argv[1:]
name, version, *_ = filename.split("-")
package = PythonPackage(
    kind="wheel", name=name, version=version, url=url, size=int(size), sha256=sha256, filename=filename, index=""
)
print(fetch_all([package], Artifacts(Path(root)), Sources())[sha256].stat().st_size)
"""


async def fetching(artifacts: Artifacts, package: PythonPackage) -> asyncio.subprocess.Process:
    words = (artifacts.root, package.url, package.size, package.sha256, package.filename)
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", FETCHING, *map(str, words), stdout=asyncio.subprocess.PIPE
    )


async def test_two_processes_make_one_download(
    artifacts: Artifacts, packages: list[PythonPackage], upstream: FakeIndex
) -> None:
    go_on = asyncio.Event()
    upstream.fail("/files/*", Gate(1_500_000, go_on))
    processes = [await fetching(artifacts, packages[0]) for _ in range(2)]
    await upstream.arrived("/files/*")
    go_on.set()
    outputs = [await process.communicate() for process in processes]
    assert [out for out, _ in outputs] == [f"{len(ALPHA.data)}\n".encode()] * 2
    assert files_asked_for(upstream) == 1


async def test_a_killed_download_leaves_nothing_visible_and_the_next_one_ends_well(
    artifacts: Artifacts, packages: list[PythonPackage], upstream: FakeIndex
) -> None:
    upstream.fail("/files/*", Gate(2_500_000, asyncio.Event()), times=1)
    process = await fetching(artifacts, packages[0])
    await upstream.arrived("/files/*")
    process.kill()
    await process.communicate()
    assert artifacts.find(ALPHA.sha256, len(ALPHA.data)) is None
    await fetch(packages, artifacts, Sources())
    assert artifacts.find(ALPHA.sha256, len(ALPHA.data)) is not None


async def test_a_disk_that_takes_no_more_is_said_in_words_and_nothing_stays_on_it(
    artifacts: Artifacts, packages: list[PythonPackage], upstream: FakeIndex
) -> None:
    with disk_that_takes(1_000_000), pytest.raises(DiskRefused, match="cannot be written"):
        await fetch(packages, artifacts, Sources())
    assert list((artifacts.root / "arriving").iterdir()) == []
    assert artifacts.find(ALPHA.sha256, len(ALPHA.data)) is None
