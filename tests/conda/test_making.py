"""Shards are made of flat repodata, once for each change of a name."""

from __future__ import annotations

import asyncio
import bz2
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import zstandard

from envproxy.conda import packs, shards
from envproxy.conda.making import Convert, Fit, FlatForm, Flatten, Made, Make, do
from envproxy.conda.worker import Order, Workshop, attempt
from envproxy.engine.store import BlobStore
from envproxy.errors import BadUpstreamBody, Oversized, StorageFull
from envproxy.tables import ChannelPolicyConfig
from fixtures.disk import disk_that_takes

NOW = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
SHA = "ab" * 32
LIMIT = 10_000_000


def record(name: str, version: str, **more: object) -> dict[str, object]:
    return {"name": name, "version": version, "build": "0", "build_number": 0, "sha256": SHA, **more}


FLAT: dict[str, Any] = {
    "info": {"subdir": "linux-64", "novelty": 1},
    "packages": {"old-1.0-0.tar.bz2": record("old", "1.0")},
    "packages.conda": {
        "numpy-2.0-0.conda": record("numpy", "2.0", timestamp=1_700_000_000_000),
        "numpy-2.1-0.conda": record("numpy", "2.1", indexed_timestamp=(NOW - 3600) * 1000),
    },
    "removed": ["gone-1.0-0.conda"],
    "repodata_version": 1,
}


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    store = BlobStore(tmp_path)
    store.prepare()
    return store


def make(
    store: BlobStore,
    flat: object = FLAT,
    *,
    form: FlatForm = "json",
    previous: Made | None = None,
    policy: ChannelPolicyConfig | None = None,
    now: float = NOW,
) -> Made:
    body = json.dumps(flat).encode()
    body = {"json": body, "zst": zstandard.compress(body), "bz2": bz2.compress(body)}[form]
    last = previous.manifest if previous else None
    return do(Make(store.put_bytes(body), form, "linux-64", now, last, policy), store, limit=LIMIT)


def index_of(store: BlobStore, made: Made) -> shards.ShardIndex:
    return shards.read_index(store.path(made.index).read_bytes())


def shard(store: BlobStore, made: Made, name: str) -> dict[str, Any]:
    manifest = packs.load(store.path(made.manifest))
    found = manifest.names[name]
    blob = packs.read_slice(store.path(manifest.packs[found.number]), found)
    shards.verify(blob, index_of(store, made).shards[name])
    return shards.shard_document(blob)


def flat_of(store: BlobStore, made: Made) -> Any:
    body = store.path(made.flat).read_bytes()
    return json.loads(
        body if made.flat_form == "json" else zstandard.ZstdDecompressor().decompressobj().decompress(body)
    )


@pytest.mark.parametrize("form", ["json", "zst", "bz2"])
def test_every_form_gives_the_same_shards(store: BlobStore, form: FlatForm) -> None:
    made = make(store, form=form)
    assert list(index_of(store, made).shards) == ["gone", "numpy", "old"]
    assert shard(store, made, "numpy")["packages.conda"] == FLAT["packages.conda"]
    assert shard(store, made, "gone") == {"packages": {}, "packages.conda": {}, "removed": ["gone-1.0-0.conda"]}
    assert flat_of(store, made) == FLAT


def test_the_index_says_when_it_was_made_and_what_upstream_said(store: BlobStore) -> None:
    assert dict(index_of(store, make(store)).info) == {
        "subdir": "linux-64",
        "novelty": 1,
        "created_at": "2026-03-01T00:00:00Z",
        "base_url": "./",
        "shards_base_url": "./shards/",
    }


def test_zst_that_needs_no_change_is_served_as_it_came(store: BlobStore) -> None:
    body = zstandard.compress(json.dumps(FLAT).encode())
    assert make(store, form="zst").flat == store.put_bytes(body)


