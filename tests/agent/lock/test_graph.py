"""Trees, differences and bills of materials of a lock."""

from __future__ import annotations

import dataclasses

from hypothesis import given

from envagent.lock.diff import diff
from envagent.lock.graph import link_order, tree
from envagent.lock.model import Environment, Interpreter, Lock, Target
from envagent.lock.reading import from_document
from envagent.lock.sbom import sbom
from fixtures.locks import conda_package, example, locks, wheel


def target_of(conda: dict[str, str] | None = None, python: dict[str, str] | None = None) -> Target:
    """Packages by name, each with what it needs, words apart (conda) or semicolons of lines apart (Python)."""
    condas = [
        dataclasses.replace(conda_package("linux-64", name, "1.10", "h0", ".conda"), depends=tuple(needs.split()))
        for name, needs in (conda or {}).items()
    ]
    wheels = [
        dataclasses.replace(wheel(name, "1.10"), depends=tuple(filter(None, needs.split("\n"))))
        for name, needs in (python or {}).items()
    ]
    interpreter = Interpreter("system", version="3.11.7")
    return Target(platform="linux-64", interpreter=interpreter, packages=(*condas, *wheels))


def shown(target: Target) -> list[str]:
    return ["  " * line.depth + line.package.name + (" *" if line.shown_before else "") for line in tree(target)]


def test_a_tree_shows_each_package_below_whoever_needs_it():
    target = target_of({"a": "b c", "b": "c __glibc", "c": "d", "d": "", "e": ""})
    assert shown(target) == ["a", "  b", "    c", "      d", "  c *", "e"]


def test_a_wheel_stands_on_conda_packages_where_conda_provides_the_project():
    numpy = dataclasses.replace(
        conda_package("linux-64", "py-opencv", "4.1", "h0", ".conda"), purls=("pkg:pypi/opencv@4",)
    )
    target = target_of({"numpy": ""}, {"pandas": "numpy>=2\nopencv\nmissing"})
    target = dataclasses.replace(target, packages=(*target.packages, numpy))
    assert shown(target) == ["pandas", "  numpy", "  py-opencv"]


def test_requirements_that_do_not_hold_on_the_target_are_no_branches():
    target = target_of(
        python={"a": "b; sys_platform == 'win32'\nc[fast]", "b": "", "c": "d; extra == 'fast'", "d": ""}
    )
    assert shown(target) == ["a", "  c", "    d", "b"]


def test_a_circle_is_shown_once():
    assert shown(target_of({"pip": "python", "python": "pip"})) == ["pip", "  python", "    pip *"]


def test_a_chain_of_thousands_is_shown():
    chain = {f"p{number:05}": f"p{number + 1:05}" for number in range(5000)}
    assert len(shown(target_of(chain))) == 5000


def test_conda_packages_are_linked_after_those_that_they_need():
    target = target_of({"a": "python", "pip": "python", "python": "pip z", "z": ""})
    assert [package.name for package in link_order(target)] == ["z", "python", "a", "pip"]


@given(locks())
def test_the_link_order_has_every_conda_package_once(lock: Lock):
    for environment in lock.environments.values():
        for target in environment.targets:
            assert sorted(p.name for p in link_order(target)) == [p.name for p in target.conda]


def locked(*targets: Target, name: str = "default") -> Lock:
    return Lock({name: Environment(targets=targets)})


def test_a_difference_names_what_came_what_went_and_what_changed():
    old, new = target_of({"a": "", "b": ""}), target_of({"b": "a", "c": ""})
    found = diff(locked(old), locked(new))
    [target] = found.targets
    assert [package.name for package in target.added] == ["c"]
    assert [package.name for package in target.removed] == ["a"]
    assert [(before.depends, after.depends) for before, after in target.changed] == [((), ("a",))]
    assert target.interpreters is None
    assert found.requests == ()


def test_a_difference_names_environments_targets_interpreters_and_requests():
    old = target_of({"a": ""})
    other_python = dataclasses.replace(old, interpreter=Interpreter("system", version="3.12.1"))
    more = dataclasses.replace(old, platform="win-64", name="win-64", packages=())
    found = diff(locked(old), Lock({"default": Environment(targets=(other_python, more)), "new": Environment()}))
    assert (found.added, found.removed, found.requests) == (("new",), (), ("default",))
    assert [(target.target, target.interpreters) for target in found.targets] == [
        ("linux-64", (old.interpreter, other_python.interpreter)),
        ("win-64", (None, more.interpreter)),
    ]


@given(locks(), locks())
def test_only_equal_locks_have_no_difference(one: Lock, other: Lock):
    assert not diff(one, one)
    assert bool(diff(one, other)) is (one != other)


def test_a_bill_of_materials_names_every_artifact_by_purl_and_digest():
    bill = sbom(from_document(example()))
    assert bill["serialNumber"] == sbom(from_document(example()))["serialNumber"]
    components = {component["name"]: component for component in bill["components"]}
    assert components["numpy"]["purl"] == (
        "pkg:pypi/numpy@2.1.0?file_name=numpy-2.1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
        "&repository_url=https://index.example.org/simple"
    )
    assert components["python"]["purl"] == (
        "pkg:conda/python@3.11.9?build=h9_0_cpython&channel=https://conda.example.org/forge&subdir=linux-64&type=conda"
    )
    assert components["python"]["hashes"][0]["alg"] == "SHA-256"


@given(locks())
def test_every_reference_in_a_bill_is_to_a_component(lock: Lock):
    for name in lock.environments:
        bill = sbom(lock, name)
        references = [component["bom-ref"] for component in bill["components"]]
        assert len(set(references)) == len(references)
        assert [dependency["ref"] for dependency in bill["dependencies"]] == references
        assert {ref for dependency in bill["dependencies"] for ref in dependency["dependsOn"]} <= set(references)
