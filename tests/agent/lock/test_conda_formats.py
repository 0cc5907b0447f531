"""Formats of conda: conda-lock and explicit lists."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from rattler.lock import LockFile

from envagent.errors import CannotExport, LockIncomplete, LockRefused
from envagent.lock.complete import KnownFile
from envagent.lock.formats import export, import_bytes
from envagent.lock.model import Environment, Lock, Target
from envagent.lock.reading import from_document
from fixtures.locks import CHANNEL, PYTHON_SHA, Index, example, imported, real

if TYPE_CHECKING:
    from pathlib import Path

CONDA_LOCK = f"""
version: 1
metadata:
  channels: [{{url: forge, used_env_vars: []}}]
  platforms: [linux-64]
package:
- {{name: python, version: 3.11.9, manager: conda, platform: linux-64, dependencies: {{openssl: '>=3', zlib: ''}},
   url: {CHANNEL}/linux-64/python-3.11.9-h9_0.conda, hash: {{md5: {"a" * 32}, sha256: {"b" * 64}}}, category: main}}
- {{name: Pytest_Mock, version: 1.10, manager: pip, platform: linux-64, dependencies: {{pytest: '>=5.0', six: '*'}},
   url: "https://files.example.org/pytest_mock-1.10-py3-none-any.whl#sha256=c", hash: {{sha256: {"c" * 64}}},
   category: dev}}
