"""py-rattler makes environments that work from a channel, whatever forms the channel has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fixtures.channel import FakeChannel
from fixtures.conda_packages import PLACEHOLDER, chain, cpu_and_cuda, make_conda, with_command, with_prefixes
from fixtures.machine import Machine, installed, names, run
from fixtures.proxy import running_proxy
from fixtures.repodata import FLAT_ONLY, JSON_ONLY, SHARD_INDEX, SHARDS_ONLY, Style

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fixtures.conda_packages import Package

IMPORTS = "import json, msgpack, msgspec, sqlite3, ssl, sys; print(json.dumps([sys.prefix, msgpack.__file__]))"


@pytest.fixture
async def upstream() -> AsyncIterator[FakeChannel]:
    async with FakeChannel() as channel:
        yield channel


@pytest.fixture(params=["direct", "proxied"])
async def url(request: pytest.FixtureRequest, upstream: FakeChannel, tmp_path: Path) -> AsyncIterator[str]:
    """The channel as the client knows it: without the proxy as well, so that a failure tells whose it is."""
    if request.param == "direct":
        yield upstream.url
        return
    async with running_proxy(tmp_path, settings=upstream.settings) as proxy:
        yield proxy.channel()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


@pytest.mark.parametrize(
    "style", [Style(), FLAT_ONLY, JSON_ONLY, SHARDS_ONLY], ids=["all-forms", "flat", "json-only", "shards-only"]
)
async def test_every_package_of_a_solution_is_installed_from_any_form(
    upstream: FakeChannel, url: str, machine: Machine, style: Style
) -> None:
    upstream.style = style
    upstream.add(*chain(10), make_conda("unasked"), make_conda("_libgcc_mutex", "1!2.0+local", form=".tar.bz2"))
    records = await machine.solve(url, "link-01", "_libgcc_mutex")
    assert names(records) == {"_libgcc_mutex", *(f"link-{number:02}" for number in range(1, 11))}
    prefix = await machine.install(records)
    assert (prefix / "share/link-10.txt").read_text() == "link-10 1.0\n"
    assert (prefix / "share/_libgcc_mutex.txt").read_text() == "_libgcc_mutex 1!2.0+local\n"


async def test_the_python_of_an_environment_runs_with_compiled_libraries(
    upstream: FakeChannel, url: str, machine: Machine, python: Package, libraries: list[Package]
) -> None:
    upstream.add(python, *libraries, with_command())
    prefix = await machine.create(url, "msgpack", "msgspec", "greeter")
    where, library = json.loads(await run(prefix, "python", "-I", "-c", IMPORTS))
    assert where == str(prefix)
    assert library.startswith(f"{prefix}/")
    assert await run(prefix, "greeter") == f"hello from {prefix} greeter\n"


async def test_the_version_asked_for_is_the_python_that_runs(
    upstream: FakeChannel, url: str, machine: Machine, pythons: list[Package]
) -> None:
    if len(pythons) == 1:
        pytest.skip("this machine has one CPython; a second one of another minor version would be needed")
    upstream.add(*pythons, with_command())
    for python in pythons:
        version = python.record["version"]
        prefix = await machine.install(await machine.solve(url, f"python =={version}", "greeter"), version)
        assert await run(prefix, "python3", "--version") == f"Python {version}\n"
        assert await run(prefix, "greeter") == f"hello from {prefix} greeter\n"


async def test_prefixes_are_replaced_in_texts_and_in_binaries(
    upstream: FakeChannel, url: str, machine: Machine
) -> None:
    upstream.add(with_prefixes())
    prefix = await machine.create(url, "prefixed")
    assert (prefix / "bin/prefixed").read_text() == f"#!/bin/sh\necho {prefix}\n"
    binary = (prefix / "lib/prefixed.bin").read_bytes()
    assert f"\0{prefix}/share\0".encode() in binary
    assert PLACEHOLDER.encode() not in binary


@pytest.mark.parametrize(
    ("virtual", "build"), [({"__cuda": "12.4"}, "cuda12_0"), ({"__cuda": "11.8"}, "cpu_0"), ({}, "cpu_0")]
)
async def test_virtual_packages_choose_the_build(
    upstream: FakeChannel, url: str, tmp_path: Path, virtual: dict[str, str], build: str
) -> None:
    upstream.add(*cpu_and_cuda())
    prefix = await Machine(tmp_path / "machine", virtual=virtual).create(url, "tensor")
    assert installed(prefix)["tensor"]["build"] == build


async def test_shards_spare_the_flat_repodata(upstream: FakeChannel, url: str, machine: Machine) -> None:
    upstream.add(*chain(3), make_conda("unasked"))
    await machine.solve(url, "link-01")
    assert upstream.count("GET", f"*/noarch/{SHARD_INDEX}") == 1
    assert upstream.count("*", "*/noarch/repodata.json*") == 0
    assert upstream.count("GET", upstream.shard_path("noarch", "unasked")) == 0
