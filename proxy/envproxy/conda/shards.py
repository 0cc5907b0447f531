"""Sharded repodata (CEP 16): an index of names, and one shard of records for each.

A shard is named by the SHA-256 of its compressed bytes, and no client checks that: `verify` is the only check there
is. What is written here is deterministic, so an unchanged name keeps its shard: keys sorted, one zstd level, hashes
as msgpack bin (mamba drops arrays), the content size in every frame (conda caps frames without). Everything that
is not understood is carried through. Pure.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
import zstandard

from envproxy.errors import BadUpstreamBody, DigestMismatch

from .channel import filename_at
from .compression import expanded
from .repodata import BROKEN, SECTIONS, Line

LEVEL = 3  # of zstd: a higher one gains little on shards of a few kilobytes
# Decompressed. Both are read at once, which keeps an interpreter busy for 10 ms a MB.
INDEX_LIMIT_BYTES = 16 * 1024 * 1024  # the largest in the wild has 1.5 MB
SHARD_LIMIT_BYTES = 16 * 1024 * 1024  # the largest in the wild has 2.6 MB
BESIDE, SHARDS = "./", "./shards/"
"""Where our packages and shards are, relative to our index."""

_HASHES = {"sha256": 32, "md5": 16}  # their bytes; hex in JSON, raw in a shard (CEP 16)
_DIGEST_BYTES = 32
_PACK = msgspec.msgpack.Encoder(order="deterministic")
_RECORD = msgspec.json.Decoder(dict[str, Any])
_NOT_MSGPACK = (*BROKEN, TypeError, ValueError)  # TypeError: a map whose key cannot be hashed
_OWN = threading.local()  # a compressor takes 10 us to make and serves one thread at a time


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """A shard index: `info` as it came, the raw SHA-256 of each name's shard."""

    info: Mapping[str, Any]
    shards: Mapping[str, bytes]

    @property
    def base_url(self) -> str:
        """Where packages are, relative to the index."""
        return str(self.info["base_url"])

    @property
    def shards_base_url(self) -> str:
        """Where shards are, relative to the index."""
        return str(self.info["shards_base_url"])


class _Shard(msgspec.Struct):
    """A shard, as far as it is understood."""

    packages: dict[str, dict[str, Any]] | None = None
    conda: dict[str, dict[str, Any]] | None = msgspec.field(name="packages.conda", default=None)
    v3: dict[str, dict[str, dict[str, Any]]] | None = None
    removed: list[str] | None = None


_SHARD = msgspec.msgpack.Decoder(_Shard)


@dataclass(frozen=True, slots=True)
class Record:
    """What must be known of a package to fetch and to judge it; hashes in hex, `size` in bytes, times in ms."""

    key: str
    fields: Mapping[str, Any]

    @property
    def hashes(self) -> dict[str, str]:
        """The digests that the record states, by algorithm. Raises BadUpstreamBody for one that is none: to pass it
        over would be to check nothing.
        """
        found: dict[str, str] = {}
        for name, size in _HASHES.items():
            if not (value := self.fields.get(name)):
                continue
            digest = _hex(value)
            if digest is None or not re.fullmatch(rf"[0-9a-f]{{{2 * size}}}", digest):
                raise BadUpstreamBody(f"the record of {self.key} has a {name} that is none")
            found[name] = digest
        return found

    @property
    def size(self) -> int | None:
        """The size that the record states."""
        size = self.fields.get("size")
        return size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None


def compress(data: bytes) -> bytes:
    """One zstd frame that states its content size."""
    try:
        compressor: zstandard.ZstdCompressor = _OWN.compressor
    except AttributeError:
        compressor = _OWN.compressor = zstandard.ZstdCompressor(level=LEVEL, write_content_size=True)
    return compressor.compress(data)


def expand(data: bytes, *, limit: int, what: str) -> bytes:
    """Undo zstd, up to `limit` bytes. Raises BadUpstreamBody, saying what `what` is not."""
    return b"".join(expanded([data], "zst", limit=limit, what=what))


def read_index(blob: bytes) -> ShardIndex:
    """Read a shard index; URLs that are missing count as "". Raises BadUpstreamBody."""
    document = _unpack(expand(blob, limit=INDEX_LIMIT_BYTES, what="the shard index"), "the shard index")
    info, shards = document.get("info"), document.get("shards")
    if not isinstance(info, dict) or not isinstance(shards, dict):
        raise BadUpstreamBody("the shard index lacks info or shards")
    urls = {key: info.get(key) or "" for key in ("base_url", "shards_base_url")}
    if not all(isinstance(url, str) for url in urls.values()):
        raise BadUpstreamBody("the shard index has a base URL that is not text")
    return ShardIndex({**info, **urls}, {_name(name): _digest(name, value) for name, value in shards.items()})


