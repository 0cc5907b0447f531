"""pixi.lock: versions 6 and 7 as pixi writes them, and what we write as rattler reads it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from rattler.lock import LockFile

from envagent.errors import CannotExport, LockIncomplete, LockRefused
from envagent.lock import pixi
from envagent.lock.formats import export, import_bytes
from envagent.lock.model import Environment, Interpreter, InterpreterArchive, Lock, Target
from envagent.lock.reading import from_document
from fixtures.locks import CHANNEL, Index, condas, example, imported, locks, real, wheel

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = [
    "jupyterlab.pixi.lock",
    "polarify.pixi.lock",
    "pypi.pixi.lock",
    "v6-empty-lock.yml",
    "v6-numpy-as-pypi-lock.yml",
    "v6-options-lock.yml",
    "v6-python-from-conda-only-lock.yml",
    "v7-empty-lock.yml",
    "v7-numpy-as-pypi-lock.yml",
    "v7-options-lock.yml",
    "v7-python-from-conda-only-lock.yml",
]
BUILT_FROM_SOURCE = [
    "v6-conda-path",
    "v6-derived-channel",
    "v6-multiple-source-packages-with-variants",
    "v6-pixi-build-git-rev-only-source",
    "v6-pixi-build-git-tag-source",
    "v6-pixi-build-pinned-source",
    "v6-pixi-build-url-source",
    "v6-source-package-with-variants",
    "v6-sources",
    "v7-conda-path",
    "v7-conda-source-build-host-packages",
    "v7-derived-channel",
    "v7-multiple-source-packages-with-variants",
    "v7-partial-source-extra-depends",
    "v7-partial-source-flags",
    "v7-partial-source-purls",
    "v7-partial-source-run-exports",
    "v7-pixi-build-git-rev-only-source",
    "v7-pixi-build-git-tag-source",
    "v7-pixi-build-pinned-source",
    "v7-pixi-build-url-source",
    "v7-sources",
    "v7-sources-lfs",
]
REJECTED = {
    "duplicate_platform": "the key 'DUPLICATE' stands twice in one object",
    "duplicate_platform_definition": "'DUPLICATE' is defined twice",
    "duplicate_platform_use": "the key 'DUPLICATE' stands twice in one object",
    "invalid_platform_name": "is not a name of letters, digits, dots, dashes and underscores",
    "invalid_platform_subdir": "is not a platform such as linux-64",
    "missing_platform": "is for 'UNKNOWN', a platform that the file does not define",
}


def facts_of_rattler(path: Path) -> dict[tuple[str, str], set[tuple[Any, ...]]]:
    found: dict[tuple[str, str], set[tuple[Any, ...]]] = {}
    for name, environment in LockFile.from_path(path).environments():
        for platform, packages in environment.packages_by_platform().items():
            conda = environment.conda_repodata_records_for_platform(platform) or []
            python = environment.pypi_packages_for_platform(platform) or []
            found[name, platform.name] = {
                (
                    r.url,
                    r.name.normalized,
                    str(r.version),
                    str(r.build),
                    r.subdir,
                    r.sha256.hex(),
                    frozenset(map(str, r.depends)),
                )
                for r in conda
            } | {(p.location, p.name, p.version, p.hashes.sha256.hex(), frozenset(p.requires_dist)) for p in python}
            assert len(found[name, platform.name]) == len(packages)
    return found


def facts_of_ours(lock: Lock) -> dict[tuple[str, str], set[tuple[Any, ...]]]:
    return {
        (name, target.name): {
            (p.url, p.name, p.version, p.build, p.subdir, p.sha256, frozenset(p.depends)) for p in target.conda
        }
        | {(p.url, p.name, p.version, p.sha256, frozenset(p.depends)) for p in target.python}
        for name, environment in lock.environments.items()
        for target in environment.targets
    }


@pytest.mark.parametrize("name", WHOLE)
def test_a_real_file_says_to_us_what_it_says_to_rattler(name: str):
    path = real(f"pixi-lock/{name}")
    draft = pixi.read(path.read_bytes(), name)
    assert facts_of_ours(draft) == facts_of_rattler(path)
    assert set(draft.environments) == {name for name, _ in LockFile.from_path(path).environments()}


@pytest.mark.parametrize("name", WHOLE)
def test_a_real_file_comes_back_from_our_own_as_the_same_lock(name: str):
    path = real(f"pixi-lock/{name}")
    lock = imported(path, Index())
    assert import_bytes(export(lock, None, "pixi"), "pixi.lock", Index.of(lock)) == lock


@pytest.mark.parametrize("name", WHOLE)
def test_rattler_reads_what_we_write(name: str, tmp_path: Path):
    lock = imported(real(f"pixi-lock/{name}"), Index())
    (tmp_path / "pixi.lock").write_bytes(export(lock, None, "pixi"))
    assert facts_of_rattler(tmp_path / "pixi.lock") == facts_of_ours(lock)


@pytest.mark.parametrize("name", BUILT_FROM_SOURCE)
def test_packages_that_are_built_from_source_are_refused(name: str):
    with pytest.raises(LockRefused) as refused:
        imported(real(f"pixi-lock/{name}-lock.yml"))
    assert {problem.what.partition(" (")[0] for problem in refused.value.problems} == {"is built from source"}
    assert refused.value.problems[0].hint == "build and publish it, and lock the result"


@pytest.mark.parametrize("name", ["absolute_url", "custom_index", "relative_outside_url", "relative_url"])
def test_python_packages_in_a_directory_are_refused(name: str):
    with pytest.raises(LockRefused, match="is built from source"):
        imported(real(f"pixi-lock/v7-pypi_{name}.yml"))


@pytest.mark.parametrize(("name", "why"), REJECTED.items())
def test_what_pixi_rejects_is_refused_in_a_plain_sentence(name: str, why: str):
    with pytest.raises(LockRefused) as refused:
        imported(real(f"pixi-lock/rejected/{name}.yml"))
    assert any(why in problem.what for problem in refused.value.problems)


def test_sizes_of_wheels_that_nobody_tells_are_refused_all_at_once():
    with pytest.raises(LockIncomplete) as incomplete:
        imported(real("pixi-lock/pypi.pixi.lock"))
    assert len(incomplete.value.problems) == 148
    assert {p.what for p in incomplete.value.problems} == {"has no size, and its index or channel did not tell"}


SEVEN = f"""
version: 7
platforms:
- name: gpu-box
  subdir: linux-64
  virtual-packages: [__cuda=12.1, "__glibc >= 2.28", __unix]
