"""lock.json: what is read, and what is refused where and why."""

from __future__ import annotations

import json
from typing import Any

import pytest

from envagent.errors import LockRefused
from envagent.lock.canonical import canonical_bytes, lock_id, request_id
from envagent.lock.model import Interpreter
from envagent.lock.reading import from_document, read_lock
from fixtures.locks import NUMPY, PYTHON, example, package_of

AT = "$.environments.default.targets[0]"


def refusals(document: Any) -> dict[str, str]:
    with pytest.raises(LockRefused) as refused:
        from_document(document)
    return {problem.where: problem.what for problem in refused.value.problems}


def test_a_lock_says_what_the_document_says():
    target = from_document(example()).environment().target()
    assert [(package.kind, package.name, package.size) for package in target.packages] == [
        ("conda", "python", 16140836),
        ("wheel", "numpy", 1234),
    ]
    assert target.interpreter == Interpreter("conda", name="python")
    assert target.python_version == "3.11.9"
    assert target.virtual_packages == {"__glibc": "2.28"}


def test_the_lock_id_is_the_sha256_of_the_canonical_bytes_and_stays_what_it_is():
    lock = from_document(example())
    assert canonical_bytes(lock).startswith(b'{"environments":{"default":{"request":{"channels":["forge"]')
    assert canonical_bytes(lock).endswith(b'"envmesh-lock":1}')
    assert lock_id(lock) == "10d9f18d81408c571d9210f02f99d7488b207083668ee400288ad8974ab3ef5b"


def test_a_person_may_indent_a_lock_without_changing_its_id():
    pretty = json.dumps(example(), indent=4).encode()
    assert lock_id(read_lock(pretty)) == lock_id(from_document(example()))


def test_the_request_id_depends_on_what_was_asked_for_alone():
    other, more = example(), example()
    package_of(other, 1)["sha256"] = "0" * 64
    more["environments"]["default"]["request"]["pypi"] = ["numpy>=2", "pandas"]
    asked = request_id(from_document(example()))
    assert request_id(from_document(other)) == asked
    assert request_id(from_document(more)) != asked
    assert lock_id(from_document(other)) != lock_id(from_document(example()))


@pytest.mark.parametrize("version", [2, 0, "1", True, None, 1.5])
def test_a_lock_of_another_version_is_refused_before_anything_else(version: Any):
    found = refusals({"envmesh-lock": version, "environments": 7})
    assert list(found) == ["$.envmesh-lock"]


@pytest.mark.parametrize("document", [{}, [], None, 3, "lock", {"version": 6}])
def test_what_is_no_lock_at_all_is_told_so(document: Any):
    assert "is not a lock" in refusals(document)["$"]


def test_all_problems_are_told_at_once_each_with_its_place():
    document = example()
    package_of(document, 0)["size"] = 0
    package_of(document, 1)["sha256"] = "ABC"
    document["environments"]["default"]["targets"][0]["platform"] = "linux"
    found = refusals(document)
    assert found[f"{AT}.platform"] == "is not a platform such as linux-64 or osx-arm64"
    assert found[f"{AT}.packages[0].size"] == "is not between 1 and 1099511627776"
    assert found[f"{AT}.packages[1].sha256"] == "is not a sha256 (64 lower-case hexadecimal digits)"


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("ftp://files.example.org/n.whl", "is not an http or https URL"),
        ("file:///n.whl", "is not an http or https URL"),
        ("https:///n.whl", "is not an http or https URL"),
        ("https://[x/n.whl", "is not a URL"),
        ("https://me:secret@files.example.org/n.whl", "carries credentials, which a lock must not"),
        ("https://conda.example.org/t/tk-1/n.whl", "carries credentials, which a lock must not"),
        ("https://files.example.org/n.whl?token=1", "has a query or a fragment"),
        ("https://files.example.org/n.whl#sha256=1", "has a query or a fragment"),
        ("https://files.example.org/a/../n.whl", "does not mean what it says"),
        ("https://files.example.org/a/%2e%2e/n.whl", "does not mean what it says"),
        ("https://files.example.org/a%2fn.whl", "does not mean what it says"),
        ("https://files.example.org/a\\n.whl", "is not a URL"),
    ],
)
def test_a_url_that_is_not_plainly_a_file_of_an_upstream_is_refused(url: str, what: str):
    document = example()
    package_of(document, 1)["url"] = url
    assert what in refusals(document)[f"{AT}.packages[1].url"]


@pytest.mark.parametrize(
    ("filename", "what"),
    [
        ("../numpy-2.1.0-py3-none-any.whl", "is not a plain file name"),
        ("/etc/passwd", "is not a plain file name"),
        ("C:numpy.whl", "is not a plain file name"),
        ("..", "is not a plain file name"),
        ("", "is not a file name of 1 to 255 bytes"),
        ("numpy-2.1.0.tar.gz", "is not the name of a wheel"),
        ("numpy-2.1.1-py3-none-any.whl", "is not a wheel of numpy 2.1.0"),
        ("pandas-2.1.0-py3-none-any.whl", "is not a wheel of numpy 2.1.0"),
        ("n" * 260 + ".whl", "is not a file name of 1 to 255 bytes"),
    ],
)
def test_a_file_name_that_is_a_path_or_lies_is_refused(filename: str, what: str):
    document = example()
    package_of(document, 1)["filename"] = filename
    assert what in refusals(document)[f"{AT}.packages[1].filename"]


