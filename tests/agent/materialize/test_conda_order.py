"""The order of conda packages is rattler's, whatever they depend on."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from rattler import BuildString, PackageName, PackageRecord

from envagent.lock.model import CondaPackage
from envagent.materialize.conda_order import closure, dependency, in_order

_NAMES = [f"p{number}" for number in range(8)]


def _package(name: str, *depends: str) -> CondaPackage:
    return CondaPackage(
        name=name,
        version="1",
        build="0",
        channel="c",
        subdir="noarch",
        url=f"https://conda.example.org/{name}",
        depends=depends,
    )


def _by_rattler(packages: list[CondaPackage]) -> list[str]:
    records = [
        PackageRecord(PackageName(p.name), "1", BuildString("0"), 0, "noarch", depends=list(p.depends))
        for p in packages
    ]
    return [record.name.normalized for record in PackageRecord.sort_topologically(records)]


@settings(max_examples=100, deadline=None)
@given(names=st.permutations(_NAMES), data=st.data())
def test_any_graph_without_cycles_is_sorted_as_rattler_sorts_it(names, data):
    packages = []
    for position, name in enumerate(names):
        needs = data.draw(st.lists(st.sampled_from([*names[:position], "absent"]), max_size=4))
        packages.append(_package(name, *(f"{need} >=1" for need in needs)))
    assert [package.name for package in in_order(packages)] == _by_rattler(packages)


@given(needs=st.lists(st.lists(st.sampled_from(_NAMES), max_size=4), min_size=8, max_size=8))
def test_in_a_graph_with_cycles_each_package_comes_once(needs):
    packages = [_package(name, *some) for name, some in zip(_NAMES, needs, strict=True)]
    assert sorted(package.name for package in in_order(packages)) == _NAMES


def test_a_long_chain_needs_no_stack():
    packages = [_package(f"n{number:05}", f"n{number + 1:05}") for number in range(5000)]
    assert [package.name for package in in_order(packages)][:2] == ["n04999", "n04998"]


def test_the_closure_of_a_package_is_what_it_needs_and_is_there():
    packages = [_package("python", "openssl >=3", "__glibc"), _package("openssl", "ca-certs"), _package("ca-certs")]
    assert closure("python", [*packages, _package("other", "python")]) == {"python", "openssl", "ca-certs"}


def test_the_name_of_a_match_spec_is_what_stands_before_its_version():
    assert [dependency(spec) for spec in ("a", "a 1.*", "a>=2", "a=1=b", "a[version=1]", "a-b.c_d !=1")] == [
        "a", "a", "a", "a", "a", "a-b.c_d",
    ]  # fmt: skip
