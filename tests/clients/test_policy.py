"""A policy as clients see it: refused files are not there, and a lock file that names one gets the reason.

alpha 1.0 is a week old when the clock starts, 1.1 is half a day old, and the index waits for seven days.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixtures.clients import Client, Pdm, Pip, Pipenv, Poetry, Uv, UvProject
from fixtures.proxy import running_proxy
from fixtures.upstream import Style
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fixtures.clock import FakeClock
    from fixtures.proxy import Proxy
    from fixtures.upstream import FakeIndex

YOUNG = make_wheel("alpha", "1.1", upload_time="2024-03-08T00:00:00Z")
WEEK = 7 * 24 * 3600

pytestmark = pytest.mark.clients
pip_and_uv = pytest.mark.parametrize("client", [Pip, Uv], indirect=True)


@pytest.fixture
async def cautious(tmp_path: Path, upstream: FakeIndex, clock: FakeClock) -> AsyncIterator[Proxy]:
    """A proxy whose index waits seven days and denies evil-*."""
    upstream.add(YOUNG)
    toml = """
        [pypi.indexes.main.policy]
        min-age = "7d"
        deny = ["evil-*"]
    """
    async with running_proxy(tmp_path, upstream=upstream, toml=toml, clock=clock) as running:
        yield running


def locked(proxy: Proxy) -> str:
    """The young wheel as a lock file names it: by URL and digest."""
    path = f"/pypi/main/files/alpha/{YOUNG.sha256}/{YOUNG.filename}"
    return f"alpha @ {proxy.url}{path}#sha256={YOUNG.sha256}"


@pytest.mark.parametrize("client", [Pip, Uv, UvProject, Poetry, Pdm, Pipenv], indirect=True)
async def test_clients_take_the_newest_version_that_is_old_enough(client: Client, cautious: Proxy) -> None:
    outcome = await client.install("alpha", cautious.simple())
    assert outcome.installed == {"alpha": "1.0", "beta": "2.1"}, outcome.output


@pip_and_uv
async def test_a_version_appears_when_it_is_old_enough(client: Client, cautious: Proxy, clock: FakeClock) -> None:
    before = await client.install("alpha", cautious.simple())
    clock.advance(WEEK)
    after = await client.install("alpha", cautious.simple())
    assert before.installed["alpha"] == "1.0"
    assert after.installed == {"alpha": "1.1"}, after.output


@pip_and_uv
async def test_a_lock_file_that_names_a_refused_file_is_told_why(
    client: Client, cautious: Proxy, upstream: FakeIndex
) -> None:
    outcome = await client.install(locked(cautious), cautious.simple())
    assert not outcome.ok
    assert "403" in outcome.output
    assert "alpha 1.1 was published 12 hours ago; this index waits 7 days (min-age)" in outcome.output
    assert upstream.count(path="/files/*") == 0


@pip_and_uv
async def test_a_lock_file_may_name_the_file_once_it_is_old_enough(
    client: Client, cautious: Proxy, clock: FakeClock
) -> None:
    clock.advance(WEEK)
    outcome = await client.install(locked(cautious), cautious.simple())
    assert outcome.installed == {"alpha": "1.1"}, outcome.output


@pytest.mark.parametrize(
    ("client", "said"),
    [
        (Pip, "No matching distribution found for evil-twin"),
        (Uv, "403 Forbidden"),
    ],
    indirect=["client"],
)
async def test_a_denied_name_is_not_even_looked_up(
    client: Client, said: str, cautious: Proxy, upstream: FakeIndex
) -> None:
    upstream.add(make_wheel("evil-twin", "1.0"))
    outcome = await client.install("evil-twin", cautious.simple())
    assert not outcome.ok
    assert said in outcome.output
    assert upstream.requests == []


@pip_and_uv
async def test_files_without_an_upload_time_count_as_too_young(
    client: Client, cautious: Proxy, upstream: FakeIndex
) -> None:
    upstream.style = Style(upload_times=False)
    outcome = await client.install("alpha", cautious.simple())
    assert not outcome.ok
    assert outcome.installed == {}