def write_index(info: Mapping[str, Any], shards: Mapping[str, bytes]) -> bytes:
    """A shard index for our own server: packages beside it, shards in `shards/`. Raises BadUpstreamBody for an
    `info` that does not fit msgpack.
    """
    here = {**info, "base_url": BESIDE, "shards_base_url": SHARDS}
    return _sealed({"version": 1, "info": here, "shards": dict(sorted(shards.items()))}, "info of this repodata")


def write_shard(lines: Iterable[Line], removed: Iterable[str]) -> bytes:
    """The shard of one name. Raises BadUpstreamBody for a record that is no object or does not fit msgpack."""
    shard: dict[str, Any] = {section: {} for section in SECTIONS}
    shard["removed"] = sorted(removed)
    for section, key, raw in lines:
        if section in SECTIONS:
            shard[section][key] = _packed(raw, key)
        else:
            shard.setdefault("v3", {}).setdefault(section.partition("/")[2], {})[key] = _packed(raw, key)
    return _sealed(shard, "a record")


def read_shard(blob: bytes) -> dict[str, Record]:
    """The records of a shard by filename, which the keys of `v3` become with its form. Raises BadUpstreamBody."""
    shard = _shard(blob)
    groups = [("", shard.packages or {}), ("", shard.conda or {}), *(shard.v3 or {}).items()]
    return {filename_at(key, form): Record(key, fields) for form, group in groups for key, fields in group.items()}


def shard_document(blob: bytes) -> dict[str, Any]:
    """Everything in a shard as JSON would have it: hashes in hex. Raises BadUpstreamBody."""
    shard = _shard(blob)
    sections, extensions = (shard.packages or {}, shard.conda or {}), shard.v3 or {}
    for group in (*sections, *extensions.values()):
        for fields in group.values():
            fields.update({name: digest for name in _HASHES if (digest := _hex(fields.get(name)))})
    document: dict[str, Any] = dict(zip(SECTIONS, sections, strict=True))
    return {**document, "removed": shard.removed or [], **({"v3": extensions} if extensions else {})}


def as_json(value: object) -> bytes:
    """JSON of what a shard or an index holds. Raises BadUpstreamBody for what only msgpack can hold."""
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadUpstreamBody(f"shards of this channel cannot be written as JSON: {error}") from error


def verify(blob: bytes, digest: bytes) -> None:
    """Raise DigestMismatch unless `digest` names `blob`."""
    if sha256(blob).digest() != digest:
        raise DigestMismatch(f"a shard named {digest.hex()} has SHA-256 {sha256(blob).hexdigest()}")


def _sealed(document: Mapping[str, Any], what: str) -> bytes:
    try:
        return compress(_PACK.encode(document))
    except (OverflowError, RecursionError, TypeError) as error:  # TypeError: keys that cannot be sorted
        raise BadUpstreamBody(f"{what} cannot be packed: {error}") from error


def _shard(blob: bytes) -> _Shard:
    data = expand(blob, limit=SHARD_LIMIT_BYTES, what="a shard")
    try:
        return _SHARD.decode(data)
    except msgspec.ValidationError as error:
        raise BadUpstreamBody(f"a shard has something else where its records should be: {error}") from error
    except _NOT_MSGPACK as error:
        raise BadUpstreamBody(f"a shard is not msgpack: {error}") from error


def _unpack(data: bytes, what: str) -> dict[str, Any]:
    try:
        document = msgspec.msgpack.decode(data)
    except _NOT_MSGPACK as error:
        raise BadUpstreamBody(f"{what} is not msgpack: {error}") from error
    if not isinstance(document, dict):
        raise BadUpstreamBody(f"{what} is not a map")
    return document


def _packed(raw: msgspec.Raw, key: str) -> dict[str, Any]:
    try:
        record = _RECORD.decode(raw)
        if isinstance(value := record.get("sha256"), str):
            record["sha256"] = bytes.fromhex(value)
        if isinstance(value := record.get("md5"), str):
            record["md5"] = bytes.fromhex(value)
    except msgspec.ValidationError:
        raise BadUpstreamBody(f"the record of {key} is not an object") from None
    except ValueError:
        raise BadUpstreamBody(f"a hash of {key} is not hexadecimal") from None
    return record


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise BadUpstreamBody("the shard index has a name that is not text")
    return name


def _digest(name: object, value: object) -> bytes:
    if isinstance(value, list) and all(isinstance(item, int) and 0 <= item < 256 for item in value):
        value = bytes(value)
    if not isinstance(value, bytes) or len(value) != _DIGEST_BYTES:
        raise BadUpstreamBody(f"the shard of {name} is not named by a SHA-256")
    return value


def _hex(value: object) -> str | None:
    """A digest in hex, from raw bytes, from an array of them, or from text; None if there is none."""
    if isinstance(value, list) and all(isinstance(item, int) and 0 <= item < 256 for item in value):
        value = bytes(value)
    if isinstance(value, bytes):
        return value.hex()
    return value.lower() if isinstance(value, str) else None
