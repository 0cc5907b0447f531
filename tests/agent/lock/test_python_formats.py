"""Formats of PyPI alone: hashed requirements, pylock.toml and uv.lock."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

import pytest
import tomli_w
from packaging.pylock import Pylock

from envagent.errors import CannotExport, LockIncomplete, LockRefused
from envagent.lock.complete import KnownFile, Nobody, Wanted
from envagent.lock.formats import export, import_bytes
from envagent.lock.model import Environment, Interpreter, Lock, PythonPackage, Request, Target
from fixtures.locks import INDEX, Index, imported, real, wheel

LINUX = Target(
    platform="linux-64", virtual_packages={"__glibc": "2.28"}, interpreter=Interpreter("system", version="3.11.7")
)
WINDOWS = Target(platform="win-64", interpreter=Interpreter("system", version="3.8.1"))
IDNA = wheel("idna", "3.0.0")


def lock_of(*packages: PythonPackage) -> Lock:
    return Lock({"default": Environment(request=Request(indexes=(INDEX,)), targets=(LINUX.with_python(packages),))})


def refusal(data: str | bytes, name: str, machines: tuple[Target, ...] = (LINUX,)) -> str:
    with pytest.raises(LockRefused) as refused:
        import_bytes(data.encode() if isinstance(data, str) else data, name, Index(), machines=machines)
    return str(refused.value)


# --- requirements ---------------------------------------------------------------------------------------


def test_requirements_are_written_with_their_index_and_digest():
    direct = wheel("flask", "1.10")
    direct = PythonPackage(**{key: getattr(direct, key) for key in direct.__dataclass_fields__} | {"index": ""})
    assert export(lock_of(IDNA, direct), None, "requirements").decode() == (
        "# for linux-64, Python 3.11.7\n"
        f"--index-url {INDEX}\n"
        f"flask @ {direct.url} \\\n    --hash=sha256:{direct.sha256}\n"
        f"idna==3.0.0 \\\n    --hash=sha256:{IDNA.sha256}\n"
    )


@pytest.mark.parametrize(
    ("name", "packages"), [("airflow2-constraints.txt", 299), ("jupyter.txt", 93), ("syntax-basic.txt", 6)]
)
def test_real_pins_are_imported_for_every_machine(name: str, packages: int):
    lock = imported(real(f"requirements/{name}"), Index(), machines=[LINUX, WINDOWS])
    targets = lock.environment().targets
    assert [(target.platform, len(target.packages)) for target in targets] == [
        ("linux-64", packages),
        ("win-64", packages),
    ]


class Indexes:
    """A Completer that knows which index has which files."""

    def __init__(self, **files: str) -> None:
        self.asked: list[Wanted] = []
        self._files = {f"https://{host}.example.org/simple": name for host, name in files.items()}

    def find(self, wanted: Sequence[Wanted]) -> dict[Wanted, list[KnownFile]]:
        self.asked += wanted
        found = {"": "idna-3.0.0-py3-none-any.whl", **self._files}
        return {
            one: [KnownFile(found[one.source], f"https://files.example.org/{one.source}", 5, "a" * 64)]
            for one in wanted
            if found.get(one.source, "").startswith(f"{one.name}-")
        }


EXTRA, MAIN = "https://extra.example.org/simple", "https://main.example.org/simple"


@pytest.mark.parametrize(
    ("option", "main"), [("", ""), (f"-i {MAIN}\n", MAIN)], ids=["beside the default one", "beside one that is named"]
)
def test_an_extra_index_is_asked_beside_the_main_one(option: str, main: str):
    text = f"{option}--extra-index-url {EXTRA}\ntorch==2.5.0+cpu\nidna==3.0.0\n"
    indexes = Indexes(extra="torch-2.5.0+cpu-cp311-cp311-linux_x86_64.whl", main="idna-3.0.0-py3-none-any.whl")
    lock = import_bytes(text.encode(), "r.txt", indexes, machines=[LINUX])
    assert [(one.name, one.source, one.beside) for one in indexes.asked] == [
        ("torch", main, False),
        ("torch", EXTRA, True),
        ("idna", main, False),
        ("idna", EXTRA, True),
    ]
    [target] = lock.environment().targets
    assert {package.name: package.index for package in target.python} == {"torch": EXTRA, "idna": main}


def test_a_file_that_two_indexes_have_is_the_main_one_s():
    text = f"--extra-index-url={EXTRA}\nidna==3.0.0\n"
    lock = import_bytes(text.encode(), "r.txt", Indexes(extra="idna-3.0.0-py3-none-any.whl"), machines=[LINUX])
    [package] = lock.environment().targets[0].python
    assert (package.index, package.url) == ("", "https://files.example.org/")


def test_markers_choose_the_lines_of_each_machine():
    digests = {"werkzeug": "2e1ccc", "urllib3": "8a3887", "ansicon": "e4d039", "requests_oauthlib": "75beac"}
    text = real("requirements/syntax-poetry-with-hashes.txt").read_text()
    full = {
        name: next(word for word in text.split("sha256:") if word.startswith(start))[:64]
        for name, start in digests.items()
    }
    versions = {"werkzeug": "2.2.3", "urllib3": "1.26.15", "ansicon": "1.89.0", "requests_oauthlib": "1.3.1"}
    files = [
        KnownFile(f"{name}-{versions[name]}-py3-none-any.whl", f"https://files.example.org/{name}", 5, full[name])
        for name in digests
    ]
    files.append(KnownFile("psycopg2-2.9.5.tar.gz", "https://files.example.org/p", 9, text.split("sha256:")[-1][:64]))
    lock = import_bytes(text.encode(), "r.txt", Index({file.url: file for file in files}), machines=[LINUX, WINDOWS])
    on_linux, on_windows = lock.environment().targets
    assert [p.name for p in on_windows.packages] == [
        "psycopg2",
        "ansicon",
        "requests-oauthlib",
        "urllib3",
        "werkzeug",
    ]
    assert [p.name for p in on_linux.packages] == ["psycopg2", "requests-oauthlib", "urllib3", "werkzeug"]
    assert on_linux.packages[0].kind == "sdist"


def test_a_file_whose_digest_the_line_does_not_name_is_not_taken():
    text = f"idna==3.0.0 --hash=sha256:{'0' * 64}\n"
    with pytest.raises(LockIncomplete, match=r"line 1: no known file of idna 3.0.0 fits linux-64"):
        import_bytes(text.encode(), "r.txt", Index.of(lock_of(IDNA)), machines=[LINUX])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("numpy", "does not pin one version: 'numpy'"),
        ("numpy>=1", "does not pin one version"),
        ("numpy==1.*", "does not pin one version"),
        ("numpy==1,!=2", "does not pin one version"),
        ("-e ./here", "is an option that no lock has: '-e ./here'"),
        ("-r other.txt", "is an option that no lock has"),
        ("./here", "is not a requirement (PEP 508)"),
        ("n @ git+https://code.example.org/n", "does not pin one version"),
        ("--index-url https://me:secret@index.example.org/simple", "carries credentials"),
        ("numpy==1.0 \\\n  numpy==2.0", "is not a requirement (PEP 508)"),
    ],
)
def test_a_line_that_is_no_pin_is_refused_with_its_number(line: str, why: str):
    assert f"line 2: {why}" in refusal(f"# a comment\n{line}\n", "r.txt")


def test_lines_are_joined_at_backslashes_and_comments_are_left_out():
    text = f"idna==3.0.0 \\\n    --hash=sha256:{IDNA.sha256}  # via nobody\n\n--index-url={INDEX}\n"
    [package] = (
        import_bytes(text.encode(), "r.txt", Index.of(lock_of(IDNA)), machines=[LINUX]).environment().target().python
    )
    assert (package.url, package.sha256, package.index) == (IDNA.url, IDNA.sha256, INDEX)


def test_formats_without_a_machine_ask_for_one():
    assert "does not say for which machine" in refusal("idna==1\n", "r.txt", ())
    assert "does not say for which machine" in refusal(UV, "uv.lock", ())
    assert "does not say for which machine" in refusal(PYLOCK, "pylock.toml", ())


# --- pylock.toml ----------------------------------------------------------------------------------------

PYLOCK = f"""
lock-version = "1.0"
created-by = "someone"
[[packages]]
name = "idna"
version = "3.7"
index = "{INDEX}"
dependencies = [{{ name = "attrs", version = "1.0" }}]
[[packages.wheels]]
url = "https://files.example.org/idna-3.7-cp311-cp311-win_amd64.whl"
hashes = {{ sha256 = "{"1" * 64}" }}
[[packages.wheels]]
url = "https://files.example.org/idna-3.7-py3-none-any.whl"
hashes = {{ sha256 = "{"2" * 64}" }}
size = 12
[[packages]]
name = "only-windows"
version = "1.0"
marker = "sys_platform == 'win32'"
archive = {{ url = "https://files.example.org/only.zip", size = 5, hashes = {{ sha256 = "{"3" * 64}" }} }}
"""


def test_a_pylock_of_others_is_read_for_each_machine():
    lock = import_bytes(PYLOCK.encode(), "pylock.toml", Index(), machines=[LINUX, WINDOWS])
    on_linux, on_windows = lock.environment().targets
    assert [(p.filename, p.sha256[0], p.size, p.depends) for p in on_linux.python] == [
        ("idna-3.7-py3-none-any.whl", "2", 12, ("attrs==1.0",))
    ]
    assert [(p.kind, p.filename) for p in on_windows.python] == [
        ("sdist", "only.zip"),
        ("wheel", "idna-3.7-py3-none-any.whl"),
    ]


def test_what_we_write_is_a_pylock():
    written = tomllib.loads(export(lock_of(IDNA), None, "pylock").decode())
    pylock = Pylock.from_dict(written)
    assert pylock.created_by == "envagent"
    assert str(pylock.requires_python) == "==3.11.*"
    assert [(package.name, str(package.version)) for package in pylock.packages] == [("idna", "3.0.0")]


def test_an_index_that_a_lock_calls_by_name_stays_a_name():
    named = PythonPackage(**{key: getattr(IDNA, key) for key in IDNA.__dataclass_fields__} | {"index": "main"})
    written = export(lock_of(named), None, "pylock")
    assert "index" not in tomllib.loads(written.decode())["packages"][0]
    assert import_bytes(written, "pylock.toml", Nobody()).environment().target().python[0].index == "main"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"lock-version": "2.0"}, "is not a pylock.toml (PEP 751)"),
        ({"packages": [{"name": "a", "directory": {"path": "."}}]}, "is a directory or a checkout"),
        ({"requires-python": "<3"}, "cannot be installed on linux-64"),
        ({"environments": ["sys_platform == 'win32'"]}, "cannot be installed on linux-64"),
        ({"environments": ["os_name ~= 'x'"]}, "cannot be installed on linux-64"),
    ],
)
def test_a_pylock_that_cannot_be_installed_from_is_refused(change: dict[str, Any], why: str):
    document = tomllib.loads(PYLOCK) | change
    assert why in refusal(tomli_w.dumps(document), "pylock.toml")


def test_a_local_file_in_a_pylock_is_refused():
    text = PYLOCK.replace('url = "https://files.example.org/idna-3.7-py3', 'path = "./idna-3.7-py3')
    assert "is a local file, ./idna-3.7-py3-none-any.whl" in refusal(text, "pylock.toml")


def test_a_wheel_that_was_built_here_has_no_place_in_formats_of_upstreams_files():
    built = f"git+https://code.example.org/idna@{'a' * 40}"
    package = PythonPackage(
        **{k: getattr(IDNA, k) for k in IDNA.__dataclass_fields__} | {"url": "", "built_from": built}
    )
    for form in ("pylock", "requirements", "pixi", "conda-lock"):
        with pytest.raises(CannotExport, match="has no place for idna"):
            export(lock_of(package), None, form)


# --- uv.lock --------------------------------------------------------------------------------------------

UV = f"""
version = 1
requires-python = ">=3.8"
[[package]]
name = "app"
version = "0.1"
source = {{ editable = "." }}
dependencies = [
    {{ name = "idna", extra = ["fast"] }},
    {{ name = "attrs", version = "1.0", marker = "python_full_version < '3.9'" }},
    {{ name = "attrs", version = "2.0", marker = "python_full_version >= '3.9'" }},
]
[package.dev-dependencies]
dev = [{{ name = "pytest" }}]
[[package]]
name = "idna"
version = "3.7"
source = {{ registry = "{INDEX}" }}
wheels = [{{ url = "https://files.example.org/idna-3.7-py3-none-any.whl", hash = "sha256:{"1" * 64}", size = 3 }}]
[package.optional-dependencies]
fast = [{{ name = "speed", marker = "sys_platform == 'linux'" }}]
[[package]]
name = "speed"
version = "1.0"
source = {{ registry = "{INDEX}" }}
sdist = {{ url = "https://files.example.org/speed-1.0.tar.gz", hash = "sha256:{"2" * 64}", size = 4 }}
[[package]]
name = "pytest"
version = "8.0"
source = {{ registry = "{INDEX}" }}
wheels = [{{ url = "https://files.example.org/pytest-8.0-py3-none-any.whl", hash = "sha256:{"3" * 64}", size = 5 }}]
[[package]]
name = "attrs"
version = "1.0"
source = {{ registry = "{INDEX}" }}
wheels = [{{ url = "https://files.example.org/attrs-1.0-py3-none-any.whl", hash = "sha256:{"4" * 64}", size = 6 }}]
[[package]]
name = "attrs"
version = "2.0"
source = {{ registry = "{INDEX}" }}
wheels = [{{ url = "https://files.example.org/attrs-2.0-py3-none-any.whl", hash = "sha256:{"5" * 64}", size = 7 }}]
"""


def test_a_universal_lock_is_walked_for_each_machine_and_group():
    lock = import_bytes(UV.encode(), "uv.lock", Nobody(), machines=[LINUX, WINDOWS])
    chosen = {
        (name, target.platform): [f"{package.name} {package.version}" for package in target.packages]
        for name, environment in lock.environments.items()
        for target in environment.targets
    }
    assert chosen == {
        ("default", "linux-64"): ["speed 1.0", "attrs 2.0", "idna 3.7"],
        ("default", "win-64"): ["attrs 1.0", "idna 3.7"],
        ("dev", "linux-64"): ["speed 1.0", "attrs 2.0", "idna 3.7", "pytest 8.0"],
        ("dev", "win-64"): ["attrs 1.0", "idna 3.7", "pytest 8.0"],
    }
    assert lock.environments["dev"].request.indexes == (INDEX,)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("version = 1\n", "version = 2\n", "is not 1"),
        ('{ editable = "." }', f'{{ registry = "{INDEX}" }}', "has no project of its own"),
        ("sdist = ", "other = ", "(speed) has no wheel for this machine and no sdist with a digest"),
        ('{ name = "pytest" }', '{ name = "nose" }', "(nose) is not among the packages"),
        ("sys_platform == 'linux'", "sys_platform ==", "is not a marker (PEP 508)"),
        ("sys_platform == 'linux'", "sys_platform ~= 'linux'", "means nothing"),
        ("1" * 64, "1" * 63, "is not a sha256"),
        ("https://files.example.org/idna", "https://me:secret@files.example.org/idna", "carries credentials"),
    ],
)
def test_a_uv_lock_that_does_not_pin_files_is_refused(old: str, new: str, why: str):
    assert old in UV
    assert why in refusal(UV.replace(old, new, 1), "uv.lock")


def test_the_real_uv_lock_gives_each_group_its_environment():
    lock = imported(
        real("uv/uv.lock"),
        machines=[Target(platform="linux-64", interpreter=Interpreter("system", version="3.12.1"))],
    )
    assert {name: len(environment.target().packages) for name, environment in lock.environments.items()} == {
        "default": 0,
        "check": 8,
        "docker": 2,
        "docs": 52,
        "release": 28,
    }