def test_a_base_url_is_taken_out_and_reported(store: BlobStore) -> None:
    made = make(store, {**FLAT, "info": {"subdir": "linux-64", "base_url": "https://cdn.example.org/x"}})
    assert made.base_url == "https://cdn.example.org/x"
    assert flat_of(store, made) == {**FLAT, "info": {"subdir": "linux-64"}}
    assert index_of(store, made).base_url == "./"


def test_one_changed_name_packs_one_shard(store: BlobStore) -> None:
    first = make(store)
    changed = {**FLAT, "packages": {"old-1.0-0.tar.bz2": record("old", "1.0", license="MIT")}}
    second = make(store, changed, previous=first)
    assert (first.packed, second.packed) == (3, 1)
    assert shard(store, second, "numpy") == shard(store, first, "numpy")
    assert shard(store, second, "old")["packages"] == changed["packages"]
    assert index_of(store, second).shards["numpy"] == index_of(store, first).shards["numpy"]


def test_making_the_same_again_later_gives_the_same_index(store: BlobStore) -> None:
    first = make(store)
    again = make(store, previous=first, now=NOW + 3600)
    assert (again.packed, again.index, again.manifest) == (0, first.index, first.manifest)


def test_without_the_packs_of_the_last_generation_all_is_packed_again(store: BlobStore) -> None:
    first = make(store)
    for pack in packs.load(store.path(first.manifest)).packs:
        store.delete(pack)
    assert make(store, previous=first).packed == 3


def test_many_packs_become_one_without_packing_again(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "MANY", 2)
    made = make(store)
    for size in (1, 2):
        flat = {**FLAT, "packages": {"old-1.0-0.tar.bz2": record("old", "1.0", size=size)}}
        made = make(store, flat, previous=made)
        assert made.packed == 1
    assert len(packs.load(store.path(made.manifest)).packs) == 1
    assert shard(store, made, "numpy")["packages.conda"] == FLAT["packages.conda"]


def test_a_policy_takes_records_out_of_shards_and_flat_form(store: BlobStore) -> None:
    made = make(store, policy=ChannelPolicyConfig(deny=("numpy >=2.1", "old")))
    assert list(shard(store, made, "numpy")["packages.conda"]) == ["numpy-2.0-0.conda"]
    assert "old" not in index_of(store, made).shards
    assert list(flat_of(store, made)["packages.conda"]) == ["numpy-2.0-0.conda"]


def test_a_package_too_young_appears_when_the_clock_says_so(store: BlobStore) -> None:
    policy = ChannelPolicyConfig(min_age_s=7200, allow_anyway=("old",))
    made = make(store, policy=policy)
    assert list(shard(store, made, "numpy")["packages.conda"]) == ["numpy-2.0-0.conda"]
    assert made.flips_at == NOW + 3600
    later = make(store, policy=policy, previous=made, now=NOW + 3601)
    assert (len(shard(store, later, "numpy")["packages.conda"]), later.packed, later.flips_at) == (2, 1, None)


def test_the_flat_form_is_converted_both_ways(store: BlobStore) -> None:
    made = make(store)
    packed = do(Convert(made.flat, "zst"), store, limit=LIMIT)
    assert flat_of(store, packed) == FLAT
    assert do(Convert(packed.flat, "json"), store, limit=LIMIT).flat == made.flat


def test_shards_become_flat_repodata_again(store: BlobStore) -> None:
    made = make(store)
    manifest = packs.load(store.path(made.manifest))
    blobs = [packs.read_slice(store.path(manifest.packs[0]), found) for found in manifest.names.values()]
    job = Flatten([store.put_bytes(blob) for blob in blobs], b'{"subdir":"linux-64","novelty":1}')
    flattened = do(job, store, limit=LIMIT)
    assert flat_of(store, flattened) == {**FLAT, "v3": {}}


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ("zst", b"<html>Sign in</html>"),
        ("zst", zstandard.compress(json.dumps(FLAT).encode())[:-3]),
        ("bz2", bz2.compress(b"{}")[:-3]),
        ("json", b'{"packages": {'),
        ("json", b'{"packages": {"a-1-0.conda": {"name": "a", "size": 1%s}}}' % (b"0" * 40)),
        ("json", b"[]"),
        ("json", b""),
    ],
)
def test_nothing_is_left_of_bad_input(store: BlobStore, form: FlatForm, body: bytes) -> None:
    source = store.put_bytes(body)
    with pytest.raises(BadUpstreamBody):
        do(Make(source, form, "linux-64", NOW), store, limit=LIMIT)
    assert [blob.sha256 for blob in store.walk()] == [source]
    assert not list((store.root / "partial").iterdir())


