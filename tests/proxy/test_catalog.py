"""What the proxy remembers between restarts, and what becomes of it when the file is shared or broken."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from envproxy.engine.catalog import Artifact, BlobRow, Catalog, HostedFile, Page, Pin, Sidecar
from envproxy.engine.channels import HostedPackage
from envproxy.engine.store import StoredBlob
from envproxy.errors import ConfigError, Conflict

A, B, C = "a" * 64, "b" * 64, "c" * 64

PAGE = Page(
    source="pypi",
    project="numpy",
    state="known",
    body=b'{"name": "numpy"}' * 1000,
    fingerprint=A,
    etag='"v1"',
    last_modified="Fri, 01 Mar 2024 12:00:00 GMT",
    changed_at=100.0,
    checked_at=110.0,
    fresh_until=710.0,
)
WHEEL = Artifact(
    source="pypi",
    project="numpy",
    filename="numpy-2.0-py3-none-any.whl",
    sha256=A,
    size=20,
    url="https://files.example.org/numpy-2.0-py3-none-any.whl",
    upload_time="2024-03-01T12:00:00.000000Z",
    first_seen=100.0,
)
UPLOAD = HostedFile(
    source="team",
    project="train",
    filename="train-1.0-py3-none-any.whl",
    sha256=A,
    size=20,
    metadata_sha256=B,
    requires_python=">=3.11",
    upload_time="2024-03-01T12:00:00Z",
    yanked=None,
    version="1.0",
    uploader="ci",
)


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[Catalog]:
    async with Catalog(tmp_path / "catalog.sqlite") as catalog:
        yield catalog


async def test_a_page_comes_back_as_it_was_saved_after_a_restart(tmp_path: Path) -> None:
    async with Catalog(tmp_path / "catalog.sqlite") as catalog:
        assert catalog.is_new
        await catalog.save_page(PAGE)
    async with Catalog(tmp_path / "catalog.sqlite") as catalog:
        assert not catalog.is_new
        assert await catalog.load_page("pypi", "numpy") == PAGE
        assert await catalog.load_page("pypi", "scipy") is None
        assert await catalog.load_page("other", "numpy") is None


async def test_pages_are_compressed_on_disk(catalog: Catalog) -> None:
    await catalog.save_page(PAGE)
    with closing(sqlite3.connect(catalog.path)) as file:
        assert file.execute("SELECT length(body) < 200 FROM pages").fetchone() == (True,)


async def test_an_absent_project_is_remembered_without_a_body(catalog: Catalog) -> None:
    absent = replace(PAGE, state="absent", body=None, fingerprint="", etag=None, last_modified=None)
    await catalog.save_page(absent)
    assert await catalog.load_page("pypi", "numpy") == absent


async def test_the_last_saved_page_wins(catalog: Catalog) -> None:
    await catalog.save_page(PAGE)
    gone = replace(PAGE, state="gone", body=None, changed_at=200.0)
    await catalog.save_page(gone)
    assert await catalog.load_page("pypi", "numpy") == gone


async def test_touching_a_page_moves_its_times_only(catalog: Catalog) -> None:
    await catalog.save_page(PAGE)
    await catalog.touch_page("pypi", "numpy", checked_at=800.0, fresh_until=1400.0)
    assert await catalog.load_page("pypi", "numpy") == replace(PAGE, checked_at=800.0, fresh_until=1400.0)


async def test_a_forgotten_page_was_never_asked_for(catalog: Catalog) -> None:
    await catalog.save_page(PAGE)
    await catalog.forget_page("pypi", "numpy")
    assert await catalog.load_page("pypi", "numpy") is None


async def test_page_names_are_the_projects_that_exist_in_that_source(catalog: Catalog) -> None:
    await catalog.save_page(PAGE)
    await catalog.save_page(replace(PAGE, project="click"))
    await catalog.save_page(replace(PAGE, project="left-pad", state="absent", body=None))
    await catalog.save_page(replace(PAGE, source="other", project="scipy"))
    assert await catalog.page_names("pypi") == ["click", "numpy"]


async def test_a_file_is_found_by_its_digest_or_as_the_newest_of_its_name(catalog: Catalog) -> None:
    changed = replace(WHEEL, sha256=B, first_seen=200.0)
    await catalog.add_artifact(changed)
    await catalog.add_artifact(WHEEL)
    key = ("pypi", "numpy", WHEEL.filename)
    assert await catalog.find_artifact(*key, A) == WHEEL
    assert await catalog.find_artifact(*key, None) == changed
    assert await catalog.find_artifact(*key, C) is None
    assert await catalog.find_artifact("other", "numpy", WHEEL.filename, A) is None
    assert await catalog.artifacts_of("pypi", "numpy") == [WHEEL, changed]


async def test_a_file_seen_again_keeps_its_upload_time_and_follows_its_url(catalog: Catalog) -> None:
    unknown = replace(WHEEL, filename="numpy-2.0.tar.gz", upload_time=None)
    for artifact in (WHEEL, unknown):
        await catalog.add_artifact(artifact)
        seen_again = replace(artifact, url="https://moved.example.org/file", first_seen=900.0)
        await catalog.add_artifact(replace(seen_again, upload_time="2030-01-01T00:00:00Z"))
    assert await catalog.artifacts_of("pypi", "numpy") == [
        replace(WHEEL, url="https://moved.example.org/file"),
        replace(unknown, url="https://moved.example.org/file", upload_time="2030-01-01T00:00:00Z"),
    ]


async def test_sidecars_are_found_one_by_one_and_by_the_thousand(catalog: Catalog) -> None:
    await catalog.save_sidecar(Sidecar("one", A, "relayed"))
    await catalog.save_sidecar(Sidecar("two", None, "not a zip file"))
    await catalog.save_sidecar(Sidecar("three", B, "relayed"))
    await catalog.save_sidecar(Sidecar("three", C, "from the wheel"))
    assert await catalog.find_sidecar("two") == Sidecar("two", None, "not a zip file")
    assert await catalog.find_sidecar("four") is None
    many = [f"wheel-{number}" for number in range(300_000)]  # more than SQLite takes as parameters
    assert await catalog.sidecars_for([*many, "one", "two", "three"]) == {"one": A, "two": None, "three": C}


async def test_blobs_are_counted_by_kind(catalog: Catalog) -> None:
    await catalog.add_blob(A, 1000, "artifact", 1.0)
    await catalog.add_blob(B, 500, "artifact", 2.0)
    await catalog.add_blob(C, 7, "metadata", 3.0)
    assert await catalog.totals() == {"artifact": (2, 1500), "metadata": (1, 7)}
    await catalog.forget_blob(A)
    assert await catalog.totals() == {"artifact": (1, 500), "metadata": (1, 7)}


async def test_use_moves_a_blob_forward_in_time_and_never_back(catalog: Catalog) -> None:
    await catalog.add_blob(A, 1000, "artifact", 10.0)
    await catalog.touch_blobs({A: 30.0, B: 30.0})
    await catalog.touch_blobs({A: 20.0})
    assert await catalog.blob_rows() == [BlobRow(A, 1000, "artifact", 10.0, 30.0, 2)]
    await catalog.add_blob(A, 1000, "artifact", 40.0)
    assert await catalog.blob_rows() == [BlobRow(A, 1000, "artifact", 10.0, 40.0, 2)]


async def test_adopting_spares_what_is_known(catalog: Catalog) -> None:
    await catalog.add_blob(A, 7, "metadata", 10.0)
    assert await catalog.adopt([StoredBlob(A, 7, 99.0), StoredBlob(B, 8, 99.0)]) == 1
    assert sorted(await catalog.blob_rows(), key=lambda row: row.sha256) == [
        BlobRow(A, 7, "metadata", 10.0, 10.0, 0),
        BlobRow(B, 8, "artifact", 99.0, 99.0, 0),
    ]


async def test_a_blob_may_be_pinned_for_several_reasons(catalog: Catalog) -> None:
    await catalog.pin(A, "operator", 5.0)
    await catalog.pin(A, "operator", 6.0)
    await catalog.pin(A, "lock", 7.0)
    assert await catalog.pins() == [Pin(A, "lock", 7.0), Pin(A, "operator", 5.0)]
    assert await catalog.is_pinned(A)
    assert await catalog.unpin(A)
    assert await catalog.pins() == []
    assert not await catalog.is_pinned(A)
    assert not await catalog.unpin(A)


async def test_an_upload_is_listed_and_pins_its_file_and_its_metadata(catalog: Catalog) -> None:
    assert await catalog.add_hosted(UPLOAD)
    assert await catalog.hosted_files("team", "train") == [UPLOAD]
    assert await catalog.hosted_projects("team") == ["train"]
    assert await catalog.hosted_projects("other") == []
    assert await catalog.pins() == [Pin(A, "hosted:team", 1_709_294_400.0), Pin(B, "hosted:team", 1_709_294_400.0)]
    assert [await catalog.is_pinned(sha256) for sha256 in (A, B, C)] == [True, True, False]


async def test_a_package_is_pinned_until_it_is_deleted(catalog: Catalog) -> None:
    package = HostedPackage("lab", "noarch", "tool-1.0-0.conda", C, 30, b"{}", 5.0, "ci", yanked=False)
    await catalog.add_package(package)
    assert await catalog.is_pinned(C)
    assert await catalog.pins() == [Pin(C, "hosted:lab", 5.0)]
    await catalog.delete_package("lab", "noarch", package.filename)
    assert not await catalog.is_pinned(C)
    assert await catalog.pins() == []


async def test_unpinning_does_not_endanger_an_upload(catalog: Catalog) -> None:
    await catalog.add_hosted(UPLOAD)
    assert not await catalog.unpin(A)
    assert {pin.sha256 for pin in await catalog.pins()} == {A, B}


async def test_the_same_bytes_may_be_uploaded_again(catalog: Catalog) -> None:
    await catalog.add_hosted(UPLOAD)
    assert not await catalog.add_hosted(replace(UPLOAD, uploader="somebody else"))
    assert await catalog.hosted_files("team", "train") == [UPLOAD]


async def test_other_bytes_under_a_taken_filename_are_refused(catalog: Catalog) -> None:
    await catalog.add_hosted(UPLOAD)
    with pytest.raises(Conflict, match=r"train-1.0-py3-none-any.whl is already taken in team"):
        await catalog.add_hosted(replace(UPLOAD, sha256=C))
    assert await catalog.hosted_files("team", "train") == [UPLOAD]
    assert await catalog.add_hosted(replace(UPLOAD, source="another-team", sha256=C))


async def test_a_deleted_filename_keeps_its_meaning(catalog: Catalog) -> None:
    await catalog.add_hosted(UPLOAD)
    assert await catalog.delete_hosted("team", UPLOAD.filename)
    assert not await catalog.delete_hosted("team", UPLOAD.filename)
    assert await catalog.pins() == []
    assert not await catalog.is_pinned(A)
    with pytest.raises(Conflict):
        await catalog.add_hosted(replace(UPLOAD, sha256=C))
    assert await catalog.hosted_files("team", "train") == []
    assert await catalog.add_hosted(UPLOAD)


async def test_a_project_stays_known_as_hosted_after_its_last_file(catalog: Catalog) -> None:
    await catalog.add_hosted(UPLOAD)
    await catalog.delete_hosted("team", UPLOAD.filename)
    assert await catalog.hosted_projects("team") == []
    assert await catalog.ever_hosted("team", "train")
    assert not await catalog.ever_hosted("team", "numpy")


async def test_yanking_takes_a_reason_even_an_empty_one_and_can_be_undone(catalog: Catalog) -> None:
    await catalog.add_hosted(UPLOAD)
    for reason in ("broken", "", None):
        assert await catalog.set_yanked("team", UPLOAD.filename, reason)
        assert await catalog.hosted_files("team", "train") == [replace(UPLOAD, yanked=reason)]
    assert not await catalog.set_yanked("team", "unknown.whl", "broken")


PIN_IN_ANOTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
from envproxy.engine.catalog import Catalog

async def main():
    async with Catalog(Path(sys.argv[1])) as catalog:
        await catalog.pin("a" * 64, "operator", 5.0)

asyncio.run(main())
"""


