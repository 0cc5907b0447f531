"""Files that say what is to be locked, each in its format."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from envagent.errors import LockRefused, UsageError
from envagent.lock.model import Request
from envagent.resolve.inputs import Inputs, read
from fixtures.locks import REAL, example

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://index.example.org/simple"


def reading(folder: Path, name: str, text: str, **chosen: object) -> Inputs:
    (folder / name).write_text(text, encoding="utf-8")
    return read([folder / name], **{"env": "default", **chosen})


def problems(folder: Path, name: str, text: str, **chosen: object) -> list[str]:
    with pytest.raises(LockRefused) as refused:
        reading(folder, name, text, **chosen)
    return [f"{problem.where}: {problem.what}" for problem in refused.value.problems]


# --- requirements.txt -----------------------------------------------------------------------------------


def test_requirements_with_markers_extras_urls_and_comments(tmp_path: Path) -> None:
    text = (
        "# what we need\n"
        "numpy>=2  # fast\n"
        "pandas[sql]~=2.1 ; python_version >= '3.10'\n"
        "\n"
        "tool @ https://files.example.org/tool-1.0-py3-none-any.whl\n"
        "lib @ git+https://git.example.org/lib@main\n"
        "long \\\n    ==1.0\n"
    )
    assert reading(tmp_path, "requirements.txt", text).request == Request(
        pypi=(
            "numpy>=2",
            'pandas[sql]~=2.1; python_version >= "3.10"',
            "tool @ https://files.example.org/tool-1.0-py3-none-any.whl",
            "lib @ git+https://git.example.org/lib@main",
            "long==1.0",
        )
    )


def test_included_files_are_read_beside_the_one_that_names_them(tmp_path: Path) -> None:
    folder = tmp_path / "requirements"
    folder.mkdir()
    (folder / "base.txt").write_text("-c limits.txt\nalpha\n")
    (folder / "limits.txt").write_text("beta<2\nalpha<3\n")
    request = reading(tmp_path, "dev.in", "--requirement requirements/base.txt\ngamma\n").request
    assert request.pypi == ("alpha", "gamma")
    assert request.options == {"constraints": '["alpha<3", "beta<2"]'}


def test_options_that_say_where_to_look_become_indexes_in_their_order(tmp_path: Path) -> None:
    text = (
        f"--index-url {URL}\n--extra-index-url=https://corp.example.org/simple\n--pre\n--only-binary :all:\nalpha\n"
    )
    request = reading(tmp_path, "requirements.txt", text).request
    assert request.indexes == ("https://corp.example.org/simple", URL)
    assert request.options == {"prerelease": "allow", "only-binary": "yes"}


def test_lines_that_no_lock_can_follow_are_refused_all_at_once(tmp_path: Path) -> None:
    text = "-e ./lib\n./wheels/a.whl\nalpha==1.0 --hash=sha256:00\n-f wheels\n-r absent.txt\nbeta\nold @ ../old\n"
    assert problems(tmp_path, "requirements.txt", text) == [
        "requirements.txt line 1: is an option that no lock can follow: '-e ./lib'",
        "requirements.txt line 2: is on this machine alone, and a lock names what others have too: './wheels/a.whl'",
        "requirements.txt line 3: has digests, so this is a lock (`envagent import` reads it)",
        "requirements.txt line 4: is an option that no lock can follow: '-f wheels'",
        "absent.txt: cannot be read: No such file or directory",
        "requirements.txt line 7: is on this machine alone, and a lock names what others have too: 'old @ ../old'",
    ]


def test_a_file_that_includes_itself_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, "a.txt", "-r a.txt\n") == ["a.txt: includes itself"]


@pytest.mark.skipif(not REAL.exists(), reason="the real requirement sets are not on this machine")
@pytest.mark.parametrize(("name", "count"), [("home-assistant.in", 1), ("jupyter.txt", 1), ("syntax-small.txt", 2)])
def test_real_requirement_sets_are_read(name: str, count: int) -> None:
    assert len(read([REAL / "requirements" / name], "default").request.pypi) >= count


# --- pyproject.toml -------------------------------------------------------------------------------------

PROJECT = """
[project]
name = "My.App"
requires-python = ">=3.11"
dependencies = ["numpy>=2", "lib"]
[project.optional-dependencies]
sql = ["sqlalchemy"]
All-Of-It = ["my_app[sql]", "plots"]
[dependency-groups]
test = ["pytest", {include-group = "typing"}]
typing = ["mypy"]
[tool.uv.sources]
lib = {git = "https://git.example.org/lib", tag = "v1", subdirectory = "python"}
"""


def test_a_project_asks_for_its_dependencies_from_where_its_sources_say(tmp_path: Path) -> None:
    assert reading(tmp_path, "pyproject.toml", PROJECT).request == Request(
        python=">=3.11", pypi=("numpy>=2", "lib @ git+https://git.example.org/lib@v1#subdirectory=python")
    )


def test_extras_and_groups_bring_what_they_include(tmp_path: Path) -> None:
    request = reading(tmp_path, "pyproject.toml", PROJECT, extras=["all-of-it"], groups=["test"]).request
    assert {"sqlalchemy", "plots", "pytest", "mypy"} <= set(request.pypi)
    assert not any("my_app" in line for line in request.pypi)


def test_extras_and_groups_that_are_not_there_are_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, "pyproject.toml", PROJECT, extras=["gpu"]) == [
        "$.project.optional-dependencies: has no extra 'gpu'"
    ]
    assert problems(tmp_path, "pyproject.toml", PROJECT, groups=["docs"]) == [
        "$.dependency-groups: Dependency group 'docs' not found"
    ]


def test_lines_of_groups_and_sources_that_lead_to_this_machine_are_refused_at_once_by_place(tmp_path: Path) -> None:
    text = """
