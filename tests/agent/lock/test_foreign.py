"""What holds for every foreign format: how it is told, what it keeps, and that nothing breaks its reader."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import random
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envagent.errors import EnvagentError, LockIncomplete, LockRefused, UsageError
from envagent.lock.canonical import canonical_bytes
from envagent.lock.complete import Nobody
from envagent.lock.formats import Format, export, import_bytes, sniff
from envagent.lock.model import Environment, Interpreter, Lock, Target
from envagent.lock.reading import from_document
from envagent.lock.yaml_syntax import read_yaml, write_yaml
from fixtures.locks import Index, example, imported, locks, real

MACHINE = Target(
    platform="linux-64", virtual_packages={"__glibc": "2.28"}, interpreter=Interpreter("system", version="3.11.7")
)
NAMES: dict[Format, str] = {
    "envmesh": "lock.json",
    "pixi": "pixi.lock",
    "conda-lock": "conda-lock.yml",
    "pylock": "pylock.toml",
    "requirements": "requirements.txt",
    "explicit": "explicit.txt",
}
OF_CONDA: list[Format] = ["explicit"]
OF_PYTHON: list[Format] = ["pylock", "requirements"]


def mixed() -> Lock:
    return from_document(example())


@pytest.mark.parametrize("form", NAMES)
def test_a_format_is_told_by_its_content(form: Format):
    written = export(mixed(), None, form, partial=True)
    name = "requirements.txt" if form == "requirements" else "some-file"
    assert sniff(written, name) == form


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("pixi-lock/v6-empty-lock.yml", "pixi"),
        ("pixi-lock/v7-options-lock.yml", "pixi"),
        ("conda-lock/python-conda-lock.yml", "conda-lock"),
        ("conda-lock/pypi-matplotlib-conda-lock.yml", "conda-lock"),
        ("uv/uv.lock", "uv"),
        ("requirements/jupyter.txt", "requirements"),
        ("requirements/syntax-empty.txt", "requirements"),
    ],
)
def test_real_files_are_told_apart(name: str, form: Format):
    assert sniff(real(name).read_bytes(), name) == form


def test_what_is_no_lock_of_any_kind_is_refused():
    with pytest.raises(LockRefused, match="is not a lock of a kind known here"):
        import_bytes(b"numpy==1.0\n", "poetry.lock", Nobody())


def test_our_own_lock_is_read_from_a_file(tmp_path: Path):
    (tmp_path / "lock.json").write_bytes(canonical_bytes(mixed()))
    assert imported(tmp_path / "lock.json") == mixed()


@pytest.mark.parametrize("form", [*OF_CONDA, *OF_PYTHON])
def test_packages_that_a_format_has_no_place_for_are_refused_unless_a_part_is_asked_for(form: Format):
    with pytest.raises(UsageError, match="has no place for"):
        export(mixed(), None, form)
    part = export(mixed(), None, form, partial=True)
    packages = import_bytes(part, NAMES[form], Index.of(mixed()), machines=[MACHINE]).environment().target().packages
    assert [package.name for package in packages] == (["python"] if form == "explicit" else ["numpy"])


@pytest.mark.parametrize("form", OF_PYTHON)
def test_all_packages_that_a_format_has_no_place_for_are_named(form: Format):
    target = mixed().environment().target()
    url = "https://channel.example.org/demo/linux-64/zlib-1.3-0.conda"
    again = dataclasses.replace(target.conda[0], name="zlib", version="1.3", build="0", url=url)
    two = dataclasses.replace(target, packages=(*target.packages, again))
    with pytest.raises(UsageError, match="has no place for 2 files:") as refused:
        export(Lock({"default": Environment(targets=(two,))}), None, form)
    assert refused.value.message.splitlines()[1:] == [f"  {target.conda[0].filename}", "  zlib-1.3-0.conda"]
    assert "--partial" in refused.value.hint


def test_an_export_asks_which_target_is_meant():
    two = Lock({"default": Environment(targets=(MACHINE, Target(platform="win-64")))})
    with pytest.raises(UsageError, match="several targets") as several:
        export(two, None, "requirements")
    assert several.value.hint == "its targets are: linux-64, win-64; --target names one"
    assert export(two, None, "requirements", target="linux-64") == b"# for linux-64, Python 3.11.7\n"


def test_formats_that_cannot_be_written_are_named():
    with pytest.raises(UsageError, match="no lock is written as 'uv'"):
        export(mixed(), None, "uv")


@given(locks())
def test_an_imported_lock_is_a_fixed_point(lock: Lock):
    """What conda-lock cannot hold is lost the first time, and nothing after that."""
    index = Index.of(lock)
    for environment in lock.environments.values():
        once = import_bytes(export(Lock({"default": environment}), None, "conda-lock"), "conda-lock.yml", index)
        again = import_bytes(export(once, None, "conda-lock"), "conda-lock.yml", index)
        assert canonical_bytes(again) == canonical_bytes(once)


@given(locks())
def test_an_explicit_list_keeps_every_conda_package(lock: Lock):
    for environment in lock.environments.values():
        for target in environment.targets:
            written = export(lock, _name_of(lock, environment), "explicit", target=target.name, partial=True)
            back = import_bytes(written, "explicit.txt", Index.of(lock)).environment().target()
            assert {(p.url, p.sha256, p.size) for p in back.conda} == {
                (p.url, p.sha256, p.size) for p in target.conda
            }
            assert back.platform == target.platform


@given(locks("system"))
def test_a_pylock_keeps_all_of_a_lock_of_wheels(lock: Lock):
    for name, environment in lock.environments.items():
        for target in environment.targets:
            alone = Lock({name: Environment(request=environment.request, targets=(target,))})
            assert import_bytes(export(alone, name, "pylock"), "pylock.toml", Nobody()) == alone


@given(locks("system"))
def test_hashed_requirements_name_the_same_files(lock: Lock):
    for name, environment in lock.environments.items():
        for target in environment.targets:
            written = export(lock, name, "requirements", target=target.name)
            machine = target.with_python(())
            back = import_bytes(written, "requirements.txt", Index.of(lock), machines=[machine])
            assert {(p.url, p.sha256, p.size) for p in back.environment().target().python} == {
                (p.url, p.sha256, p.size) for p in target.python
            }


def _name_of(lock: Lock, environment: Environment) -> str:
    return next(name for name, other in lock.environments.items() if other is environment)


# --- hostile files --------------------------------------------------------------------------------------


def seeds() -> list[tuple[str, bytes]]:
    written = [(name, export(mixed(), None, form, partial=True)) for form, name in NAMES.items()]
    return [*written, ("uv.lock", UV)]


UV = b"""version = 1
requires-python = ">=3.8"
[[package]]
name = "app"
version = "0.1"
source = { editable = "." }
dependencies = [{ name = "idna", extra = ["all"], marker = "sys_platform == 'linux'" }]
[package.dev-dependencies]
dev = [{ name = "idna" }]
[[package]]
name = "idna"
version = "3.7"
source = { registry = "https://index.example.org/simple" }
sdist = { url = "https://files.example.org/idna-3.7.tar.gz", hash = "sha256:%s", size = 1 }
wheels = [{ url = "https://files.example.org/idna-3.7-py3-none-any.whl", hash = "sha256:%s", size = 1 }]
""" % (b"0" * 64, b"1" * 64)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(seeds()), st.randoms(use_true_random=False), st.integers(1, 6))
def test_a_damaged_lock_is_read_or_refused(seed: tuple[str, bytes], rng: random.Random, wounds: int):
    name, data = seed
    for _ in range(wounds):
        data = wounded(data, rng)
    with contextlib.suppress(EnvagentError):
        lock = import_bytes(data, name, Index(), machines=[MACHINE])
        assert import_bytes(canonical_bytes(lock), "lock.json", Nobody()) == lock


def wounded(data: bytes, rng: random.Random) -> bytes:
    """A piece is cut out, doubled, moved or replaced by what a parser may stumble over."""
    start, end = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    end = min(end, start + 40)
    odd = [b"", b"..", b"/", b"[", b"]", b"{}", b"null", b"1e9", b"-1", b"\n", b'"', b"'", b"\xff", b"#", b": ", b"*"]
    piece = rng.choice(
        [*odd, data[start:end] * 2, b"9" * 30, b"true", b"[[package]]\n", b"- a\n", b" = 1\n", b"\x00"]
    )
    return data[:start] + piece + data[rng.choice([start, end]) :]


ODD = [None, True, 0, -1, 2**70, 1.5, "", "..", "a b", "file:///x", "7", [], [[]], {}, {"a": {}}, {"url": "x"}, [{}]]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in inner for place in places(child, (*path, key)))]


def documents() -> list[tuple[str, Any, tuple[Any, ...]]]:
    """Every place of one document of each structured format."""
    return [
        (name, parsed, place)
        for name, data in seeds()
        if name not in {"requirements.txt", "explicit.txt", "lock.json"}
        for parsed in [tomllib.loads(data.decode()) if name in TOML else read_yaml(data, name)]
        for place in places(parsed)
        if place
    ]


TOML = ("pylock.toml", "uv.lock")


@given(st.sampled_from(documents()), st.sampled_from(ODD))
def test_an_odd_value_anywhere_is_read_or_refused(where: tuple[str, Any, tuple[Any, ...]], odd: Any):
    name, document, place = where
    spoilt: Any = copy.deepcopy(document)
    inner = spoilt
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = "" if odd is None and name in TOML else odd
    data = tomli_w.dumps(spoilt).encode() if name in TOML else write_yaml(spoilt)
    with contextlib.suppress(EnvagentError):
        lock = import_bytes(data, name, Index(), machines=[MACHINE])
        assert import_bytes(canonical_bytes(lock), "lock.json", Nobody()) == lock


@given(st.sampled_from(sorted(NAMES.values())), st.text(max_size=60), st.sampled_from(list(NAMES)))
def test_any_text_after_a_sign_of_a_format_is_read_or_refused(name: str, text: str, form: Format):
    signs = {
        "pixi": "version: 6\n",
        "conda-lock": "package:\n",
        "pylock": "lock-version='1.0'\n",
        "explicit": "@EXPLICIT\n",
    }
    with contextlib.suppress(EnvagentError):
        import_bytes((signs.get(form, "") + text).encode(), name, Index(), machines=[MACHINE])


# --- completion -----------------------------------------------------------------------------------------


def test_a_size_or_digest_of_the_index_never_overrules_the_lock():
    lock = mixed()
    written = export(lock, None, "pixi")
    url = lock.environment().target().python[0].url
    lying = Index.of(lock).changed(url, sha256="f" * 64)
    with pytest.raises(LockRefused, match="is another file here than at its source"):
        import_bytes(written, "pixi.lock", lying)


def test_whoever_reads_a_whole_lock_asks_nobody():
    with pytest.raises(LockIncomplete) as incomplete:
        import_bytes(export(mixed(), None, "conda-lock"), "conda-lock.yml", Nobody())
    assert {problem.what for problem in incomplete.value.problems} == {
        "has no size, and its index or channel did not tell"
    }
    assert len(incomplete.value.problems) == 2


@pytest.mark.parametrize("name", ["conda-lock/python-conda-lock.yml", "conda-lock/pypi-matplotlib-conda-lock.yml"])
def test_real_conda_lock_files_are_imported_and_come_back(name: str):
    lock = imported(real(name), Index())
    assert import_bytes(export(lock, None, "conda-lock"), "conda-lock.yml", Index.of(lock)) == lock
