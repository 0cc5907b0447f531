"""Makes a generation out of flat repodata: its shards, their index, and a flat form that fits our own server.

Everything here blocks, for seconds on a large channel; `worker` decides where it runs. Input and output are blobs
of the store, so what crosses a process border is a few digests. Names whose records did not change keep their shard
without being packed again. Bad input raises BadUpstreamBody, a full disk StorageFull; nothing half made is visible.
"""

from __future__ import annotations

import bz2
import mmap
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import msgspec
import zstandard

from envproxy.engine.store import FULL, BlobStore, Partial
from envproxy.errors import BadUpstreamBody, Oversized, StorageFull
from envproxy.tables import ChannelPolicyConfig

from . import packs
from .beside import fitting
from .compression import expanded
from .echo import echoes, silenced, without_token
from .packs import Manifest, Slice
from .policy import ChannelPolicy
from .repodata import SECTIONS, Buffer, Repodata, base_url, read, without_base_url, write
from .shards import LEVEL, as_json, compress, shard_document, verify, write_index, write_shard

FlatForm = Literal["json", "zst", "bz2"]
_FORMS: Mapping[str, FlatForm] = {".zst": "zst", ".bz2": "bz2"}
_WRITERS: Mapping[FlatForm, Callable[[bytes], bytes]] = {"json": bytes, "zst": compress, "bz2": bz2.compress}
_READ_BYTES = 256 * 1024


class Make(msgspec.Struct, frozen=True, tag=True):
    """Make a generation of the flat file `source` (a digest); `previous` is the manifest of the last one, if any.

    `now` is in seconds since the epoch; `policy` takes records out; `token` is taken out of paths that
    upstream states; without `pack` there is a flat form only.
    """

    source: str
    form: FlatForm
    subdir: str
    now: float
    previous: str | None = None
    policy: ChannelPolicyConfig | None = None
    pack: bool = True
    token: str | None = None


class Convert(msgspec.Struct, frozen=True, tag=True):
    """Write flat repodata in its other form."""

    source: str
    to: Literal["json", "zst"]


class Flatten(msgspec.Struct, frozen=True, tag=True):
    """Write flat repodata (zstd) out of shards, which are blobs; `info` is that of their index, as JSON.

    `token` is as for `Make`.
    """

    shards: list[str]
    info: bytes
    token: str | None = None


class Fit(msgspec.Struct, frozen=True, tag=True):
    """See whether a blob is what its name promises, and write it as it fits our own server, if it does not yet.

    `token` is as for `Make`.
    """

    source: str
    filename: str
    token: str | None = None


Job = Make | Convert | Flatten | Fit


class Made(msgspec.Struct, frozen=True):
    """What came of a job: digests and, in `sizes`, the bytes of every blob that was written.

    `packed` counts the names that had to be packed; `flips_at` is when the clock changes what the policy says.
    """

    sizes: dict[str, int] = {}
    flat: str = ""
    flat_form: FlatForm = "zst"
    index: str = ""
    manifest: str = ""
    base_url: str = ""
    packed: int = 0
    flips_at: float | None = None


def do(job: Job, store: BlobStore, *, limit: int) -> Made:
    """Do one job on a file that has no more than `limit` bytes, decompressed.

    Raises Oversized if it has, BadUpstreamBody, StorageFull, and FileNotFoundError for a blob that was evicted.
    """
    try:
        return _done(job, store, limit)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise StorageFull("the disk had no room to decompress a file", hint="free disk") from error


def _done(job: Job, store: BlobStore, limit: int) -> Made:
    match job:
        case Make():
            return _make(job, store, limit)
        case Convert():
            return _convert(job, store, limit)
        case Flatten():
            return _flatten(job, store)
        case Fit():
            return _fit(job, store, limit)


def _make(job: Make, store: BlobStore, limit: int) -> Made:
    sizes: dict[str, int] = {}
    with _plain(store.path(job.source), job.form, store.root, "the repodata", limit) as buffer:
        repodata = read(buffer, pause=_forgetter(buffer))
        base = base_url(repodata.info)
        if echo := echoes(buffer, job.token):
            repodata = silenced(repodata, job.token)
        flips_at = ChannelPolicy(job.policy).narrow(repodata, job.now) if job.policy else None
        flat, form = job.source, job.form
        if base or echo or job.policy or form == "bz2":
            pieces = write(buffer, repodata, without_base_url(repodata.info))
            flat, form = _put(store, _compressed(without_token(piece, job.token) for piece in pieces), sizes), "zst"
        if not job.pack:
            return Made(sizes, flat, form, base_url=base, flips_at=flips_at)
        previous = _previous(store, job.previous)
        manifest, packed = _packed(job, repodata, previous, store, sizes)
    index = _put(store, [write_index(manifest.info, manifest.shards)], sizes)
    written = _put(store, [packs.dump(manifest)], sizes)
    return Made(sizes, flat, form, index, written, base, packed, flips_at)


