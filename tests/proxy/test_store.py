"""Blobs on disk: visible only when right, readable while they come, and calm when the disk is full."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from envproxy.engine.store import BlobStore, Partial
from envproxy.errors import DigestMismatch, StorageFull

WHEEL = b"the bytes of a wheel"
WHEEL_SHA256 = hashlib.sha256(WHEEL).hexdigest()
OTHER_SHA256 = hashlib.sha256(b"other bytes").hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    store = BlobStore(tmp_path)
    store.prepare()
    return store


def begun(store: BlobStore, data: bytes) -> Partial:
    partial = store.create_partial()
    partial.append(data)
    return partial


def visible(store: BlobStore) -> set[str]:
    return {blob.sha256 for blob in store.walk()}


def partials(store: BlobStore) -> list[Path]:
    return list((store.root / "partial").iterdir())


def test_a_small_body_becomes_a_plain_file_named_by_its_digest(store: BlobStore, tmp_path: Path) -> None:
    assert store.put_bytes(WHEEL) == WHEEL_SHA256
    assert store.path(WHEEL_SHA256) == tmp_path / "blobs" / "sha256" / WHEEL_SHA256[:2] / WHEEL_SHA256
    assert store.path(WHEEL_SHA256).read_bytes() == WHEEL
    assert store.size(WHEEL_SHA256) == len(WHEEL)
    assert partials(store) == []


def test_a_body_stored_twice_is_one_file_written_once(store: BlobStore) -> None:
    store.put_bytes(WHEEL)
    before = store.path(WHEEL_SHA256).stat()
    store.put_bytes(WHEEL)
    assert store.path(WHEEL_SHA256).stat() == before


@pytest.mark.parametrize(
    "name",
    ["", "../../../etc/passwd", WHEEL_SHA256.upper(), WHEEL_SHA256[:-1], WHEEL_SHA256 + "\n", "é" * 64],
    ids=["empty", "traversal", "upper case", "short", "newline", "not ascii"],
)
def test_only_a_digest_names_a_blob(store: BlobStore, name: str) -> None:
    with pytest.raises(ValueError, match="not a SHA-256"):
        store.path(name)


def test_bytes_on_their_way_are_readable_but_no_blob_until_committed(store: BlobStore) -> None:
    partial = begun(store, WHEEL[:7])
    partial.append(bytearray(WHEEL[7:9]))
    partial.append(memoryview(WHEEL)[9:])
    assert (partial.seen, partial.stored, partial.full) == (20, 20, False)
    assert partial.read(4, 5) == WHEEL[4:9]
    assert partial.read(15, 100) == WHEEL[15:]
    assert partial.read(20, 1) == b""
    assert visible(store) == set()

    assert partial.commit(WHEEL_SHA256) == partial.digest() == WHEEL_SHA256
    assert visible(store) == {WHEEL_SHA256}
    assert partials(store) == []
    partial.close()


def test_a_reader_that_is_behind_reads_on_after_commit_and_even_after_eviction(store: BlobStore) -> None:
    partial = begun(store, WHEEL)
    partial.commit(None)
    store.delete(WHEEL_SHA256)
    assert partial.read(0, 100) == WHEEL
    partial.close()


def test_closing_gives_the_descriptor_back_and_refuses_later_reads(store: BlobStore) -> None:
    partial = begun(store, WHEEL)
    [path] = partials(store)
    assert path in open_files()
    partial.close()
    partial.close()
    assert str(store.root) not in " ".join(map(str, open_files()))
    with pytest.raises(ValueError, match="closed"):
        partial.read(0, 1)


def open_files() -> list[Path]:
    return [entry.readlink() for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]


def test_bytes_that_are_not_what_was_promised_leave_no_trace(store: BlobStore) -> None:
    partial = begun(store, WHEEL)
    with pytest.raises(DigestMismatch, match=f"20 bytes have SHA-256 {WHEEL_SHA256}, expected {OTHER_SHA256}"):
        partial.commit(OTHER_SHA256)
    assert visible(store) == set()
    assert partials(store) == []
    partial.close()


def test_discarding_twice_is_discarding_once(store: BlobStore) -> None:
    partial = begun(store, WHEEL)
    partial.discard()
    partial.discard()
    assert partials(store) == []
    assert partial.read(0, 3) == WHEEL[:3]
    partial.close()


def test_discarding_after_a_commit_leaves_the_blob(store: BlobStore) -> None:
    partial = begun(store, WHEEL)
    partial.commit(None)
    partial.discard()
    partial.close()
    assert visible(store) == {WHEEL_SHA256}


def test_a_second_download_of_the_same_bytes_keeps_the_first_blob(store: BlobStore) -> None:
    store.put_bytes(WHEEL)
    inode = store.path(WHEEL_SHA256).stat().st_ino
    partial = begun(store, WHEEL)
    partial.commit(WHEEL_SHA256)
    partial.close()
    assert store.path(WHEEL_SHA256).stat().st_ino == inode
    assert partials(store) == []


def test_a_second_download_replaces_a_blob_that_lost_bytes(store: BlobStore) -> None:
    store.put_bytes(WHEEL)
    os.truncate(store.path(WHEEL_SHA256), 3)
    store.put_bytes(WHEEL)
    assert store.path(WHEEL_SHA256).read_bytes() == WHEEL


def test_preparing_sweeps_what_the_dead_left_and_spares_the_living(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "partial" / "left-by-a-crash").write_bytes(b"half a whe")
    living = begun(store, WHEEL)
    [alive] = [path for path in partials(store) if path.name != "left-by-a-crash"]
    BlobStore(tmp_path).prepare()
    assert partials(store) == [alive]
    assert living.commit(None) == WHEEL_SHA256
    living.close()


def test_deleting_says_what_it_freed_and_tolerates_readers(store: BlobStore) -> None:
    store.put_bytes(WHEEL)
    with store.path(WHEEL_SHA256).open("rb") as reader:
        assert store.delete(WHEEL_SHA256) == 20
        assert reader.read() == WHEEL
    assert store.delete(WHEEL_SHA256) == 0
    assert store.size(WHEEL_SHA256) is None


def test_walking_finds_blobs_and_nothing_else(store: BlobStore) -> None:
    store.put_bytes(WHEEL)
    os.utime(store.path(WHEEL_SHA256), (1_700_000_000, 1_700_000_000))
    store.path(WHEEL_SHA256).with_name("README").write_bytes(b"an operator's note")
    [blob] = store.walk()
    assert (blob.sha256, blob.size, blob.mtime) == (WHEEL_SHA256, 20, 1_700_000_000)


def test_a_quarantined_blob_is_out_of_sight_and_kept(store: BlobStore, tmp_path: Path) -> None:
    store.put_bytes(WHEEL)
    store.quarantine(WHEEL_SHA256)
    assert visible(store) == set()
    assert (tmp_path / "quarantine" / WHEEL_SHA256).read_bytes() == WHEEL


def test_free_bytes_are_those_of_the_disk_under_the_root(tmp_path: Path) -> None:
    assert BlobStore(tmp_path, free_bytes={tmp_path: 123}.__getitem__).free_bytes() == 123
    assert BlobStore(tmp_path).free_bytes() > 0


FULL_DISK = """
import hashlib, resource, sys
from pathlib import Path
from envproxy.engine.store import BlobStore
from envproxy.errors import DigestMismatch, StorageFull