def test_a_conda_package_must_lie_where_its_fields_say():
    document = example()
    package_of(document, 0)["url"] = "https://conda.example.org/forge/linux-64/python-3.11.8-h9_0_cpython.conda"
    assert "is not python-3.11.9-h9_0_cpython.conda" in refusals(document)[f"{AT}.packages[0].url"]
    package_of(document, 0).update(url=PYTHON["url"], subdir="osx-64")
    assert "is made for osx-64, not for linux-64" in refusals(document)[f"{AT}.packages[0].url"]
    package_of(document, 0)["subdir"] = "noarch"
    assert "is not in the subdir noarch" in refusals(document)[f"{AT}.packages[0].url"]


@pytest.mark.parametrize("size", [-1, 0, 2**41, 1.5, "12", True, None])
def test_a_size_that_is_no_bounded_number_of_bytes_is_refused(size: Any):
    document = example()
    package_of(document, 1)["size"] = size
    assert f"{AT}.packages[1].size" in refusals(document)


def test_one_name_twice_in_a_target_is_refused_at_both_places():
    document = example()
    document["environments"]["default"]["targets"][0]["packages"].append(
        NUMPY | {"filename": "numpy-2.1-py3-none-any.whl"}
    )
    found = refusals(document)
    assert "'numpy' is the name of a package 2 times here" in found[f"{AT}.packages[1]"]
    assert f"{AT}.packages[2]" in found


def test_files_that_differ_only_in_case_are_refused():
    document = example()
    other = NUMPY | {"kind": "sdist", "name": "other", "version": "1", "filename": "Thing.tar.gz"}
    third = other | {"name": "third", "filename": "thing.tar.gz"}
    document["environments"]["default"]["targets"][0]["packages"] += [other, third]
    assert "is the file of a package 2 times here" in refusals(document)[f"{AT}.packages[2]"]


def test_a_conda_package_and_a_wheel_may_share_a_name():
    document = example()
    binding = NUMPY | {"name": "python", "version": "1.0", "filename": "python-1.0-py3-none-any.whl"}
    document["environments"]["default"]["targets"][0]["packages"].append(binding)
    assert len(from_document(document).environment().target().packages) == 3


def test_environments_and_targets_that_differ_only_in_case_are_refused():
    document = example()
    document["environments"]["Default"] = {"targets": []}
    targets = document["environments"]["default"]["targets"]
    targets.append(targets[0] | {"name": "LINUX-64"})
    found = refusals(document)
    assert {"$.environments.default", "$.environments.Default", f"{AT}", f"{AT[:-3]}[1]"} <= set(found)


@pytest.mark.parametrize("name", ["", "..", "../up", "a/b", "a b", ".hidden", "x" * 65])
def test_an_environment_cannot_be_called_like_a_path(name: str):
    found = refusals({"envmesh-lock": 1, "environments": {name: {}}})
    assert "is called something that is not a name" in next(iter(found.values()))


def test_keys_that_this_version_does_not_know_are_refused():
    document = example()
    package_of(document, 1)["sha512"] = "0"
    document["extra"] = 1
    found = refusals(document)
    assert found["$.extra"] == "is not known to this version"
    assert found[f"{AT}.packages[1].sha512"] == "is not known to this version"


@pytest.mark.parametrize(
    ("interpreter", "where"),
    [
        ({"kind": "system"}, ".version"),
        ({"kind": "system", "version": "three"}, ".version"),
        ({"kind": "conda", "name": "pypy"}, ".name"),
        ({"kind": "files", "name": "cpython"}, ".name"),
        ({"kind": "magic"}, ".kind"),
        (None, ""),
    ],
)
def test_an_interpreter_that_the_target_does_not_have_is_refused(interpreter: Any, where: str):
    document = example()
    document["environments"]["default"]["targets"][0]["interpreter"] = interpreter
    assert f"{AT}.interpreter{where}" in refusals(document)


def test_an_interpreter_may_be_a_pinned_archive():
    archive = {"kind": "interpreter", "name": "cpython", "version": "3.12.1", "filename": "cpython-3.12.1.tar.zst"}
    archive |= {"url": "https://files.example.org/cpython-3.12.1.tar.zst", "size": 9, "sha256": "1" * 64}
    document = example()
    target = document["environments"]["default"]["targets"][0]
    target |= {"interpreter": {"kind": "files", "name": "cpython"}, "packages": [archive, NUMPY]}
    assert from_document(document).environment().target().python_version == "3.12.1"


def test_a_wheel_that_was_built_names_a_source_that_cannot_change():
    document = example()
    del package_of(document, 1)["url"]
    assert refusals(document) == {f"{AT}.packages[1].url": "is missing"}
    package_of(document, 1)["built-from"] = f"git+https://code.example.org/numpy@{'a' * 40}#subdirectory=core"
    assert from_document(document).environment().target().python[0].url == ""
    package_of(document, 1)["built-from"] = "git+https://code.example.org/numpy@main"
    assert f"{AT}.packages[1].built-from" in refusals(document)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe{}",
        b"{",
        b'{"envmesh-lock":1,"environments":{},"environments":{}}',
        b'{"envmesh-lock":NaN}',
        b"[" * 200_000,
        b'{"envmesh-lock":' + b"1" * 5000 + b"}",
    ],
)
def test_bytes_that_are_no_plain_json_are_refused(data: bytes):
    with pytest.raises(LockRefused) as refused:
        read_lock(data, "team.json")
    assert str(refused.value).startswith("team.json is refused, 1 problem:\n  $: ")
    assert refused.value.exit_code == 3


def test_a_lone_surrogate_is_refused_and_not_hashed():
    document = example()
    package_of(document, 0)["license"] = "\ud800"
    assert "cannot be printed" in refusals(document)[f"{AT}.packages[0].license"]


def test_a_lock_with_thousands_of_problems_tells_the_first_hundred():
    assert len(refusals({"envmesh-lock": 1, "environments": {f"a b{n}": {} for n in range(5000)}})) == 100
