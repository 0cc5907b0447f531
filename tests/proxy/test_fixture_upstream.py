"""The fixture index and wheels do what they say: every misbehaviour that other tests rely on is real."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import os
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from blockbuster import blockbuster_ctx
from installer.sources import WheelFile
from pypi_simple import ProjectPage
from uv import find_uv_bin

from fixtures.upstream import (
    Cut,
    Delay,
    FakeIndex,
    Gate,
    Hang,
    HangAfter,
    RawBody,
    Redirect,
    Refuse,
    Status,
    Style,
    WrongBytes,
)
from fixtures.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
ALPHA = make_wheel("alpha", "1.0", requires=["beta>=2"], requires_python=">=3.9")
PAGE = "/simple/alpha/"
UV = find_uv_bin()
FILE = f"/files/alpha/{ALPHA.filename}"


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop() -> Iterator[None]:
    with blockbuster_ctx():
        yield


@pytest.fixture
async def upstream() -> AsyncIterator[FakeIndex]:
    async with FakeIndex() as index:
        index.add(ALPHA)
        yield index


@pytest.fixture
async def client(upstream: FakeIndex) -> AsyncIterator[aiohttp.ClientSession]:
    base = f"http://127.0.0.1:{upstream.port}"
    async with aiohttp.ClientSession(base, auto_decompress=False) as session:
        yield session


async def get(client: aiohttp.ClientSession, path: str, **headers: str) -> tuple[int, Any, bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.get(path, headers=named, allow_redirects=False) as response:
        return response.status, response.headers, await response.read()


async def page(client: aiohttp.ClientSession) -> dict[str, Any]:
    _, _, body = await get(client, PAGE, **JSON)
    return json.loads(body)


def test_a_wheel_has_a_record_that_an_installer_accepts_and_metadata_as_told(tmp_path: Path) -> None:
    path = tmp_path / ALPHA.filename
    path.write_bytes(ALPHA.data)
    with WheelFile.open(path) as wheel:
        wheel.validate_record()
    with zipfile.ZipFile(path) as archive:
        assert archive.read("alpha-1.0.dist-info/METADATA") == ALPHA.metadata
        assert archive.read("alpha/__init__.py") == b'__version__ = "1.0"\n'
    assert b"Requires-Dist: beta>=2\n" in ALPHA.metadata
    assert b"Requires-Python: >=3.9\n" in ALPHA.metadata


def test_the_same_arguments_make_the_same_wheel_whose_payload_does_not_compress() -> None:
    one, other = (make_wheel("big", "1.0", payload_size=100_000) for _ in range(2))
    assert one.sha256 == other.sha256 == hashlib.sha256(one.data).hexdigest()
    assert len(one.data) > 100_000


def test_a_lying_wheel_is_called_one_thing_outside_and_another_inside() -> None:
    liar = make_wheel("alpha", "1.0", lie_about_name="evil")
    with zipfile.ZipFile(io.BytesIO(liar.data)) as archive:
        assert b"Name: evil\n" in archive.read("evil-1.0.dist-info/METADATA")
    assert liar.filename == "alpha-1.0-py3-none-any.whl"


def test_an_sdist_is_a_tar_with_pkg_info() -> None:
    sdist = make_sdist("Al.pha", "1.0")
    with tarfile.open(fileobj=io.BytesIO(sdist.data)) as archive:
        pkg_info = archive.extractfile("al_pha-1.0/PKG-INFO")
        assert pkg_info
        assert pkg_info.read() == sdist.metadata
    assert (sdist.project, sdist.filename) == ("al-pha", "al_pha-1.0.tar.gz")


@pytest.mark.clients
async def test_uv_installs_from_the_fake_index(upstream: FakeIndex, tmp_path: Path) -> None:
    upstream.add(make_wheel("beta", "2.1"))
    command = ["pip", "install", "--no-config", "--no-cache", "--target", tmp_path, "--index-url", upstream.url]
    uv = await asyncio.create_subprocess_exec(UV, *command, "alpha", stderr=asyncio.subprocess.PIPE)
    _, said = await uv.communicate()
    assert uv.returncode == 0, said.decode()
    assert {"alpha-1.0.dist-info", "beta-2.1.dist-info"} <= set(await asyncio.to_thread(os.listdir, tmp_path))
    assert upstream.count("GET", "*.metadata") == 2


@pytest.mark.parametrize(
    ("headers", "content_type"),
    [(JSON, "application/vnd.pypi.simple.v1+json"), ({}, "text/html; charset=utf-8")],
    ids=["json", "html"],
)
async def test_both_formats_say_the_same_of_a_file(
    upstream: FakeIndex, client: aiohttp.ClientSession, headers: dict[str, str], content_type: str
) -> None:
    upstream.yank(ALPHA.filename, "broken <build>")
    status, answered, body = await get(client, PAGE, **headers)
    assert (status, answered["Content-Type"]) == (200, content_type)
    read = (
        ProjectPage.from_json_data(json.loads(body))
        if headers
        else ProjectPage.from_html("alpha", body, upstream.url)
    )
    [package] = read.packages
    assert read.repository_version == "1.4"
    assert package.url == upstream.file_url(ALPHA.filename)
    assert package.digests == {"sha256": ALPHA.sha256}
    assert package.requires_python == ">=3.9"
    assert (package.is_yanked, package.yanked_reason) == (True, "broken <build>")
    assert package.metadata_digests == {"sha256": hashlib.sha256(ALPHA.metadata).hexdigest()}


async def test_json_carries_versions_sizes_and_upload_times(client: aiohttp.ClientSession) -> None:
    listed = await page(client)
    assert listed["versions"] == ["1.0"]
    assert listed["files"][0]["size"] == len(ALPHA.data)
    assert listed["files"][0]["upload-time"] == "2024-03-01T12:00:00.000000Z"


async def test_files_and_sidecars_are_the_bytes_of_the_dist(client: aiohttp.ClientSession) -> None:
    assert (await get(client, FILE))[2] == ALPHA.data
    assert (await get(client, f"{FILE}.metadata"))[2] == ALPHA.metadata


async def test_the_root_lists_projects_in_both_formats(client: aiohttp.ClientSession) -> None:
    assert json.loads((await get(client, "/simple/", **JSON))[2])["projects"] == [{"name": "alpha"}]
    assert b'<a href="alpha/">alpha</a>' in (await get(client, "/simple/"))[2]


@pytest.mark.parametrize("path", ["/simple/Alpha/", "/simple/alpha"])
async def test_other_spellings_of_a_page_redirect_to_the_canonical_one(
    client: aiohttp.ClientSession, path: str
) -> None:
    status, headers, _ = await get(client, path)
    assert (status, headers["Location"]) == (301, PAGE)


async def test_head_gives_the_length_without_the_body(client: aiohttp.ClientSession) -> None:
    async with client.head(FILE) as response:
        assert response.content_length == len(ALPHA.data)
        assert await response.read() == b""


@pytest.mark.parametrize(
    ("asked", "status", "expected"),
    [
        ("bytes=2-5", 206, ALPHA.data[2:6]),
        ("bytes=10-", 206, ALPHA.data[10:]),
        ("bytes=-22", 206, ALPHA.data[-22:]),
        ("bytes=0-99999999", 206, ALPHA.data),
        ("bytes=99999999-", 416, b""),
        ("bytes=-", 200, ALPHA.data),
        ("bytes=0-1,4-5", 200, ALPHA.data),
    ],
)
async def test_single_ranges_are_honoured(
    client: aiohttp.ClientSession, asked: str, status: int, expected: bytes
) -> None:
    got, headers, body = await get(client, FILE, Range=asked)
    assert (got, body) == (status, expected)
    assert ("Content-Range" in headers) == (status != 200)


@pytest.mark.parametrize(("etag", "status"), [(f'"{ALPHA.sha256}"', 206), ('"other"', 200)])
async def test_if_range_switches_the_range_off_when_the_file_changed(
    client: aiohttp.ClientSession, etag: str, status: int
) -> None:
    assert (await get(client, FILE, Range="bytes=5-", If_Range=etag))[0] == status


@pytest.mark.parametrize("path", [PAGE, FILE, f"{FILE}.metadata"])
async def test_a_matching_etag_is_answered_304(client: aiohttp.ClientSession, path: str) -> None:
    _, headers, _ = await get(client, path)
    status, _, body = await get(client, path, If_None_Match=headers["ETag"])
    assert (status, body) == (304, b"")


async def test_removals_show_on_page_and_file(upstream: FakeIndex, client: aiohttp.ClientSession) -> None:
    upstream.add(make_wheel("alpha", "2.0"))
    upstream.remove(ALPHA.filename)
    assert (await page(client))["versions"] == ["2.0"]
    assert (await get(client, FILE))[0] == 404
    upstream.remove_project("alpha")
    assert (await get(client, PAGE))[0] == 404


async def test_a_quarantined_project_says_so_and_offers_no_files(
    upstream: FakeIndex, client: aiohttp.ClientSession
) -> None:
    upstream.set_status("alpha", "quarantined", "malware")
    listed = await page(client)
    assert listed["project-status"] == {"status": "quarantined", "reason": "malware"}
    assert listed["files"] == []
    assert b'<meta name="pypi:project-status" content="quarantined">' in (await get(client, PAGE))[2]


@pytest.mark.parametrize(
    ("style", "key", "expected"),
    [
        (Style(hashes="md5"), "hashes", {"md5": hashlib.md5(ALPHA.data).hexdigest()}),
        (Style(hashes="none"), "hashes", {}),
        (Style(hashes="wrong"), "hashes", {"sha256": hashlib.sha256(b"other bytes").hexdigest()}),
        (Style(sizes="none"), "size", None),
        (Style(sizes="wrong"), "size", len(ALPHA.data) + 1),
        (Style(upload_times=False), "upload-time", None),
        (Style(sidecars="unadvertised"), "core-metadata", None),
        (Style(sidecars="none"), "core-metadata", None),
        (Style(sidecars="no-digest"), "core-metadata", True),
        (Style(sidecars="wrong-hash"), "core-metadata", {"sha256": hashlib.sha256(b"other bytes").hexdigest()}),
        (Style(links="relative"), "url", f"../..{FILE}"),
        (Style(extra_file_keys={"provenance": "p"}), "provenance", "p"),
    ],
    ids=[
        "md5 only",
        "no hashes",
        "wrong hash",
        "no size",
        "wrong size",
        "no upload time",
        "silent about sidecars",
        "without sidecars",
        "sidecars without digest",
        "wrong sidecar hash",
        "relative links",
        "unknown file keys",
    ],
)
async def test_a_style_changes_what_the_page_says_of_a_file(
    upstream: FakeIndex, client: aiohttp.ClientSession, style: Style, key: str, expected: object
) -> None:
    upstream.style = style
    assert (await page(client))["files"][0].get(key) == expected


@pytest.mark.parametrize(
    ("sidecars", "status", "truthful"),
    [
        ("unadvertised", 200, True),
        ("no-digest", 200, True),
        ("wrong-hash", 200, True),
        ("wrong-bytes", 200, False),
        ("none", 404, False),
        ("advertised-missing", 404, False),
    ],
)
async def test_a_sidecar_is_served_missing_or_false(
    upstream: FakeIndex, client: aiohttp.ClientSession, sidecars: str, status: int, truthful: bool
) -> None:
    upstream.style = Style(sidecars=sidecars)
    got, _, body = await get(client, f"{FILE}.metadata")
    assert (got, body == ALPHA.metadata) == (status, truthful)


async def test_an_index_may_have_html_only(upstream: FakeIndex, client: aiohttp.ClientSession) -> None:
    upstream.style = Style(formats=("html",))
    assert (await get(client, PAGE, **JSON))[1]["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(("content_type", "expected"), [("text/plain", "text/plain"), ("", None)])
async def test_a_page_may_have_a_wrong_or_no_content_type(
    upstream: FakeIndex, client: aiohttp.ClientSession, content_type: str, expected: str | None
) -> None:
    upstream.style = Style(content_type=content_type)
    assert (await get(client, PAGE))[1].get("Content-Type") == expected


async def test_an_index_may_lack_validators_and_ranges(upstream: FakeIndex, client: aiohttp.ClientSession) -> None:
    upstream.style = Style(validators=False, ranges=False)
    status, headers, body = await get(client, FILE, Range="bytes=5-", If_None_Match=f'"{ALPHA.sha256}"')
    assert (status, body) == (200, ALPHA.data)
    assert not headers.keys() & {"ETag", "Accept-Ranges"}


async def test_an_index_may_send_everything_chunked(upstream: FakeIndex, client: aiohttp.ClientSession) -> None:
    upstream.style = Style(lengths=False)
    _, headers, body = await get(client, FILE)
    assert ("Content-Length" in headers, headers["Transfer-Encoding"], body) == (False, "chunked", ALPHA.data)


async def test_pages_are_compressed_for_those_who_ask(upstream: FakeIndex, client: aiohttp.ClientSession) -> None:
    plain = (await get(client, PAGE))[2]
    upstream.style = Style(gzip=True)
    _, headers, body = await get(client, PAGE, Accept_Encoding="gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == plain
    assert (await get(client, PAGE, Accept_Encoding="identity"))[2] == plain


async def test_pages_may_carry_cache_control_an_old_version_and_unknown_keys(
    upstream: FakeIndex, client: aiohttp.ClientSession
) -> None:
    upstream.style = Style(cache_control="max-age=600", api_version="1.0", extra_keys={"tracks": ["x"]})
    _, headers, body = await get(client, PAGE, **JSON)
    listed = json.loads(body)
    assert headers["Cache-Control"] == "max-age=600"
    assert (listed["meta"]["api-version"], "versions" in listed, listed["tracks"]) == ("1.0", False, ["x"])


async def test_an_unknown_name_may_be_403(upstream: FakeIndex, client: aiohttp.ClientSession) -> None:
    assert (await get(client, "/simple/nothing/"))[0] == 404
    upstream.style = Style(unknown_is=403)
    assert (await get(client, "/simple/nothing/"))[0] == 403


async def test_off_host_links_lead_to_a_second_port_that_asks_for_no_credentials(
    upstream: FakeIndex, client: aiohttp.ClientSession
) -> None:
    upstream.style = Style(links="off-host")
    url = (await page(client))["files"][0]["url"]
    upstream.require_basic("ci", "secret")
    assert url == f"http://127.0.0.1:{upstream.files_port}{FILE}" == upstream.file_url(ALPHA.filename)
    assert (await get(client, url))[2] == ALPHA.data
    assert upstream.requests[-1].port == upstream.files_port != upstream.port


def test_a_style_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="sidecars='advertized' is not one of"):
        Style(sidecars="advertized")


async def test_basic_credentials_are_asked_for(upstream: FakeIndex, client: aiohttp.ClientSession) -> None:
    upstream.require_basic("ci", "secret")
    status, headers, _ = await get(client, PAGE)
    assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="index"')
    authorization = aiohttp.encode_basic_auth("ci", "secret")
    assert (await get(client, PAGE, Authorization=authorization))[0] == 200


async def test_a_bearer_token_is_asked_for(upstream: FakeIndex, client: aiohttp.ClientSession) -> None:
    upstream.require_bearer("tok")
    assert (await get(client, PAGE, Authorization="Bearer other"))[0] == 401
    assert (await get(client, PAGE, Authorization="Bearer tok"))[0] == 200


async def test_faults_hit_their_paths_in_the_order_given_and_then_end(
    upstream: FakeIndex, client: aiohttp.ClientSession
) -> None:
    upstream.fail("/simple/*", Status(503, headers={"Retry-After": "7"}, body=b"busy"), times=2)
    upstream.fail(PAGE, Status(500), times=1)
    assert (await get(client, FILE))[0] == 200
    status, headers, body = await get(client, PAGE)
    assert (status, headers["Retry-After"], body) == (503, "7", b"busy")
    assert [(await get(client, PAGE))[0] for _ in range(3)] == [503, 500, 200]


async def test_a_fault_without_times_lasts_until_cleared(upstream: FakeIndex, client: aiohttp.ClientSession) -> None:
    upstream.fail(PAGE, Status(429))
    assert [(await get(client, PAGE))[0] for _ in range(3)] == [429, 429, 429]
    upstream.clear_faults()
    assert (await get(client, PAGE))[0] == 200


async def test_wrong_bytes_differ_in_one_place_under_the_same_length_and_etag(
    upstream: FakeIndex, client: aiohttp.ClientSession
) -> None:
    upstream.fail(FILE, WrongBytes())
    _, headers, body = await get(client, FILE)
    assert headers["ETag"] == f'"{ALPHA.sha256}"'
    assert len(body) == len(ALPHA.data)
    assert sum(one != other for one, other in zip(body, ALPHA.data, strict=True)) == 1


@pytest.mark.parametrize("style", [Style(), Style(lengths=False)], ids=["sized", "chunked"])
async def test_a_cut_ends_the_connection_after_exactly_so_many_bytes(
    upstream: FakeIndex, client: aiohttp.ClientSession, style: Style
) -> None:
    upstream.style = style
    upstream.fail(FILE, Cut(after=100))
    async with client.get(FILE) as response:
        assert await response.content.readexactly(100) == ALPHA.data[:100]
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()


async def test_a_cut_by_reset_is_a_connection_error(upstream: FakeIndex) -> None:
    upstream.fail(FILE, Cut(after=0, reset=True))
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    writer.write(f"GET {FILE} HTTP/1.1\r\nHost: index.example.org\r\n\r\n".encode())
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_a_refusal_resets_before_any_answer(upstream: FakeIndex, client: aiohttp.ClientSession) -> None:
    upstream.fail(PAGE, Refuse())
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.get(PAGE)


async def test_a_delay_answers_when_the_test_says_so(upstream: FakeIndex, client: aiohttp.ClientSession) -> None:
    let_go = asyncio.Event()
    upstream.fail(PAGE, Delay(let_go))
    asking = asyncio.create_task(get(client, PAGE))
    await upstream.arrived(PAGE)
    assert not asking.done()
    let_go.set()
    assert (await asking)[0] == 200


async def test_a_gate_stops_in_the_body_until_it_is_opened(
    upstream: FakeIndex, client: aiohttp.ClientSession
) -> None:
    gate = asyncio.Event()
    upstream.fail(FILE, Gate(after=64, event=gate))
    async with client.get(FILE) as response:
        assert await response.content.readany() == ALPHA.data[:64]
        gate.set()
        assert await response.content.read() == ALPHA.data[64:]


async def test_a_hanging_request_is_dropped_when_the_index_stops(
    upstream: FakeIndex, client: aiohttp.ClientSession
) -> None:
    upstream.fail(PAGE, Hang())
    asking = asyncio.create_task(client.get(PAGE))
    await upstream.arrived(PAGE)
    await upstream.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await asking


async def test_a_body_that_hangs_is_cut_when_the_index_stops(
    upstream: FakeIndex, client: aiohttp.ClientSession
) -> None:
    upstream.fail(FILE, HangAfter(10))
    async with client.get(FILE) as response:
        assert await response.content.readexactly(10) == ALPHA.data[:10]
        await upstream.stop()
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()


async def test_redirects_and_foreign_bodies_are_sent_as_told(
    upstream: FakeIndex, client: aiohttp.ClientSession
) -> None:
    upstream.fail(PAGE, Redirect("/simple/beta/"), times=1)
    upstream.fail(PAGE, RawBody(b"<h1>Sign in</h1>", "text/html"), times=1)
    status, headers, _ = await get(client, PAGE)
    assert (status, headers["Location"]) == (302, "/simple/beta/")
    status, headers, body = await get(client, PAGE)
    assert (status, headers["Content-Type"], body) == (200, "text/html", b"<h1>Sign in</h1>")


async def test_requests_are_remembered_and_counted_by_pattern(
    upstream: FakeIndex, client: aiohttp.ClientSession
) -> None:
    await get(client, PAGE, X_Trace="t")
    await get(client, FILE)
    await get(client, f"{FILE}.metadata")
    assert (upstream.count(), upstream.count("GET", "/files/*"), upstream.count("HEAD")) == (3, 2, 0)
    first, *_, last = upstream.requests
    assert (first.method, first.path, first.headers["X-Trace"], first.port) == ("GET", PAGE, "t", upstream.port)
    assert first.time <= last.time


async def test_an_outage_refuses_connections_and_ends_on_the_same_ports(
    upstream: FakeIndex, client: aiohttp.ClientSession
) -> None:
    ports = (upstream.port, upstream.files_port)
    await get(client, PAGE)
    await upstream.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.get(PAGE)
    await upstream.start()
    assert (upstream.port, upstream.files_port) == ports
    assert (await get(client, PAGE))[0] == 200
