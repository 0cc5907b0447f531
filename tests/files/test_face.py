"""The files face on the wire: one download, one digest for ever, and what happens when upstream is not well."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from envproxy.engine import endurance
from fixtures.faults import Cut, Gate, Status, WrongBytes
from fixtures.patience import until
from fixtures.proxy import running_proxy
from fixtures.wire import NOTHING, wire

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fixtures.clock import FakeClock
    from fixtures.collection import FakeFiles
    from fixtures.proxy import LocalProxy
    from fixtures.wire import Ask

DATA = bytes(range(256)) * 1200
SHA256 = hashlib.sha256(DATA).hexdigest()
NAME = "3.11.7/demo+1.tgz"
HERE = "/files/demo/3.11.7/demo%2B1.tgz"
YEAR = "public, max-age=31536000, immutable"


async def _never_whole(ask: Ask, path: str, headers: Mapping[str, str] = NOTHING) -> None:
    """The file breaks off, or an error comes instead: which one is a matter of timing."""
    with suppress(aiohttp.ClientError):
        assert (await ask(path, headers)).status == 503


@pytest.fixture(autouse=True)
def _no_pauses_between_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endurance, "PAUSES_S", (0.0,) * len(endurance.PAUSES_S))


async def test_a_file_is_fetched_once_and_then_served_without_upstream(
    upstream: FakeFiles, proxy: LocalProxy, ask: Ask
) -> None:
    upstream.put(NAME, DATA)
    first = await ask(HERE)
    assert (first.status, first.body, first.cache) == (200, DATA, "miss")
    await proxy.settled()
    await upstream.stop()
    second = await ask(HERE)
    assert (second.status, second.body, second.cache) == (200, DATA, "hit")
    assert second.headers["ETag"] == f'"{SHA256}"'
    assert second.headers["Cache-Control"] == YEAR
    assert upstream.count(path=f"/files/{NAME}") == 1
    assert proxy.parts.metrics.cache_requests["files", "artifact", "hit"]._value.get() == 1


async def test_many_clients_cause_one_download(upstream: FakeFiles, proxy: LocalProxy, ask: Ask) -> None:
    upstream.put(NAME, DATA)
    gate = Gate(100_000, asyncio.Event())
    upstream.fail(f"/files/{NAME}", gate)
    clients = [asyncio.create_task(ask(HERE, {"X-Expected-SHA256": SHA256})) for _ in range(20)]
    await until(lambda: proxy.parts.metrics.snapshot()["coalesced_waiters"] == 19)
    gate.event.set()
    assert [(reply.status, reply.body) for reply in await asyncio.gather(*clients)] == [(200, DATA)] * 20
    assert upstream.count() == 1


async def test_ranges_and_conditions_are_honoured(upstream: FakeFiles, proxy: LocalProxy, ask: Ask) -> None:
    upstream.put(NAME, DATA)
    arriving = await ask(HERE, {"Range": "bytes=10-19"})
    assert (arriving.status, arriving.body) == (206, DATA[10:20])
    await proxy.settled()
    stored = await ask(HERE, {"Range": "bytes=-5"})
    assert (stored.status, stored.body) == (206, DATA[-5:])
    assert (await ask(HERE, {"If-None-Match": f'"{SHA256}"'})).status == 304


async def test_head_tells_the_length_without_a_download(upstream: FakeFiles, proxy: LocalProxy, ask: Ask) -> None:
    upstream.put(NAME, DATA)
    cold = await ask(HERE, method="HEAD")
    assert (cold.status, cold.headers["Content-Length"], cold.body) == (200, str(len(DATA)), b"")
    await proxy.settled()
    assert upstream.count("GET", f"/files/{NAME}") == 0
    await ask(HERE)
    await proxy.settled()
    warm = await ask(HERE, method="HEAD")
    assert (warm.headers["Content-Length"], warm.headers["ETag"]) == (str(len(DATA)), f'"{SHA256}"')
    assert (await ask("/files/demo/none", method="HEAD")).status == 404


@pytest.mark.parametrize("status", [403, 405])
async def test_an_upstream_that_refuses_head_leaves_the_length_open(
    upstream: FakeFiles, ask: Ask, status: int
) -> None:
    upstream.put(NAME, DATA)
    upstream.put("3.11.7/SHA256SUMS", f"{SHA256}  demo+1.tgz\n".encode())
    upstream.fail(f"/files/{NAME}", Status(status))
    head = await ask(HERE, method="HEAD")
    assert (head.status, head.headers["ETag"]) == (200, f'"{SHA256}"')
    assert "Content-Length" not in head.headers


async def test_what_upstream_cuts_is_resumed(upstream: FakeFiles, ask: Ask) -> None:
    upstream.put(NAME, DATA)
    upstream.fail(f"/files/{NAME}", Cut(200_000), times=1)
    assert (await ask(HERE)).body == DATA
    assert upstream.count("GET", f"/files/{NAME}") == 2


@pytest.mark.parametrize("header", [True, False])
async def test_bytes_other_than_the_client_demands_never_arrive_whole_and_are_not_kept(
    header: bool, upstream: FakeFiles, proxy: LocalProxy, ask: Ask
) -> None:
    upstream.put(NAME, DATA)
    upstream.fail(f"/files/{NAME}", WrongBytes())
    demand = {"X-Expected-SHA256": SHA256} if header else {}
    await _never_whole(ask, HERE if header else f"{HERE}?sha256={SHA256}", demand)
    await proxy.settled()
    assert not await asyncio.to_thread(lambda: list(proxy.parts.store.walk()))
    upstream.clear_faults()
    assert (await ask(HERE, demand)).body == DATA


async def test_what_a_header_selects_is_told_from_what_others_get_and_not_kept_for_ever(
    upstream: FakeFiles, proxy: LocalProxy, ask: Ask
) -> None:
    upstream.put(NAME, DATA)
    demand = {"X-Expected-SHA256": SHA256}
    for path, headers, control in [
        (HERE, {}, YEAR),
        (HERE, demand, "no-cache"),
        (HERE, {**demand, "If-None-Match": f'"{SHA256}"'}, "no-cache"),
        (f"{HERE}?sha256={SHA256}", demand, YEAR),
        (f"/files/demo/{SHA256}", demand, YEAR),
    ]:
        reply = await ask(path, headers)
        await proxy.settled()
        assert (reply.headers["Vary"], reply.headers["Cache-Control"]) == ("X-Expected-SHA256", control)
    refusals = [
        await ask("/files/demo/none", demand),
        await ask(HERE, {"Range": "bytes=99999999-"}),
        await ask(f"{HERE}?sha256={'0' * 64}", demand),
    ]
    assert [(reply.status, reply.headers["Vary"]) for reply in refusals] == [
        (status, "X-Expected-SHA256") for status in (404, 416, 400)
    ]


async def test_published_checksums_are_demanded_of_upstream(upstream: FakeFiles, proxy: LocalProxy, ask: Ask) -> None:
    upstream.put(NAME, DATA)
    upstream.put("3.11.7/SHA256SUMS", f"{'0' * 64}  demo+1.tgz\n".encode())
    await _never_whole(ask, HERE)
    upstream.put("4/SHA256SUMS", f"{SHA256}  demo.tgz\n".encode())
    upstream.put("4/demo.tgz", DATA)
    assert (await ask("/files/demo/4/demo.tgz")).headers["ETag"] == f'"{SHA256}"'


async def test_a_file_keeps_the_digest_of_its_first_download(
    tmp_path: Path, upstream: FakeFiles, proxy: LocalProxy, ask: Ask
) -> None:
    upstream.put(NAME, DATA)
    await ask(HERE)
    await proxy.settled()
    changed = upstream.put(NAME, DATA[::-1])
    assert (await ask(HERE)).body == DATA
    await asyncio.to_thread(proxy.parts.store.delete, SHA256)  # evicted: it must come again
    await _never_whole(ask, HERE)
    assert (await ask(HERE, {"X-Expected-SHA256": changed})).body == DATA[::-1]
    await proxy.settled()
    upstream.put(NAME, DATA)
    assert (await ask(HERE)).body == DATA


async def test_a_pin_of_the_configuration_holds_from_the_start_and_names_the_file(
    tmp_path: Path, upstream: FakeFiles
) -> None:
    upstream.put(NAME, DATA)
    upstream.put("wrong", b"other")
    pins = f"{NAME}={SHA256},wrong={SHA256}"
    settings = {"files.demo.url": upstream.url, "files.demo.pins": pins}
    async with running_proxy(tmp_path, settings=settings) as proxy, wire(proxy.url) as ask:
        assert (await ask("/files/demo/wrong")).status == 503
        other = await ask(HERE, {"X-Expected-SHA256": "0" * 64})
        assert (other.status, b"pins it to" in other.body) == (404, True)
        assert (await ask(HERE, {"X-Expected-SHA256": SHA256})).headers["Cache-Control"] == YEAR
        assert (await ask(f"/files/demo/{SHA256}")).body == DATA
        assert upstream.count(path="/files/" + "?" * 64) == 0


async def test_a_digest_names_what_was_served_under_another_name(
    upstream: FakeFiles, proxy: LocalProxy, ask: Ask
) -> None:
    upstream.put(NAME, DATA)
    await ask(HERE)
    await proxy.settled()
    by_digest = await ask(f"/files/demo/{SHA256}")
    assert (by_digest.body, by_digest.cache) == (DATA, "hit")
    assert upstream.count() == upstream.count(path=f"/files/{NAME}") + upstream.count(path="*/SHA256SUMS")


async def test_an_upstream_may_itself_name_files_by_their_digest_and_is_checked(
    upstream: FakeFiles, ask: Ask
) -> None:
    upstream.put(SHA256, DATA)
    upstream.put("0" * 64, DATA)
    assert (await ask(f"/files/demo/{SHA256}")).body == DATA
    await _never_whole(ask, f"/files/demo/{'0' * 64}")


async def test_what_another_face_or_collection_has_is_not_here(tmp_path: Path, upstream: FakeFiles) -> None:
    upstream.put(NAME, DATA)
    settings = {"files.demo.url": upstream.url, "files.other.url": f"{upstream.url}none/"}
    async with running_proxy(tmp_path, settings=settings) as proxy, wire(proxy.url) as ask:
        assert (await ask(HERE)).body == DATA
        await proxy.settled()
        assert (await ask(f"/files/other/{SHA256}")).status == 404
        assert (await ask(f"/files/other/{NAME}", {"X-Expected-SHA256": SHA256})).status == 404


async def test_an_absence_is_404_and_a_failure_is_503(upstream: FakeFiles, ask: Ask) -> None:
    assert (await ask("/files/demo/none")).status == 404
    upstream.fail("*", Status(500))
    failed = await ask("/files/demo/none")
    assert (failed.status, failed.headers["Retry-After"].isdigit()) == (503, True)


async def test_what_may_change_is_asked_for_again_and_stands_in_an_outage(
    upstream: FakeFiles, proxy: LocalProxy, ask: Ask, clock: FakeClock
) -> None:
    upstream.cache_control = "max-age=100"
    upstream.put("latest/tag", b"one")
    first = await ask("/files/demo/latest/tag")
    assert (first.body, first.headers["Cache-Control"], first.cache) == (b"one", "public, max-age=100", "miss")
    upstream.put("latest/tag", b"two")
    assert (await ask("/files/demo/latest/tag")).body == b"one"
    clock.advance(101)
    assert (await ask("/files/demo/latest/tag")).body == b"one"
    await proxy.settled()
    assert (await ask("/files/demo/latest/tag")).body == b"two"
    await upstream.stop()
    clock.advance(101)
    await ask("/files/demo/latest/tag")
    await proxy.settled()
    stale = await ask("/files/demo/latest/tag")
    assert (stale.status, stale.body, stale.cache) == (200, b"two", "stale")


async def test_a_changing_file_that_a_client_pins_is_an_artifact(upstream: FakeFiles, ask: Ask) -> None:
    digest = upstream.put("latest/tag", b"one")
    pinned = await ask(f"/files/demo/latest/tag?sha256={digest}")
    assert (pinned.body, pinned.headers["Cache-Control"]) == (b"one", YEAR)


async def test_a_restart_without_network_loses_nothing(tmp_path: Path, upstream: FakeFiles) -> None:
    upstream.put(NAME, DATA)
    settings = {"files.demo.url": upstream.url, "files.demo.checksums": "{name}.sha256"}
    async with running_proxy(tmp_path, settings=settings) as proxy, wire(proxy.url) as ask:
        await ask(HERE)
        await proxy.settled()
    await upstream.stop()
    async with running_proxy(tmp_path, settings=settings) as proxy, wire(proxy.url) as ask:
        assert (await ask(HERE)).body == DATA


@pytest.mark.parametrize(
    "path", ["", "a/", "a//b", "%2e%2e/a", "a/%2e%2e", "a%2F..%2Fb", "a%5Cb", "a%00", "a?sha256=1"]
)
async def test_a_path_that_leaves_the_collection_is_a_bad_request(path: str, upstream: FakeFiles, ask: Ask) -> None:
    assert (await ask(f"/files/demo/{path}")).status == 400
    assert upstream.count() == 0


async def test_an_unknown_collection_is_told_with_those_that_are_known(ask: Ask) -> None:
    reply = await ask("/files/nothing/a")
    assert (reply.status, b"python-build-standalone" in reply.body) == (404, True)


async def test_credentials_go_upstream_and_reading_may_take_a_token(tmp_path: Path, upstream: FakeFiles) -> None:
    upstream.put("a", b"one")
    upstream.require_basic("me", "secret")
    settings = {
        "files.demo.url": upstream.url,
        "files.demo.username": "me",
        "files.demo.password": "env:PASSWORD",
        "auth.read": "token",
        "auth.tokens.ci.secret": "env:TOKEN",
    }
    environ = {"PASSWORD": "secret", "TOKEN": "open"}
    async with running_proxy(tmp_path, settings=settings, environ=environ) as proxy, wire(proxy.url) as ask:
        assert (await ask("/files/demo/a")).status == 401
        reply = await ask("/files/demo/a", {"Authorization": "Bearer open"})
        assert (reply.body, reply.headers["Cache-Control"].startswith("private")) == (b"one", True)


async def test_the_command_line_counts_and_pins_what_is_kept(tmp_path: Path, upstream: FakeFiles) -> None:
    upstream.put("1.0/tool.bin", b"one")
    config = ("--config", str(tmp_path / "envproxy.toml"))
    toml = f'[server]\ndata = "{tmp_path}/data"\nlisten = "127.0.0.1:0"\n[files.demo]\nurl = "{upstream.url}"\n'
    async with running_proxy(tmp_path, toml=toml) as proxy, wire(proxy.url) as ask:
        await ask("/files/demo/1.0/tool.bin")
        await proxy.settled()
    assert (await _envproxy("stats", "--json", *config))["files"]["demo"] == 1
    await _envproxy("pin", "tool.bin", *config)
    [pinned] = await _envproxy("pins", "--json", *config)
    assert pinned["filename"] == "tool.bin"


async def _envproxy(*words: str) -> Any:
    """What a command prints as JSON; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "envproxy", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return json.loads(out or b"null")
