"""Two sources behind one index: a name belongs to the first source that has it, and nobody else is asked for it.

That is what keeps a stranger's upload of a private name out (dependency confusion). The proof is the list of requests
that the public index saw. Clients that are given two indexes themselves have no such rule: pip takes the higher
version, whosever it is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fixtures.clients import Client, Pip, Uv
from fixtures.proxy import running_proxy
from fixtures.upstream import FakeIndex, Status, Style
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fixtures.clock import FakeClock
    from fixtures.proxy import Proxy

SECRET = make_wheel("secret", "1.0")
IMPOSTOR = make_wheel("secret", "99.0")
PUBLIC = make_wheel("public", "3.0")
DAY = 24 * 3600

pytestmark = pytest.mark.clients
pip_and_uv = pytest.mark.parametrize("client", [Pip, Uv], indirect=True)


@pytest.fixture
async def corp() -> AsyncIterator[FakeIndex]:
    """The private source."""
    async with FakeIndex() as index:
        index.add(SECRET)
        yield index


@pytest.fixture
async def public() -> AsyncIterator[FakeIndex]:
    """The public source, on which a stranger has published a higher version of the private name."""
    async with FakeIndex() as index:
        index.add(IMPOSTOR, PUBLIC)
        yield index


@pytest.fixture
async def proxy(tmp_path: Path, corp: FakeIndex, public: FakeIndex, clock: FakeClock) -> AsyncIterator[Proxy]:
    toml = f"""
        [pypi.upstreams.corp]
        url = "{corp.url}"

        [pypi.indexes.main]
        sources = ["corp", "pypi"]

        [pypi.indexes.pinned]
        sources = ["corp", "pypi"]
        owners = {{ "secret*" = "corp" }}

        [pypi.indexes.outside]
        sources = ["pypi"]
    """
    async with running_proxy(tmp_path, upstream=public, toml=toml, clock=clock) as running:
        yield running


@pip_and_uv
async def test_a_private_name_is_not_looked_up_in_public(client: Client, proxy: Proxy, public: FakeIndex) -> None:
    outcome = await client.install("secret", proxy.simple())
    assert outcome.installed == {"secret": "1.0"}, outcome.output
    assert public.requests == []


@pip_and_uv
async def test_a_name_that_the_private_source_lacks_comes_from_the_next(client: Client, proxy: Proxy) -> None:
    outcome = await client.install("public", proxy.simple())
    assert outcome.installed == {"public": "3.0"}, outcome.output


@pip_and_uv
async def test_a_private_source_that_fails_does_not_let_the_next_one_answer(
    client: Client, proxy: Proxy, corp: FakeIndex, public: FakeIndex
) -> None:
    corp.fail("*", Status(503))
    outcome = await client.install("secret", proxy.simple())
    assert not outcome.ok
    assert outcome.installed == {}
    assert public.requests == []


async def test_a_private_source_that_is_down_does_not_let_the_next_one_answer(
    room: Path, proxy: Proxy, corp: FakeIndex, public: FakeIndex
) -> None:
    await corp.stop()
    outcome = await Uv(room).install("public", proxy.simple())
    assert "127.0.0.1 cannot be reached" in outcome.output
    assert public.requests == []


async def test_a_name_that_was_private_once_stays_private(
    room: Path, proxy: Proxy, corp: FakeIndex, public: FakeIndex, clock: FakeClock
) -> None:
    assert (await Uv(room).install("secret", proxy.simple())).ok
    corp.remove_project("secret")
    clock.advance(DAY)
    outcome = await Uv(room).install("secret", proxy.simple())
    assert "secret was not found in the package registry" in outcome.output
    assert public.requests == []


async def test_a_pinned_name_is_looked_up_in_its_owner_only(
    room: Path, proxy: Proxy, corp: FakeIndex, public: FakeIndex
) -> None:
    corp.remove_project("secret")
    outcome = await Uv(room).install("secret", proxy.simple("pinned"))
    assert "secret was not found in the package registry" in outcome.output
    assert public.requests == []


@pip_and_uv
async def test_each_index_of_a_proxy_has_its_own_owner_of_a_name(client: Client, proxy: Proxy) -> None:
    inside = await client.install("secret", proxy.simple())
    outside = await client.install("secret", proxy.simple("outside"))
    assert inside.installed == {"secret": "1.0"}, inside.output
    assert outside.installed == {"secret": "99.0"}, outside.output


async def test_a_source_that_lies_about_a_digest_cannot_lend_its_metadata_to_the_wheel_of_another(
    room: Path, proxy: Proxy, public: FakeIndex
) -> None:
    malicious = make_wheel("secret", "1.0", requires=["public"]).metadata
    public.add(replace(SECRET, metadata=malicious))
    await Uv(room).install("secret==1.0", proxy.simple("outside"))
    outcome = await Uv(room).install("secret", proxy.simple())
    assert outcome.installed == {"secret": "1.0"}, outcome.output


async def test_a_file_without_a_hash_is_not_taken_for_the_file_of_that_name_from_another_source(
    room: Path, proxy: Proxy, corp: FakeIndex, public: FakeIndex
) -> None:
    corp.style = public.style = Style(hashes="none")
    other_bytes = make_wheel("secret", "1.0", lie_about_name="impostor")
    public.add(replace(other_bytes, metadata=SECRET.metadata))
    await Uv(room).install("secret==1.0", proxy.simple("outside"))
    outcome = await Uv(room).install("secret", proxy.simple())
    assert outcome.installed == {"secret": "1.0"}, outcome.output


async def test_a_name_that_becomes_private_brings_its_own_file_even_without_a_hash(
    room: Path, proxy: Proxy, corp: FakeIndex, public: FakeIndex, clock: FakeClock
) -> None:
    corp.style = public.style = Style(hashes="none")
    corp.remove_project("secret")
    other_bytes = make_wheel("secret", "1.0", lie_about_name="impostor")
    public.add(replace(other_bytes, metadata=SECRET.metadata))
    for _ in range(2):  # the second time out of the cache
        await Uv(room).install("secret==1.0", proxy.simple())
    corp.add(SECRET)
    clock.advance(DAY)
    outcome = await Uv(room).install("secret", proxy.simple())
    assert outcome.installed == {"secret": "1.0"}, outcome.output
