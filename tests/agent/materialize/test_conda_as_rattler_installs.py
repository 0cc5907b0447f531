"""Conda packages land as py-rattler installs them: the same files, links, modes and records."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from rattler import PrefixRecord

from envagent.materialize.prefix import materialize
from envagent.materialize.verify import verify
from envagent.store.node import NodeStore
from fixtures.conda_packages import PLACEHOLDER, File, Package, make_conda, with_command, with_prefixes
from fixtures.conda_plans import by_rattler, conda_plan, foreign, this_python
from fixtures.locks import real
from fixtures.raw_conda import RawConda

_OLD = "/opt/anaconda1anaconda2anaconda3"


def _everything(root: Path) -> dict[str, tuple[object, ...]]:
    """Path to content and executable bit, or to the target of a link; without records, bytecode and either's own."""
    found: dict[str, tuple[object, ...]] = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if name.startswith((".envmesh", "conda-meta", "__clobbers__")) or name == "CACHEDIR.TAG":
            continue
        if path.is_symlink():
            found[name] = (os.readlink(path),)
        elif path.is_file() and path.suffix != ".pyc":
            found[name] = (path.read_bytes(), os.access(path, os.X_OK))
    return found


def _record(root: Path, name: str) -> dict[str, object]:
    """The document in conda-meta without what says where the package came from."""
    [path] = (root / "conda-meta").glob(f"{name}-*.json")
    said = json.loads(path.read_bytes())
    said["paths_data"]["paths"].sort(key=lambda entry: entry["_path"])
    said["files"].sort()
    return {key: said[key] for key in said.keys() - {"channel", "url", "link", "extracted_package_dir"}}


_TEXT = {
    "etc/name": File(f"in {PLACEHOLDER} and {PLACEHOLDER}/share\n".encode(), placeholder=PLACEHOLDER),
    "bin/sh-script": File(f"#!{PLACEHOLDER}/bin/bash -e\n".encode(), executable=True, placeholder=PLACEHOLDER),
    "bin/py-script": File(
        f"#!{PLACEHOLDER}/bin/python3.11 -u\nprint('{PLACEHOLDER}')".encode(),
        executable=True,
        placeholder=PLACEHOLDER,
    ),
    "bin/no-newline": File(f"#!{PLACEHOLDER}/bin/perl".encode(), executable=True, placeholder=PLACEHOLDER),
    "bin/other": File(f"#! /usr/bin/env python\n{PLACEHOLDER}\n".encode(), executable=True, placeholder=PLACEHOLDER),
    "etc/unmarked": File(f"{PLACEHOLDER}\n".encode()),
}
_BINARY = {
    "lib/one.so": File(b"\x7fELF\0" + PLACEHOLDER.encode() + b"\0end\0", placeholder=PLACEHOLDER, mode="binary"),
    "lib/many.so": File(
        b"a" + f"{PLACEHOLDER}/x:{PLACEHOLDER}/y".encode() + b"\0\0" + PLACEHOLDER.encode() + b"/z\0tail",
        executable=True,
        placeholder=PLACEHOLDER,
        mode="binary",
    ),
    "lib/unended.so": File(b"\0" + PLACEHOLDER.encode() + b"/to the end", placeholder=PLACEHOLDER, mode="binary"),
    "lib/nothing.so": File(b"\0none\0", placeholder=PLACEHOLDER, mode="binary"),
}
_LINKS = {
    "lib/libx.so.1.2": File(b"library"),
    "lib/libx.so.1": File(target="libx.so.1.2"),
    "lib/libx.so": File(target="libx.so.1"),
    "share/doc/deep/up": File(target="../../../lib/libx.so"),
    "share/dangling": File(target="nowhere"),
}
_NAMES = {
    "share/ünï cødé/naïve file": File(b"x"),
    "share/terminfo/A/ansi": File(b"1"),
    "share/terminfo/a/ansi": File(b"2"),
    "share/empty": File(b""),
    "share/" + "long/" * 30 + "x" * 200: File(b"y"),
}


@pytest.mark.parametrize("form", [".conda", ".tar.bz2"])
@pytest.mark.parametrize("files", [_TEXT, _BINARY, _LINKS, _NAMES], ids=["text", "binary", "links", "names"])
@pytest.mark.parametrize("name", ["env", "with space", "deep/" + "p" * 120])
async def test_files_links_modes_and_records_are_the_same(tmp_path, files, name, form):
    package = make_conda("shape", files=files, form=form)
    place = tmp_path / name
    materialize(conda_plan(tmp_path / "files", package), NodeStore(tmp_path / "store"), place)
    await by_rattler(tmp_path / "rattler", tmp_path / "theirs", package, as_if_at=place)
    assert _everything(place) == _everything(tmp_path / "theirs")
    assert _record(place, "shape") == _record(tmp_path / "theirs", "shape")
    assert verify(place) == []


