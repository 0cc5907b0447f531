"""Wheels of what has none: sdists and git repositories, built by the real uv in isolation."""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from envagent.config import Config
from envagent.errors import BuildFailed, SourceUnreachable, Unresolvable
from envagent.fetch.artifacts import Artifacts
from envagent.garbage import collect
from envagent.lock.model import Target
from envagent.machine import platform
from envagent.resolve.asked import Upgrade
from envagent.resolve.uv import refusal
from envagent.store.references import References
from fixtures.locking import lock, releases
from fixtures.sources import BACKEND, committed, sdist
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fixtures.proxy import LocalProxy
    from fixtures.upstream import FakeIndex

HERE = platform(os.uname())
ELSEWHERE = "win-64"
DAY = 86_400


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[str]:
    """A web server without any idea of git, before the repositories in `tmp_path / "site"`."""
    (tmp_path / "site").mkdir()
    app = web.Application()
    app.router.add_static("/", tmp_path / "site")
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_an_sdist_becomes_a_wheel_that_says_what_it_was_built_of(
    data: Path, index: FakeIndex, proxy: LocalProxy
) -> None:
    source = sdist("alpha", "1.0", requires=["beta"])
    index.add(source, make_wheel("beta", "1.0"))
    environment = await lock(data, proxy.url, HERE, pypi=("alpha",))
    alpha, beta = environment.targets[0].python
    assert (alpha.kind, alpha.name, alpha.version, alpha.url) == ("wheel", "alpha", "1.0", "")
    assert alpha.built_from == f"{index.file_url(source.filename)}#sha256={source.sha256}"
    assert (alpha.index, alpha.depends, alpha.requested_by) == ("main", ("beta",), ("alpha",))
    assert beta.built_from == ""
    wheel = Artifacts(data / "artifacts").find(alpha.sha256, alpha.size)
    assert wheel is not None
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() == alpha.sha256


async def test_a_source_is_built_once(data: Path, index: FakeIndex, proxy: LocalProxy) -> None:
    index.add(sdist("alpha", "1.0", unlike_any_other=True))
    first = await lock(data, proxy.url, HERE, pypi=("alpha",))
    assert await lock(data, proxy.url, HERE, pypi=("alpha",)) == first


async def test_gc_keeps_what_was_built_while_it_is_used_or_an_environment_has_it(
    data: Path, index: FakeIndex, proxy: LocalProxy, tmp_path: Path
) -> None:
    index.add(sdist("alpha", "1.0"))
    [alpha] = (await lock(data, proxy.url, HERE, pypi=("alpha",))).targets[0].python
    config, artifacts = Config(data), Artifacts(data / "artifacts")
    used = artifacts.locate(alpha.sha256).stat().st_mtime  # type: ignore[union-attr]
    assert collect(config, now=used + DAY, unused_s=DAY, budget=0).artifacts == 1, "the sdist that it was built of"
    assert artifacts.locate(alpha.sha256)
    References(config.store).note_prefix(tmp_path, tmp_path, [f"{alpha.sha256}-python3.11-2"])
    assert collect(config, now=used + 99 * DAY, unused_s=DAY, budget=0).artifacts == 0
    assert artifacts.locate(alpha.sha256)
    References(config.store).place(tmp_path).unlink()
    assert collect(config, now=used + 99 * DAY, unused_s=DAY, budget=0).artifacts == 1
    assert artifacts.locate(alpha.sha256) is None


async def test_a_wheel_that_was_removed_is_built_again(data: Path, index: FakeIndex, proxy: LocalProxy) -> None:
    index.add(sdist("alpha", "1.0"))
    await lock(data, proxy.url, HERE, pypi=("alpha",))
    Artifacts(data / "artifacts").collect(kept=set())
    environment = await lock(data, proxy.url, HERE, pypi=("alpha",))
    [alpha] = environment.targets[0].python
    assert Artifacts(data / "artifacts").find(alpha.sha256, alpha.size)


async def test_builds_that_are_not_allowed_are_not_made(data: Path, index: FakeIndex, proxy: LocalProxy) -> None:
    index.add(sdist("alpha", "1.0"))
    with pytest.raises(Unresolvable, match="alpha"):
        await lock(data, proxy.url, HERE, pypi=("alpha",), options={"only-binary": "yes"})
    assert not (data / "resolve" / "built").exists()


async def test_what_must_be_built_is_refused_for_other_machines(
    data: Path, index: FakeIndex, proxy: LocalProxy
) -> None:
    index.add(sdist("alpha", "1.0"))
    with pytest.raises(Unresolvable, match=f"alpha 1.0 has no wheel for {ELSEWHERE}, only its source") as refused:
        await lock(data, proxy.url, ELSEWHERE, pypi=("alpha",))
    assert refused.value.hint == "--only-binary takes a release that has wheels"


async def test_a_build_that_fails_is_told_in_its_own_words(data: Path, index: FakeIndex, proxy: LocalProxy) -> None:
    index.add(sdist("alpha", "1.0", backend=BACKEND + "\ndef build_wheel(*_): raise SystemExit('no compiler')\n"))
    with pytest.raises(BuildFailed) as failed:
        await lock(data, proxy.url, HERE, pypi=("alpha",))
    assert failed.value.message.startswith("no wheel could be built of alpha 1.0:\n")
    assert "no compiler" in failed.value.message
    assert failed.value.exit_code == 1


