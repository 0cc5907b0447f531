"""The commands, as an operator calls them: on a data directory that a proxy filled, beside it or after it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from envproxy.cli import COMMANDS, main, reference
from fixtures.proxy import LocalProxy, running_proxy
from fixtures.said import Said
from fixtures.upstream import FakeIndex
from fixtures.wheels import Dist, make_sdist, make_wheel

DOCS = Path(__file__).parents[2] / "docs"
ALPHA = make_wheel("alpha", "1.0", payload_size=50_000)
ALPHA_SDIST = make_sdist("alpha", "1.0")
ALPHA_2 = make_wheel("alpha", "2.0", payload_size=50_000, upload_time="2024-03-05T12:00:00Z")
TRAIN = make_wheel("train", "1.0", payload_size=20_000)
TOML = """
[auth.tokens.release]
secret = "env:RELEASE_TOKEN"
scopes = ["read", "upload"]
[pypi.hosted.team]
[pypi.indexes.main]
sources = ["team", "pypi"]
[pypi.indexes.strict]
sources = ["pypi"]
[pypi.indexes.strict.policy]
freeze = "2024-03-02"
deny = ["evil-*"]
allow-anyway = ["alpha==0.9"]
"""


Envproxy = Callable[..., Awaitable[Said]]


@pytest.fixture
def envproxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Envproxy:
    """Runs a command in the directory of the test, with a home of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RELEASE_TOKEN", "let-me-publish")

    async def run(*words: str) -> Said:
        code = await asyncio.to_thread(main, words)
        return Said(code, *capsys.readouterr())

    return run


@asynccontextmanager
async def serving(home: Path) -> AsyncIterator[LocalProxy]:
    """A proxy that has cached alpha, with the wheel's metadata, and hosts train."""
    environ = {"RELEASE_TOKEN": "let-me-publish"}
    async with (
        FakeIndex() as upstream,
        running_proxy(home, upstream=upstream, toml=TOML, environ=environ) as proxy,
        aiohttp.ClientSession(proxy.url, raise_for_status=True) as client,
    ):
        upstream.add(ALPHA, ALPHA_SDIST, ALPHA_2)
        for dist in (ALPHA, ALPHA_SDIST):
            path = f"/pypi/main/files/alpha/{dist.sha256}/{dist.filename}"
            for url in ("/pypi/main/simple/alpha/", path, *([f"{path}.metadata"] if dist.is_wheel else [])):
                await (await client.get(url)).read()
                await proxy.settled()  # the metadata shall come from the cached wheel
        form = aiohttp.FormData({":action": "file_upload"})
        form.add_field("content", TRAIN.data, filename=TRAIN.filename)
        await client.post("/pypi/main/legacy/", data=form, headers={"Authorization": "Bearer let-me-publish"})
        yield proxy


@pytest.fixture
async def place(tmp_path: Path) -> tuple[str, ...]:
    """The flags that name the data directory which a proxy has left."""
    async with serving(tmp_path):
        pass
    return ("--config", str(tmp_path / "envproxy.toml"), "--data", str(tmp_path / "data"))


def blob(place: tuple[str, ...], dist: Dist) -> Path:
    return Path(place[3]) / "blobs" / "sha256" / dist.sha256[:2] / dist.sha256


def files(said: Said) -> set[str]:
    return {one["filename"] for one in said.json}


# --- the command line itself ----------------------------------------------------------------------------


def test_the_reference_in_the_docs_is_that_of_the_parser() -> None:
    assert (DOCS / "cli.md").read_text("utf-8").endswith(reference())


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name.replace(" ", "-"))
def test_help_teaches_by_example(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main([*command.name.split(), "--help"])
    assert exited.value.code == 0
    said = capsys.readouterr().out
    assert command.examples
    for line, why in command.examples:
        assert line in said
        assert why in said
    for argument in command.arguments:
        assert argument.shown in said


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name.replace(" ", "-"))
def test_the_examples_of_a_command_are_calls_of_it(command: Any) -> None:
    assert all(line.startswith(f"envproxy {command.name} ") or line == f"envproxy {command.name}"
               for line, _ in command.examples)  # fmt: skip


def test_the_version_costs_no_heavy_import() -> None:
    code = "import sys; from envproxy.cli import parser; parser(); print(*sys.modules, sep='\\n')"
    with os.popen(f'{sys.executable} -c "{code}"') as process:
        loaded = set(process.read().split())
    assert "envproxy.cli" in loaded
    assert not loaded & {"aiohttp", "asyncio", "rich", "sqlite3", "envproxy.config", "packaging"}


