"""Which target of a lock is for a machine, and what is said when none is."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest

from envagent.errors import PrefixRefused, UsageError
from envagent.lock.model import Environment, Target
from envagent.machine import choose, detect, named, platform

CPU = Target(platform="linux-64", name="cpu", virtual_packages={"__glibc": "2.28"})
GPU = Target(platform="linux-64", name="gpu", virtual_packages={"__glibc": "2.28", "__cuda": "12.1"})
NEWER_GPU = Target(platform="linux-64", name="newer", virtual_packages={"__glibc": "2.28", "__cuda": "12.8"})
MAC = Target(platform="osx-arm64")
ALL = Environment(targets=(CPU, GPU, NEWER_GPU, MAC))


def uname(system: str, machine: str) -> os.uname_result:
    return os.uname_result((system, "host", "6.1.0", "#1", machine))


@pytest.mark.parametrize(
    ("system", "machine", "expected"),
    [
        ("Linux", "x86_64", "linux-64"),
        ("Linux", "aarch64", "linux-aarch64"),
        ("Linux", "ppc64le", "linux-ppc64le"),
        ("Darwin", "arm64", "osx-arm64"),
        ("Darwin", "x86_64", "osx-64"),
    ],
)
def test_the_platform_is_conda_s_word_for_it(system: str, machine: str, expected: str) -> None:
    assert platform(uname(system, machine)) == expected


def test_a_system_without_environments_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be made on Plan9"):
        platform(uname("Plan9", "x86_64"))


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        ({"__glibc": "2.36"}, "cpu"),
        ({"__glibc": "2.28.0", "__cuda": "12.1"}, "gpu"),
        ({"__glibc": "2.100", "__cuda": "13.0"}, "newer"),
    ],
    ids=["no-gpu", "an-older-driver", "a-newer-driver"],
)
def test_the_most_demanding_target_that_fits_is_chosen(has: Mapping[str, str], expected: str) -> None:
    assert choose(ALL, "default", "linux-64", lambda _: has).name == expected


def test_a_machine_that_lacks_something_is_told_what() -> None:
    with pytest.raises(PrefixRefused) as refused:
        choose(Environment(targets=(GPU,)), "train", "linux-64", lambda _: {"__glibc": "2.17"})
    assert refused.value.message == (
        "no target of the lock's environment train is for this machine: "
        "gpu needs __glibc 2.28 (here: 2.17), __cuda 12.1 (here: none)"
    )


def test_another_platform_is_refused_with_those_there_are() -> None:
    with pytest.raises(PrefixRefused) as refused:
        choose(ALL, "default", "win-64", lambda _: {})
    assert "no target for win-64" in refused.value.message
    assert refused.value.hint.startswith("its platforms are: linux-64, osx-arm64;")


def test_a_machine_is_asked_nothing_where_nothing_is_demanded() -> None:
    def never(_: set[str]) -> Mapping[str, str]:
        raise AssertionError("nothing was demanded")

    assert choose(ALL, "default", "osx-arm64", never) == MAC


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [(">=12,<13", True), ("12.*", True), ("<12", False), ("", True), ("12.4=build_1", True)],
)
def test_a_demand_may_be_a_range(wanted: str, fits: bool) -> None:
    environment = Environment(targets=(Target(platform="linux-64", virtual_packages={"__cuda": wanted}),))
    if fits:
        assert choose(environment, "default", "linux-64", lambda _: {"__cuda": "12.4"})
    else:
        with pytest.raises(PrefixRefused):
            choose(environment, "default", "linux-64", lambda _: {"__cuda": "12.4"})


def test_a_target_by_name_is_taken_on_trust_but_not_for_another_platform() -> None:
    assert named(ALL, "gpu", "linux-64") == GPU
    with pytest.raises(PrefixRefused, match="osx-arm64 is for osx-arm64, and this machine is linux-64"):
        named(ALL, "osx-arm64", "linux-64")


def test_what_the_system_tells_is_what_rattler_tells() -> None:
    cheap, full = detect({"__glibc"}), detect({"__archspec"})
    assert "__archspec" in full
    assert {name: full[name] for name in cheap} == dict(cheap)