"""


def facts(lock: Lock) -> dict[str, set[tuple[Any, ...]]]:
    return {
        target.name: {(p.url, p.name, p.version, p.sha256) for p in target.packages}
        for target in lock.environment().targets
    }


def facts_of_rattler(path: Path) -> dict[str, set[tuple[Any, ...]]]:
    environment = LockFile.from_path(path).default_environment()
    assert environment is not None
    return {
        platform.name: {
            (r.url, r.name.normalized, str(r.version), r.sha256.hex())
            for r in environment.conda_repodata_records_for_platform(platform) or []
        }
        | {
            (p.location, p.name, p.version, p.hashes.sha256.hex())
            for p in environment.pypi_packages_for_platform(platform) or []
        }
        for platform in environment.platforms()
    }


@pytest.mark.parametrize("name", ["python-conda-lock.yml", "pypi-matplotlib-conda-lock.yml"])
def test_a_real_conda_lock_says_to_us_what_it_says_to_rattler(name: str):
    path = real(f"conda-lock/{name}")
    assert facts(imported(path, Index())) == facts_of_rattler(path)


def test_rattler_reads_the_conda_lock_that_we_write(tmp_path: Path):
    lock = imported(real("conda-lock/pypi-matplotlib-conda-lock.yml"), Index())
    (tmp_path / "conda-lock.yml").write_bytes(export(lock, None, "conda-lock"))
    assert facts_of_rattler(tmp_path / "conda-lock.yml") == facts(lock)


def test_a_category_is_an_environment_that_stands_on_main():
    lock = import_bytes(CONDA_LOCK.encode(), "conda-lock.yml", Index())
    assert {name: [p.name for p in e.target().packages] for name, e in lock.environments.items()} == {
        "default": ["python"],
        "dev": ["python", "pytest-mock"],
    }
    python, mock = lock.environments["dev"].target().packages
    assert (python.depends, mock.depends) == (("openssl >=3", "zlib"), ("pytest>=5.0", "six"))
    assert mock.url == "https://files.example.org/pytest_mock-1.10-py3-none-any.whl"
    assert lock.environments["dev"].target().conda[0].channel == "forge"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("version: 1\n", "version: 2\n", "is not 1"),
        ("manager: pip", "manager: npm", "is not one of conda, pip"),
        ("platform: linux-64, dep", "platform: linux, dep", "is not a platform"),
        ("python-3.11.9-h9_0.conda", "python.conda", "is not the URL of a conda package"),
        ("python-3.11.9-h9_0.conda", "python-3.11.8-h9_0.conda", "is not python-3.11.9-h9_0.conda"),
        ("'>=5.0'", "'^5.0'", "is not a requirement"),
        ("https://conda", "https://$USER:$PASSWORD@conda", "carries credentials"),
    ],
)
def test_a_spoilt_conda_lock_is_refused(old: str, new: str, why: str):
    assert old in CONDA_LOCK
    with pytest.raises(LockRefused, match=why):
        import_bytes(CONDA_LOCK.replace(old, new, 1).encode(), "conda-lock.yml", Index())


def test_what_conda_lock_cannot_say_is_not_exported():
    lock = from_document(example())
    target = lock.environment().target()
    without_md5 = dataclasses.replace(target.conda[0], md5="")
    with pytest.raises(CannotExport, match="needs an md5 of python-3"):
        export(alone(dataclasses.replace(target, packages=(without_md5,))), None, "conda-lock")
    with pytest.raises(CannotExport, match="has no place for numpy"):
        export(alone(target.with_python(target.python)), None, "conda-lock")
    with pytest.raises(CannotExport, match="one solution a platform"):
        export(alone(target, dataclasses.replace(target, name="gpu")), None, "conda-lock")


def alone(*targets: Target) -> Lock:
    return Lock({"default": Environment(targets=targets)})


# --- explicit lists -------------------------------------------------------------------------------------

URL = f"{CHANNEL}/linux-64/python-3.11.9-h9_0_cpython.conda"


def test_an_explicit_list_is_a_url_and_a_digest_a_line():
    written = export(from_document(example()), None, "explicit", partial=True)
    assert written.decode() == f"# platform: linux-64\n@EXPLICIT\n{URL}#sha256:{PYTHON_SHA}\n"


@pytest.mark.parametrize("digest", ["a" * 64, f"sha256:{'a' * 64}"])
def test_a_sha256_is_read_with_and_without_its_name(digest: str):
    text = f"# platform: linux-64\n@EXPLICIT\n{URL}#{digest}\n"
    [package] = import_bytes(text.encode(), "e.txt", Index()).environment().target().conda
    assert (package.sha256, package.md5) == ("a" * 64, "")


@pytest.mark.parametrize("digest", ["", f"#{'b' * 32}", f"#md5:{'b' * 32}"])
def test_a_package_without_a_sha256_is_refused_unless_the_channel_tells_it(digest: str):
    text = f"# platform: linux-64\n@EXPLICIT\n{URL}{digest}\n".encode()
    with pytest.raises(LockIncomplete, match="has no sha256, and its index or channel did not tell"):
        import_bytes(text, "e.txt", Index())
    told = Index({URL: KnownFile(URL.rpartition("/")[2], URL, 5, "c" * 64)})
    assert import_bytes(text, "e.txt", told).environment().target().packages[0].sha256 == "c" * 64


def test_a_file_that_was_replaced_under_its_name_is_told_by_its_md5():
    text = f"# platform: linux-64\n@EXPLICIT\n{URL}#{'b' * 32}\n".encode()
    same, other = (KnownFile(URL.rpartition("/")[2], URL, 5, "c" * 64, md5=letter * 32) for letter in "bd")
    assert import_bytes(text, "e.txt", Index({URL: same})).environment().target().packages[0].sha256 == "c" * 64
    with pytest.raises(LockRefused, match="is another file here than at its source"):
        import_bytes(text, "e.txt", Index({URL: other}))


def test_an_md5_alone_is_refused_with_what_to_do():
    text = f"# platform: linux-64\n@EXPLICIT\n{URL}#{'b' * 32}\n".encode()
    told = Index({URL: KnownFile(URL.rpartition("/")[2], URL, 5, "", md5="b" * 32)})
    with pytest.raises(LockIncomplete, match="an md5 names no file: lock it again, from a channel that tells sha256"):
        import_bytes(text, "e.txt", told)


def test_the_platform_of_an_explicit_list_is_that_of_its_packages():
    text = f"@EXPLICIT\n{CHANNEL}/noarch/tzdata-2024b-0.conda#{'1' * 64}\n{URL}#{'2' * 64}\n"
    assert import_bytes(text.encode(), "e.txt", Index()).environment().target().platform == "linux-64"
    noarch = f"@EXPLICIT\n{CHANNEL}/noarch/tzdata-2024b-0.conda#{'1' * 64}\n"
    with pytest.raises(LockRefused, match="does not say for which platform it is"):
        import_bytes(noarch.encode(), "e.txt", Index())


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("numpy=1.0", "is not an http or https URL"),
        ("/tmp/python-3.11.9-0.conda", "is not an http or https URL"),
        (f"{URL}#abc", "is not a URL with an optional #digest"),
        (f"{CHANNEL}/linux-64/python.conda", "is not the URL of a conda package"),
        ("https://conda.example.org/t/tk-1/linux-64/a-1-0.conda", "carries credentials"),
    ],
)
def test_a_line_that_is_no_package_is_refused_with_its_number(line: str, why: str):
    with pytest.raises(LockRefused, match=f"line 2: {why}"):
        import_bytes(f"@EXPLICIT\n{line}\n".encode(), "e.txt", Index())