def test_an_unknown_command_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["frobnicate"])
    assert exited.value.code == 2


@pytest.mark.parametrize(
    "words",
    [
        ("gc",), ("scrub",), ("pins",), ("pin", "alpha==1.0"), ("unpin", "alpha==1.0"), ("policy", "main", "alpha"),
        ("hosted", "list", "team"), ("stats",),
    ],
    ids=" ".join,
)  # fmt: skip
async def test_a_missing_data_directory_is_said_and_not_made(
    envproxy: Envproxy, tmp_path: Path, unused_tcp_port: int, words: tuple[str, ...]
) -> None:
    (tmp_path / "p.toml").write_text(f'server.listen = "127.0.0.1:{unused_tcp_port}"\n{TOML}')
    said = await envproxy(*words, "--config", "p.toml", "--data", "nowhere")
    assert said.code == 2
    assert "there is no data directory at nowhere" in said.err
    assert "hint: name it with --data" in said.err
    assert not (tmp_path / "nowhere").exists()


async def test_a_catalog_that_cannot_be_read_is_said_plainly(envproxy: Envproxy, place: tuple[str, ...]) -> None:
    catalog = Path(place[3]) / "catalog.sqlite"
    catalog.unlink()
    catalog.mkdir()
    said = await envproxy("pins", *place)
    assert said.code == 1
    assert f"the catalog {catalog} cannot be used" in said.err
    assert "hint: " in said.err


