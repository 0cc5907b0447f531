"""The same wheels by uv and by us: the same files, byte for byte, but for what names the installer.

Launchers and `#!python` lines differ in their text on purpose (scripts.py), so of files in bin/ the names, modes and
what follows the first line of a wheel's own scripts are compared.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from envagent.materialize.prefix import materialize
from envagent.store.node import NodeStore
from fixtures.environments import plan_of, python, site_packages, tree
from fixtures.raw_wheels import RawWheel

_UV = Path(sys.executable).with_name("uv")
_INSTALLERS = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json")


def _plain() -> RawWheel:
    return RawWheel().add("demo_pkg/__init__.py", b"x = 1\n").add("demo_pkg/tool", b"#!/bin/sh\n", 0o755)


def _data() -> RawWheel:
    raw = RawWheel(name="data_pkg").add("data_pkg.py", b"")
    raw.add(f"{raw.data}/data/share/man/man1/x.1", b"man").add(f"{raw.data}/data/etc/x.conf", b"conf")
    raw.add(f"{raw.data}/purelib/pure/__init__.py", b"").add(f"{raw.data}/platlib/plat/__init__.py", b"")
    raw.add(f"{raw.data}/headers/sub/x.h", b"//").add(f"{raw.data}/data/lib/python-x/note", b"n")
    return raw


def _scripts() -> RawWheel:
    raw = RawWheel(name="script_pkg").add("script_pkg.py", b"def main(): pass\nclass a:\n    b = main\n")
    raw.add(
        f"{raw.info}/entry_points.txt",
        b"[console_scripts]\nCased-Name = script_pkg:main\nnested = script_pkg:a.b [extra]\n"
        b"[gui_scripts]\nwindow=script_pkg:main\n[other.group]\nx = y\n",
    )
    raw.add(f"{raw.data}/scripts/own.py", b"#!python\nprint('own')\n").add(
        f"{raw.data}/scripts/w", b"#!pythonw\nx = 1\n"
    )
    return raw.add(f"{raw.data}/scripts/bin.sh", b"#!/bin/sh\n").add(f"{raw.data}/scripts/raw", b"\x7fELF\0", 0o755)


def _namespaces() -> RawWheel:
    return RawWheel(name="ns_a").add("ns/a/__init__.py", b"").add("ns/deep/er/still/x.py", b"y = 2\n")


def _names() -> RawWheel:
    raw = RawWheel(name="names")
    for name in (
        "ünï/çødé.py",
        "names/日本語.txt",
        "names/with space.txt",
        "names/a,b.txt",
        "names/-dash",
        "names/.hidden",
    ):
        raw.add(name, name.encode())
    return raw.add("names/" + "l" * 200, b"long").add("names/'quote'.txt", b"q")


def _many() -> RawWheel:
    raw = RawWheel(name="many")
    for number in range(1200):
        raw.add(f"many/d{number % 37}/f{number}.py", b"%d" % number)
    return raw


def _large() -> RawWheel:
    return (
        RawWheel(name="large")
        .add("large/zeros", bytes(20 << 20))
        .add("large/empty", b"")
        .add("large/x.so", b"E", 0o755)
    )


def _native() -> RawWheel:
    tag = f"cp{''.join(map(str, python().release))}"
    return RawWheel(name="native", tag=f"{tag}-{tag}-linux_x86_64").add("native/_x.so", bytes(range(256)) * 99, 0o755)


def _stored() -> RawWheel:
    return RawWheel(name="stored", compression=0).add("stored/x", b"stored" * 999).add("stored/big", bytes(17 << 20))


def _explicit_directories() -> RawWheel:
    return RawWheel(name="dirs").add("dirs/").add("dirs/x.py", b"")


_SHAPES = [
    _plain,
    _data,
    _scripts,
    _namespaces,
    _names,
    _many,
    _large,
    _native,
    _stored,
    _explicit_directories,
]


def _by_uv(wheels: list[Path], folder: Path) -> Path:
    subprocess.run([_UV, "venv", "-q", "--python", sys.executable, "--relocatable", folder], check=True)
    options = ["-q", "--offline", "--no-index", "--no-deps", "--link-mode", "copy", "--no-cache"]
    subprocess.run([_UV, "pip", "install", *options, "--python", folder / "bin/python", *wheels], check=True)
    return folder


def _installed(prefix: Path) -> dict[str, tuple[bytes, bool]]:
    ours = (".envmesh/", "pyvenv.cfg", ".gitignore", ".lock", "CACHEDIR.TAG")
    activation = ("bin/activate", "bin/Activate", "bin/deactivate", "bin/pydoc.bat")
    return {
        path: (b"" if path.startswith("bin/") else content, executable)
        for path, (content, executable) in tree(prefix).items()
        if not path.startswith(ours + activation) and path.rpartition("/")[2] not in _INSTALLERS
    }


@pytest.mark.parametrize("shape", _SHAPES, ids=lambda shape: shape.__name__.lstrip("_"))
def test_a_wheel_is_installed_as_uv_installs_it(tmp_path, shape):
    plan = plan_of(tmp_path / "w", shape())
    materialize(plan, NodeStore(tmp_path / "store"), tmp_path / "ours", bytecode="none")
    _by_uv([wheel.path for wheel in plan.wheels], tmp_path / "theirs")
    assert _installed(tmp_path / "ours") == _installed(tmp_path / "theirs")


def test_a_set_of_wheels_is_installed_as_uv_installs_it(tmp_path):
    plan = plan_of(tmp_path / "w", *(shape() for shape in _SHAPES))
    materialize(plan, NodeStore(tmp_path / "store"), tmp_path / "ours", bytecode="none")
    _by_uv([wheel.path for wheel in plan.wheels], tmp_path / "theirs")
    assert _installed(tmp_path / "ours") == _installed(tmp_path / "theirs")


def test_the_record_lists_what_that_of_uv_lists(tmp_path):
    raw = _data()
    plan = plan_of(tmp_path / "w", raw)
    materialize(plan, NodeStore(tmp_path / "store"), tmp_path / "ours", bytecode="none")
    _by_uv([plan.wheels[0].path], tmp_path / "theirs")
    rows = []
    for name in ("ours", "theirs"):
        lines = (tmp_path / name / site_packages() / raw.info / "RECORD").read_text().splitlines()
        rows.append({line for line in lines if not any(f"{installer}," in line for installer in _INSTALLERS)})
    assert rows[0] == rows[1]


def test_a_scripts_own_lines_stay_as_they_were(tmp_path):
    plan = plan_of(tmp_path / "w", _scripts())
    materialize(plan, NodeStore(tmp_path / "store"), tmp_path / "ours", bytecode="none")
    lines = {name: (tmp_path / "ours/bin" / name).read_bytes().split(b"\n", 1) for name in ("own.py", "w", "bin.sh")}
    assert [lines["own.py"][1], lines["w"][1], lines["bin.sh"]] == [
        b"print('own')\n",
        b"x = 1\n",
        [b"#!/bin/sh", b""],
    ]
    assert len(lines["own.py"][0]) < 127  # what any kernel reads of the line
    assert (tmp_path / "ours/bin/raw").read_bytes() == b"\x7fELF\0"
