"""`envproxy conda`, beside a running server: packages go in, are shown, and are taken back."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from envproxy.cli import main
from fixtures.channel import FakeChannel
from fixtures.conda_packages import make_conda
from fixtures.proxy import LocalProxy, running_proxy
from fixtures.visitor import visiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TOML = """
[auth.tokens.release]
secret = "env:TOKEN"
scopes = ["upload"]
[conda.hosted.team]
"""
ALPHA, BETA = make_conda("alpha"), make_conda("beta", subdir="linux-64")


@asynccontextmanager
async def serving(tmp_path: Path) -> AsyncIterator[LocalProxy]:
    async with running_proxy(tmp_path, toml=TOML, environ={"TOKEN": "s3cret"}) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")


async def call(*args: str) -> int:
    return await asyncio.to_thread(main, ["conda", *args])


def files(tmp_path: Path) -> list[str]:
    for package in (ALPHA, BETA):
        (tmp_path / package.filename).write_bytes(package.data)
    return [str(tmp_path / package.filename) for package in (ALPHA, BETA)]


async def test_packages_are_uploaded_into_their_subdirs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(tmp_path) as proxy, visiting(proxy.channel("team")) as visitor:
        there = ("--channel", "team", "--url", proxy.url, "--token", "env:TOKEN")
        assert await call("upload", *files(tmp_path), *there) == 0
        assert "uploaded linux-64/beta-1.0-0.conda" in capsys.readouterr().err
        assert list((await visitor.index("linux-64")).shards) == ["beta"]
        assert await call("upload", *files(tmp_path), *there) == 0


async def test_what_the_server_says_against_an_upload_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [alpha, _] = files(tmp_path)
    (tmp_path / "odd.conda").write_bytes(b"")
    (tmp_path / "fake-1.0-0.conda").write_bytes(b"no zip")
    async with serving(tmp_path) as proxy:
        for args, says in [
            ((alpha, "--channel", "team", "--url", proxy.url), "wants a token to upload"),
            (
                (alpha, "--channel", "unknown", "--url", proxy.url, "--token", "env:TOKEN"),
                "no hosted channel 'unknown'",
            ),
            ((str(tmp_path / "odd.conda"), "--channel", "team", "--url", proxy.url), "not the name of a package"),
            ((str(tmp_path / "fake-1.0-0.conda"), "--channel", "team", "--url", proxy.url), "not a package"),
            ((str(tmp_path / "none-1.0-0.conda"), "--channel", "team", "--url", proxy.url), "not a package"),
        ]:
            assert await call("upload", *args) == 1
            assert says in capsys.readouterr().err
    assert await call("upload", alpha, "--channel", "team", "--url", "http://127.0.0.1:1") == 1
    assert "is it running?" in capsys.readouterr().err
    assert await call("upload", alpha, "--channel", "team", "--token", "s3cret") == 2
    assert "s3cret" not in capsys.readouterr().err


async def test_a_running_server_shows_what_was_yanked_and_deleted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ("--config", str(tmp_path / "envproxy.toml"), "--data", str(tmp_path / "data"))
    async with serving(tmp_path) as proxy, visiting(proxy.channel("team")) as visitor:
        await call("upload", *files(tmp_path), "--channel", "team", "--url", proxy.url, "--token", "env:TOKEN")
        capsys.readouterr()
        assert await call("list", "team", "--json", *place) == 0
        listed = json.loads(capsys.readouterr().out)
        assert [(one["subdir"], one["filename"], one["yanked"]) for one in listed] == [
            ("linux-64", BETA.filename, False),
            ("noarch", ALPHA.filename, False),
        ]
        assert listed[0]["record"]["sha256"] == BETA.sha256
        assert await call("yank", "team", ALPHA.filename, *place) == 0
        assert await call("delete", "team", BETA.filename, *place) == 0
        assert await call("list", "team", *place) == 0
        assert "yes" in capsys.readouterr().out
        proxy.parts.conda.forget()  # as the proxy does when it notices, once a second
        assert (await visitor.shard("alpha"))["removed"] == [ALPHA.filename]
        assert (await visitor.get(ALPHA.path)).status == 200
        assert (await visitor.get(BETA.path)).status == 404
        assert await proxy.parts.artifacts.size(BETA.sha256) is None


async def test_stats_tell_of_channels_while_a_server_runs_and_after(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ("--config", str(tmp_path / "envproxy.toml"), "--data", str(tmp_path / "data"))
    async with FakeChannel() as upstream:
        upstream.add(package := make_conda("gamma"))
        toml = TOML + f'[conda.channels.demo]\nurl = "{upstream.url}"'
        async with running_proxy(tmp_path, toml=toml, environ={"TOKEN": "s3cret"}) as proxy:
            await call("upload", *files(tmp_path), "--channel", "team", "--url", proxy.url, "--token", "env:TOKEN")
            async with visiting(proxy.channel()) as visitor:
                await visitor.get(package.path)
                await proxy.settled()
                await visitor.get(package.path)
            capsys.readouterr()
            assert await asyncio.to_thread(main, ["stats", "--json", "--url", proxy.url]) == 0
            running = json.loads(capsys.readouterr().out)
    assert (running["ecosystems"]["conda"]["artifact"]["hit"], running["upstream_requests"]["demo"]) == (1, 3)
    monkeypatch.setenv("ENVPROXY_SERVER_LISTEN", f"127.0.0.1:{unused_tcp_port}")
    assert await asyncio.to_thread(main, ["stats", "--json", *place]) == 0
    kept = json.loads(capsys.readouterr().out)
    assert (kept["packages"], kept["hosted_packages"]) == ({"conda-forge": 0, "demo": 1}, 2)


async def test_uploaded_packages_are_pinned_by_their_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ("--config", str(tmp_path / "envproxy.toml"), "--data", str(tmp_path / "data"))
    async with serving(tmp_path) as proxy:
        await call("upload", *files(tmp_path), "--channel", "team", "--url", proxy.url, "--token", "env:TOKEN")
    capsys.readouterr()
    assert await asyncio.to_thread(main, ["pins", *place]) == 0
    assert ALPHA.filename in capsys.readouterr().out


async def test_a_name_that_there_is_not_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ("--config", str(tmp_path / "envproxy.toml"), "--data", str(tmp_path / "data"))
    async with serving(tmp_path):
        assert await call("yank", "team", "none-1.0-0.conda", *place) == 1
        assert "team has no none-1.0-0.conda" in capsys.readouterr().err
        assert await call("list", "house", *place) == 2
        assert "no hosted channel 'house'" in capsys.readouterr().err