async def test_a_variable_names_the_configuration(
    envproxy: Envproxy, place: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVPROXY_CONFIG", place[1])
    monkeypatch.setenv("ENVPROXY_SERVER_DATA", place[3])
    assert files(await envproxy("hosted", "list", "team", "--json")) == {TRAIN.filename}


# --- serve ----------------------------------------------------------------------------------------------


async def serve(*words: str, home: Path) -> Said:
    """`envproxy serve` as a process, for it owns the signals and the log; it is expected to end by itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "envproxy", "serve", *words,
        cwd=home,
        env={"PATH": os.defpath, "HOME": str(home), "ENVPROXY_STORE_MIN_FREE": "0"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode is not None
    return Said(process.returncode, out.decode(), err.decode())


async def test_serve_says_that_the_address_is_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = await serve("--listen", f"127.0.0.1:{port}", home=tmp_path)
    assert said == Said(
        1,
        "",
        f"error: cannot listen on 127.0.0.1:{port}: Address already in use\n"
        "hint: choose another address with --listen\n",
    )


async def test_serve_says_that_the_data_directory_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    said = await serve("--data", "file/data", "--listen", "127.0.0.1:0", home=tmp_path)
    assert said == Said(
        1,
        "",
        "error: the data directory file/data cannot be used: Not a directory\nhint: choose another with --data\n",
    )


@pytest.mark.parametrize(
    ("netrc", "reason"),
    [(None, "No such file or directory"), ("machine", "/.netrc, line 1")],
    ids=["missing", "broken"],
)
async def test_serve_says_that_netrc_cannot_be_read(tmp_path: Path, netrc: str | None, reason: str) -> None:
    (tmp_path / "p.toml").write_text("pypi.upstreams.pypi.netrc = true\n")
    if netrc is not None:
        (tmp_path / ".netrc").write_text(netrc)
    said = await serve("--config", "p.toml", home=tmp_path)
    assert said.code == 1
    assert said.err.startswith("error: upstream pypi takes its credentials from netrc, which cannot be read: ")
    assert reason in said.err
    assert said.err.endswith("\nhint: write ~/.netrc, readable by this user alone, or set username and password\n")
    assert len(said.err.splitlines()) == 2


async def test_serve_says_that_a_ca_file_is_no_certificate(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing of the kind")
    (tmp_path / "p.toml").write_text('pypi.upstreams.pypi.ca-file = "ca.pem"\n')
    said = await serve("--config", "p.toml", home=tmp_path)
    assert said.code == 1
    assert said.err.startswith("error: the ca-file of upstream pypi, ca.pem, cannot be used: ")
    assert said.err.endswith("\nhint: it must hold certificates in PEM form: -----BEGIN CERTIFICATE-----\n")
    assert len(said.err.splitlines()) == 2


# --- check ----------------------------------------------------------------------------------------------


async def test_check_sums_up_a_good_file(envproxy: Envproxy, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(TOML)
    assert await envproxy("check", "p.toml") == Said(
        0,
        "p.toml is fine: serves main (team > pypi), strict (pypi), conda-forge on 127.0.0.1:8417, "
        "keeps envmesh-data, knows 1 token\n",
        "",
    )
    assert not (tmp_path / "envmesh-data").exists()


async def test_check_lists_every_problem_of_every_kind(envproxy: Envproxy, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing of the kind")
    (tmp_path / "p.toml").write_text(
        """
        [server]
        listen = "nowhere"
        [pypi.upstreams.corp]
        url = "https://pkgs.example.org/simple/"
        netrc = true
        ca-file = "ca.pem"
        [pypi.indexes.main]
        sources = ["corpse"]
        [pypi.indexes.main.policy]
        deny = ["evil *"]
        [pypi.indexes.other]
        sources = ["corp"]
        [pypi.indexes.other.policy]
        allow = ["numpy=>2"]
        """
    )
    said = await envproxy("check", "p.toml")
    assert said.code == 2
    assert said.out == ""
    starts = [line.partition(":")[0] for line in said.err.splitlines() if not line.startswith("  hint: ")]
    assert starts == [
        "server.listen",
        "pypi.indexes.main.sources",
        "pypi.indexes.main.policy.deny",
        "pypi.indexes.other.policy.allow",
        "pypi.upstreams.corp.ca-file",
        "netrc",
    ]


async def test_check_says_that_there_is_no_such_file(envproxy: Envproxy) -> None:
    assert await envproxy("check", "p.toml") == Said(2, "", "p.toml: cannot be read: No such file or directory\n")


# --- gc and scrub ---------------------------------------------------------------------------------------


async def test_gc_evicts_down_to_the_limit_but_nothing_pinned(
    envproxy: Envproxy, place: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVPROXY_STORE_LIMIT", "1KB")
    monkeypatch.setenv("ENVPROXY_STORE_MIN_FREE", "0")
    dry = await envproxy("gc", "--dry-run", "--json", *place)
    assert dry.json["dry_run"] is True
    assert ALPHA.sha256 in {row["sha256"] for row in dry.json["evicted"]}
    assert blob(place, ALPHA).exists()
    wet = await envproxy("gc", "--json", *place)
    assert wet.json["evicted"] == dry.json["evicted"]
    assert not blob(place, ALPHA).exists()
    assert blob(place, TRAIN).exists()


async def test_gc_says_what_it_did_and_removes_what_a_crash_left(envproxy: Envproxy, place: tuple[str, ...]) -> None:
    leftover = Path(place[3]) / "partial" / "0123"
    leftover.write_bytes(b"half a wheel")
    dry = await envproxy("gc", "--dry-run", "--config", place[1], "--data", place[3])
    assert dry == Said(0, "", "would evict 0 files, 0 bytes\n")
    assert leftover.exists()
    assert await envproxy("gc", *place) == Said(
        0, "", "evicted 0 files, 0 bytes\nremoved 1 leftover of crashed downloads\n"
    )
    assert not leftover.exists()


async def test_scrub_finds_a_sound_store_sound(envproxy: Envproxy, place: tuple[str, ...]) -> None:
    said = await envproxy("scrub", *place)
    assert said.code == 0
    assert said.err.splitlines()[-2:] == [
        "read 5 of 5",
        "checked 5 files: 0 corrupt, 0 missing, 0 unknown and adopted",
    ]


async def test_scrub_names_what_is_corrupt_and_fails(envproxy: Envproxy, place: tuple[str, ...]) -> None:
    blob(place, ALPHA).write_bytes(b"rot")
    said = await envproxy("scrub", *place)
    assert said.code == 1
    assert f"corrupt, now in quarantine/: {ALPHA.sha256} {ALPHA.filename}" in said.err
    assert (await envproxy("scrub", "--json", *place)).json == {
        "checked": 4,
        "corrupt": [],
        "missing": [],
        "adopted": [],
    }


# --- stats ----------------------------------------------------------------------------------------------


async def test_stats_asks_the_server(envproxy: Envproxy, tmp_path: Path) -> None:
    async with serving(tmp_path) as proxy:
        said = await envproxy("stats", "--json", "--url", proxy.url)
        shown = await envproxy("stats", "--url", proxy.url)
    assert said.code == 0
    assert said.json["server"] == proxy.url
    assert said.json["upstream_requests"] == {"pypi": 3}
    assert shown.rows[0] == ["what", "count"]
    assert ["upstream requests pypi", "3"] in shown.rows


async def test_stats_shows_its_own_server_a_token(envproxy: Envproxy, tmp_path: Path) -> None:
    toml = TOML + '[auth]\nread = "token"\n'
    environ = {"RELEASE_TOKEN": "let-me-publish"}
    async with running_proxy(tmp_path, toml=toml, environ=environ) as proxy:
        address = proxy.url.removeprefix("http://")
        (tmp_path / "own.toml").write_text(f'server.listen = "{address}"\n{toml}')
        said = await envproxy("stats", "--json", "--config", "own.toml")
        foreign = await envproxy("stats", "--url", proxy.url, "--config", "own.toml")
        named = await envproxy("stats", "--json", "--url", f"http://__token__:let-me-publish@{address}")
    assert said.json["server"] == named.json["server"] == proxy.url
    assert foreign.code == 1
    assert foreign.err.startswith(f"error: {proxy.url} answered 401\nhint: ")


async def test_stats_without_a_server_shows_what_is_kept(
    envproxy: Envproxy, place: tuple[str, ...], unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVPROXY_SERVER_LISTEN", f"127.0.0.1:{unused_tcp_port}")
    said = await envproxy("stats", "--json", *place)
    assert said.err == (
        f"no envproxy answers at http://127.0.0.1:{unused_tcp_port}: this is what is in the data directory\n"
    )
    kept = said.json
    assert kept["server"] is None
    assert kept["blobs"] == {"artifact": 3, "metadata": 2}
    assert kept["pages"] == {"pypi": 1}
    assert kept["hosted_files"] == 1
    assert kept["pins"] == 2
    assert ["pages pypi", "1"] in (await envproxy("stats", *place)).rows


async def test_stats_of_a_named_server_does_not_fall_back(
    envproxy: Envproxy, place: tuple[str, ...], unused_tcp_port: int
) -> None:
    said = await envproxy("stats", "--url", f"http://127.0.0.1:{unused_tcp_port}", *place)
    assert said.code == 1
    assert said.out == ""
    assert said.err.startswith(f"error: no envproxy answers at http://127.0.0.1:{unused_tcp_port}\nhint: ")


# --- pins -----------------------------------------------------------------------------------------------

HOSTED = {TRAIN.filename, f"{TRAIN.filename}.metadata"}


@pytest.mark.parametrize(
    ("spec", "pinned"),
    [
        ("alpha==1.0", {ALPHA.filename, f"{ALPHA.filename}.metadata", ALPHA_SDIST.filename}),
        ("Alpha==1", {ALPHA.filename, f"{ALPHA.filename}.metadata", ALPHA_SDIST.filename}),
        (ALPHA_SDIST.filename, {ALPHA_SDIST.filename}),
        (ALPHA.sha256, {ALPHA.filename, f"{ALPHA.filename}.metadata"}),
    ],
    ids=["release", "spelled-otherwise", "filename", "digest"],
)
async def test_a_file_is_pinned_by_any_of_its_names_and_unpinned_by_it(
    envproxy: Envproxy, place: tuple[str, ...], spec: str, pinned: set[str]
) -> None:
    assert (await envproxy("pin", spec, *place)).code == 0
    assert files(await envproxy("pins", "--json", *place)) == HOSTED | pinned
    assert (await envproxy("unpin", spec, *place)).code == 0
    assert files(await envproxy("pins", "--json", *place)) == HOSTED


async def test_a_pinned_file_stays_when_everything_else_goes(
    envproxy: Envproxy, place: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    await envproxy("pin", ALPHA.filename, *place)
    monkeypatch.setenv("ENVPROXY_STORE_LIMIT", "1KB")
    await envproxy("gc", *place)
    assert blob(place, ALPHA).exists()
    assert not blob(place, ALPHA_SDIST).exists()


async def test_a_file_that_the_disk_lost_can_be_unpinned(envproxy: Envproxy, place: tuple[str, ...]) -> None:
    await envproxy("pin", ALPHA_SDIST.filename, *place)
    blob(place, ALPHA_SDIST).unlink()
    assert (await envproxy("unpin", ALPHA_SDIST.filename, *place)).code == 0
    assert files(await envproxy("pins", "--json", *place)) == HOSTED


async def test_what_is_not_cached_cannot_be_pinned(envproxy: Envproxy, place: tuple[str, ...]) -> None:
    said = await envproxy("pin", "alpha==1.0", "alpha==2.0", ALPHA_2.sha256, *place)
    assert said.code == 1
    assert said.err.splitlines()[:2] == [
        "nothing cached matches alpha==2.0",
        f"nothing cached matches {ALPHA_2.sha256}",
    ]
    assert said.err.splitlines()[2].startswith("pinned 2 files, ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "error: nothing is named\nhint: give a SPEC, or a lock file with --lock\n"),
        (("alpha==soon",), "error: 'alpha==soon' is not project==version: Invalid version: 'soon'\n"),
        (("-alpha==1",), None),
    ],
    ids=["nothing", "version", "flag"],
)
async def test_a_spec_that_is_none_is_exit_code_2(
    envproxy: Envproxy, place: tuple[str, ...], words: tuple[str, ...], said: str | None
) -> None:
    if said is None:
        with pytest.raises(SystemExit, match="2"):
            await envproxy("pin", *words, *place)
    else:
        assert await envproxy("pin", *words, *place) == Said(2, "", said)


async def test_a_lock_file_pins_what_the_cache_has_of_it(
    envproxy: Envproxy, place: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "requirements.txt").write_text(
        f"alpha==1.0 \\\n    --hash=sha256:{ALPHA.sha256} \\\n    --hash=sha256:{'0' * 64}\n"
    )
    said = await envproxy("pin", "--lock", "requirements.txt", *place)
    assert said.code == 0
    assert said.err.startswith("pinned 1 file of the 2 in requirements.txt, ")
    pins = (await envproxy("pins", "--json", *place)).json
    assert {pin["filename"] for pin in pins if pin["reason"] == "lock:requirements.txt"} == {
        ALPHA.filename,
        f"{ALPHA.filename}.metadata",
    }
    assert (await envproxy("unpin", "--lock", "requirements.txt", *place)).code == 0
    assert files(await envproxy("pins", "--json", *place)) == HOSTED


async def test_a_lock_file_without_hashes_is_no_use(
    envproxy: Envproxy, place: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "requirements.txt").write_text("alpha==1.0\n")
    said = await envproxy("pin", "--lock", "requirements.txt", *place)
    assert said.code == 2
    assert said.err.startswith("error: requirements.txt names no SHA-256\nhint: ")
    assert (await envproxy("pin", "--lock", "uv.lock", *place)).code == 1


async def test_pins_are_listed_for_people(envproxy: Envproxy, place: tuple[str, ...]) -> None:
    rows = (await envproxy("pins", *place)).rows
    assert rows[0] == ["file", "size", "reason", "since", "sha256"]
    assert [row[0] for row in rows[1:] if row[2] == "hosted:team" and row[4] == TRAIN.sha256] == [TRAIN.filename]


# --- policy ---------------------------------------------------------------------------------------------


async def test_policy_explains_the_cached_page(envproxy: Envproxy, place: tuple[str, ...]) -> None:
    said = await envproxy("policy", "strict", "Alpha", "--json", *place)
    assert said.code == 0
    assert {one["filename"]: (one["allowed"], one["rule"]) for one in said.json} == {
        ALPHA.filename: (True, ""),
        ALPHA_SDIST.filename: (True, ""),
        ALPHA_2.filename: (False, "freeze"),
    }
    rows = (await envproxy("policy", "strict", "alpha", *place)).rows
    assert [ALPHA.filename, "shown"] in rows
    [hidden] = [row for row in rows if row[0] == ALPHA_2.filename]
    assert hidden[1] == "hidden"
    assert hidden[2].startswith("alpha 2.0 was published 2024-03-05 12:00 UTC, after this index froze")


async def test_policy_says_until_when(envproxy: Envproxy, place: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "young.toml").write_text('[pypi.indexes.main.policy]\nmin-age = "36500d"\n')
    said = await envproxy("policy", "main", "alpha", "--json", "--config", "young.toml", "--data", place[3])
    [until] = {one["until"] for one in said.json if one["filename"] == ALPHA.filename}
    assert until == "2124-02-06T12:00:00+00:00"


async def test_policy_explains_what_is_uploaded_here(envproxy: Envproxy, place: tuple[str, ...]) -> None:
    assert files(await envproxy("policy", "main", "train", "--json", *place)) == {TRAIN.filename}


async def test_policy_needs_no_page_for_a_name_that_it_refuses(envproxy: Envproxy, place: tuple[str, ...]) -> None:
    [row] = (await envproxy("policy", "strict", "evil-tool", *place)).rows[1:]
    assert row[:2] == ["(every file)", "hidden"]
    assert "the deny rule evil-* covers it" in row[2]


async def test_policy_says_what_it_does_not_know(envproxy: Envproxy, place: tuple[str, ...]) -> None:
    unknown = await envproxy("policy", "strict", "train", *place)
    assert unknown.code == 1
    assert unknown.err.startswith("error: no page of train is cached for index strict\nhint: ")
    nowhere = await envproxy("policy", "lax", "alpha", *place)
    assert nowhere.code == 2
    assert nowhere.err == "error: there is no index 'lax' here\nhint: configured indexes: main, strict\n"


# --- hosted ---------------------------------------------------------------------------------------------


async def test_hosted_files_are_listed(envproxy: Envproxy, place: tuple[str, ...]) -> None:
    said = await envproxy("hosted", "list", "team", "Train", "--json", *place)
    [file] = said.json
    assert (file["filename"], file["version"], file["uploader"], file["yanked"]) == (
        TRAIN.filename,
        "1.0",
        "release",
        None,
    )
    assert (await envproxy("hosted", "list", "team", "alpha", "--json", *place)).json == []
    rows = (await envproxy("hosted", "list", "team", *place)).rows
    assert rows[1][:3] == ["train", "1.0", TRAIN.filename]


async def test_a_running_server_shows_a_yank_and_its_end(envproxy: Envproxy, tmp_path: Path) -> None:
    async with serving(tmp_path) as proxy, aiohttp.ClientSession(proxy.url) as client:
        place = ("--config", str(tmp_path / "envproxy.toml"), "--data", str(tmp_path / "data"))

        async def shown(yanked: bool | str) -> None:
            async with asyncio.timeout(60):
                while True:
                    headers = {"Accept": "application/vnd.pypi.simple.v1+json"}
                    async with client.get("/pypi/main/simple/train/", headers=headers) as answer:
                        [file] = (await answer.json(content_type=None))["files"]
                    if file["yanked"] == yanked:
                        return

        assert await envproxy("hosted", "yank", "team", "train==1.0", "--reason", "late", *place) == Said(
            0, "", f"yanked {TRAIN.filename}\n"
        )
        await shown("late")
        assert (await envproxy("hosted", "unyank", "team", TRAIN.filename, *place)).code == 0
        await shown(yanked=False)


async def test_a_deleted_file_leaves_nothing_but_its_name(envproxy: Envproxy, place: tuple[str, ...]) -> None:
    said = await envproxy("hosted", "delete", "team", TRAIN.filename, *place)
    assert said == Said(0, "", f"deleted {TRAIN.filename}\n")
    assert not blob(place, TRAIN).exists()
    assert (await envproxy("pins", "--json", *place)).json == []
    assert (await envproxy("hosted", "list", "team", "--json", *place)).json == []
    assert (await envproxy("scrub", "--json", *place)).json == {
        "checked": 3,
        "corrupt": [],
        "missing": [],
        "adopted": [],
    }


async def test_the_bytes_of_a_deleted_file_stay_if_a_pin_wants_them(
    envproxy: Envproxy, place: tuple[str, ...]
) -> None:
    await envproxy("pin", TRAIN.sha256, *place)
    await envproxy("hosted", "delete", "team", "train==1.0", *place)
    assert blob(place, TRAIN).exists()


async def test_deleting_stops_before_anything_is_done_if_something_is_misspelt(
    envproxy: Envproxy, place: tuple[str, ...]
) -> None:
    said = await envproxy("hosted", "delete", "team", TRAIN.filename, "train==2.0", *place)
    assert said == Said(1, "", "error: team has no file train==2.0\nhint: envproxy hosted list team shows all\n")
    assert files(await envproxy("hosted", "list", "team", "--json", *place)) == {TRAIN.filename}


async def test_a_hosted_index_must_be_configured(envproxy: Envproxy, place: tuple[str, ...]) -> None:
    said = await envproxy("hosted", "list", "tema", *place)
    assert said == Said(2, "", "error: there is no hosted index 'tema'\nhint: the configuration has: team\n")
