"""Shards and their index: written the same way every time, read with suspicion."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from envproxy.conda import shards
from envproxy.conda.repodata import read
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
    [{"packages": [1]}, {"packages": {"a-1-0.conda": 3}}, {"v3": {"whl": [1]}}],
    ids=["a list of packages", "a record that is a number", "a list in v3"],
)
def test_a_shard_with_something_else_for_records_is_refused(document: object) -> None:
    with pytest.raises(BadUpstreamBody, match="something else"):
        shards.read_shard(packed(document))


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
        for parse in (shards.read_shard, shards.read_index):
            try:
                parse(blob)
            except BadUpstreamBody:
                continue


MSGPACK = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=4) | st.binary(max_size=33),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["info", "shards", "packages", "packages.conda", "v3", "removed"])


@given(st.dictionaries(KEYS, MSGPACK))
def test_arbitrary_msgpack_is_a_shard_or_refused(document: dict[str, object]) -> None:
    for parse in (shards.read_shard, shards.read_index):
        try:
            parse(packed(document))
        except BadUpstreamBody:
            continue


def test_expanding_reads_every_frame() -> None:
    assert shards.expand(zstandard.compress(b"one ") + zstandard.compress(b"two"), limit=100, what="it") == b"one two"
