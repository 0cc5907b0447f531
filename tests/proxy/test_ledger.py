"""Uploads exist nowhere else: whatever becomes of the catalog's bytes, what was uploaded is still there."""

from __future__ import annotations

import asyncio
import sqlite3
from base64 import b64encode
from contextlib import closing
from typing import TYPE_CHECKING

import aiohttp
import pytest

from envproxy.engine.catalog import Catalog, HostedFile
from envproxy.engine.channels import HostedPackage
from envproxy.engine.hosted import FileKept
from envproxy.errors import Conflict, StorageFull
from fixtures.disk import disk_that_takes
from fixtures.proxy import running_proxy
from fixtures.wheels import make_wheel
from fixtures.wire import JSON, wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

A, B, C = "a" * 64, "b" * 64, "c" * 64


def upload(version: str, sha256: str = A, *, yanked: str | None = None) -> HostedFile:
    return HostedFile(
        source="team",
        project="train",
        filename=f"train-{version}-py3-none-any.whl",
        sha256=sha256,
        size=20,
        metadata_sha256=B,
        requires_python=">=3.11",
        upload_time="2024-03-01T12:00:00Z",
        yanked=yanked,
        version=version,
        uploader="ci",
    )


def package(name: str, *, yanked: bool = False) -> HostedPackage:
    return HostedPackage(
        channel="lab",
        subdir="noarch",
        filename=f"{name}-1.0-0.conda",
        sha256=C,
        size=30,
        record=b'{"name": "%s"}' % name.encode(),
        uploaded_at=1_700_000_000.5,
        uploader="ci",
        yanked=yanked,
    )


async def fill(path: Path) -> None:
    """Three files, of which one is yanked and one deleted; three packages of which the same."""
    async with Catalog(path) as catalog:
        for version in ("1.0", "1.1", "1.2"):
            await catalog.add_hosted(upload(version))
        await catalog.set_yanked("team", upload("1.1").filename, "loses data")
        await catalog.delete_hosted("team", upload("1.2").filename)
        for name in ("kept", "yanked", "deleted"):
            await catalog.add_package(package(name))
        await catalog.yank_package("lab", "noarch", package("yanked").filename)
        await catalog.delete_package("lab", "noarch", package("deleted").filename)


async def check_filled(catalog: Catalog) -> None:
    assert await catalog.hosted_files("team", "train") == [upload("1.0"), upload("1.1", yanked="loses data")]
    assert await catalog.packages_of("lab", "noarch") == [package("kept"), package("yanked", yanked=True)]
    with pytest.raises(Conflict, match="already taken"):
        await catalog.check_hosted_name("team", upload("1.2").filename, B)
    with pytest.raises(Conflict, match="other bytes"):
        await catalog.add_package(HostedPackage(**{**fields(package("deleted")), "sha256": A}))


def fields(package: HostedPackage) -> dict[str, object]:
    return {name: getattr(package, name) for name in package.__slots__}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.sqlite"


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "uploads.ledger"


def overwrite(path: Path) -> None:
    path.write_bytes(b"not a database, " * 1000)


def cut(path: Path, size: int = 9000) -> None:
    path.write_bytes(path.read_bytes()[:size])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


def spoil(path: Path) -> None:
    """Zero the page at which a table begins, as a disk does that loses a block; the file still opens."""
    with closing(sqlite3.connect(path)) as catalog:
        [page] = catalog.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'hosted_files'").fetchone()
        [size] = catalog.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(bytes(size))


# --- a catalog that cannot be opened --------------------------------------------------------------------