async def test_packages_from_before_paths_json_are_the_same(tmp_path):
    index = {"build_number": 0, "depends": [], "subdir": "noarch", "license": "x", "timestamp": 0}
    old = RawConda(form=".tar.bz2", index=index).add("bin/x", f"#!{_OLD}/bin/sh\n".encode(), mode=0o755)
    old.add("lib/x.so", b"\x7fELF\0" + PLACEHOLDER.encode() + b"/lib\0").add("share/no prefix", _OLD.encode())
    old.add_special("lib/y.so", tarfile.SYMTYPE, "x.so")
    old.documents = {
        "info/paths.json": None,
        "info/files": b"bin/x\nlib/x.so\nlib/y.so\nshare/no prefix\n",
        "info/has_prefix": f"bin/x\n{PLACEHOLDER} binary lib/x.so\n".encode(),
    }
    package = Package(f"{old.stem}.tar.bz2", old.bytes(), {"name": "raw", "version": "1.0", "build": "0"} | index)
    place = tmp_path / "env"
    materialize(conda_plan(tmp_path / "files", package), NodeStore(tmp_path / "store"), place)
    await by_rattler(tmp_path / "rattler", tmp_path / "theirs", package, as_if_at=place)
    assert _everything(place) == _everything(tmp_path / "theirs")
    assert (place / "bin/x").read_text() == f"#!{place}/bin/sh\n"
    assert verify(place) == []


async def test_of_packages_with_one_file_the_same_one_keeps_it(tmp_path):
    def package(name: str, *depends: str):
        return make_conda(name, depends=depends, files={"share/same.txt": File(name.encode())})

    packages = [package("zulu", "alpha"), package("alpha"), package("mike", "zulu", "absent >=1"), package("bravo")]
    made = materialize(conda_plan(tmp_path / "f", *packages), NodeStore(tmp_path / "store"), tmp_path / "env")
    await by_rattler(tmp_path / "rattler", tmp_path / "theirs", *packages)
    kept = (tmp_path / "theirs/share/same.txt").read_text()
    assert (tmp_path / "env/share/same.txt").read_text() == kept
    assert {(clobber.lost.partition("-")[0], clobber.kept) for clobber in made.clobbers} == {
        (name, f"{kept}-1.0-0.conda") for name in ("zulu", "alpha", "mike", "bravo") if name != kept
    }


async def test_python_packages_without_a_platform_land_in_the_pythons_own_directories(tmp_path):
    files = {
        "site-packages/pure/__init__.py": File(b"X = 1\n"),
        "site-packages/pure-1.0.dist-info/METADATA": File(b"Metadata-Version: 2.1\nName: pure\nVersion: 1.0\n"),
        "python-scripts/pure-script": File(b"#!/bin/sh\n", executable=True),
        "etc/pure.conf": File(b"conf"),
    }
    pure = make_conda("pure", depends=["python"], noarch="python", files=files)
    packages = [this_python(), pure, with_command()]
    place = tmp_path / "env"
    materialize(conda_plan(tmp_path / "files", *packages), NodeStore(tmp_path / "store"), place)
    await by_rattler(tmp_path / "rattler", tmp_path / "theirs", *packages, as_if_at=place)
    ours, theirs = _everything(place), _everything(tmp_path / "theirs")
    assert ours.pop("bin/greeter")[1] is theirs.pop("bin/greeter")[1] is True  # our launcher fits every prefix
    assert ours == theirs
    assert _record(place, "pure") == _record(tmp_path / "theirs", "pure")
    assert _record(place, "python") == _record(tmp_path / "theirs", "python")
    assert subprocess.run([place / "bin/greeter"], check=True, capture_output=True, text=True).stdout == (
        f"hello from {place} greeter\n"
    )


def test_rattler_reads_the_records(tmp_path):
    place = tmp_path / "env"
    plan = conda_plan(tmp_path / "files", this_python(), with_command(), with_prefixes())
    materialize(plan, NodeStore(tmp_path / "store"), place)
    records = [PrefixRecord.from_path(path) for path in (place / "conda-meta").glob("*-*.json")]
    said = {record.name.normalized: record for record in records}
    assert sorted(said) == ["greeter", "prefixed", "python"]
    assert said["greeter"].url == "https://conda.example.org/demo/noarch/greeter-1.0-0.conda"
    for path in said["greeter"].files:
        assert (place / path).is_file()


@pytest.mark.parametrize(
    "names",
    [
        ["clobber-a-1.0-0.conda", "clobber-b-1.0-0.conda"],
        ["activate_deactivate_package-1.0-0.conda"],
        ["small-executable-1.0-0.conda"],
        ["post_link-b-1.0-0.conda"],
    ],
)
async def test_real_packages_are_the_same(tmp_path, names):
    packages = [await foreign(real(f"packages/{name}")) for name in names]
    place = tmp_path / "env"
    materialize(conda_plan(tmp_path / "files", *packages), NodeStore(tmp_path / "store"), place)
    await by_rattler(tmp_path / "rattler", tmp_path / "theirs", *packages, as_if_at=place)
    assert _everything(place) == _everything(tmp_path / "theirs")
    assert verify(place) == []
