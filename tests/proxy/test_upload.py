"""Uploads: what twine and uv send, what a hand-made form may try, and what is on the page after it."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import io
import os
import sys
import tarfile
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from uv import find_uv_bin

from envproxy.pypi.form import MAX_FIELD_BYTES, MAX_FORM_BYTES
from fixtures.clients import Uv
from fixtures.clock import FakeClock
from fixtures.proxy import LocalProxy, running_proxy
from fixtures.upstream import FakeIndex, Gate
from fixtures.wheels import Dist, make_sdist, make_wheel

TOML = """
[auth.tokens.release]
secret = "env:RELEASE_TOKEN"
scopes = ["read", "upload"]
[auth.tokens.reader]
secret = "env:READER_TOKEN"
[pypi.hosted.team]
[pypi.hosted.other]
[pypi.indexes.main]
sources = ["team", "pypi"]
owners = { "corp-*" = "pypi" }
[pypi.indexes.mirror]
sources = ["pypi"]
[pypi.indexes.both]
sources = ["team", "other"]
"""
TOKENS = {"RELEASE_TOKEN": "let-me-publish", "READER_TOKEN": "let-me-read"}


def basic(token: str) -> str:
    return f"Basic {base64.b64encode(f'__token__:{token}'.encode()).decode()}"


RELEASE = basic("let-me-publish")
JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}


@dataclass
class House:
    """A proxy with a hosted index before an upstream, and a client of it."""

    proxy: LocalProxy
    upstream: FakeIndex
    client: aiohttp.ClientSession
    clock: FakeClock
    data: Path

    async def post(
        self, form: aiohttp.FormData | None, *, index: str = "main", auth: str | None = RELEASE
    ) -> tuple[int, str]:
        """Status and text of an upload."""
        headers = {"Authorization": auth} if auth is not None else {}
        async with self.client.post(f"/pypi/{index}/legacy/", data=form, headers=headers) as answer:
            return answer.status, await answer.text()

    async def publish(self, dist: Dist) -> None:
        assert await self.post(form(dist)) == (200, f"{dist.filename} published in team\n")

    async def page(self, project: str) -> dict[str, Any]:
        async with self.client.get(f"/pypi/main/simple/{project}/", headers=JSON) as answer:
            return await answer.json(content_type=None)

    async def files(self, project: str) -> dict[str, dict[str, Any]]:
        return {file["filename"]: file for file in (await self.page(project)).get("files", [])}

    async def nothing_is_left(self) -> bool:
        """Whether neither a partial nor a blob is on disk."""
        return await asyncio.to_thread(
            lambda: not any(self.data.glob("partial/*")) and not any(self.data.glob("blobs/sha256/*/*"))
        )


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    clock = FakeClock()
    async with (
        FakeIndex() as upstream,
        running_proxy(tmp_path, upstream=upstream, toml=TOML, environ=TOKENS, clock=clock) as proxy,
        aiohttp.ClientSession(proxy.url) as client,
    ):
        yield House(proxy, upstream, client, clock, tmp_path / "data")


def form(dist: Dist, *, filename: str | None = None, **fields: str | None) -> aiohttp.FormData:
    """What a client sends for `dist`. `fields` replace its own (`action` stands for :action), None leaves one out."""
    sent = {
        ":action": fields.pop("action", "file_upload"),
        "protocol_version": "1",
        "name": dist.project,
        "version": dist.version,
        "filetype": "bdist_wheel" if dist.is_wheel else "sdist",
        "sha256_digest": dist.sha256,
        "description": "long, and of no interest",
        **fields,
    }
    made = aiohttp.FormData(quote_fields=False)
    for name, value in sent.items():
        if value is not None:
            made.add_field(name, value)
    made.add_field("content", dist.data, filename=filename or dist.filename)
    return made


# --- the real clients -----------------------------------------------------------------------------------


async def command(*words: str, home: Path, **environ: str) -> tuple[int, str]:
    """Exit code and output of a client with a home of its own."""
    process = await asyncio.create_subprocess_exec(
        *words,
        env={
            "PATH": os.defpath,
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            "COLUMNS": "500",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
            "UV_NO_CONFIG": "1",
            "UV_HTTP_RETRIES": "0",
            **environ,
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def write(directory: Path, *dists: Dist) -> list[str]:
    """The files in a directory, as a build leaves them."""
    paths = [directory / dist.filename for dist in dists]
    for path, dist in zip(paths, dists, strict=True):
        await asyncio.to_thread(path.write_bytes, dist.data)
    return [str(path) for path in paths]


async def twine(house: House, home: Path, *words: str) -> tuple[int, str]:
    url = f"{house.proxy.url}/pypi/main/legacy/"
    return await command(
        sys.executable, "-m", "twine", "upload", "--non-interactive", "--disable-progress-bar", "--verbose",
        "--repository-url", url, *words,
        home=home, TWINE_USERNAME="__token__", TWINE_PASSWORD="let-me-publish",
    )  # fmt: skip


async def uv_publish(house: House, home: Path, *words: str) -> tuple[int, str]:
    url = f"{house.proxy.url}/pypi/main/legacy/"
    return await command(find_uv_bin(), "publish", "--publish-url", url, *words, home=home)


async def test_what_twine_uploads_is_installed_by_uv(house: House, tmp_path: Path) -> None:
    wheel, sdist = make_wheel("train", "1.0", requires=["track"]), make_sdist("train", "1.0")
    house.upstream.add(make_wheel("track", "2.0"))
    code, said = await twine(house, tmp_path, *await write(tmp_path, wheel, sdist))
    assert code == 0, said
    assert set(await house.files("train")) == {wheel.filename, sdist.filename}
    room = tmp_path / "room"
    room.mkdir()
    outcome = await Uv(room).install("train", house.proxy.simple())
    assert outcome.installed == {"train": "1.0", "track": "2.0"}, outcome.output


async def test_what_uv_publishes_is_installed_by_uv(house: House, tmp_path: Path) -> None:
    files = await write(tmp_path, make_wheel("train", "1.0"), make_sdist("train", "1.0"))
    code, said = await uv_publish(house, tmp_path, "--token", "let-me-publish", *files)
    assert code == 0, said
    room = tmp_path / "room"
    room.mkdir()
    outcome = await Uv(room).install("train==1.0", house.proxy.simple())
    assert outcome.installed == {"train": "1.0"}, outcome.output


async def test_twine_may_send_the_same_file_again(house: House, tmp_path: Path) -> None:
    [file] = await write(tmp_path, make_wheel("train", "1.0"))
    assert (await twine(house, tmp_path, file))[0] == 0
    code, said = await twine(house, tmp_path, file)
    assert code == 0, said
    assert "was published before" in said


async def test_twine_says_why_other_bytes_are_refused(house: House, tmp_path: Path) -> None:
    await house.publish(make_wheel("train", "1.0"))
    [file] = await write(tmp_path, make_wheel("train", "1.0", requires=["track"]))
    code, said = await twine(house, tmp_path, file)
    assert code == 1
    assert "train-1.0-py3-none-any.whl is already taken in team by other bytes" in said


async def test_uv_skips_what_its_check_url_lists(house: House, tmp_path: Path) -> None:
    old = make_wheel("train", "1.0")
    await house.publish(old)
    files = await write(tmp_path, old, make_wheel("train", "1.1"))
    code, said = await uv_publish(
        house, tmp_path, "--token", "let-me-publish", "--check-url", house.proxy.simple(), *files
    )
    assert code == 0, said
    assert "already exists, skipping" in said
    assert len(await house.files("train")) == 2


async def test_uv_says_that_a_token_may_not_upload(house: House, tmp_path: Path) -> None:
    files = await write(tmp_path, make_wheel("train", "1.0"))
    code, said = await uv_publish(house, tmp_path, "--token", "let-me-read", *files)
    assert code == 2
    assert "403 Forbidden" in said


# --- what is on the page --------------------------------------------------------------------------------


async def test_the_page_shows_an_upload_at_once_and_in_full(house: House) -> None:
    assert (await house.page("train"))["status"] == 404
    wheel = make_wheel("train", "1.0", requires_python=">=3.8")
    await house.publish(wheel)
    page = await house.page("train")
    assert page["versions"] == ["1.0"]
    [file] = page["files"]
    assert file == {
        "filename": "train-1.0-py3-none-any.whl",
        "url": f"../../files/train/{wheel.sha256}/train-1.0-py3-none-any.whl",
        "hashes": {"sha256": wheel.sha256},
        "size": len(wheel.data),
        "upload-time": "2024-03-08T12:00:00.000000Z",
        "requires-python": ">=3.8",
        "core-metadata": {"sha256": hashlib.sha256(wheel.metadata).hexdigest()},
        "data-dist-info-metadata": {"sha256": hashlib.sha256(wheel.metadata).hexdigest()},
        "yanked": False,
    }


async def test_an_upload_is_served_with_its_metadata(house: House) -> None:
    wheel = make_wheel("train", "1.0", requires=["track"])
    await house.publish(wheel)
    url = f"/pypi/main/files/train/{wheel.sha256}/{wheel.filename}"
    async with house.client.get(url) as answer:
        assert await answer.read() == wheel.data
    async with house.client.get(f"{url}.metadata") as answer:
        assert await answer.read() == wheel.metadata
        assert answer.headers["X-Envmesh-Cache"] == "hit"


async def test_an_uploaded_name_is_not_looked_up_upstream(house: House) -> None:
    house.upstream.add(make_wheel("train", "9.0"))
    assert (await house.page("train"))["versions"] == ["9.0"]
    await house.publish(make_wheel("train", "1.0"))
    assert (await house.page("train"))["versions"] == ["1.0"]


async def test_a_page_on_its_way_when_an_upload_ends_does_not_hide_the_upload(house: House) -> None:
    house.upstream.add(make_wheel("train", "9.0"))
    go_on = asyncio.Event()
    house.upstream.fail("/simple/train/", Gate(0, go_on), times=1)
    waiting = asyncio.create_task(house.page("train"))
    await house.upstream.arrived("/simple/train/")
    await house.publish(make_wheel("train", "1.0"))
    assert (await house.page("train"))["versions"] == ["1.0"]
    go_on.set()
    assert (await waiting)["versions"] == ["9.0"]
    assert (await house.page("train"))["versions"] == ["1.0"]


async def test_files_and_metadata_of_uploads_are_pinned(house: House) -> None:
    wheel, sdist = make_wheel("train", "1.0"), make_sdist("train", "1.0")
    await house.publish(wheel)
    await house.publish(sdist)
    pins = await house.proxy.parts.catalog.pins()
    digests = {wheel.sha256, sdist.sha256, hashlib.sha256(wheel.metadata).hexdigest()}
    assert {(pin.sha256, pin.reason) for pin in pins} == {(digest, "hosted:team") for digest in digests}
    assert {row.sha256 for row in await house.proxy.parts.catalog.blob_rows()} == digests


async def test_the_catalog_knows_who_uploaded(house: House) -> None:
    await house.publish(make_wheel("train", "1.0"))
    [file] = await house.proxy.parts.catalog.hosted_files("team", "train")
    assert file.uploader == "release"


# --- who may, and where ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("auth", "status", "said"),
    [
        (None, 401, "this proxy wants a token to upload"),
        (basic("guess"), 401, "this proxy does not know that token"),
        (basic("let-me-read"), 403, "token reader may not upload"),
        ("Bearer let-me-publish", 200, "published in team"),
    ],
    ids=["none", "wrong", "reader", "bearer"],
)
async def test_uploading_takes_a_token_with_that_scope(
    house: House, auth: str | None, status: int, said: str
) -> None:
    answer = await house.post(form(make_wheel("train", "1.0")), auth=auth)
    assert answer[0] == status
    assert said in answer[1]


async def test_a_401_names_the_scheme(house: House) -> None:
    async with house.client.post("/pypi/main/legacy/") as answer:
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="envmesh"'


@pytest.mark.parametrize(
    ("index", "status", "said"),
    [
        ("mirror", 400, "index mirror has no hosted source"),
        ("both", 400, "index both has several hosted sources (team, other)"),
        ("nope", 404, "there is no index 'nope' here"),
    ],
)
async def test_an_index_must_have_one_hosted_source(house: House, index: str, status: int, said: str) -> None:
    answer = await house.post(form(make_wheel("train", "1.0")), index=index)
    assert answer[0] == status
    assert said in answer[1]


async def test_a_name_that_another_source_owns_is_refused(house: House) -> None:
    status, said = await house.post(form(make_wheel("corp-train", "1.0")))
    assert status == 400
    assert "corp-train belongs to another source of index main than team" in said
    assert await house.nothing_is_left()


async def test_the_url_works_without_its_slash(house: House) -> None:
    async with house.client.post(
        "/pypi/main/legacy", data=form(make_wheel("train", "1.0")), headers={"Authorization": RELEASE}
    ) as answer:
        assert answer.status == 200


# --- a filename is for ever -----------------------------------------------------------------------------


async def test_the_same_bytes_again_change_nothing(house: House) -> None:
    wheel = make_wheel("train", "1.0")
    await house.publish(wheel)
    before = await house.page("train")
    house.clock.advance(60)
    assert await house.post(form(wheel)) == (
        200,
        "train-1.0-py3-none-any.whl was published before, with the same bytes in team\n",
    )
    assert await house.page("train") == before


async def test_other_bytes_under_a_name_are_a_conflict_and_leave_nothing(house: House) -> None:
    await house.publish(make_wheel("train", "1.0"))
    blobs = await house.proxy.parts.catalog.blob_rows()
    status, said = await house.post(form(make_wheel("train", "1.0", payload_size=100)))
    assert status == 409
    assert "train-1.0-py3-none-any.whl is already taken in team by other bytes" in said
    assert await house.proxy.parts.catalog.blob_rows() == blobs


async def test_a_deleted_name_keeps_its_meaning(house: House) -> None:
    wheel = make_wheel("train", "1.0")
    await house.publish(wheel)
    await house.proxy.parts.catalog.delete_hosted("team", wheel.filename)
    assert (await house.post(form(make_wheel("train", "1.0", payload_size=100))))[0] == 409
    await house.publish(wheel)


async def test_an_upload_brings_back_bytes_that_the_disk_lost(house: House) -> None:
    wheel = make_wheel("train", "1.0")
    await house.publish(wheel)
    await asyncio.to_thread(house.proxy.parts.store.delete, wheel.sha256)
    assert (await house.post(form(wheel)))[0] == 200
    async with house.client.get(f"/pypi/main/files/train/{wheel.sha256}/{wheel.filename}") as answer:
        assert await answer.read() == wheel.data


# --- what is checked ------------------------------------------------------------------------------------


def digest(algorithm: str, data: bytes) -> str:
    made = hashlib.blake2b(data, digest_size=32) if algorithm == "blake2_256" else hashlib.new(algorithm, data)
    return made.hexdigest()


@pytest.mark.parametrize("algorithm", ["sha256", "blake2_256", "md5"])
async def test_each_digest_of_the_form_is_verified(house: House, algorithm: str) -> None:
    wheel = make_wheel("train", "1.0")
    field = f"{algorithm}_digest"
    right, wrong = digest(algorithm, wheel.data), digest(algorithm, wheel.data + b"!")
    status, said = await house.post(form(wheel, **{"sha256_digest": None, field: wrong}))
    assert status == 400
    assert f"arrived with {field} {right}, the form says {wrong}" in said
    assert await house.nothing_is_left()
    assert (await house.post(form(wheel, **{"sha256_digest": None, field: right.upper()})))[0] == 200


WHEEL = make_wheel("train", "1.0")
SDIST = make_sdist("train", "1.0")


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def pkg_info(name: str, version: str, more: str = "") -> bytes:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}\n".encode()


@pytest.mark.parametrize(
    ("dist", "said"),
    [
        (make_wheel("train", "1.0", lie_about_name="plane"), "calls itself 'plane' '1.0' inside"),
        (replace(WHEEL, data=WHEEL.data[:-200]), "is a damaged wheel"),
        (replace(WHEEL, data=b""), "train-1.0-py3-none-any.whl is empty"),
        (replace(WHEEL, data=zipped({"train.py": b""})), "train-1.0-py3-none-any.whl has no METADATA"),
        (replace(WHEEL, filename="train-1.0.whl"), "is not called like a wheel"),
        (replace(WHEEL, filename="train-1.0-py3.11.egg"), "is neither a wheel nor a sdist"),
        (replace(SDIST, data=make_sdist("plane", "1.0").data), "calls itself 'plane' '1.0' inside"),
        (replace(SDIST, data=make_sdist("train", "2.0").data), "calls itself 'train' '2.0' inside"),
        (replace(SDIST, data=b"no gzip"), "is a damaged sdist"),
        (replace(SDIST, data=gzip.compress(b"no tar" * 200)), "is a damaged sdist"),
        (replace(SDIST, data=SDIST.data[:60]), "is a damaged sdist"),
        (replace(SDIST, data=tarred({"train-1.0/setup.py": b""})), "train-1.0.tar.gz has no PKG-INFO"),
        (
            replace(SDIST, data=tarred({"train-1.0/src/train.egg-info/PKG-INFO": pkg_info("train", "1.0")})),
            "train-1.0.tar.gz has no PKG-INFO",
        ),
        (
            replace(SDIST, data=tarred({"train-1.0/PKG-INFO": pkg_info("train", "soon")})),
            "has the version 'soon', which is none",
        ),
        (
            replace(SDIST, data=tarred({"train-1.0/PKG-INFO": pkg_info("train", "1.0", "Requires-Python: new")})),
            "has the Requires-Python 'new', which is no version specifier",
        ),
        (replace(SDIST, data=tarred({"train-1.0/PKG-INFO": b"nothing"})), "'' is not a project name"),
    ],
    ids=[
        "wheel-lies", "wheel-cut", "wheel-empty", "wheel-bare", "wheel-name", "egg", "sdist-name", "sdist-version",
        "sdist-no-gzip", "sdist-no-tar", "sdist-cut", "sdist-bare", "sdist-nested", "sdist-no-version",
        "sdist-no-specifier", "sdist-no-name",
    ],
)  # fmt: skip
async def test_a_file_that_is_not_what_its_name_says_is_refused(house: House, dist: Dist, said: str) -> None:
    status, answer = await house.post(form(dist, sha256_digest=None))
    assert status == 400
    assert said in answer
    assert await house.nothing_is_left()
    assert (await house.page("train"))["status"] == 404


async def test_a_zip_may_be_an_sdist_and_keeps_what_requires_python_says_inside(house: House) -> None:
    data = zipped({"train-1.0/PKG-INFO": pkg_info("Train", "1.0.0", "Requires-Python: >=3.9")})
    dist = replace(SDIST, filename="train-1.0.0.zip", data=data, version="1.0.0")
    assert (await house.post(form(dist, sha256_digest=None, requires_python=">=2.7")))[0] == 200
    file = (await house.files("train"))["train-1.0.0.zip"]
    assert file["requires-python"] == ">=3.9"
    assert "core-metadata" not in file


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "plane"}, "is of the project train, the form says 'plane'"),
        ({"version": "1.1"}, "is version 1.0, the form says '1.1'"),
        ({"version": "soon"}, "is version 1.0, the form says 'soon'"),
        ({"action": "doc_upload"}, "the only :action of this upload API is file_upload"),
        ({"action": None}, "the only :action of this upload API is file_upload"),
        ({"protocol_version": "2"}, "only protocol_version 1"),
        ({"filename": "lib/train-1.0-py3-none-any.whl"}, "it has a path separator"),
        ({"filename": ".whl"}, "it is empty or begins with a dot"),
    ],
    ids=["name", "version", "no-version", "action", "no-action", "protocol", "path", "dot"],
)
async def test_a_form_that_contradicts_its_file_is_refused(
    house: House, changed: dict[str, str | None], said: str
) -> None:
    status, answer = await house.post(form(WHEEL, **changed))
    assert status == 400
    assert said in answer
    assert await house.nothing_is_left()


async def test_a_form_may_spell_name_and_version_otherwise(house: House) -> None:
    assert (await house.post(form(WHEEL, name="TRAIN", version="v1.0.0")))[0] == 200


# --- forms that are none --------------------------------------------------------------------------------


async def raw(
    house: House, body: bytes | io.BytesIO, *, content_type: str = "multipart/form-data; boundary=b"
) -> tuple[int, str]:
    headers = {"Authorization": RELEASE, "Content-Type": content_type}
    async with house.client.post("/pypi/main/legacy/", data=body, headers=headers) as answer:
        return answer.status, await answer.text()


ACTION = b'--b\r\nContent-Disposition: form-data; name=":action"\r\n\r\nfile_upload\r\n'
FILE = b'--b\r\nContent-Disposition: form-data; name="content"; filename="train-1.0.tar.gz"\r\n\r\nx\r\n'


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the form cannot be read"),
        (b"garbage", "the form cannot be read"),
        (b"--b\r\nno header\r\n\r\nx\r\n--b--\r\n", "the form cannot be read"),
        (ACTION.replace(b"file_upload", b"\xff\xfe") + b"--b--\r\n", "the form cannot be read"),
        (ACTION + b"--b--\r\n", "the form has no file in it"),
        (ACTION + FILE + FILE + b"--b--\r\n", "more than one file"),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", "a part that is no field"),
        (b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c--\r\n--b--\r\n", "a part that is no field"),
        (ACTION + FILE[:-3], "the form cannot be read"),
    ],
    ids=["empty", "garbage", "header", "bytes", "no-file", "two-files", "nameless", "nested", "cut"],
)
async def test_a_broken_form_is_the_clients_fault(house: House, body: bytes, said: str) -> None:
    status, answer = await raw(house, body)
    assert status == 400
    assert said in answer
    assert await house.nothing_is_left()


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data", "multipart/mixed; boundary=b"])
async def test_what_is_no_form_is_the_clients_fault(house: House, content_type: str) -> None:
    assert (await raw(house, b"{}", content_type=content_type))[0] == 400


async def test_a_long_field_that_counts_is_too_large(house: House) -> None:
    status, said = await house.post(form(WHEEL, name="x" * (MAX_FIELD_BYTES + 1)))
    assert status == 413
    assert "the field name is longer than 4096 bytes" in said


@pytest.mark.parametrize(
    ("size", "status", "said"),
    [
        (MAX_FORM_BYTES, 400, "the form has no file in it"),
        (MAX_FORM_BYTES + 1, 413, "more than 32 MiB beside its file"),
    ],
    ids=["bearable", "too-long"],
)
async def test_long_fields_that_do_not_count_are_dropped_up_to_a_bound(
    house: House, size: int, status: int, said: str
) -> None:
    readme = b'--b\r\nContent-Disposition: form-data; name="description"\r\n\r\n' + bytes(size) + b"\r\n"
    answer = await raw(house, io.BytesIO(ACTION + readme + b"--b--\r\n"))
    assert answer[0] == status
    assert said in answer[1]


async def test_a_client_that_goes_away_halfway_leaves_nothing(house: House) -> None:
    url = house.client._build_url("/")
    _, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST /pypi/main/legacy/ HTTP/1.1\r\nHost: x\r\nAuthorization: {RELEASE}\r\nContent-Length: 100000\r\n"
    writer.write(head.encode() + b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + ACTION + FILE)
    await writer.drain()
    partials = house.data / "partial"
    while not await asyncio.to_thread(lambda: list(partials.iterdir())):
        await asyncio.sleep(0)
    writer.transport.abort()
    while await asyncio.to_thread(lambda: list(partials.iterdir())):
        await asyncio.sleep(0)
    assert await house.nothing_is_left()
    assert (await house.page("train"))["status"] == 404


# --- a full disk ----------------------------------------------------------------------------------------


async def test_an_upload_evicts_what_can_be_had_again(tmp_path: Path) -> None:
    cached = make_wheel("track", "1.0", payload_size=60_000)
    async with (
        FakeIndex() as upstream,
        running_proxy(
            tmp_path, upstream=upstream, toml=TOML, environ=TOKENS, settings={"store.limit": "100KB"}
        ) as proxy,
        aiohttp.ClientSession(proxy.url, headers={"Authorization": RELEASE}) as client,
    ):
        upstream.add(cached)
        async with client.get(f"/pypi/main/files/track/{cached.sha256}/{cached.filename}") as answer:
            await answer.read()
        await proxy.settled()
        wheel = make_wheel("train", "1.0", payload_size=60_000)
        async with client.post("/pypi/main/legacy/", data=form(wheel)) as answer:
            assert answer.status == 200
        assert cached.sha256 not in {row.sha256 for row in await proxy.parts.catalog.blob_rows()}


async def test_an_upload_that_will_never_fit_is_refused_before_its_bytes_are_read(tmp_path: Path) -> None:
    settings = {"store.limit": "100KB"}
    async with (
        running_proxy(tmp_path, toml=TOML, environ=TOKENS, settings=settings) as proxy,
        aiohttp.ClientSession(proxy.url, headers={"Authorization": RELEASE}) as client,
    ):
        big = make_wheel("train", "1.0", payload_size=200_000)
        async with client.post("/pypi/main/legacy/", data=form(big)) as answer:
            assert answer.status == 507
            assert "even after eviction" in await answer.text()
        async with client.post("/pypi/main/legacy/", data=form(WHEEL)) as answer:
            assert answer.status == 200
