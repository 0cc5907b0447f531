"""What a Python said of itself is asked once, as long as it is the same program."""

from __future__ import annotations

import os
import sys
import venv
from pathlib import Path

import pytest

from envagent.errors import PrefixRefused
from envagent.materialize.interpreter import describe
from envagent.materialize.interpreters import Interpreters


@pytest.fixture
def environment(tmp_path):
    """A virtual environment of the running Python."""
    venv.create(tmp_path / "venv", symlinks=True, with_pip=False)
    return tmp_path / "venv"


def _mark(folder: Path) -> None:
    """Make the answers that are kept tell themselves from new ones."""
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b'"soabi":"', b'"soabi":"kept-'))


def test_the_answer_is_that_of_the_program_itself(tmp_path):
    asked = Interpreters(tmp_path / "pythons")
    assert asked.describe(Path(sys.executable)) == describe(Path(sys.executable))
    assert asked.describe(Path(sys.executable)) == describe(Path(sys.executable))


def test_a_program_that_was_asked_is_not_run_again(tmp_path, environment):
    Interpreters(tmp_path / "pythons").describe(environment / "bin" / "python")
    _mark(tmp_path / "pythons")
    again = Interpreters(tmp_path / "pythons").describe(environment / "bin" / "python")
    assert again.soabi.startswith("kept-")


def test_what_wheels_it_can_run_is_not_worked_out_again(tmp_path):
    first = Interpreters(tmp_path / "pythons").describe(Path(sys.executable))
    assert first.tags == describe(Path(sys.executable)).tags
    for path in (tmp_path / "pythons").iterdir():
        path.write_bytes(path.read_bytes().replace(b'"py3-none-any"', b'"kept-none-any"'))
    again = Interpreters(tmp_path / "pythons").describe(Path(sys.executable))
    assert again.tags == first.tags - {"py3-none-any"} | {"kept-none-any"}


def test_an_environment_of_another_python_at_the_same_place_is_asked_anew(tmp_path, environment):
    asked = Interpreters(tmp_path / "pythons")
    asked.describe(environment / "bin" / "python")
    _mark(tmp_path / "pythons")
    (environment / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    assert not asked.describe(environment / "bin" / "python").soabi.startswith("kept-")


def test_a_program_that_was_replaced_is_asked_anew(tmp_path, environment):
    program = environment / "bin" / "python"
    program.unlink()
    program.write_bytes(Path(sys.executable).resolve().read_bytes())
    program.chmod(0o755)
    asked = Interpreters(tmp_path / "pythons")
    asked.describe(program)
    _mark(tmp_path / "pythons")
    os.utime(program, ns=(1, 1))
    assert not asked.describe(program).soabi.startswith("kept-")


def test_a_script_is_asked_each_time_for_what_it_leads_to_may_change(tmp_path):
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    asked = Interpreters(tmp_path / "pythons")
    assert asked.describe(script).version == describe(Path(sys.executable)).version
    assert not (tmp_path / "pythons").exists()


def test_what_is_no_python_is_refused_each_time(tmp_path):
    with pytest.raises(PrefixRefused):
        Interpreters(tmp_path / "pythons").describe(tmp_path / "absent")


def test_an_answer_that_cannot_be_kept_is_given_all_the_same(tmp_path):
    (tmp_path / "pythons").write_text("a file where a directory should be")
    assert Interpreters(tmp_path / "pythons").describe(Path(sys.executable)) == describe(Path(sys.executable))


def test_an_answer_that_was_cut_off_is_asked_for_again(tmp_path):
    asked = Interpreters(tmp_path / "pythons")
    asked.describe(Path(sys.executable))
    for path in (tmp_path / "pythons").iterdir():
        path.write_bytes(path.read_bytes()[:20])
    assert asked.describe(Path(sys.executable)) == describe(Path(sys.executable))