environments:
  default:
    channels: [{{url: {CHANNEL}/}}]
    packages:
      gpu-box:
      - conda: {CHANNEL}/linux-64/zlib-1.10-0.conda
packages:
- conda: {CHANNEL}/linux-64/zlib-1.10-0.conda
  sha256: {"a" * 64}
  size: 10
"""


def test_a_named_platform_keeps_its_virtual_packages():
    target = import_bytes(SEVEN.encode(), "pixi.lock", Index()).environment().target("gpu-box")
    assert (target.platform, target.packages[0].version) == ("linux-64", "1.10")
    assert target.virtual_packages == {"__cuda": "12.1", "__glibc": ">= 2.28", "__unix": ""}
    assert target.conda[0].channel == f"{CHANNEL}/"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("version: 7", "version: 5", "is not 6 or 7"),
        ("__cuda=12.1", "cuda", "is not a virtual package"),
        ("__cuda=12.1", "__unix", "is not a virtual package of its own"),
        (
            f"- conda: {CHANNEL}/linux-64/zlib-1.10-0.conda\n  sha256",
            "- other: 1\n  sha256",
            "is neither a conda nor",
        ),
        ("zlib-1.10-0.conda\npackages", "zlib-1.11-0.conda\npackages", "which is not among the packages"),
        ("a" * 64, "a" * 63, "is not a sha256"),
        ("size: 10", "size: ten", "is not an integer"),
        ("zlib-1.10-0.conda", "../../zlib-1.10-0.conda", "does not mean what it says"),
        ("https://conda", "https://me:secret@conda", "carries credentials"),
        ("zlib-1.10-0.conda", "zlib.conda", "is not the URL of a conda package"),
        ("channels: [", "channels: &all [", "an anchor, alias or tag in line 9"),
    ],
)
def test_a_spoilt_file_is_refused_in_a_plain_sentence(old: str, new: str, why: str):
    assert old in SEVEN
    with pytest.raises(LockRefused, match=why):
        import_bytes(SEVEN.replace(old, new).encode(), "pixi.lock", Index())


def test_an_entry_that_is_described_twice_and_differently_is_refused():
    twice = SEVEN + SEVEN.partition("\npackages:\n")[2].replace("a" * 64, "b" * 64)
    with pytest.raises(LockRefused, match="once more, and otherwise"):
        import_bytes(twice.encode(), "pixi.lock", Index())


def test_channels_that_a_lock_calls_by_name_are_written_by_their_url():
    document = example()
    document["environments"]["default"]["targets"][0]["packages"][0]["channel"] = "forge"
    written = export(from_document(document), None, "pixi")
    assert f"- url: {CHANNEL}\n".encode() in written
    assert b"indexes" not in written


def test_what_pixi_has_no_place_for_is_not_left_out_silently():
    archive = InterpreterArchive(
        name="cpython", version="3.12.1", filename="a.tar.zst", url="https://files.example.org/a.tar.zst"
    )
    target = Target(platform="linux-64", packages=(archive,))
    with pytest.raises(CannotExport, match="has no place for a"):
        pixi.write(Lock({"default": Environment(targets=(target,))}))
    wheels = Target(
        platform="linux-64", interpreter=Interpreter("system", version="3.12"), packages=(wheel("b", "1"),)
    )
    with pytest.raises(CannotExport, match="has no place for b-1"):
        pixi.write(Lock({"default": Environment(targets=(wheels,))}))
    one, other = (Target(platform="linux-64", virtual_packages={"__cuda": v}) for v in ("11", "12"))
    both = Lock({"a": Environment(targets=(one,)), "b": Environment(targets=(other,))})
    with pytest.raises(CannotExport, match="two environments mean different things by linux-64"):
        pixi.write(both)


@given(locks(interpreter="conda"))
def test_whatever_pixi_can_hold_comes_back_from_it(lock: Lock):
    consistent = Lock(
        {
            name: dataclasses.replace(
                environment,
                targets=tuple(
                    dataclasses.replace(t, virtual_packages={"__glibc": "2.28"}) for t in environment.targets
                ),
            )
            for name, environment in lock.environments.items()
        }
    )
    again = import_bytes(pixi.write(consistent), "pixi.lock", Index.of(lock))
    assert again == consistent
    assert {package.filename for package in condas(again)} == {package.filename for package in condas(lock)}