@pytest.mark.parametrize("form", ["json", "zst", "bz2"])
def test_more_than_the_limit_is_refused(store: BlobStore, form: FlatForm) -> None:
    body = json.dumps(FLAT).encode()
    packed = {"json": bytes, "zst": zstandard.compress, "bz2": bz2.compress}[form](body)
    source = store.put_bytes(packed)
    with pytest.raises(Oversized, match=f"more than {len(body) - 1} bytes"):
        do(Make(source, form, "linux-64", NOW), store, limit=len(body) - 1)
    assert do(Make(source, form, "linux-64", NOW), store, limit=len(body)).packed
    assert not list((store.root / "partial").iterdir())


def test_a_disk_without_room_to_decompress_is_said_to_be_full(store: BlobStore) -> None:
    source = store.put_bytes(zstandard.compress(json.dumps(FLAT).encode()))
    with disk_that_takes(100), pytest.raises(StorageFull, match="no room to decompress"):
        do(Make(source, "zst", "linux-64", NOW), store, limit=LIMIT)


def test_a_file_is_what_its_name_promises_or_refused(store: BlobStore) -> None:
    good, bad = store.put_bytes(b'{"packages": {}}'), store.put_bytes(b"<html></html>")
    do(Fit(good, "run_exports.json"), store, limit=LIMIT)
    for filename in ("run_exports.json", "run_exports.json.zst", "run_exports.json.bz2"):
        with pytest.raises(BadUpstreamBody):
            do(Fit(bad, filename), store, limit=LIMIT)


async def test_a_large_job_runs_in_a_process_and_comes_out_the_same(store: BlobStore) -> None:
    source = await asyncio.to_thread(store.put_bytes, json.dumps(FLAT).encode())
    job = Make(source, "json", "linux-64", NOW, policy=ChannelPolicyConfig(deny=("old",)))
    in_thread = await Workshop(store, limit_bytes=LIMIT).do(job)
    assert await Workshop(store, limit_bytes=LIMIT, small_bytes=0).do(job) == in_thread


async def test_a_file_that_is_larger_than_its_first_frame_says_is_a_large_job_after_all(store: BlobStore) -> None:
    body = json.dumps(FLAT).encode()
    source = await asyncio.to_thread(store.put_bytes, zstandard.compress(body[:9]) + zstandard.compress(body[9:]))
    job = Make(source, "zst", "linux-64", NOW)
    at_once = await Workshop(store, limit_bytes=LIMIT).do(job)
    assert await Workshop(store, limit_bytes=LIMIT, small_bytes=len(body) - 1).do(job) == at_once


async def test_bad_input_is_refused_across_the_process_border(store: BlobStore) -> None:
    source = await asyncio.to_thread(store.put_bytes, b'{"packages": 3}')
    with pytest.raises(BadUpstreamBody, match="this is no repodata"):
        await Workshop(store, limit_bytes=LIMIT, small_bytes=0).do(Make(source, "json", "linux-64", NOW))


def test_an_evicted_source_is_a_missing_file_across_the_process_border(store: BlobStore) -> None:
    source = store.put_bytes(b"{}")
    store.delete(source)
    outcome = attempt(Order(str(store.root), Convert(source, "zst"), LIMIT))
    assert outcome.missing
