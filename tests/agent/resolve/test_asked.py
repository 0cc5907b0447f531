"""What a request means: Pythons, dates, constraints and machines."""

from __future__ import annotations

import pytest

from envagent.errors import UsageError
from envagent.lock.model import Request
from envagent.resolve.asked import constraints, merged, moment, python_spec, python_version
from envagent.resolve.machines import machine, this_machine, told_to_solver


@pytest.mark.parametrize(
    ("asked", "version", "spec"),
    [
        ("", "3.12", "python"),
        ("3.11", "3.11", "python 3.11.*"),
        ("3.11.7", "3.11.7", "python 3.11.7"),
        (">=3.10", "3.12", "python >=3.10"),
        (">=3.10,<3.12", "3.10", "python <3.12,>=3.10"),
        (">=3.13.2", "3.13", "python >=3.13.2"),
        ("==3.11.*", "3.11", "python ==3.11.*"),
    ],
)
def test_a_python_is_a_version_or_what_specifiers_allow(asked: str, version: str, spec: str) -> None:
    request = Request(python=asked)
    assert python_version(request, running=(3, 12)) == version
    assert python_spec(request) == spec


@pytest.mark.parametrize("asked", ["new", ">=9"])
def test_a_python_that_there_is_not_is_refused(asked: str) -> None:
    with pytest.raises(UsageError):
        python_version(Request(python=asked))


def test_a_date_is_the_end_of_that_day_and_a_time_is_itself() -> None:
    assert moment("2026-01-31").isoformat() == "2026-01-31T23:59:59.999999+00:00"
    assert moment("2026-01-31T12:00:00+02:00").isoformat() == "2026-01-31T10:00:00+00:00"


@pytest.mark.parametrize("text", ["2026-13-01", "2026-01-31T12:00:00", "soon"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a date"):
        moment(text)


def test_constraints_of_several_files_hold_together() -> None:
    request = merged(
        [Request(options={"constraints": '["b<2"]'}), Request(options={"constraints": '["a<1", "b<2"]'})]
    )
    assert constraints(request) == ("a<1", "b<2")


@pytest.mark.parametrize("text", ["a<1", '{"a": 1}', "[1]"])
def test_constraints_of_a_stranger_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="constraints"):
        constraints(Request(options={"constraints": text}))


def test_a_machine_is_a_platform_with_the_least_that_packages_are_made_for() -> None:
    assert machine("linux-64").virtual_packages == {"__glibc": "2.28"}
    assert machine("osx-arm64").virtual_packages == {"__osx": "13.0"}
    assert machine("win-64").virtual_packages == {}
    assert machine("linux-64+musl=1.2").virtual_packages == {"__musl": "1.2"}
    assert machine("linux-64+cuda=12.4+glibc=2.35").name == "linux-64-cuda12.4-glibc2.35"


@pytest.mark.parametrize("words", ["linux", "linux-64+cuda", "linux-64+=1", "linux-64+CUDA=1", "../x"])
def test_words_that_are_no_machine_are_refused(words: str) -> None:
    with pytest.raises(UsageError):
        machine(words)


def test_this_machine_is_taken_no_newer_than_that_but_with_its_gpu() -> None:
    new = {"__glibc": "2.39", "__linux": "6.8", "__cuda": "12.4"}
    assert this_machine("linux-64", new).virtual_packages == {"__glibc": "2.28", "__cuda": "12.4"}
    assert this_machine("linux-64", {"__glibc": "2.9"}).virtual_packages == {"__glibc": "2.9"}
    assert this_machine("linux-64", {"__musl": "1.2"}).virtual_packages == {"__musl": "1.2"}
    assert this_machine("osx-arm64", {"__osx": "14.2"}).virtual_packages == {"__osx": "13.0"}


def test_a_solver_is_told_of_the_machine_and_of_no_gpu_that_it_has_not() -> None:
    assert told_to_solver(machine("linux-64")) == {
        "__unix": ("0", "0"),
        "__linux": ("4.18", "0"),
        "__glibc": ("2.28", "0"),
        "__archspec": ("1", "x86_64"),
    }
    assert told_to_solver(machine("osx-arm64"))["__archspec"] == ("1", "m1")
    assert told_to_solver(machine("win-64+cuda=12"))["__cuda"] == ("12", "0")