[project]
name = "a"
dependencies = ["b", "c @ file:///srv/c"]
[dependency-groups]
Dev = ["d @ ../d", "e", {include-group = "more_"}]
more- = ["./f"]
other = ["./g"]
[tool.uv.sources]
b = {workspace = true}
e = {path = "../e"}
"""
    local = "is on this machine alone, and a lock names what others have too"
    assert problems(tmp_path, "pyproject.toml", text, groups=["dev"]) == [
        f"$.project.dependencies[1]: {local}",
        f"$.dependency-groups.Dev[0]: {local}",
        "$.dependency-groups.more-[0]: is not a requirement (PEP 508)",
        "$.tool.uv.sources.b: is a source that a lock cannot follow",
    ]


def test_what_only_a_build_or_this_machine_knows_of_a_project_is_refused(tmp_path: Path) -> None:
    text = '[project]\nname = "a"\ndynamic = ["dependencies"]\n'
    assert problems(tmp_path, "pyproject.toml", text) == [
        "$.project.dynamic: has dependencies, which only a build of the project would tell"
    ]
    text = '[project]\nname = "a"\ndependencies = ["b"]\n[tool.uv.sources]\nb = {path = "../b"}\n'
    assert problems(tmp_path, "pyproject.toml", text) == [
        "$.tool.uv.sources.b: is a source that a lock cannot follow"
    ]
    text = '[project]\nname = "a"\ndependencies = ["b @ file:///b", "c @ https://files.example.org/c-1.tar.gz"]\n'
    assert problems(tmp_path, "pyproject.toml", text) == [
        "$.project.dependencies[0]: is on this machine alone, and a lock names what others have too"
    ]


# --- environment.yml ------------------------------------------------------------------------------------


def test_an_environment_file_asks_for_specs_and_for_its_pip_section(tmp_path: Path) -> None:
    text = (
        "name: train\n"
        "channels: [conda-forge, nodefaults]\n"
        "dependencies:\n"
        "  - python=3.11\n"
        "  - bioconda::samtools >=1.2\n"
        "  - pip:\n"
        "    - torch>=2\n"
        "    - -r more.txt\n"
    )
    (tmp_path / "more.txt").write_text("alpha\n")
    assert reading(tmp_path, "environment.yml", text).request == Request(
        conda=("python=3.11", "bioconda::samtools >=1.2"), pypi=("torch>=2", "alpha"), channels=("conda-forge",)
    )


def test_the_defaults_of_conda_are_the_channels_that_conda_means(tmp_path: Path) -> None:
    text = "channels: [defaults]\ndependencies: [numpy]\nplatforms: [linux-64, osx-arm64]\n"
    inputs = reading(tmp_path, "environment.yaml", text)
    assert inputs.request.channels == ("https://repo.anaconda.com/pkgs/main", "https://repo.anaconda.com/pkgs/r")
    assert inputs.platforms == ("linux-64", "osx-arm64")


def test_what_an_environment_file_does_not_have_is_refused(tmp_path: Path) -> None:
    text = "dependencies:\n  - numpy\n  - npm: [left-pad]\nextra: 1\n"
    assert [line.partition(":")[0] for line in problems(tmp_path, "environment.yml", text)] == [
        "$.extra",
        "$.dependencies[1].npm",
    ]


# --- pixi.toml ------------------------------------------------------------------------------------------

PIXI = """
[workspace]
name = "demo"
channels = ["conda-forge", {channel = "bioconda", priority = 1}]
platforms = ["linux-64", "osx-arm64", "win-64"]
[dependencies]
python = "3.11.*"
numpy = "*"
mkl = {version = ">=2024", build = "*_0", channel = "intel"}
[pypi-dependencies]
requests = ">=2"
lib = {git = "https://git.example.org/lib", rev = "abc", extras = ["fast"]}
[target.unix.dependencies]
htop = "*"
[target.linux-64.pypi-dependencies]
uvloop = "*"
[system-requirements]
libc = {family = "glibc", version = "2.31"}
macos = "12.0"
[feature.cuda.dependencies]
cuda-nvcc = "12.*"
[feature.cuda.system-requirements]
cuda = "12"
[feature.cuda]
channels = ["nvidia"]
[environments]
gpu = ["cuda"]
"""


def test_a_workspace_asks_for_its_dependencies_on_all_platforms_and_on_some(tmp_path: Path) -> None:
    inputs = reading(tmp_path, "pixi.toml", PIXI)
    assert inputs.request == Request(
        conda=("python 3.11.*", "numpy", "intel::mkl[version='>=2024',build='*_0']", "htop ; unix"),
        pypi=(
            "requests>=2",
            "lib[fast] @ git+https://git.example.org/lib@abc",
            'uvloop; sys_platform == "linux" and platform_machine in "x86_64 AMD64"',
        ),
        channels=("conda-forge", "bioconda"),
    )
    assert inputs.platforms == ("linux-64+glibc=2.31", "osx-arm64+osx=12.0", "win-64")


def test_an_environment_of_a_workspace_has_what_its_features_add(tmp_path: Path) -> None:
    inputs = reading(tmp_path, "pixi.toml", PIXI, env="gpu")
    assert "cuda-nvcc 12.*" in inputs.request.conda
    assert inputs.request.channels == ("nvidia", "conda-forge", "bioconda")
    assert inputs.platforms == ("linux-64+cuda=12+glibc=2.31", "osx-arm64+osx=12.0", "win-64+cuda=12")


def test_what_a_workspace_has_only_on_this_machine_or_as_source_is_refused(tmp_path: Path) -> None:
    text = '[workspace]\nplatforms = ["linux-64"]\n[pypi-dependencies]\na = {path = ".", editable = true}\n'
    sources = '[dependencies]\nb = {path = "b"}\nc = {git = "https://git.example.org/c"}\n'
    assert problems(tmp_path, "pixi.toml", text + sources) == [
        "$.dependencies.b: is no package of a channel, but of a path",
        "$.dependencies.c: is no package of a channel, but of a git",
        "$.pypi-dependencies.a: is on this machine alone, and a lock names what others have too",
    ]


# --- locks, and several files ---------------------------------------------------------------------------


def test_a_lock_says_what_was_asked_for_and_for_which_machines(tmp_path: Path) -> None:
    (tmp_path / "lock.json").write_text(json.dumps(example()))
    inputs = read([tmp_path / "lock.json"], "default")
    assert inputs.lock is not None
    assert inputs.request == inputs.lock.environment().request
    assert [(m.name, m.packages, m.interpreter) for m in inputs.machines("default")] == [("linux-64", (), None)]


def test_a_lock_of_another_tool_is_no_input(tmp_path: Path) -> None:
    assert problems(tmp_path, "pylock.toml", 'lock-version = "1.0"\n') == [
        "$: is another tool's lock, and says what was found and not what was asked for"
    ]


def test_several_files_ask_together_and_the_last_word_on_python_holds(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "environment.yml").write_text("channels: [lab]\ndependencies: [ffmpeg]\n")
    (tmp_path / "limits.in").write_text("-c more.txt\nalpha\n")
    (tmp_path / "more.txt").write_text("beta<2\n")
    request = read(
        [tmp_path / name for name in ("pyproject.toml", "environment.yml", "limits.in")], "default"
    ).request
    assert (request.python, request.conda, request.channels) == (">=3.11", ("ffmpeg",), ("lab",))
    assert "alpha" in request.pypi
    assert "numpy>=2" in request.pypi


def test_two_locks_are_one_too_many(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps(example()))
    with pytest.raises(UsageError, match="two of the files are locks"):
        read([tmp_path / "a.json", tmp_path / "b.json"], "default")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", "[project]\nname = 'a'\ndependencies = ['not a requirement!', 1]\n"),
        ("pyproject.toml", "dependency-groups = 3\n"),
        ("pyproject.toml", "[project.optional-dependencies]\nx = 1\n"),
        ("pyproject.toml", "= nothing"),
        ("pixi.toml", "[workspace]\nplatforms = 'linux-64'\n[dependencies]\na = []\n"),
        ("pixi.toml", "[target.amiga.dependencies]\na = '*'\n"),
        ("pixi.toml", "[pypi-dependencies]\n'a b' = '*'\n"),
        ("environment.yml", "- a\n"),
        ("environment.yml", "dependencies: [[a]]\n"),
        ("environment.yml", "dependencies: &a [*a]\n"),
        ("environment.yml", "channels: ['https://user:secret@conda.example.org/lab']\n"),
        ("requirements.txt", "\x00"),
        ("lock.json", "{}"),
        ("notes.md", "# notes"),
    ],
)
def test_files_that_are_not_what_their_names_say_are_refused_with_the_place(
    tmp_path: Path, name: str, text: str
) -> None:
    assert problems(tmp_path, name, text, groups=["x"], extras=["x"])


def test_an_environment_that_the_workspace_does_not_have_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, "pixi.toml", PIXI, env="docs") == ["$.environments: has no environment 'docs'"]
