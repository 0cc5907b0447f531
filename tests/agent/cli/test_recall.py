"""The short way back to an environment: when a note answers, and when it must not."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from envagent.recall import FLAGS, Answer, Question, flags_of, plain_arguments, prune, recalled, separated
from envagent.table import COMMANDS, parsed
from envproxy.command import RUN
from fixtures.agent import PYTHON


class Made:
    """A lock file, and a prefix that a note says it led to."""

    def __init__(self, root: Path) -> None:
        self.data, self.prefix, self.lock, self.used = (
            root / "data",
            root / "prefix",
            root / "lock.json",
            root / "used",
        )
        (self.prefix / ".envmesh").mkdir(parents=True)
        (self.prefix / ".envmesh" / "ready.json").write_text("{}")
        (self.prefix / "bin").mkdir()
        (self.prefix / "bin" / "python").write_text("")
        self.lock.write_text('{"envmesh-lock": 1}')
        self.used.write_text("")
        os.utime(self.used, (0, 0))
        self.environ = {"HOME": str(root), "ENVAGENT_DATA": str(self.data)}
        self.note_answer(PYTHON)

    def note_answer(self, python: str) -> None:
        names = {"env": "", "target": "", "prefix": ""}
        question = Question(self.lock.read_bytes(), **names, link_mode="hardlink", python=python)
        Answer(str(self.prefix), '{"new": false}', str(self.used)).write(question.note(str(self.data)))

    def asked(self, *words: str, **environ: str) -> Answer | None:
        return recalled("materialize", [str(self.lock), *words], environ or self.environ)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_the_same_bytes_lead_to_the_same_prefix_whatever_the_file_is_called(made: Made) -> None:
    answer = made.asked("--json")
    assert answer is not None
    assert (answer.prefix, answer.json) == (str(made.prefix), '{"new": false}')
    moved = made.lock.rename(made.lock.with_name("other.json"))
    assert recalled("run", ["--lock", str(moved)], made.environ) is not None


def test_an_answer_marks_its_environment_as_used(made: Made) -> None:
    assert made.asked()
    assert made.used.stat().st_mtime > 0


@pytest.mark.parametrize(
    "words",
    [
        ("--env", "gpu"),
        ("--target=gpu",),
        ("--prefix", "elsewhere"),
        ("--link-mode", "overlay"),
        ("--frobnicate",),
        ("--env",),
        ("second.json",),
    ],
    ids=" ".join,
)
def test_another_question_is_not_answered(made: Made, words: tuple[str, ...]) -> None:
    assert made.asked(*words) is None


def test_other_bytes_are_not_answered(made: Made) -> None:
    made.lock.write_text('{"envmesh-lock": 1} ')
    assert made.asked() is None


def test_what_was_decided_for_another_python_is_not_answered(made: Made) -> None:
    made.lock.write_text("idna==3.7\n")
    made.note_answer("3.9.1")
    assert made.asked() is None
    made.note_answer(PYTHON)
    assert made.asked()


@pytest.mark.parametrize("path", [".envmesh/ready.json", "bin/python"])
def test_a_prefix_that_was_made_anew_is_not_answered(made: Made, path: str) -> None:
    place = made.prefix / path
    kept = place.with_suffix(".old")
    place.rename(kept)
    assert made.asked() is None
    place.write_bytes(kept.read_bytes())
    assert made.asked() is None


def test_a_note_that_is_torn_is_not_answered(made: Made) -> None:
    [note] = (made.data / "answers").iterdir()
    note.write_text("half")
    assert made.asked() is None


def test_the_data_directory_is_found_as_the_configuration_finds_it(made: Made, tmp_path: Path) -> None:
    elsewhere = {"HOME": str(tmp_path)}
    assert made.asked(**elsewhere) is None
    assert made.asked("--data", str(made.data), **elsewhere)
    (tmp_path / "agent.toml").write_text(f'data = "{made.data}"\n')
    assert made.asked("--config", str(tmp_path / "agent.toml"), **elsewhere)
    (tmp_path / ".local" / "share").mkdir(parents=True)
    (tmp_path / ".local" / "share" / "envagent").symlink_to(made.data)
    assert made.asked(**elsewhere)


def test_the_link_mode_is_found_as_the_configuration_finds_it(made: Made, tmp_path: Path) -> None:
    assert made.asked("--link-mode", "hardlink")
    assert made.asked(**made.environ, ENVAGENT_LINK_MODE="overlay") is None
    (tmp_path / "agent.toml").write_text('link-mode = "overlay"\n')
    assert made.asked("--config", str(tmp_path / "agent.toml")) is None


def test_a_configuration_that_cannot_be_read_is_left_to_the_long_way(made: Made, tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text("data = [")
    assert made.asked("--config", str(tmp_path / "agent.toml"), HOME=str(tmp_path)) is None


def test_any_number_of_threads_may_write_one_note(made: Made) -> None:
    [note] = (made.data / "answers").iterdir()
    answer = Answer(str(made.prefix), '{"new": false}', str(made.used))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: answer.write(str(note)), range(400)))
    assert made.asked()
    assert list(note.parent.iterdir()) == [note]


def test_notes_are_pruned_that_hold_no_more_or_were_never_finished(made: Made) -> None:
    [note] = (made.data / "answers").iterdir()
    Path(f"{note}.0123456789abcdef").write_bytes(note.read_bytes())  # its writer was killed before the rename
    note.with_name("torn").write_text("half")
    prune(str(made.data))
    assert list(note.parent.iterdir()) == [note]


def test_a_note_may_vanish_while_others_are_pruned(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    [note] = (made.data / "answers").iterdir()
    monkeypatch.setattr(os, "listdir", lambda _: [f"{note.name}.0123456789abcdef", "gone", note.name])
    prune(str(made.data))
    assert made.asked()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("--lock lock.json python -V", "--lock lock.json -- python -V"),
        ("--lock=lock.json --early python --early", "--lock=lock.json --early -- python --early"),
        ("--lock lock.json -- python -- -V", "--lock lock.json -- python -- -V"),
        ("--lock lock.json python -- -V", "--lock lock.json -- python -- -V"),
        ("--lock lock.json --frobnicate python", "--lock lock.json --frobnicate python"),
        ("--lock lock.json", "--lock lock.json"),
        ("--lock", "--lock"),
        ("--help", "--help"),
    ],
)
def test_the_command_of_run_begins_at_its_name(said: str, meant: str) -> None:
    assert separated(said.split()) == meant.split()


@pytest.mark.parametrize("command", FLAGS)
def test_every_flag_of_the_command_line_is_known_here(command: str) -> None:
    [declared] = [each for each in COMMANDS if each.name == command]
    flags = [argument for argument in declared.arguments if argument.flag]
    valued, switches = FLAGS[command]
    assert {argument.flag for argument in flags if argument.metavar} == valued
    assert {argument.flag for argument in flags if not argument.metavar} == switches


def test_flags_are_read_in_both_spellings() -> None:
    words = ["--env", "gpu", "--json", "lock.json", "--prefix=/opt/x=y"]
    assert flags_of("materialize", words) == {
        "env": "gpu", "json": "--json", "lock": "lock.json", "prefix": "/opt/x=y",
    }  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        "lock.json",
        "lock.json --json --early",
        "--prefix=/opt/x=y lock.json --no-bytecode --env gpu --link-mode overlay",
        "--target linux-64 --target=other --proxy http://proxy.example.org --no-proxy-fallback --data d lock.json",
    ],
)
def test_plain_words_are_read_as_the_parser_reads_them(words: str) -> None:
    arguments = plain_arguments(words.split())
    read_by_the_parser = vars(parsed(["materialize", *words.split()]))
    assert arguments is not None
    assert vars(arguments) == {name: value for name, value in read_by_the_parser.items() if name != RUN}


@pytest.mark.parametrize(
    "words", ["", "--json", "a.json b.json", "lock.json --env", "--env --json lock.json", "lock.json --pre x", "-h"]
)
def test_words_that_are_not_plain_are_left_to_the_parser(words: str) -> None:
    assert plain_arguments(words.split()) is None


def test_a_lock_that_comes_through_a_pipe_is_left_for_the_one_who_reads_it() -> None:
    source, sink = os.pipe()
    try:
        os.write(sink, b"{}")
        assert recalled("materialize", [f"/dev/fd/{source}"], {"HOME": "/nonexistent"}) is None
        assert os.read(source, 3) == b"{}"
    finally:
        os.close(source)
        os.close(sink)
