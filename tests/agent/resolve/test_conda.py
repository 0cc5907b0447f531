"""Locks of conda packages, by the real py-rattler through the real proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from envagent.errors import LockRefused, SourceUnreachable, Unresolvable, UsageError
from envagent.lock.canonical import canonical_bytes
from envagent.lock.model import Interpreter, Lock
from envagent.resolve.asked import Upgrade
from fixtures.channel import FakeChannel
from fixtures.conda_packages import cpu_and_cuda, make_conda
from fixtures.locking import lock, releases
from fixtures.proxy import running_proxy
from fixtures.repodata import FLAT_ONLY

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.proxy import LocalProxy

DEMO = ("demo",)


async def test_a_package_stands_in_the_lock_as_its_record_says_under_upstreams_url(
    data: Path, channel: FakeChannel, proxy: LocalProxy
) -> None:
    extra = {"constrains": ["beta <9"], "purls": ["pkg:pypi/alpha"]}
    package = make_conda("alpha", "1.0", build="h0_3", build_number=3, depends=["beta >=1"], extra=extra)
    channel.add(package, make_conda("beta", "2.0", subdir="linux-64"))
    environment = await lock(data, proxy.url, conda=("alpha >=1",), channels=DEMO, python="")
    [target] = environment.targets
    alpha, beta = target.conda
    assert alpha.url == f"{channel.url}/noarch/alpha-1.0-h0_3.conda"
    assert (alpha.sha256, alpha.size, alpha.md5) == (package.sha256, len(package.data), package.record["md5"])
    assert (alpha.channel, alpha.subdir, alpha.build, alpha.noarch) == ("demo", "noarch", "h0_3", "generic")
    assert (alpha.depends, alpha.constrains, alpha.purls) == (("beta >=1",), ("beta <9",), ("pkg:pypi/alpha",))
    assert (alpha.license, alpha.timestamp) == ("Apache-2.0", package.index["timestamp"])
    assert (alpha.requested_by, beta.requested_by) == (("alpha >=1",), ())
    assert (beta.subdir, beta.noarch) == ("linux-64", "")
    assert target.interpreter is None
    assert proxy.url not in canonical_bytes(Lock({"default": environment})).decode()


@pytest.mark.parametrize("lacking", ["sha256", "size"])
async def test_a_package_that_its_channel_lists_without_a_digest_or_size_is_refused_by_its_url(
    data: Path, lacking: str
) -> None:
    async with FakeChannel(FLAT_ONLY) as old:
        old.add(make_conda("alpha").lying(**{lacking: None}), make_conda("beta"))
        with pytest.raises(LockRefused, match="is listed without a sha256 or its size") as refused:
            await lock(data, "", conda=("alpha", "beta"), channels=(old.url,), python="")
    assert [problem.where for problem in refused.value.problems] == [f"{old.url}/noarch/alpha-1.0-0.conda"]


async def test_the_virtual_packages_of_the_target_decide_and_not_those_of_this_machine(
    data: Path, channel: FakeChannel, proxy: LocalProxy
) -> None:
    channel.add(*cpu_and_cuda("tensor"))
    platforms = ("linux-64", "linux-64+cuda=12.4", "osx-arm64")
    environment = await lock(data, proxy.url, *platforms, conda=("tensor",), channels=DEMO, python="")
    assert {target.name: target.conda[0].build for target in environment.targets} == {
        "linux-64": "cpu_0",
        "linux-64-cuda12.4": "cuda12_0",
        "osx-arm64": "cpu_0",
    }
    assert environment.target("linux-64-cuda12.4").virtual_packages == {"__glibc": "2.28", "__cuda": "12.4"}


async def test_specs_may_be_for_some_machines_only(data: Path, channel: FakeChannel, proxy: LocalProxy) -> None:
    channel.add(*(make_conda(name) for name in ("everywhere", "on-unix", "on-win", "on-linux-64")))
    specs = ("everywhere", "on-unix; unix", "on-win; win", "on-linux-64; linux-64")
    platforms = ("linux-64", "osx-64", "win-64")
    environment = await lock(data, proxy.url, *platforms, conda=specs, channels=DEMO, python="")
    assert {target.name: sorted(releases(target)) for target in environment.targets} == {
        "linux-64": ["everywhere", "on-linux-64", "on-unix"],
        "osx-64": ["everywhere", "on-unix"],
        "win-64": ["everywhere", "on-win"],
    }


async def test_the_first_channel_that_has_a_name_is_the_only_one_for_it(tmp_path: Path, data: Path) -> None:
    async with FakeChannel(name="lab") as first, FakeChannel(name="public") as second:
        first.add(make_conda("alpha", "1.0", depends=["beta"]))
        second.add(make_conda("alpha", "2.0"), make_conda("beta", "1.0"))
        async with running_proxy(tmp_path, settings={**first.settings, **second.settings}) as proxy:
            environment = await lock(data, proxy.url, conda=("alpha",), channels=("lab", "public"), python="")
    assert [(p.name, p.version, p.channel) for p in environment.targets[0].conda] == [
        ("alpha", "1.0", "lab"),
        ("beta", "1.0", "public"),
    ]


async def test_a_spec_may_name_its_channel(tmp_path: Path, data: Path) -> None:
    async with FakeChannel(name="lab") as first, FakeChannel(name="public") as second:
        first.add(make_conda("alpha", "1.0"))
        second.add(make_conda("alpha", "2.0"), make_conda("beta", "2.0"))
        async with running_proxy(tmp_path, settings={**first.settings, **second.settings}) as proxy:
            environment = await lock(
                data, proxy.url, conda=("public::alpha", "beta"), channels=("public", "lab"), python=""
            )
    assert [(p.name, p.channel, p.requested_by) for p in environment.targets[0].conda] == [
        ("alpha", "public", ("public::alpha",)),
        ("beta", "public", ("beta",)),
    ]


async def test_a_channel_that_is_a_url_is_asked_directly(data: Path, channel: FakeChannel) -> None:
    channel.add(make_conda("alpha"))
    environment = await lock(data, "", conda=("alpha",), channels=(channel.url,), python="")
    [alpha] = environment.targets[0].conda
    assert (alpha.channel, alpha.url) == (channel.url, f"{channel.url}/noarch/alpha-1.0-0.conda")


async def test_a_python_that_conda_brings_is_the_interpreter(
    data: Path, channel: FakeChannel, proxy: LocalProxy
) -> None:
    versions = ("3.10.4", "3.11.2", "3.12.1")
    channel.add(*(make_conda("python", version, subdir="linux-64") for version in versions), make_conda("alpha"))
    environment = await lock(data, proxy.url, conda=("alpha",), channels=DEMO, python="3.11")
    [target] = environment.targets
    assert target.interpreter == Interpreter("conda", name="python")
    assert target.python_version == "3.11.2"


@pytest.mark.parametrize(
    ("upgrade", "found"),
    [
        (Upgrade(), {"alpha": "1.0", "beta": "1.0"}),
        (Upgrade(names=frozenset({"beta"})), {"alpha": "1.0", "beta": "2.0"}),
        (Upgrade(everything=True), {"alpha": "2.0", "beta": "2.0"}),
    ],
    ids=["nothing", "one", "everything"],
)
async def test_what_an_earlier_lock_found_stays_unless_it_may_be_upgraded(
    data: Path, channel: FakeChannel, proxy: LocalProxy, upgrade: Upgrade, found: dict[str, str]
) -> None:
    channel.add(make_conda("alpha", "1.0", depends=["beta"]), make_conda("beta", "1.0", build="h1_7"))
    earlier = await lock(data, proxy.url, conda=("alpha",), channels=DEMO, python="")
    async with FakeChannel() as later:
        later.add(*(make_conda("alpha", version, depends=["beta"]) for version in ("1.0", "2.0")))
        later.add(make_conda("beta", "1.0", build="h1_7"), make_conda("beta", "2.0"))
        settings = {"conda.channels.demo.url": later.url}
        async with running_proxy(data, settings=settings) as second:
            environment = await lock(
                data, second.url, conda=("alpha",), channels=DEMO, python="", earlier=earlier, upgrade=upgrade
            )
    assert releases(environment.targets[0]) == found


async def test_locking_again_changes_nothing(data: Path, channel: FakeChannel, proxy: LocalProxy) -> None:
    channel.add(make_conda("alpha", "1.0", depends=["beta"], build="h1_2", build_number=2), make_conda("beta", "1.0"))
    earlier = await lock(data, proxy.url, conda=("alpha",), channels=DEMO, python="")
    assert await lock(data, proxy.url, conda=("alpha",), channels=DEMO, python="", earlier=earlier) == earlier


async def test_packages_after_the_date_do_not_exist(data: Path, channel: FakeChannel, proxy: LocalProxy) -> None:
    march, april = 1_709_294_400_000, 1_711_972_800_000
    channel.add(make_conda("alpha", "1.0", extra={"timestamp": march}))
    channel.add(make_conda("alpha", "2.0", extra={"timestamp": april}))
    options = {"exclude-newer": "2024-03-15"}
    environment = await lock(data, proxy.url, conda=("alpha",), channels=DEMO, python="", options=options)
    assert releases(environment.targets[0]) == {"alpha": "1.0"}


async def test_specs_that_nothing_meets_are_explained_in_the_solvers_words(
    data: Path, channel: FakeChannel, proxy: LocalProxy
) -> None:
    channel.add(make_conda("alpha", depends=["beta >=2"]), make_conda("beta", "1.0"))
    with pytest.raises(Unresolvable) as refused:
        await lock(data, proxy.url, conda=("alpha",), channels=DEMO, python="")
    assert refused.value.message.startswith("the conda packages cannot be resolved for linux-64:\n")
    assert "beta >=2, for which no candidates were found" in refused.value.message


async def test_a_channel_that_does_not_answer_is_named(data: Path) -> None:
    with pytest.raises(SourceUnreachable, match=r"http://127\.0\.0\.1:1/demo"):
        await lock(data, "", conda=("alpha",), channels=("http://127.0.0.1:1/demo",), python="")


async def test_a_channel_that_the_proxy_does_not_have_is_refused_by_name(data: Path, proxy: LocalProxy) -> None:
    with pytest.raises(UsageError, match="the proxy has no channel 'lab'"):
        await lock(data, proxy.url, conda=("alpha",), channels=("lab",), python="")


async def test_a_spec_that_is_none_is_refused(data: Path, proxy: LocalProxy) -> None:
    with pytest.raises(UsageError, match="is not a spec of a conda package"):
        await lock(data, proxy.url, conda=("alpha >=>1",), channels=DEMO, python="")