async def test_what_another_process_writes_is_noticed_once_and_seen(catalog: Catalog) -> None:
    await catalog.save_page(PAGE)
    assert not await catalog.changes_elsewhere()
    command = [sys.executable, "-c", PIN_IN_ANOTHER_PROCESS, str(catalog.path)]
    await asyncio.to_thread(subprocess.run, command, check=True)
    assert await catalog.changes_elsewhere()
    assert not await catalog.changes_elsewhere()
    assert await catalog.pins() == [Pin(A, "operator", 5.0)]


async def test_many_that_open_a_new_catalog_at_once_share_it(tmp_path: Path) -> None:
    catalogs = [Catalog(tmp_path / "catalog.sqlite") for _ in range(8)]
    await asyncio.gather(*(catalog.open() for catalog in catalogs))
    assert [catalog.is_new for catalog in catalogs].count(True) == 1
    await asyncio.gather(*(catalog.pin(A, f"{n}", 1.0) for n, catalog in enumerate(catalogs * 10)))
    assert len(await catalogs[0].pins()) == 80
    await asyncio.gather(*(catalog.close() for catalog in catalogs))


async def test_many_that_find_the_file_corrupt_move_it_aside_once(tmp_path: Path) -> None:
    await asyncio.to_thread((tmp_path / "catalog.sqlite").write_bytes, b"not a database, " * 1000)
    catalogs = [Catalog(tmp_path / "catalog.sqlite") for _ in range(8)]
    await asyncio.gather(*(catalog.open() for catalog in catalogs))
    await catalogs[0].pin(A, "operator", 1.0)
    assert [len(await catalog.pins()) for catalog in catalogs] == [1] * 8
    assert [path.name for path in tmp_path.glob("*corrupt*")] == ["catalog.corrupt-1"]
    await asyncio.gather(*(catalog.close() for catalog in catalogs))


