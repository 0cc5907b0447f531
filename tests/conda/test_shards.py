"""Shards and their index: written the same way every time, read with suspicion."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from envproxy.conda import shards
from envproxy.conda.making import Flatten, do
from envproxy.conda.repodata import read
from envproxy.engine.store import BlobStore
from envproxy.errors import BadUpstreamBody, DigestMismatch

REAL = Path(__file__).parents[3] / "shared/data/channels"
FILES = sorted(REAL.glob("*/*/repodata.json"))
real_channels = pytest.mark.skipif(not FILES, reason="the real channels are not beside this checkout")

SHA = "ab" * 32
MD5 = "cd" * 16
REPODATA = json.dumps(
    {
        "packages": {"six-1.0-0.tar.bz2": {"name": "six", "sha256": SHA, "md5": MD5, "size": 5, "odd": [1]}},
        "packages.conda": {"six-1.0-0.conda": {"name": "six", "sha256": SHA, "depends": ["python"]}},
        "v3": {"whl": {"six-2.0-0": {"name": "six", "sha256": SHA}}},
        "removed": ["six-0.9-0.conda"],
    }
).encode()


def shard_of(body: bytes, name: str) -> bytes:
    repodata = read(body)
    return shards.write_shard(repodata.lines.get(name, []), repodata.removed.get(name, []))


def packed(document: object) -> bytes:
    return shards.compress(msgspec.msgpack.encode(document))


def test_a_shard_has_its_records_with_hashes_as_raw_bytes() -> None:
    document = msgspec.msgpack.decode(zstandard.decompress(shard_of(REPODATA, "six")))
    assert document == {
        "packages": {
            "six-1.0-0.tar.bz2": {
                "name": "six",
                "sha256": bytes.fromhex(SHA),
                "md5": bytes.fromhex(MD5),
                "size": 5,
                "odd": [1],
            }
        },
        "packages.conda": {
            "six-1.0-0.conda": {"name": "six", "sha256": bytes.fromhex(SHA), "depends": ["python"]},
        },
        "removed": ["six-0.9-0.conda"],
        "v3": {"whl": {"six-2.0-0": {"name": "six", "sha256": bytes.fromhex(SHA)}}},
    }


def test_the_frames_of_shards_and_index_state_their_content_size() -> None:
    for frame in (shard_of(REPODATA, "six"), shards.write_index({}, {"six": bytes(32)})):
        assert zstandard.frame_content_size(frame) == len(zstandard.decompress(frame))


def test_the_same_records_in_another_order_give_the_same_shard() -> None:
    one = b'{"packages": {"a-1-0.tar.bz2": {"name": "a", "size": 1}, "a-2-0.tar.bz2": {"name": "a"}}}'
    other = b'{"packages": {"a-2-0.tar.bz2": {"name": "a"}, "a-1-0.tar.bz2": {"size": 1, "name": "a"}}}'
    assert shard_of(one, "a") == shard_of(other, "a")


def test_a_record_is_found_with_its_hashes_in_hex() -> None:
    record = shards.read_shard(shard_of(REPODATA, "six"))["six-1.0-0.tar.bz2"]
    assert (record.hashes, record.size) == ({"sha256": SHA, "md5": MD5}, 5)


def test_hashes_packed_as_arrays_are_understood() -> None:
    shard = packed({"packages": {"a-1-0.conda": {"name": "a", "sha256": list(bytes.fromhex(SHA))}}})
    assert shards.read_shard(shard)["a-1-0.conda"].hashes == {"sha256": SHA}


def test_a_shard_becomes_json_again() -> None:
    document = shards.shard_document(shard_of(REPODATA, "six"))
    assert json.loads(json.dumps(document)) == {**json.loads(REPODATA), "removed": ["six-0.9-0.conda"]}


def test_the_index_points_beside_itself_and_keeps_what_it_does_not_know() -> None:
    upstream = {
        "subdir": "noarch",
        "base_url": "https://elsewhere.example.org/x/",
        "shards_base_url": "/root/",
        "channel_relations": {"base": "../conda-forge"},
        "novelty": 3,
    }
    index = shards.read_index(shards.write_index(upstream, {"b": bytes(32), "a": bytes(range(32))}))
    assert dict(index.info) == {**upstream, "base_url": "./", "shards_base_url": "./shards/"}
    assert list(index.shards) == ["a", "b"]
    assert index.shards["a"] == bytes(range(32))


def test_an_index_without_version_or_urls_is_read() -> None:
    index = shards.read_index(packed({"info": {"subdir": "noarch"}, "shards": {}}))
    assert (index.base_url, index.shards_base_url) == ("", "")


@pytest.mark.parametrize(
    ("blob", "says"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"<html>not found</html>", "not properly compressed", id="a web page"),
        pytest.param(shards.compress(bytes(range(256)))[:-3], "cut short", id="truncated"),
        pytest.param(shards.compress(b"{}"), "not msgpack", id="JSON"),
        pytest.param(packed([1]), "not a map", id="a list"),
        pytest.param(packed({"info": {}}), "lacks", id="no shards"),
        pytest.param(packed({"info": {"base_url": 3}, "shards": {}}), "not text", id="base URL is a number"),
        pytest.param(packed({"info": {}, "shards": {"a": b"short"}}), "SHA-256", id="short digest"),
        pytest.param(packed({"info": {}, "shards": {"a": "ab" * 32}}), "SHA-256", id="hex digest"),
        pytest.param(packed({"info": {}, "shards": {7: bytes(32)}}), "not text", id="a number as name"),
        pytest.param(shards.compress(b"\x91" * 100_000), "not msgpack", id="deep nesting"),
    ],
)
def test_what_is_no_shard_index_is_refused(blob: bytes, says: str) -> None:
    with pytest.raises(BadUpstreamBody, match=says):
        shards.read_index(blob)


def test_a_bomb_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_LIMIT_BYTES", 1_000_000)
    with pytest.raises(BadUpstreamBody, match="more than 1000000 bytes"):
        shards.read_shard(zstandard.compress(bytes(10_000_000)))


@pytest.mark.parametrize(
    "document",
    [
        {"packages": [1]},
        {"packages": {"a-1-0.conda": 3}},
        {"packages": {7: {}}},
        {"v3": [1]},
        {"v3": {"whl": [1]}},
        {"removed": 3},
        {"removed": [1, "x"]},
    ],
    ids=["packages", "a record", "a filename", "v3", "a form of v3", "removed", "a removed one"],
)
def test_a_shard_with_something_else_for_records_is_refused(document: object) -> None:
    for parse in (shards.read_shard, shards.shard_document):
        with pytest.raises(BadUpstreamBody, match="something else"):
            parse(packed(document))


def test_what_msgpack_alone_can_hold_is_refused_where_it_would_be_json() -> None:
    extension = msgspec.msgpack.Ext(5, b"x")
    document = shards.shard_document(packed({"packages": {"a-1-0.conda": {"name": "a", "odd": extension}}}))
    with pytest.raises(BadUpstreamBody, match="cannot be written as JSON"):
        shards.as_json(document)


@pytest.mark.parametrize(
    "info", [{"odd": 2**70}, {"odd": {1: 2, "a": 3}}], ids=["a large number", "keys of two kinds"]
)
def test_an_info_that_does_not_fit_an_index_is_refused(info: dict[str, object]) -> None:
    with pytest.raises(BadUpstreamBody, match="info of this repodata cannot be packed"):
        shards.write_index(info, {})


def test_a_hash_that_is_not_hexadecimal_is_refused() -> None:
    with pytest.raises(BadUpstreamBody, match=r"a hash of a-1-0.tar.bz2"):
        shard_of(b'{"packages": {"a-1-0.tar.bz2": {"name": "a", "sha256": "%s"}}}' % (b"zz" * 32), "a")


def test_a_number_that_msgpack_cannot_hold_is_refused() -> None:
    with pytest.raises(BadUpstreamBody, match="cannot be packed"):
        shard_of(b'{"packages": {"a-1-0.tar.bz2": {"name": "a", "size": 1%s}}}' % (b"0" * 30), "a")


def test_a_swapped_shard_is_noticed() -> None:
    shard = shard_of(REPODATA, "six")
    shards.verify(shard, sha256(shard).digest())
    with pytest.raises(DigestMismatch, match="a shard named"):
        shards.verify(shard, bytes(32))


@real_channels
@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-3:-1]))
def test_the_shards_of_a_real_channel_hold_all_that_its_repodata_holds(path: Path) -> None:
    flat = json.loads(path.read_bytes())
    repodata = read(path.read_bytes())
    whole: dict[str, dict[str, object]] = {"packages": {}, "packages.conda": {}}
    wheels: dict[str, dict[str, object]] = {}
    for name in repodata.names():
        document = shards.shard_document(shard_of(path.read_bytes(), name))
        for section in whole:
            whole[section] |= document[section]
        for extension, records in document.get("v3", {}).items():
            wheels.setdefault(extension, {}).update(records)
    assert whole == {section: flat.get(section, {}) for section in whole}
    assert wheels == flat.get("v3", {})


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_a_shard_or_refused(body: bytes) -> None:
    for blob in (body, shards.compress(body)):
        for parse in (shards.read_shard, shards.read_index, shards.shard_document):
            try:
                parse(blob)
            except BadUpstreamBody:
                continue


TEXT = st.text(max_size=4)
MSGPACK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | TEXT
    | st.binary(max_size=33)
    | st.floats()
    | st.datetimes(timezones=st.just(UTC))
    | st.builds(msgspec.msgpack.Ext, st.integers(0, 127), st.binary(max_size=4)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.integers(0, 9), inner, max_size=3),
    max_leaves=8,
)
GROUP = st.dictionaries(TEXT, st.dictionaries(st.sampled_from(["name", "sha256", "size", "odd"]), MSGPACK) | MSGPACK)
SHARD = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("packages", "packages.conda"), GROUP | MSGPACK),
        "v3": st.dictionaries(TEXT, GROUP) | MSGPACK,
        "removed": st.lists(TEXT) | MSGPACK,
        "info": MSGPACK,
        "shards": st.dictionaries(TEXT, st.binary(min_size=32, max_size=32)) | MSGPACK,
    },
)


@given(SHARD)
def test_arbitrary_msgpack_is_a_shard_or_refused(document: dict[str, object]) -> None:
    blob = packed(document)
    with suppress(BadUpstreamBody):
        for record in shards.read_shard(blob).values():
            assert record.hashes.keys() <= {"sha256", "md5"}
    with suppress(BadUpstreamBody):
        index = shards.read_index(blob)
        assert shards.read_index(shards.write_index(index.info, index.shards)).shards == index.shards
        json.loads(shards.as_json(index.info))


def test_arbitrary_msgpack_becomes_flat_repodata_or_is_refused(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    store.prepare()

    @settings(max_examples=40)  # each of them is written to a disk
    @given(st.lists(SHARD, max_size=3))
    def becomes_flat_or_is_refused(documents: list[dict[str, list[str]]]) -> None:
        blobs = [store.put_bytes(packed(document)) for document in documents]
        with suppress(BadUpstreamBody):
            made = do(Flatten(blobs, b"{}"), store, limit=1_000_000)
            flat = read(shards.expand(store.path(made.flat).read_bytes(), limit=1_000_000, what="it"))
            removed = [name for document in documents for name in document.get("removed") or []]
            assert sorted(name for names in flat.removed.values() for name in names) == sorted(removed)

    becomes_flat_or_is_refused()


def test_expanding_reads_every_frame() -> None:
    assert shards.expand(zstandard.compress(b"one ") + zstandard.compress(b"two"), limit=100, what="it") == b"one two"
