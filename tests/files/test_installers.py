"""The real uv and the real pyenv install Pythons through the files face, also when upstream is gone."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import platform
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from uv import find_uv_bin

from fixtures.conda_pythons import CannotMoveError
from fixtures.proxy import running_proxy
from fixtures.standalone import TAG, Standalone, make_standalone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fixtures.collection import FakeFiles

_DEFINITION = """
build_package_tiny() {{ mkdir -p "$PREFIX_PATH/bin" && cp python "$PREFIX_PATH/bin/python"; }}
install_package "tiny-9.9.9" "{url}#{sha256}" tiny
"""


async def _run(environ: Mapping[str, str], *command: str | Path) -> str:
    """What it prints; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        *command, env=dict(environ), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode().strip()


@pytest.fixture(scope="module")
def standalone() -> Standalone:
    if platform.machine() != "x86_64":
        pytest.skip("the archive is called as for x86_64")
    try:
        return make_standalone()
    except CannotMoveError as error:
        pytest.skip(str(error))


def _downloads(python: Standalone) -> dict[str, object]:
    """What uv knows of it."""
    major, minor, patch = map(int, python.version.split("."))
    return {
        f"cpython-{python.version}-linux-x86_64-gnu": {
            "name": "cpython",
            "arch": {"family": "x86_64", "variant": None},
            "os": "linux",
            "libc": "gnu",
            "major": major,
            "minor": minor,
            "patch": patch,
            "prerelease": "",
            "url": f"https://github.com/astral-sh/python-build-standalone/releases/{python.path}",
            "sha256": python.sha256,
            "variant": None,
            "build": TAG,
        }
    }


async def test_uv_installs_a_python_through_its_mirror_also_without_upstream(
    tmp_path: Path, upstream: FakeFiles, standalone: Standalone
) -> None:
    upstream.put(standalone.path, standalone.data)
    sums = f"{standalone.sha256}  {standalone.filename}\n"
    upstream.put(f"download/{TAG}/SHA256SUMS", sums.encode())
    known = tmp_path / "downloads.json"
    known.write_text(json.dumps(_downloads(standalone)))
    settings = {"files.python-build-standalone.url": upstream.url}
    async with running_proxy(tmp_path, settings=settings) as proxy:
        for name in ("first", "second"):
            room = tmp_path / name
            environ = {
                "HOME": str(room),
                "PATH": os.defpath,
                "UV_PYTHON_DOWNLOADS_JSON_URL": str(known),
                "UV_PYTHON_INSTALL_DIR": str(room / "pythons"),
                "UV_PYTHON_INSTALL_MIRROR": f"{proxy.url}/files/python-build-standalone/download",
            }
            await _run(environ, find_uv_bin(), "python", "install", "--no-config", "--no-bin", standalone.version)
            [python] = (room / "pythons").glob("cpython-*.*.*/bin/python3")
            assert await _run({}, python, "-c", "import ssl, sys; print(sys.prefix)") == str(python.parents[1])
            await proxy.settled()
            await upstream.stop()
    assert upstream.count("GET", "*.tar.gz") == 1


def _tiny() -> tuple[bytes, str]:
    """A source archive whose Python needs no compiler, and its digest."""
    script = b"#!/bin/sh\necho Python 9.9.9\n"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("tiny-9.9.9/python")
        member.size, member.mode = len(script), 0o755
        tar.addfile(member, io.BytesIO(script))
    return buffer.getvalue(), hashlib.sha256(buffer.getvalue()).hexdigest()


@pytest.fixture
def pyenv() -> Path:
    """The pyenv of whoever runs the tests."""
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    if not (home / "plugins" / "python-build" / "bin" / "python-build").is_file() or not shutil.which("curl"):
        pytest.skip("no pyenv with python-build on this machine, or no curl")
    return home


@pytest.mark.parametrize(
    ("there", "url", "variables"),
    [
        (
            "9.9.9/tiny-9.9.9.tgz",
            "https://www.python.org/ftp/python/9.9.9/tiny-9.9.9.tgz",
            {"PYTHON_BUILD_MIRROR_URL_SKIP_CHECKSUM": "1"},
        ),
        ("{sha256}", "http://127.0.0.1:1/tiny-9.9.9.tgz", {}),
    ],
    ids=["by path", "by digest"],
)
async def test_pyenv_installs_a_python_through_its_mirror_also_without_upstream(
    there: str, url: str, variables: dict[str, str], tmp_path: Path, upstream: FakeFiles, pyenv: Path
) -> None:
    data, sha256 = _tiny()
    upstream.put(there.format(sha256=sha256), data)
    definition = tmp_path / "9.9.9"
    definition.write_text(_DEFINITION.format(url=url, sha256=sha256))
    async with running_proxy(tmp_path, settings={"files.python.url": upstream.url}) as proxy:
        for name in ("first", "second"):
            root = tmp_path / name
            environ = {
                "HOME": str(root),
                "PATH": f"{pyenv / 'plugins' / 'python-build' / 'bin'}:{os.environ['PATH']}",
                "PYENV_ROOT": str(root),
                "PYTHON_BUILD_HTTP_CLIENT": "curl",
                "PYTHON_BUILD_MIRROR_URL": f"{proxy.url}/files/python",
                "TMPDIR": str(tmp_path),
                **variables,
            }
            await _run(environ, pyenv / "bin" / "pyenv", "install", definition)
            assert await _run(environ, root / "versions" / "9.9.9" / "bin" / "python") == "Python 9.9.9"
            await proxy.settled()
            await upstream.stop()
    assert upstream.count("GET", f"*/{there.format(sha256=sha256)}") == 1