async def test_what_a_build_needs_comes_from_the_indexes_of_the_request(
    data: Path, index: FakeIndex, proxy: LocalProxy
) -> None:
    index.add(sdist("alpha", "1.0", build_requires=["tool"], backend="import tool\n" + BACKEND))
    index.add(make_wheel("tool", "1.0"))
    environment = await lock(data, proxy.url, HERE, pypi=("alpha",))
    assert releases(environment.targets[0]) == {"alpha": "1.0"}


async def test_a_repository_is_built_at_the_commit_that_its_branch_is_at(
    tmp_path: Path, data: Path, index: FakeIndex, proxy: LocalProxy, site: str
) -> None:
    index.add(make_wheel("beta", "1.0"))
    commit = await asyncio.to_thread(committed, tmp_path / "site" / "lib", "alpha", "3.1", requires=["beta"])
    environment = await lock(data, proxy.url, HERE, pypi=(f"alpha @ git+{site}/lib/.git@main",))
    alpha, beta = environment.targets[0].python
    assert (alpha.version, alpha.index, alpha.url) == ("3.1", "", "")
    assert alpha.built_from == f"git+{site}/lib/.git@{commit}"
    assert alpha.requested_by == (f"alpha @ git+{site}/lib/.git@main",)
    assert beta.name == "beta"


async def test_a_repository_that_does_not_answer_is_the_networks_fault(
    tmp_path: Path, data: Path, proxy: LocalProxy, site: str
) -> None:
    await asyncio.to_thread(committed, tmp_path / "site" / "lib", "alpha", "3.1")
    for place in (f"{site}/absent/.git", f"{site}/lib/.git@no-such-branch"):
        with pytest.raises(SourceUnreachable) as failed:
            await lock(data, proxy.url, HERE, pypi=(f"alpha @ git+{place}",))
        assert failed.value.hint == "is the repository reachable, and has it what is asked for?"
        assert failed.value.exit_code == 1


def test_a_build_that_fails_while_versions_are_sought_is_no_conflict_of_versions() -> None:
    said = "error: Failed to build `alpha==1.0`\n  cause: The build backend returned an error\n"
    failed = refusal(1, said, Target(platform="linux-64"))
    assert isinstance(failed, BuildFailed)
    assert "The build backend returned an error" in failed.message
    assert "--only-binary" in failed.hint


async def test_a_project_may_be_below_the_top_of_its_repository(
    tmp_path: Path, data: Path, proxy: LocalProxy, site: str
) -> None:
    folder = tmp_path / "site" / "lib"
    commit = await asyncio.to_thread(committed, folder, "alpha", "3.1", subdirectory="python")
    environment = await lock(data, proxy.url, HERE, pypi=(f"alpha @ git+{site}/lib/.git#subdirectory=python",))
    [alpha] = environment.targets[0].python
    assert alpha.built_from == f"git+{site}/lib/.git@{commit}#subdirectory=python"


async def test_a_repository_on_this_machine_is_no_source_for_a_lock(
    tmp_path: Path, data: Path, proxy: LocalProxy
) -> None:
    await asyncio.to_thread(committed, tmp_path / "lib", "alpha", "3.1")
    with pytest.raises(Unresolvable, match="is neither git\\+https") as refused:
        await lock(data, proxy.url, HERE, pypi=(f"alpha @ git+{(tmp_path / 'lib').as_uri()}",))
    assert "by https" in refused.value.hint


async def test_a_repository_is_not_built_where_only_wheels_are_allowed(
    tmp_path: Path, data: Path, proxy: LocalProxy, site: str
) -> None:
    await asyncio.to_thread(committed, tmp_path / "site" / "lib", "alpha", "3.1")
    with pytest.raises(Unresolvable, match="alpha"):
        await lock(data, proxy.url, HERE, pypi=(f"alpha @ git+{site}/lib/.git",), options={"only-binary": "yes"})


async def test_a_repository_stays_at_its_commit_until_it_may_be_upgraded(
    tmp_path: Path, data: Path, proxy: LocalProxy, site: str
) -> None:
    folder = tmp_path / "site" / "lib"
    request = {"pypi": (f"alpha @ git+{site}/lib/.git@main",)}
    await asyncio.to_thread(committed, folder, "alpha", "1.0")
    first = await lock(data, proxy.url, HERE, **request)
    await asyncio.to_thread(committed, folder, "alpha", "2.0")
    assert await lock(data, proxy.url, HERE, earlier=first, **request) == first
    upgraded = await lock(
        data, proxy.url, HERE, earlier=first, upgrade=Upgrade(names=frozenset({"alpha"})), **request
    )
    assert releases(upgraded.targets[0]) == {"alpha": "2.0"}


async def test_a_wheel_of_an_earlier_lock_is_kept_where_it_is_still_here(
    data: Path, index: FakeIndex, proxy: LocalProxy
) -> None:
    index.add(sdist("alpha", "1.0", unlike_any_other=True))
    first = await lock(data, proxy.url, HERE, pypi=("alpha",))
    for note in (data / "resolve" / "built").iterdir():
        note.unlink()
    assert await lock(data, proxy.url, HERE, pypi=("alpha",), earlier=first) == first
