"""Bad input: a plain sentence and a hint, the documented exit code, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures.agent import Agent, lock_document, write_lock
from fixtures.faults import WrongBytes
from fixtures.raw_wheels import RawWheel
from fixtures.said import Said
from fixtures.upstream import FakeIndex
from fixtures.wheels import Dist, make_wheel

ALPHA = make_wheel("alpha", "1.0")
BETA = make_wheel("beta", "1.0")
LARGE = make_wheel("large", "1.0", payload_size=3_000_000)
LEFT = ("store/work", "artifacts/arriving")
FOREIGN = make_wheel("foreign", "1.0", tag="cp27-cp27m-win_amd64")


def dist_of(raw: RawWheel, data: bytes | None = None) -> Dist:
    return Dist(raw.name, raw.version, raw.filename, raw.bytes() if data is None else data, b"")  # type: ignore[arg-type]


ESCAPING = dist_of(RawWheel("escaping").add("../../evil.py", b"evil"))
CUT = dist_of(RawWheel("cut"), RawWheel("cut").bytes()[:200])
WORDY = dist_of(RawWheel("wordy").add("wordy/__init__.py", b"TEXT = '%s'\n" % (b"words " * 500_000)))
LYING = dist_of(RawWheel("lying", record=b"lying/__init__.py,sha256=AAAA,1\n").add("lying/__init__.py", b"x"))


def assert_refused(said: Said, code: int, *sentences: str, hint: bool = True) -> None:
    """The exit code, `error: ` with the sentences, a hint, nothing on stdout and no traceback."""
    assert (said.code, said.out) == (code, "")
    assert "error: " in said.err
    assert "Traceback" not in said.err
    for sentence in sentences:
        assert sentence in said.err
    if hint:
        assert "\nhint: " in said.err


# --- locks ----------------------------------------------------------------------------------------------


def spoil(where: str, value: object) -> Callable[[dict[str, Any]], None]:
    """A change of the target, or of its first package."""

    def change(document: dict[str, Any]) -> None:
        target = document["environments"]["default"]["targets"][0]
        (target if where in target else target["packages"][0])[where] = value

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (spoil("sha256", "0" * 63), "packages[0].sha256: is not a sha256"),
        (spoil("filename", "../alpha-1.0-py3-none-any.whl"), "packages[0].filename"),
        (spoil("url", "file:///etc/passwd"), "packages[0].url"),
        (spoil("size", -1), "packages[0].size"),
        (spoil("surprise", 1), "packages[0].surprise: is not known to this version"),
    ],
    ids=["digest", "filename", "url", "size", "key"],
)
async def test_a_lock_that_breaks_a_rule_is_refused_before_anything_is_made(
    agent: Agent, upstream: FakeIndex, tmp_path: Path, change: Callable[[dict[str, Any]], None], sentence: str
) -> None:
    document = lock_document(upstream, ALPHA)
    change(document)
    said = await agent.run("materialize", write_lock(document, tmp_path / "lock.json"), "--prefix", "env")
    assert_refused(said, 3, "lock.json is refused, 1 problem:", sentence, hint=False)
    assert not (tmp_path / "env").exists()
    assert upstream.requests == []


@pytest.mark.parametrize("text", [b"", b"{", b'{"envmesh-lock": 2}', b"\xff\xfe", b"hello"], ids=repr)
async def test_what_is_no_lock_is_refused(agent: Agent, tmp_path: Path, text: bytes) -> None:
    (tmp_path / "lock.json").write_bytes(text)
    assert_refused(await agent.run("materialize", "lock.json"), 3, "lock.json is refused", hint=False)


async def test_what_says_what_to_lock_is_told_from_a_lock(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "demo"\n')
    said = await agent.run("materialize", "pyproject.toml")
    assert_refused(said, 3, "is not a lock of a kind known here", "(`envagent lock` makes one", hint=False)


async def test_a_proxy_that_does_not_answer_is_named(
    agent: Agent, upstream: FakeIndex, tmp_path: Path, unused_tcp_port: int
) -> None:
    lock, proxy = (
        write_lock(lock_document(upstream, ALPHA), tmp_path / "lock.json"),
        f"http://127.0.0.1:{unused_tcp_port}",
    )
    said = await agent.run("materialize", lock, "--proxy", proxy, "--no-proxy-fallback")
    assert_refused(said, 1, "cannot be reached", f"is {proxy} the proxy, and does it run?")


async def test_a_lock_for_another_platform_is_refused_with_those_it_has(
    agent: Agent, upstream: FakeIndex, tmp_path: Path
) -> None:
    document = lock_document(upstream, ALPHA)
    document["environments"]["default"]["targets"][0]["platform"] = "win-64"
    lock = write_lock(document, tmp_path / "lock.json")
    assert_refused(await agent.run("materialize", lock), 2, "has no target for ", "hint: its platforms are: win-64")
    named = await agent.run("materialize", lock, "--target", "win-64")
    assert_refused(named, 2, "the target win-64 is for win-64, and this machine is ")


async def test_a_machine_without_the_gpu_that_all_targets_need_is_told_so(
    agent: Agent, upstream: FakeIndex, tmp_path: Path
) -> None:
    document = lock_document(upstream, ALPHA)
    document["environments"]["default"]["targets"][0]["virtual-packages"] = {"__cuda": "999.0"}
    said = await agent.run("materialize", write_lock(document, tmp_path / "lock.json"))
    assert_refused(said, 2, "__cuda 999.0 (here: ")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--env", "gpu"), "the lock has no environment 'gpu'"),
        (("--target", "other"), "the environment has no target 'other'"),
        (("--link-mode", "symlink"), "--link-mode cannot be 'symlink'\nhint: it is one of hardlink, "),
        (("--proxy", "localhost"), "--proxy must be the origin of an envproxy"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
async def test_what_there_is_not_is_refused_with_what_there_is(
    agent: Agent, upstream: FakeIndex, tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    lock = write_lock(lock_document(upstream, ALPHA), tmp_path / "lock.json")
    assert_refused(await agent.run("materialize", lock, *words), 2, sentence)


async def test_a_python_that_is_not_here_is_refused_with_those_that_are(
    agent: Agent, upstream: FakeIndex, tmp_path: Path
) -> None:
    lock = write_lock(lock_document(upstream, ALPHA, python="3.99.1"), tmp_path / "lock.json")
    assert_refused(await agent.run("materialize", lock), 2, "Python 3.99.1 is not on this machine; found: ")


# --- artifacts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dist", "sentence"),
    [
        (CUT, "cut-1.0-py3-none-any.whl is refused: "),
        (ESCAPING, "escaping-1.0-py3-none-any.whl is refused: "),
        (LYING, "lying-1.0-py3-none-any.whl is refused: "),
        (FOREIGN, "foreign-1.0-cp27-cp27m-win_amd64.whl is refused: "),
    ],
    ids=["truncated", "dot-dot", "record", "tag"],
)
async def test_a_wheel_that_breaks_a_rule_is_refused_by_name_and_leaves_nothing(
    agent: Agent, upstream: FakeIndex, tmp_path: Path, dist: Dist, sentence: str
) -> None:
    lock = write_lock(lock_document(upstream, ALPHA, dist), tmp_path / "lock.json")
    said = await agent.run("materialize", lock, "--prefix", "all/envs/env")
    assert_refused(said, 3, sentence, hint=False)
    assert not (tmp_path / "all").exists()
    assert not list(tmp_path.rglob("evil.py"))
    assert list((agent.data / "store" / "work").iterdir()) == []


async def test_bytes_other_than_the_lock_names_are_never_kept(
    agent: Agent, upstream: FakeIndex, tmp_path: Path
) -> None:
    upstream.fail(f"*/{ALPHA.filename}", WrongBytes())
    lock = write_lock(lock_document(upstream, ALPHA, BETA), tmp_path / "lock.json")
    said = await agent.run("materialize", lock, "--prefix", "env")
    assert_refused(
        said, 1, "1 file could not be fetched:", ALPHA.filename, "hint: the same command again gets the same"
    )
    assert not (tmp_path / "env").exists()
    assert list((agent.data / "artifacts" / "arriving").iterdir()) == []
    assert [path.name for path in (agent.data / "artifacts" / "files").glob("*/*")] == [BETA.sha256]
    upstream.clear_faults()
    assert (await agent.run("materialize", lock, "--prefix", "env")).code == 0


# --- disks and prefixes ---------------------------------------------------------------------------------


@pytest.fixture
def mounted() -> list[str]:
    """The words before a command that mount a tmpfs of the options $1 at $2, for it alone."""
    words = ["unshare", "-Urm", "sh", "-c", 'mount -t tmpfs -o "$0" tmpfs "$1" && shift && exec "$@"']
    if not shutil.which("unshare") or subprocess.run([*words, "size=1m", "/mnt", "true"], check=False).returncode:
        pytest.skip("this machine lets nobody mount")
    return words


@pytest.mark.parametrize(
    ("dist", "size", "what"),
    [(LARGE, "2m", ""), (LARGE, "5m", ""), (WORDY, "5m", "/wordy/__pycache__/")],
    ids=["downloading", "unpacking", "compiling"],
)
async def test_a_full_disk_is_said_and_leaves_nothing(
    agent: Agent, upstream: FakeIndex, tmp_path: Path, mounted: list[str], dist: Dist, size: str, what: str
) -> None:
    (tmp_path / "small").mkdir()
    lock = write_lock(lock_document(upstream, dist), tmp_path / "lock.json")
    look = ["sh", "-c", f'"$@"; code=$?; cd small && ls -A {" ".join(LEFT)} > ../left; exit $code', "sh"]
    before = [*mounted, f"size={size}", "small", *look]
    said = await agent.run("materialize", lock, "--data", "small", "--prefix", "env", before=before)
    assert_refused(said, 1, what, "the disk is full", "make room")
    assert (tmp_path / "left").read_text().split() == [f"{LEFT[1]}:", f"{LEFT[0]}:"]
    assert not (tmp_path / "env").exists()


async def test_a_read_only_place_is_said(
    agent: Agent, upstream: FakeIndex, tmp_path: Path, mounted: list[str]
) -> None:
    (tmp_path / "fixed").mkdir()
    lock = write_lock(lock_document(upstream, ALPHA), tmp_path / "lock.json")
    before = [*mounted, "ro", "fixed"]
    for words in (("--prefix", "fixed/env"), ("--data", "fixed")):
        said = await agent.run("materialize", lock, *words, before=before)
        assert_refused(said, 1, "cannot be written: the filesystem is read-only")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--data", "file/data"), "/file/data/store/trees cannot be used: a part of its path is a file"),
        (("--data", "file"), "/file/store/trees cannot be used: a part of its path is a file"),
        (("--data", "/proc/data"), "/proc/data cannot be used: it is not there, and cannot be made"),
        (("--prefix", "/proc/env"), "/proc/env cannot be used: it is not there, and cannot be made"),
        (("--prefix", "/dev/null/env"), "/dev/null cannot be used: something else is there"),
        (("--prefix", "n" * 300), f"/{'n' * 300}"),
    ],
    ids=["data below a file", "data is a file", "data in /proc", "prefix in /proc", "prefix below a device", "long"],
)
async def test_a_place_where_nothing_can_be_made_is_refused_in_words(
    agent: Agent, upstream: FakeIndex, tmp_path: Path, words: tuple[str, str], sentence: str
) -> None:
    (tmp_path / "file").write_text("")
    lock = write_lock(lock_document(upstream, ALPHA), tmp_path / "lock.json")
    said = await agent.run("materialize", lock, *words)
    assert_refused(said, 1, sentence)
    assert "Errno" not in said.err


@pytest.mark.parametrize("command", ["materialize", "import", "tree", "lock"])
def test_a_directory_in_the_place_of_a_file_is_said(agent: Agent, tmp_path: Path, command: str) -> None:
    assert_refused(agent.say(command, tmp_path), 2, f"error: {tmp_path} is a directory")


@pytest.mark.parametrize(
    "words", [("lock", "--pypi", "alpha"), ("import", "pylock.toml")], ids=lambda words: words[0]
)
def test_a_place_where_no_lock_can_be_written_is_refused_before_the_work(
    agent: Agent, tmp_path: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(agent.say(*words, "-o", "."), 2, "error: -o . is a directory")
    assert_refused(agent.say(*words, "-o", "no/lock.json"), 2, "error: there is no directory no for -o no/lock.json")


@pytest.mark.parametrize("words", [("sbom",), ("export", "--format", "pylock")], ids=lambda words: words[0])
def test_a_place_where_nothing_can_be_written_is_refused(
    agent: Agent, upstream: FakeIndex, tmp_path: Path, words: tuple[str, ...]
) -> None:
    lock = write_lock(lock_document(upstream, ALPHA), tmp_path / "lock.json")
    assert_refused(agent.say(*words, lock, "-o", tmp_path), 2, f"error: -o {tmp_path} is a directory")
    assert_refused(agent.say(*words, lock, "-o", tmp_path / "no" / "x"), 2, "error: there is no directory ")


def test_a_pipe_in_the_place_of_a_file_is_written_to_and_stays_one(
    agent: Agent, upstream: FakeIndex, tmp_path: Path
) -> None:
    lock, pipe = write_lock(lock_document(upstream, ALPHA), tmp_path / "lock.json"), tmp_path / "pipe"
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDWR)
    said = agent.say("export", lock, "--format", "pylock", "-o", pipe)
    assert (said.code, pipe.is_fifo()) == (0, True)
    assert os.read(held, 1 << 16).startswith(b"lock-version")
    os.close(held)


def test_a_link_in_the_place_of_a_file_stays_one(agent: Agent, upstream: FakeIndex, tmp_path: Path) -> None:
    lock, link = write_lock(lock_document(upstream, ALPHA), tmp_path / "lock.json"), tmp_path / "link"
    link.symlink_to(tmp_path / "pylock.toml")
    assert agent.say("export", lock, "--format", "pylock", "-o", link).code == 0
    assert link.is_symlink()
    assert (tmp_path / "pylock.toml").read_text().startswith("lock-version")


def test_a_file_that_is_no_lock_is_not_written_over(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("five years")
    said = agent.say("lock", "--pypi", "alpha", "-o", tmp_path / "thesis.tex")
    assert_refused(said, 2, f"error: -o {tmp_path}/thesis.tex names a file that is no lock, and is left alone: ")
    assert (tmp_path / "thesis.tex").read_text() == "five years"


async def test_a_file_of_another_user_is_said(agent: Agent, tmp_path: Path) -> None:
    words = ["unshare", "-U"]  # nobody there, not even root, may read what its mode forbids
    if not shutil.which("unshare") or subprocess.run([*words, "true"], check=False).returncode:
        pytest.skip("this machine makes no user namespaces")
    (tmp_path / "lock.json").touch(mode=0)
    said = await agent.run("materialize", "lock.json", before=words)
    assert_refused(said, 2, "error: lock.json cannot be read: permission is denied")


def test_a_configuration_that_cannot_be_read_is_said(agent: Agent, tmp_path: Path) -> None:
    assert_refused(agent.say("check", tmp_path), 2, f"error: {tmp_path} cannot be read: is a directory")


@pytest.mark.parametrize("command", ["gc", "list", "scrub"])
def test_a_store_that_cannot_be_used_is_said_by_all_who_use_it(agent: Agent, tmp_path: Path, command: str) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "prefixes").write_text("")
    assert_refused(agent.say(command, "--data", tmp_path), 1, f"{tmp_path}/store/prefixes cannot be used")


async def test_a_directory_that_is_no_environment_is_left_alone(
    agent: Agent, upstream: FakeIndex, tmp_path: Path
) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "thesis.tex").write_text("five years")
    lock = write_lock(lock_document(upstream, ALPHA), tmp_path / "lock.json")
    said = await agent.run("materialize", lock, "--prefix", "env")
    assert_refused(said, 2, "exists and is not an environment made by envagent")
    assert (tmp_path / "env" / "thesis.tex").read_text() == "five years"
    assert upstream.requests == []


async def test_two_locks_do_not_go_into_one_prefix(agent: Agent, upstream: FakeIndex, tmp_path: Path) -> None:
    first = write_lock(lock_document(upstream, ALPHA), tmp_path / "first.json")
    second = write_lock(lock_document(upstream, BETA), tmp_path / "second.json")
    assert (await agent.run("materialize", first, "--prefix", "env")).code == 0
    asked = len(upstream.requests)
    assert_refused(await agent.run("materialize", second, "--prefix", "env"), 2, "holds another environment")
    assert len(upstream.requests) == asked
    assert (await agent.run("verify", "env")).code == 0


@pytest.mark.parametrize("prefix", [("--prefix", ""), ("--prefix=",)], ids=" ".join)
async def test_a_prefix_of_a_variable_that_is_not_set_is_refused(
    agent: Agent, upstream: FakeIndex, tmp_path: Path, prefix: tuple[str, ...]
) -> None:
    lock = write_lock(lock_document(upstream, ALPHA), tmp_path / "lock.json")
    assert (await agent.run("materialize", lock)).code == 0
    assert_refused(await agent.run("materialize", lock, *prefix), 2, "--prefix names no directory: it is empty")


async def test_a_path_that_shells_would_read_otherwise_is_refused(
    agent: Agent, upstream: FakeIndex, tmp_path: Path
) -> None:
    lock = write_lock(lock_document(upstream, ALPHA), tmp_path / "lock.json")
    assert_refused(await agent.run("materialize", lock, "--prefix", "a:b"), 2, "no environment can be made at ")
