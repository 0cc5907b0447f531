"""The command line itself: help, the reference, start-up, and where settings come from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from envagent.config import Config, load
from envagent.errors import UsageError
from envagent.table import COMMANDS, reference
from envproxy import __version__
from fixtures.agent import Agent

DOCS = Path(__file__).parents[3] / "docs"


def test_the_reference_in_the_docs_is_that_of_the_parser() -> None:
    assert (DOCS / "agent-cli.md").read_text("utf-8").endswith(reference())


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_teaches_by_example(command: Any, agent: Agent) -> None:
    said = agent.say(command.name, "--help")
    assert said.code == 0
    assert command.examples
    for line, why in command.examples:
        assert line == f"envagent {command.name}" or line.startswith(f"envagent {command.name} ")
        assert line in said.out
        assert why in said.out
    for argument in command.arguments:
        assert argument.shown.rpartition(", ")[2] in said.out


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ("materialise lock.json", "there is no command 'materialise'", "did you mean 'materialize'?"),
        ("frobnicate", "there is no command 'frobnicate'", "`envagent --help` lists what there is"),
        ("gc --budgt 5GB", "envagent gc knows nothing of '--budgt'", "did you mean '--budget'?"),
        ("list --jsn=yes", "envagent list knows nothing of '--jsn=yes'", "did you mean '--json'?"),
        (
            "verify env more",
            "envagent verify knows nothing of 'more'",
            "`envagent verify --help` lists what there is",
        ),
        ("--jsn list", "envagent list knows nothing of '--jsn'", "did you mean '--json'?"),
        ("run --lok lock.json", "the following arguments are required: --lock", ""),
    ],
)
def test_a_word_that_there_is_not_is_refused_with_the_likely_one(
    agent: Agent, words: str, message: str, hint: str
) -> None:
    said = agent.say(*words.split())
    assert said.code == 2
    assert f"error: {message}" in said.err
    assert hint in said.err


def test_the_version_is_the_package_s(agent: Agent) -> None:
    assert agent.say("--version").out == f"envagent {__version__}\n"


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (["--version"], {"argparse", "dataclasses", "envagent.table"}),
        (["--help"], {"aiohttp", "asyncio", "rich", "packaging", "msgspec", "yaml", "envagent.lock.model"}),
    ],
    ids=["version", "help"],
)
def test_a_start_imports_only_what_it_needs(words: list[str], heavy: set[str]) -> None:
    code = f"import sys, envagent.cli as c\ntry: c.main({words})\nexcept SystemExit: pass\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "envagent.cli" in loaded
    assert not loaded & heavy


# --- settings -------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    place = tmp_path / "agent.toml"
    place.write_text(
        'data = "/file"\nproxy = "http://file.example.org"\nproxy-fallback = false\nlink-mode = "copy"\n'
    )
    return place


def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(file: Path) -> None:
    environ = {"HOME": "/home/me", "ENVAGENT_DATA": "/variable", "ENVAGENT_PROXY": "http://variable.example.org/"}
    assert load({"data": "/flag"}, environ, file=str(file)) == Config(
        data=Path("/flag"),
        proxy="http://variable.example.org",
        proxy_fallback=False,
        link_mode="copy",
        bytecode=True,
    )


def test_the_data_directory_follows_the_base_directories() -> None:
    assert load({}, {"HOME": "/home/me"}).data == Path("/home/me/.local/share/envagent")
    assert load({}, {"HOME": "/home/me", "XDG_DATA_HOME": "/srv"}).data == Path("/srv/envagent")


def test_the_file_of_the_base_directories_is_read(tmp_path: Path) -> None:
    (tmp_path / "envagent").mkdir()
    (tmp_path / "envagent" / "config.toml").write_text("bytecode = false\n")
    assert load({}, {"HOME": "/home/me", "XDG_CONFIG_HOME": str(tmp_path)}).bytecode is False


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"ENVAGENT_PROXY": "proxy.example.org"}, "ENVAGENT_PROXY must be the origin of an envproxy"),
        ({"ENVAGENT_PROXY": "http://me:word@x.example.org"}, "ENVAGENT_PROXY has more in it than a host and a port"),
        ({"ENVAGENT_PROXY_FALLBACK": "perhaps"}, "ENVAGENT_PROXY_FALLBACK cannot be 'perhaps'"),
        ({"ENVAGENT_LINK_MODE": "symlink"}, "ENVAGENT_LINK_MODE cannot be 'symlink'"),
        ({"ENVAGENT_DATA": ""}, "ENVAGENT_DATA must be a path"),
        ({"ENVAGENT_CONFIG": "/nowhere.toml"}, "there is no configuration file /nowhere.toml"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_setting_that_cannot_be_is_refused_by_its_place(environ: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        load({}, {"HOME": "/home/me", **environ})
    assert refused.value.message.startswith(message)


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("ENVAGENT_PROXXY", "did you mean 'ENVAGENT_PROXY'?"),
        ("ENVAGENT_LINKMODE", "did you mean 'ENVAGENT_LINK_MODE'?"),
        ("ENVAGENT_HTTP", "ENVAGENT_ is for settings only: call other variables otherwise"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_likely_one(variable: str, hint: str, tmp_path: Path) -> None:
    said = Agent(tmp_path, {variable: "x"}).say("check")
    assert (said.code, said.err) == (2, f"error: {variable} is not the variable of a setting\nhint: {hint}\n")


def test_variables_that_kubernetes_sets_for_a_service_called_envagent_are_let_be() -> None:
    links = {"ENVAGENT_SERVICE_HOST": "10.0.0.7", "ENVAGENT_PORT": "tcp://10.0.0.7:8418"}
    assert load({}, {"HOME": "/home/me", **links}) == load({}, {"HOME": "/home/me"})


def test_a_key_that_is_no_setting_is_refused(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text("dada = 1\n")
    with pytest.raises(UsageError, match="dada is no setting") as refused:
        load({}, {"HOME": "/home/me"}, file=str(tmp_path / "agent.toml"))
    assert refused.value.hint == "did you mean 'data'?"


def test_check_lists_everything_that_is_wrong_with_the_settings(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('proxy = "proxy"\nlink-mode = "symlink"\nlimits = 3\nmin-free = "1XB"\n')
    said = Agent(tmp_path, {"ENVAGENT_PROXY_TOKEN": "env:NOWHERE"}).say("check", tmp_path / "agent.toml")
    assert (said.code, said.out) == (2, "")
    first, *faults = said.err.splitlines()
    assert first == "error: 5 settings cannot be as they are:"
    assert [fault.split()[:2] for fault in faults] == [
        ["ENVAGENT_PROXY_TOKEN", "refers"],
        [f"{tmp_path}/agent.toml:", "proxy"],
        [f"{tmp_path}/agent.toml:", "link-mode"],
        [f"{tmp_path}/agent.toml:", "limits"],
        [f"{tmp_path}/agent.toml:", "min-free"],
    ]
    assert faults[2].endswith(
        "link-mode cannot be 'symlink' (it is one of hardlink, reflink, copy, overlay, writable-overlay)"
    )


def test_check_says_what_holds(file: Path, tmp_path: Path) -> None:
    said = Agent(tmp_path).say("check", file)
    assert (said.code, said.out) == (
        0, f"{file} is fine: keeps /file, asks http://file.example.org, links by copy\n",
    )  # fmt: skip