def _packed(
    job: Make, repodata: Repodata, previous: Manifest, store: BlobStore, sizes: dict[str, int]
) -> tuple[Manifest, int]:
    """The new manifest, and how many names were packed for it."""
    copy = len(previous.packs) >= packs.MANY
    kept = [] if copy else previous.packs
    names: dict[str, Slice] = {}
    packed, offset = 0, 0
    pack = store.create_partial()
    forget = _forgetter(None)
    try:
        for name in repodata.names():
            fingerprint = repodata.fingerprint(name)
            old = previous.names.get(name)
            unchanged = old is not None and old.fingerprint == fingerprint
            if old is not None and unchanged and not copy:
                names[name] = old
                continue
            if old is not None and unchanged:
                shard = packs.read_slice(store.path(previous.packs[old.number]), old)
            else:
                shard = write_shard(repodata.lines.get(name, ()), repodata.removed.get(name, ()))
                packed += 1
            digest = sha256(shard).digest()
            names[name] = Slice(fingerprint, digest, len(kept), offset, len(shard))
            pack.append(shard)
            offset += len(shard)
            forget()
        written = [_commit(pack, sizes)] if offset else []
    finally:
        pack.close()
    created = datetime.fromtimestamp(job.now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    info = {**without_base_url(repodata.info), "subdir": job.subdir, "created_at": created}
    if previous.says_the_same(info, names):
        info["created_at"] = previous.info["created_at"]
    return Manifest(info, [*kept, *written], names, repodata.strays()), packed


def _convert(job: Convert, store: BlobStore, limit: int) -> Made:
    sizes: dict[str, int] = {}
    path = store.path(job.source)
    if job.to == "zst":
        pieces = _compressed(_pieces(path))
    else:
        pieces = expanded(_pieces(path), "zst", limit=limit, what="the repodata")
    return Made(sizes, flat=_put(store, pieces, sizes), flat_form=job.to)


def _flatten(job: Flatten, store: BlobStore) -> Made:
    sizes: dict[str, int] = {}
    pieces = (without_token(piece, job.token) for piece in _joined(job, store))
    return Made(sizes, flat=_put(store, _compressed(pieces), sizes))


def _joined(job: Flatten, store: BlobStore) -> Iterator[bytes]:
    """Flat repodata, section after section; the shards are read once for each, for they do not fit in memory."""
    yield b'{"info":' + job.info
    for section in (*SECTIONS, "v3"):
        yield b"," + msgspec.json.encode(section) + b":"
        yield from _object(_merged(section, job.shards, store))
    removed = sorted(name for shard in job.shards for name in _document(shard, store)["removed"])
    yield b',"removed":' + msgspec.json.encode(removed) + b',"repodata_version":1}'


def _merged(section: str, shards: Iterable[str], store: BlobStore) -> Iterator[tuple[str, object]]:
    groups: dict[str, dict[str, object]] = {}
    for shard in shards:
        for key, value in _document(shard, store).get(section, {}).items():
            if section == "v3":
                groups.setdefault(key, {}).update(value)
            else:
                yield key, value
    yield from groups.items()


def _object(items: Iterable[tuple[str, object]]) -> Iterator[bytes]:
    yield b"{"
    for number, (key, value) in enumerate(items):
        yield (b"," if number else b"") + msgspec.json.encode(key) + b":" + as_json(value)
    yield b"}"


def _document(shard: str, store: BlobStore) -> dict[str, Any]:
    blob = store.path(shard).read_bytes()
    verify(blob, bytes.fromhex(shard))
    return shard_document(blob)


def _fit(job: Fit, store: BlobStore, limit: int) -> Made:
    form = _FORMS.get(Path(job.filename).suffix, "json")
    with _plain(store.path(job.source), form, store.root, job.filename, limit) as buffer:
        changed = fitting(job.filename, buffer, job.token)
    if changed is None:
        return Made(flat=job.source, flat_form=form)
    sizes: dict[str, int] = {}
    return Made(sizes, _put(store, [_WRITERS[form](changed)], sizes), form)


@contextmanager
def _plain(path: Path, form: str, scratch: Path, what: str, limit: int) -> Iterator[Buffer]:
    """The content of a file, mapped and decompressed."""
    with path.open("rb") if form == "json" else tempfile.TemporaryFile(dir=scratch / "partial") as file:
        if form != "json":
            for piece in expanded(_pieces(path), "zst" if form == "zst" else "bz2", limit=limit, what=what):
                file.write(piece)
            file.flush()
        size = file.seek(0, 2)
        if size > limit:
            raise Oversized(f"{what} has more than {limit} bytes")
        if not size:
            raise BadUpstreamBody(f"{what} is empty")
        # Slices of it may outlive us in a traceback, so it is not closed but left to them.
        yield mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)


def _forgetter(buffer: Buffer | None) -> Callable[[], None]:
    """Gives the pages of a mapped file back, which would count as ours; the kernel still has them."""
    if isinstance(buffer, mmap.mmap):
        return lambda: buffer.madvise(mmap.MADV_DONTNEED)
    return lambda: None


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            yield piece


def _compressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    compressor = zstandard.ZstdCompressor(level=LEVEL).compressobj()
    for piece in pieces:
        yield compressor.compress(piece)
    yield compressor.flush()


def _put(store: BlobStore, pieces: Iterable[bytes], sizes: dict[str, int]) -> str:
    partial = store.create_partial()
    try:
        for piece in pieces:
            partial.append(piece)
        return _commit(partial, sizes)
    finally:
        partial.close()


def _commit(partial: Partial, sizes: dict[str, int]) -> str:
    digest = partial.commit(None)
    sizes[digest] = partial.seen
    return digest


def _previous(store: BlobStore, digest: str | None) -> Manifest:
    """The manifest of the last generation; an empty one if it, or a pack of it, is gone."""
    with suppress(FileNotFoundError):
        if digest is not None:
            manifest = packs.load(store.path(digest))
            for pack in manifest.packs:
                store.path(pack).stat()
            return manifest
    return Manifest()
