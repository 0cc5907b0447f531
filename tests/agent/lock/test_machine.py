"""What is selected for a target, computed without asking the machine that the test runs on."""

from __future__ import annotations

import pytest
from packaging.markers import Marker

from envagent.errors import LockRefused, UsageError
from envagent.lock.machine import best_wheel, holds, marker_environment, wheel_tags
from envagent.lock.model import Interpreter, Target


def machine(platform: str, python: str = "3.11.7", **virtual: str) -> Target:
    versions = {f"__{name}": version for name, version in virtual.items()}
    return Target(platform=platform, virtual_packages=versions, interpreter=Interpreter("system", version=python))


@pytest.mark.parametrize(
    ("platform", "marker", "is_true"),
    [
        ("linux-64", "sys_platform == 'linux' and platform_machine == 'x86_64'", True),
        ("linux-aarch64", "platform_machine == 'aarch64' and os_name == 'posix'", True),
        ("osx-arm64", "sys_platform == 'darwin' and platform_machine == 'arm64'", True),
        ("osx-64", "platform_system == 'Darwin' and platform_machine == 'x86_64'", True),
        ("win-64", "os_name == 'nt' and platform_machine == 'AMD64' and sys_platform == 'win32'", True),
        ("linux-64", "sys_platform == 'win32'", False),
        ("linux-64", "python_version == '3.11' and python_full_version >= '3.11.7'", True),
        ("linux-64", "python_version < '3.10'", False),
        ("linux-64", "implementation_name == 'cpython'", True),
        ("linux-64", "extra == 'test'", False),
        ("linux-64", "platform_release >= '20'", False),
    ],
)
def test_markers_are_those_of_the_target(platform: str, marker: str, is_true: bool):
    assert holds(Marker(marker), marker_environment(machine(platform))) is is_true


def test_a_python_without_a_patch_level_is_compared_as_if_it_were_the_first():
    assert marker_environment(machine("linux-64", "3.12"))["python_full_version"] == "3.12.0"


def test_a_marker_that_means_nothing_is_refused():
    with pytest.raises(LockRefused, match="os_name ~= "):
        holds(Marker("os_name ~= 'posix'"), marker_environment(machine("linux-64")))


@pytest.mark.parametrize(
    ("target", "chosen"),
    [
        (machine("linux-64", glibc="2.28"), "n-1-cp311-cp311-manylinux_2_28_x86_64.whl"),
        (machine("linux-64", glibc=">=2.28"), "n-1-cp311-cp311-manylinux_2_28_x86_64.whl"),
        (machine("linux-64", glibc="2.17"), "n-1-cp311-cp311-manylinux2014_x86_64.whl"),
        (machine("linux-64"), "n-1-cp311-cp311-manylinux2014_x86_64.whl"),
        (machine("linux-64", musl="1.2"), "n-1-cp311-cp311-musllinux_1_2_x86_64.whl"),
        (machine("osx-arm64", osx="14.5"), "n-1-cp311-cp311-macosx_14_0_arm64.whl"),
        (machine("osx-arm64"), "n-1-cp311-cp311-macosx_11_0_arm64.whl"),
        (machine("osx-64"), "n-1-cp310-abi3-macosx_10_9_x86_64.whl"),
        (machine("win-64"), "n-1-cp311-cp311-win_amd64.whl"),
        (machine("linux-aarch64"), "n-1-py3-none-any.whl"),
        (machine("linux-64", "3.12.1", glibc="2.35"), "n-1-py3-none-any.whl"),
    ],
)
def test_the_wheel_that_fits_best_is_taken(target: Target, chosen: str):
    wheels = [
        "n-1-cp311-cp311-manylinux_2_28_x86_64.whl",
        "n-1-cp311-cp311-manylinux2014_x86_64.whl",
        "n-1-py3-none-any.whl",
        "n-1-cp311-cp311-musllinux_1_2_x86_64.whl",
        "n-1-cp311-cp311-macosx_14_0_arm64.whl",
        "n-1-cp310-cp310-win_amd64.whl",
        "n-1-cp311-cp311-macosx_11_0_arm64.whl",
        "n-1-cp310-abi3-macosx_10_9_x86_64.whl",
        "n-1-cp311-cp311-win_amd64.whl",
    ]
    assert best_wheel(wheels, wheel_tags(target)) == chosen
    assert best_wheel(reversed(wheels), wheel_tags(target)) == chosen


def test_of_equal_wheels_the_later_build_is_taken():
    builds = ["n-1-2-py3-none-any.whl", "n-1-10-py3-none-any.whl", "n-1-py3-none-any.whl"]
    assert best_wheel(builds, wheel_tags(machine("linux-64"))) == "n-1-10-py3-none-any.whl"


def test_where_nothing_fits_nothing_is_taken():
    assert best_wheel(["n-1.tar.gz", "n-1-cp27-cp27m-win32.whl"], wheel_tags(machine("linux-64"))) is None


@pytest.mark.parametrize(
    "target", [Target(platform="linux-64"), machine("linux-64", "three"), machine("emscripten-32")]
)
def test_a_target_that_can_have_no_wheels_is_told_so(target: Target):
    with pytest.raises(UsageError):
        wheel_tags(target)