async def test_closing_leaves_no_thread(tmp_path: Path) -> None:
    async with Catalog(tmp_path / "catalog.sqlite"):
        assert catalog_threads() == 1
    assert catalog_threads() == 0


def catalog_threads() -> int:
    return sum(thread.name.startswith("catalog") for thread in threading.enumerate())


@pytest.mark.parametrize("damage", ["overwritten", "truncated"])
async def test_a_corrupt_file_is_moved_aside_and_the_catalog_starts_empty(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "catalog.sqlite"
    for number in (1, 2):
        async with Catalog(path) as catalog:
            await catalog.save_page(PAGE)
        whole = path.read_bytes()
        broken = b"not a database, " * 1000 if damage == "overwritten" else whole[:9000]
        path.write_bytes(broken)

        async with Catalog(path) as catalog:
            assert catalog.is_new
            assert await catalog.load_page("pypi", "numpy") is None
        assert (tmp_path / f"catalog.corrupt-{number}").read_bytes() == broken
        assert f"catalog.corrupt-{number} .recover" in caplog.text


async def test_a_catalog_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigError, match="newer envproxy"):
        await Catalog(path).open()
    with closing(sqlite3.connect(path)) as newer:
        assert newer.execute("PRAGMA user_version").fetchone() == (99,)


async def test_a_catalog_that_cannot_be_made_is_said_so_not_moved(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing/catalog\.sqlite"):
        await Catalog(tmp_path / "missing" / "catalog.sqlite").open()
    assert list(tmp_path.iterdir()) == []
