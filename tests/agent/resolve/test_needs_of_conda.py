"""What conda's distributions say that they need, where conda does not bring it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from envagent.errors import Unresolvable
from fixtures.agent import Agent
from fixtures.conda_packages import File, make_conda
from fixtures.locking import lock, releases
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.channel import FakeChannel
    from fixtures.conda_packages import Package
    from fixtures.proxy import LocalProxy
    from fixtures.upstream import FakeIndex

DEMO = ("demo",)
PYTHON = make_conda("python", "3.11.2", subdir="linux-64")


def needing(*needs: str, version: str = "1.0", depends: tuple[str, ...] = ()) -> Package:
    """The conda package `needy`, whose METADATA says that it needs these and whose index says nothing of them."""
    lines = ["Metadata-Version: 2.1", "Name: needy", f"Version: {version}", "Provides-Extra: more"]
    said = "".join(f"{line}\n" for line in [*lines, *(f"Requires-Dist: {need}" for need in needs)])
    files = {f"site-packages/needy-{version}.dist-info/METADATA": File(said.encode())}
    return make_conda("needy", version, noarch="python", depends=["python", *depends], files=files)


async def test_what_conda_needs_of_pypi_has_to_be_a_version_that_will_do(
    data: Path, index: FakeIndex, channel: FakeChannel, proxy: LocalProxy
) -> None:
    channel.add(PYTHON, needing("delta<2"))
    index.add(make_wheel("alpha", "1.0", requires=["delta"]), make_wheel("delta", "1.0"), make_wheel("delta", "2.0"))
    environment = await lock(data, proxy.url, conda=("needy",), channels=DEMO, pypi=("alpha",))
    assert releases(environment.targets[0])["delta"] == "1.0"


async def test_what_an_egg_of_conda_needs_is_read_of_its_own_list(
    data: Path, index: FakeIndex, channel: FakeChannel, proxy: LocalProxy
) -> None:
    egg = "site-packages/needy-1.0-py3.11.egg-info"
    listed = b"delta<2\n\n[more]\ngamma<2\n\n[:sys_platform == 'win32']\nbeta<2\n"
    files = {f"{egg}/PKG-INFO": File(b"Name: needy\n"), f"{egg}/requires.txt": File(listed)}
    channel.add(PYTHON, make_conda("needy", "1.0", noarch="python", depends=["python"], files=files))
    names = ("beta", "delta", "gamma")
    index.add(make_wheel("alpha", "1.0", requires=names))
    index.add(*(make_wheel(name, version) for name in names for version in ("1.0", "2.0")))
    environment = await lock(data, proxy.url, conda=("needy",), channels=DEMO, pypi=("alpha",))
    found = releases(environment.targets[0])
    assert {name: found[name] for name in names} == {"beta": "2.0", "delta": "1.0", "gamma": "2.0"}


async def test_a_conflict_with_what_conda_needs_names_the_chain_on_either_side(
    data: Path, index: FakeIndex, channel: FakeChannel, proxy: LocalProxy
) -> None:
    channel.add(PYTHON, needing("delta>=2"), make_conda("tool", "3.0", depends=["needy"]))
    index.add(
        make_wheel("alpha", "1.0", requires=["delta<2"]), make_wheel("delta", "1.0"), make_wheel("delta", "2.0")
    )
    with pytest.raises(Unresolvable) as refused:
        await lock(data, proxy.url, conda=("tool",), channels=DEMO, pypi=("alpha",))
    uvs, condas = refused.value.message.split("and from conda there is already:\n")
    assert "you require alpha" in uvs
    assert condas == "  needy 1.0 needs delta>=2: tool (asked for) -> tool 3.0 -> needy 1.0"


async def test_what_conda_needs_is_not_brought_in_for_that_alone(
    data: Path, index: FakeIndex, channel: FakeChannel, proxy: LocalProxy
) -> None:
    channel.add(PYTHON, needing("delta>=2"))
    index.add(make_wheel("alpha", "1.0"), make_wheel("delta", "2.0"))
    environment = await lock(data, proxy.url, conda=("needy",), channels=DEMO, pypi=("alpha",))
    assert [package.name for package in environment.targets[0].python] == ["alpha"]


@pytest.mark.parametrize(
    "need", ["delta>=2; sys_platform == 'win32'", "delta>=2; extra == 'more'", "delta>=2; python_version < '3.11'"]
)
async def test_what_is_needed_elsewhere_or_for_an_extra_limits_nothing_here(
    data: Path, index: FakeIndex, channel: FakeChannel, proxy: LocalProxy, need: str
) -> None:
    channel.add(PYTHON, needing(need))
    index.add(make_wheel("alpha", "1.0", requires=["delta<2"]), make_wheel("delta", "1.0"))
    environment = await lock(data, proxy.url, conda=("needy",), channels=DEMO, pypi=("alpha",))
    assert releases(environment.targets[0])["delta"] == "1.0"


async def test_what_conda_brings_in_another_version_than_is_asked_for_is_condas_business(
    data: Path, index: FakeIndex, channel: FakeChannel, proxy: LocalProxy
) -> None:
    files = {
        "site-packages/delta-1.0.dist-info/METADATA": File(b"Metadata-Version: 2.1\nName: delta\nVersion: 1.0\n")
    }
    channel.add(PYTHON, needing("Delta>=2", depends=("delta",)))
    channel.add(make_conda("delta", "1.0", noarch="python", depends=["python"], files=files))
    index.add(make_wheel("alpha", "1.0", requires=["delta"]))
    environment = await lock(data, proxy.url, conda=("needy",), channels=DEMO, pypi=("alpha",))
    assert releases(environment.targets[0])["delta"] == "1.0"


async def test_a_need_that_nothing_brings_is_a_warning_to_people_and_to_programs(
    tmp_path: Path, index: FakeIndex, channel: FakeChannel, proxy: LocalProxy
) -> None:
    channel.add(PYTHON, needing("delta>=2", "alpha"))
    index.add(make_wheel("alpha", "1.0"))
    agent = Agent(tmp_path, {"ENVAGENT_PROXY": proxy.url, "UV_HTTP_RETRIES": "0"})
    said = await agent.run(
        "lock", "--conda", "needy", "--channel", "demo", "--pypi", "alpha", "--python", "3.11",
        "--platform", "linux-64", "-o", tmp_path / "lock.json", "--json",
    )  # fmt: skip
    warning = "linux-64: needy 1.0 needs delta>=2, which neither conda nor PyPI brings"
    assert said.code == 0
    assert said.json["warnings"] == [warning]
    assert [line for line in said.err.splitlines() if line.startswith("warning:")] == [f"warning: {warning}"]
