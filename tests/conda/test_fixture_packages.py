"""The fixture packages are what conda's own tools expect: both forms, every kind of file, the same each time."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from typing import TYPE_CHECKING

import pytest
from rattler.package_streaming import extract

from fixtures.conda_packages import PLACEHOLDER, chain, cpu_and_cuda, make_conda, with_prefixes

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.conda_packages import Package


def unpacked(package: Package, directory: Path) -> tuple[Path, str]:
    """The package as rattler extracts it, and the digest that rattler computed."""
    archive = directory / package.filename
    archive.write_bytes(package.data)
    digest, _md5 = extract(archive, directory / "tree")
    return directory / "tree", digest.hex()


@pytest.mark.parametrize("form", [".conda", ".tar.bz2"])
def test_both_forms_unpack_to_the_same_files_under_the_recorded_digest(form: str, tmp_path: Path) -> None:
    package = make_conda("alpha", "2.1", depends=["beta >=1"], form=form)
    tree, digest = unpacked(package, tmp_path)
    assert package.filename == f"alpha-2.1-0{form}"
    assert digest == package.record["sha256"] == hashlib.sha256(package.data).hexdigest()
    assert package.record["size"] == len(package.data)
    assert (tree / "share/alpha.txt").read_text() == "alpha 2.1\n"
    index = json.loads((tree / "info/index.json").read_text())
    assert (index["name"], index["depends"], index["subdir"]) == ("alpha", ["beta >=1"], "noarch")


@pytest.mark.parametrize("form", [".conda", ".tar.bz2"])
def test_the_same_arguments_make_the_same_package(form: str) -> None:
    one, other = (make_conda("alpha", form=form).sha256 for _ in range(2))
    assert one == other
    assert one != make_conda("alpha", "1.1", form=form).sha256


def test_the_info_part_is_the_last_one_in_a_conda_file() -> None:
    with zipfile.ZipFile(io.BytesIO(make_conda("alpha").data)) as archive:
        members = archive.infolist()
    assert [member.filename for member in members] == [
        "metadata.json",
        "pkg-alpha-1.0-0.tar.zst",
        "info-alpha-1.0-0.tar.zst",
    ]
    assert {member.compress_type for member in members} == {zipfile.ZIP_STORED}


def test_prefixes_are_recorded_with_their_modes(tmp_path: Path) -> None:
    tree, _ = unpacked(with_prefixes(), tmp_path)
    paths = json.loads((tree / "info/paths.json").read_text())["paths"]
    assert {path["_path"]: (path["prefix_placeholder"], path["file_mode"]) for path in paths} == {
        "bin/prefixed": (PLACEHOLDER, "text"),
        "lib/prefixed.bin": (PLACEHOLDER, "binary"),
    }


def test_a_lying_package_has_the_same_bytes_under_another_record() -> None:
    honest = make_conda("alpha")
    liar = honest.lying(size=1)
    assert liar.data == honest.data
    assert (liar.record["size"], liar.record["sha256"]) == (1, honest.sha256)


def test_each_package_of_a_chain_needs_the_next_one() -> None:
    assert [(package.name, package.record["depends"]) for package in chain(3)] == [
        ("link-01", ["link-02 >=1"]),
        ("link-02", ["link-03 >=1"]),
        ("link-03", []),
    ]


def test_the_build_for_a_gpu_needs_one_and_is_preferred() -> None:
    cpu, cuda = cpu_and_cuda()
    assert (cpu.record["depends"], cuda.record["depends"]) == ([], ["__cuda >=12"])
    assert cuda.record["build_number"] > cpu.record["build_number"]