@pytest.mark.parametrize("damage", [overwrite, cut, empty, remove])
async def test_uploads_yanks_and_deleted_names_are_taken_back_by_a_new_catalog(
    path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    await fill(path)
    await asyncio.to_thread(damage, path)
    async with Catalog(path) as catalog:
        await check_filled(catalog)
    assert "10 entries on uploads were taken back from" in caplog.text
    assert "0 could not be read" in caplog.text
    caplog.clear()
    async with Catalog(path) as catalog:
        await check_filled(catalog)
    assert caplog.text == ""


async def test_the_damaged_catalog_is_kept_and_named(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(path)
    await asyncio.to_thread(overwrite, path)
    async with Catalog(path):
        pass
    assert (tmp_path / "catalog.corrupt-1").read_bytes() == b"not a database, " * 1000
    assert f"the old one is {tmp_path}/catalog.corrupt-1" in caplog.text


async def test_changes_after_a_recovery_are_kept_as_well(path: Path) -> None:
    await fill(path)
    await asyncio.to_thread(overwrite, path)
    async with Catalog(path) as catalog:
        await catalog.set_yanked("team", upload("1.1").filename, None)
        await catalog.delete_hosted("team", upload("1.0").filename)
    await asyncio.to_thread(cut, path)
    async with Catalog(path) as catalog:
        assert await catalog.hosted_files("team", "train") == [upload("1.1")]


# --- a catalog that is damaged inside -------------------------------------------------------------------


async def test_damage_that_is_met_later_is_mended_by_the_next_start(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(path)
    await asyncio.to_thread(spoil, path)
    async with Catalog(path) as catalog:
        assert not catalog.damaged
        with pytest.raises(sqlite3.DatabaseError, match="malformed"):
            await catalog.hosted_files("team", "train")
        assert catalog.damaged
        assert "restart envproxy" in caplog.text
    async with Catalog(path) as catalog:
        await check_filled(catalog)
        assert not catalog.damaged
    assert [file.name for file in tmp_path.glob("*corrupt*")] == ["catalog.corrupt-1"]
    async with Catalog(path) as catalog:
        assert not catalog.is_new


async def test_a_damaged_catalog_is_not_taken_from_under_a_process_that_has_it_open(
    path: Path, tmp_path: Path
) -> None:
    await fill(path)
    await asyncio.to_thread(spoil, path)
    async with Catalog(path) as server:
        with pytest.raises(sqlite3.DatabaseError, match="malformed"):
            await server.hosted_files("team", "train")
        async with Catalog(path) as command:
            await command.add_blob(A, 7, "artifact", 1.0)
        assert await server.totals() == {"artifact": (1, 7)}
        assert list(tmp_path.glob("*corrupt*")) == []
    async with Catalog(path) as catalog:
        await check_filled(catalog)


async def test_what_is_wrong_with_a_statement_is_no_damage(path: Path) -> None:
    async with Catalog(path) as catalog:
        with pytest.raises(sqlite3.OperationalError):
            await catalog._rows("SELECT nothing FROM nowhere")
        assert not catalog.damaged


# --- a loss of power, and other ways to fail between ledger and catalog ----------------------------------


async def test_a_catalog_that_lost_its_last_commits_takes_them_back(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Catalog(path) as catalog:
        await catalog.add_hosted(upload("1.0"))
    on_disk = await asyncio.to_thread(path.read_bytes)  # what is synced; the rest is in the machine's memory
    async with Catalog(path) as catalog:
        await catalog.add_hosted(upload("1.1"))
        await catalog.delete_hosted("team", upload("1.0").filename)
    await asyncio.to_thread(path.write_bytes, on_disk)
    async with Catalog(path) as catalog:
        assert await catalog.hosted_files("team", "train") == [upload("1.1")]
        assert not catalog.is_new
    assert "2 entries on uploads were taken back" in caplog.text
    caplog.clear()
    async with Catalog(path) as catalog:
        assert await catalog.hosted_files("team", "train") == [upload("1.1")]
    assert caplog.text == ""


async def test_an_upload_that_the_catalog_cannot_commit_is_in_neither(path: Path, ledger: Path) -> None:
    async with Catalog(path) as catalog:
        await catalog.add_hosted(upload("1.0"))
        before = await asyncio.to_thread(ledger.read_bytes)
        await catalog._in_thread(lambda: refuse_commits(catalog._connection))
        with pytest.raises(sqlite3.IntegrityError):
            await catalog.add_hosted(upload("1.1"))
        assert await asyncio.to_thread(ledger.read_bytes) == before
        assert await catalog.hosted_files("team", "train") == [upload("1.0")]
    await asyncio.to_thread(path.unlink)
    async with Catalog(path) as catalog:
        assert await catalog.hosted_files("team", "train") == [upload("1.0")]


def refuse_commits(connection: sqlite3.Connection) -> None:
    """Let the commit fail of every transaction that adds a file, by a rule that is looked at only then."""
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("CREATE TEMP TABLE none (id INTEGER PRIMARY KEY)")
    connection.execute("CREATE TEMP TABLE owed (id INTEGER REFERENCES none DEFERRABLE INITIALLY DEFERRED)")
    connection.execute(
        "CREATE TEMP TRIGGER owe AFTER INSERT ON main.hosted_files BEGIN INSERT INTO owed VALUES (1); END"
    )


async def test_an_entry_of_a_process_that_was_killed_before_its_commit_counts(path: Path, ledger: Path) -> None:
    async with Catalog(path) as killed:
        await killed.add_hosted(upload("1.0"))
        await killed._in_thread(lambda: killed._ledger.append(FileKept(upload("1.1"))))
        async with Catalog(path) as other:
            assert await other.hosted_files("team", "train") == [upload("1.0"), upload("1.1")]
            await killed._in_thread(lambda: killed._ledger.append(FileKept(upload("1.2"))))
            await other.add_hosted(upload("1.3"))
            versions = [file.version for file in await other.hosted_files("team", "train")]
            assert versions == ["1.0", "1.1", "1.2", "1.3"]


async def test_a_ledger_that_is_shorter_than_the_catalog_knows_is_made_of_the_catalog(
    path: Path, ledger: Path
) -> None:
    await fill(path)
    await asyncio.to_thread(cut, ledger, 100)
    async with Catalog(path):
        pass
    await asyncio.to_thread(path.unlink)
    async with Catalog(path) as catalog:
        await check_filled(catalog)


# --- a ledger that is damaged ---------------------------------------------------------------------------


@pytest.mark.parametrize("flipped", [b"0", b"\xff", b"}"], ids=["a digit", "no UTF-8", "no JSON"])
async def test_a_spoilt_entry_loses_itself_alone_and_is_counted(
    path: Path, ledger: Path, caplog: pytest.LogCaptureFixture, flipped: bytes
) -> None:
    async with Catalog(path) as catalog:
        for version in ("1.0", "1.1", "1.2"):
            await catalog.add_hosted(upload(version))
    whole = ledger.read_bytes()
    where = whole.index(b"train-1.1") + len(b"train-1.")
    ledger.write_bytes(whole[:where] + flipped + whole[where + 1 :])
    path.unlink()
    async with Catalog(path) as catalog:
        assert await catalog.hosted_files("team", "train") == [upload("1.0"), upload("1.2")]
    assert "2 entries on uploads were taken back" in caplog.text
    assert "1 could not be read" in caplog.text


@pytest.mark.parametrize("bytes_left", [1, 5, 40])
async def test_an_entry_that_a_crash_tore_off_spoils_none_after_it(path: Path, ledger: Path, bytes_left: int) -> None:
    async with Catalog(path) as catalog:
        await catalog.add_hosted(upload("1.0"))
        end = len(ledger.read_bytes())
        await catalog.add_hosted(upload("1.1"))
        ledger.write_bytes(ledger.read_bytes()[: end + bytes_left])
        await catalog.add_hosted(upload("1.2"))
    path.unlink()
    async with Catalog(path) as catalog:
        assert await catalog.hosted_files("team", "train") == [upload("1.0"), upload("1.2")]


async def test_a_ledger_that_is_missing_is_made_of_the_catalog(path: Path, ledger: Path) -> None:
    await fill(path)
    ledger.unlink()
    async with Catalog(path):
        pass
    path.unlink()
    async with Catalog(path) as catalog:
        await check_filled(catalog)


async def test_an_upload_that_does_not_fit_into_the_ledger_is_none(path: Path, ledger: Path) -> None:
    async with Catalog(path) as catalog:
        for number in range(150):
            await catalog.add_hosted(upload(f"0.{number}"))
        before = ledger.read_bytes()
        # From here on the ledger is by far the largest file that is written to.
        await catalog._in_thread(lambda: catalog._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
        with disk_that_takes(len(before) + 10), pytest.raises(StorageFull, match="no room for an entry"):
            await catalog.add_hosted(upload("1.0"))
        assert ledger.read_bytes() == before
        assert len(await catalog.hosted_files("team", "train")) == 150
        await catalog.add_hosted(upload("1.0"))
        assert ledger.read_bytes().startswith(before)


async def test_two_processes_write_one_ledger(path: Path, ledger: Path) -> None:
    async with Catalog(path) as one, Catalog(path) as other:
        await asyncio.gather(*((one, other)[number % 2].add_hosted(upload(f"1.{number}")) for number in range(20)))
    path.unlink()
    async with Catalog(path) as catalog:
        assert len(await catalog.hosted_files("team", "train")) == 20


# --- the proxy ------------------------------------------------------------------------------------------

TOML = """
[auth.tokens.release]
secret = "env:RELEASE_TOKEN"
scopes = ["read", "upload"]
[pypi.hosted.team]
[pypi.indexes.main]
sources = ["team"]
"""
ENVIRON = {"RELEASE_TOKEN": "let-me-publish"}


async def test_a_proxy_whose_catalog_is_damaged_says_so_and_serves_uploads_after_a_restart(tmp_path: Path) -> None:
    train = make_wheel("train", "1.0", payload_size=100_000)
    async with running_proxy(tmp_path, toml=TOML, environ=ENVIRON) as proxy:
        await publish(proxy.url, train.filename, train.data)
    await asyncio.to_thread(spoil, tmp_path / "data" / "catalog.sqlite")

    async with running_proxy(tmp_path, toml=TOML, environ=ENVIRON) as proxy, wire(proxy.url) as ask:
        assert (await ask("/readyz")).status == 200
        assert (await ask("/pypi/main/simple/train/", JSON)).status == 500
        ready = await ask("/readyz")
        assert (ready.status, ready.json()["reason"]) == (
            503,
            "the catalog is damaged: a restart makes it anew and takes back uploads",
        )

    async with running_proxy(tmp_path, toml=TOML, environ=ENVIRON) as proxy, wire(proxy.url) as ask:
        assert (await ask("/readyz")).status == 200
        page = await ask("/pypi/main/simple/train/", JSON)
        [file] = page.json()["files"]
        assert (file["filename"], file["hashes"]) == (train.filename, {"sha256": train.sha256})
        assert (await ask(page.file_path(train.filename))).body == train.data
        metadata = await ask(f"{page.file_path(train.filename)}.metadata")
        assert (metadata.status, metadata.body) == (200, train.metadata)
        assert [pin.reason for pin in await proxy.parts.catalog.pins()] == ["hosted:team"] * 2


async def publish(url: str, filename: str, data: bytes) -> None:
    form = aiohttp.FormData(quote_fields=False)
    form.add_field(":action", "file_upload")
    form.add_field("content", data, filename=filename)
    login = {"Authorization": f"Basic {b64encode(b'__token__:let-me-publish').decode()}"}
    async with (
        aiohttp.ClientSession(headers=login) as client,
        client.post(f"{url}/pypi/main/legacy/", data=form) as answer,
    ):
        assert answer.status == 200, await answer.text()
