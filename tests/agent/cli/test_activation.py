"""A command inside an environment: the variables it sees, and the scripts of a Conda environment before it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from envagent.activation import variables

ENTER = (
    "import os, sys; from envagent.activation import enter; sys.exit(enter(sys.argv[1], sys.argv[2:], os.environ))"
)


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A Conda environment that has nothing but scripts."""
    scripts = tmp_path / "my env" / "etc" / "conda" / "activate.d"
    scripts.mkdir(parents=True)
    (tmp_path / "my env" / "conda-meta").mkdir()
    (scripts / "10-sdk.sh").write_text('export SDK_HOME="$CONDA_PREFIX/sdk"\n')
    (scripts / "20-more.sh").write_text('export MORE="$SDK_HOME/more"\n')
    (scripts / "ignored.fish").write_text("exit 1\n")
    return tmp_path / "my env"


def entered(prefix: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ENTER, prefix, *command], capture_output=True, text=True, check=False
    )


def test_scripts_of_a_conda_environment_run_in_order_before_the_command(prefix: Path) -> None:
    said = entered(prefix, "sh", "-c", 'echo "$MORE" "$#" "$1"', "sh", "two words")
    assert (said.stdout, said.stderr) == (f"{prefix}/sdk/more 1 two words\n", "")


def test_the_exit_code_passes_through_the_scripts_shell(prefix: Path) -> None:
    assert entered(prefix, "sh", "-c", "exit 9").returncode == 9


def test_a_file_that_may_not_be_run_is_exit_code_126(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    said = entered(tmp_path, str(tmp_path / "text"))
    assert (said.returncode, said.stderr) == (
        126,
        f"error: {tmp_path}/text cannot be run: Permission denied\n",
    )


def test_conda_s_variables_and_venv_s_exclude_each_other() -> None:
    before = {"PATH": "/bin", "VIRTUAL_ENV": "/old", "CONDA_PREFIX": "/older", "PYTHONHOME": "/x", "LANG": "C"}
    assert variables("/env", before, is_conda=False) == {"PATH": "/env/bin:/bin", "VIRTUAL_ENV": "/env", "LANG": "C"}
    assert variables("/env", before, is_conda=True) == {
        "PATH": "/env/bin:/bin",
        "CONDA_PREFIX": "/env",
        "CONDA_DEFAULT_ENV": "/env",
        "LANG": "C",
    }