root, way = Path(sys.argv[1]), sys.argv[2]
store = BlobStore(root)
store.prepare()
data = bytes(range(256)) * 4096  # 1 MiB
if way == "file size limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
if way == "no inodes":
    try:
        for number in range(1000):
            (root / f"filler-{number}").touch()
    except OSError:
        pass

def arrived(expected):
    partial = store.create_partial()
    for start in range(0, len(data), 65536):
        partial.append(data[start : start + 65536])
    assert partial.full and partial.seen == len(data) > partial.stored, partial
    assert partial.read(0, len(data)) == data[: partial.stored]
    assert partial.digest() == hashlib.sha256(data).hexdigest()
    try:
        partial.commit(expected)
    except (StorageFull, DigestMismatch) as error:
        print(type(error).__name__)
    partial.close()

arrived(hashlib.sha256(data).hexdigest())
arrived("0" * 64)
assert list(store.walk()) == [] and list((root / "partial").iterdir()) == []
print(store.put_bytes(b"small") if way != "no inodes" else "-")
"""


def may_mount() -> bool:
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("way", "options"),
    [("file size limit", None), ("no space", "size=400k"), ("no inodes", "size=4m,nr_inodes=300")],
    ids=["EFBIG", "ENOSPC while writing", "ENOSPC while creating"],
)
def test_a_full_disk_still_verifies_and_keeps_nothing(tmp_path: Path, way: str, options: str | None) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path), way]
    if options is not None:
        if not may_mount():
            pytest.skip("this machine lets nobody mount a small disk")
        mount = f'mount -t tmpfs -o {options} none "$4" && exec "$@"'
        command = ["unshare", "-rm", "sh", "-c", mount, "sh", *command]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    small = "-" if way == "no inodes" else hashlib.sha256(b"small").hexdigest()
    assert result.stdout.split() == ["StorageFull", "DigestMismatch", small]


def test_a_small_body_that_finds_no_room_says_so_and_leaves_nothing(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)  # a delayed allocation fails as late as this
    with pytest.raises(StorageFull, match=WHEEL_SHA256):
        store.put_bytes(WHEEL)
    assert visible(store) == set()
    assert partials(store) == []
