"""Activation scripts are those of `venv`, which is asked for them once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from venv import EnvBuilder

from envagent.materialize.activate import scripts

PREFIX = Path("/srv/my envs/an environment")


def scripts_of_venv(folder: Path) -> dict[str, bytes]:
    context = SimpleNamespace(
        env_dir=str(PREFIX),
        env_name=PREFIX.name,
        prompt=PREFIX.name,
        bin_name="bin",
        env_exe=f"{PREFIX}/bin/python",
        bin_path=str(folder),
    )
    EnvBuilder().setup_scripts(context)
    return {f"bin/{path.name}": path.read_bytes() for path in folder.iterdir()}


def test_they_are_those_that_venv_writes_the_first_time_and_later(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    expected = scripts_of_venv(tmp_path / "bin")
    assert {"bin/activate", "bin/activate.fish", "bin/activate.csh"} <= expected.keys()
    assert scripts(PREFIX, tmp_path) == expected
    assert scripts(PREFIX, tmp_path) == expected


def test_they_are_made_once(tmp_path: Path) -> None:
    scripts(PREFIX, tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_text('{"activate": "kept"}')
    assert scripts(PREFIX, tmp_path) == {"bin/activate": b"kept"}


def test_a_file_that_was_cut_off_is_made_anew(tmp_path: Path) -> None:
    first = scripts(PREFIX, tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:20])
    assert scripts(PREFIX, tmp_path) == first


def test_where_they_cannot_be_kept_they_are_made_all_the_same(tmp_path: Path) -> None:
    assert scripts(PREFIX, tmp_path / "absent") == scripts(PREFIX, tmp_path)
