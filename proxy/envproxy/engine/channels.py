"""What the catalog knows of Conda channels: upstream's files, generations of repodata, old shards, uploads.

A *file* is what an upstream last said of one path. A *generation* is what is served for one subdir, made of one such
file: there is one at a time, and the shards that it no longer names stay known until their time is over. `place` is a
subdir below its channel, labels included. Times are seconds since the epoch.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, replace
from typing import Literal

import msgspec

from envproxy.errors import Conflict

from .database import Row
from .ledger import Entry, Recorded

Line = Literal["relayed", "made"]


@dataclass(frozen=True, slots=True)
class ChannelFile:
    """What an upstream last said of `path`; `server` is the one that did. `sha256` names its bytes, "" if absent."""

    channel: str
    path: str
    state: Literal["known", "absent", "gone"]
    sha256: str
    server: str
    etag: str | None
    last_modified: str | None
    checked_at: float
    fresh_until: float


@dataclass(frozen=True, slots=True)
class Generation:
    """What is served for a subdir. Digests are "" for what there is none of.

    `line` tells a shard index passed on from one made here; `source` is the upstream file that it comes from,
    `policy` what was taken out of it. `base_url` and `shards_url` are upstream's, as it wrote them.
    """

    channel: str
    place: str
    line: Line
    source: str
    policy: str
    index: str
    manifest: str
    flat_json: str
    flat_zst: str
    base_url: str
    shards_url: str
    made_at: float
    flips_at: float | None

    @property
    def blobs(self) -> set[str]:
        """The digests of everything that it consists of, but packs."""
        return {self.source, self.index, self.manifest, self.flat_json, self.flat_zst} - {""}


@dataclass(frozen=True, slots=True)
class OldShard:
    """A shard that an earlier generation named: a slice of a pack, or (`pack` is "") upstream's own file."""

    digest: bytes
    pack: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class HostedPackage:
    """One uploaded package with its record as JSON. A yanked one is listed as removed and can be downloaded."""

    channel: str
    subdir: str
    filename: str
    sha256: str
    size: int
    record: bytes
    uploaded_at: float
    uploader: str
    yanked: bool


class PackageKept(msgspec.Struct, frozen=True, tag_field="entry", tag="package"):
    """A package was published, yanked or deleted: it now is as `package` and `deleted` say."""

    package: HostedPackage
    deleted: bool = False

    def redo(self, connection: sqlite3.Connection) -> None:
        """See `Entry`."""
        sql = _insert("hosted_packages", f"{_PACKAGE}, deleted")
        connection.execute(sql, (*astuple(self.package), self.deleted))


class Channels(Recorded):
    """The tables `channel_files`, `generations`, `old_shards` and `hosted_packages`."""

    async def load_channel_file(self, channel: str, path: str) -> ChannelFile | None:
        """What is known of an upstream file, if it was ever asked for."""
        row = await self._row(f"SELECT {_FILE} FROM channel_files WHERE channel = ? AND path = ?", channel, path)  # noqa: S608
        return None if row is None else ChannelFile(*row)

    async def save_channel_file(self, file: ChannelFile) -> None:
        """Remember what upstream says now, in place of what it said before."""
        await self._write(_insert("channel_files", _FILE), *astuple(file))

    async def load_generation(self, channel: str, place: str, line: Line) -> Generation | None:
        """What is served for a subdir."""
        sql = f"SELECT {_GENERATION} FROM generations WHERE channel = ? AND place = ? AND line = ?"  # noqa: S608
        row = await self._row(sql, channel, place, line)
        return None if row is None else Generation(*row)

    async def save_generation(
        self, generation: Generation, old: Iterable[OldShard], *, now: float, keep_until: float
    ) -> list[str]:
        """Serve this from now on; its predecessor's shards `old` are kept until then.

        Returns the blobs of the predecessor that nobody refers to any more.
        """
        return await self._transaction(
            lambda connection: _replace(connection, generation, list(old), now, keep_until)
        )

    async def complete_generation(self, generation: Generation) -> None:
        """Note the flat forms that it has by now, unless another is served meanwhile."""
        sql = (
            "UPDATE generations SET flat_json = ?, flat_zst = ? "
            "WHERE channel = ? AND place = ? AND line = ? AND source = ? AND made_at = ?"
        )
        key = (generation.channel, generation.place, generation.line, generation.source, generation.made_at)
        await self._write(sql, generation.flat_json, generation.flat_zst, *key)

    async def find_old_shard(self, channel: str, place: str, digest: bytes) -> OldShard | None:
        """A shard that a generation before the present one named."""
        sql = "SELECT digest, pack, start, length FROM old_shards WHERE channel = ? AND place = ? AND digest = ?"
        row = await self._row(sql, channel, place, digest)
        return None if row is None else OldShard(*row)

    async def add_package(self, package: HostedPackage) -> bool:
        """Publish a package whose blob is in the store; False if these bytes were already there under this name.

        One that was yanked or deleted is listed again. Raises Conflict if the name stands, or once stood, for other
        bytes.
        """
        return await self._enter(lambda connection: _published(connection, package))

    async def packages_of(self, channel: str, subdir: str) -> list[HostedPackage]:
        """The packages of a hosted subdir, by filename."""
        sql = f"{_PACKAGES} WHERE channel = ? AND subdir = ? AND deleted = 0 ORDER BY filename"
        return [_package(row) for row in await self._rows(sql, channel, subdir)]

    async def find_package(self, channel: str, subdir: str, filename: str) -> HostedPackage | None:
        """One package of a hosted channel."""
        sql = f"{_PACKAGES} {_THIS_ONE}"
        row = await self._row(sql, channel, subdir, filename)
        return None if row is None else _package(row)

    async def hosted_subdirs(self, channel: str) -> list[str]:
        """The subdirs of a hosted channel that have, or had, packages."""
        rows = await self._rows("SELECT DISTINCT subdir FROM hosted_packages WHERE channel = ? ORDER BY 1", channel)
        return [subdir for (subdir,) in rows]

    async def yank_package(self, channel: str, subdir: str, filename: str) -> bool:
        """List the package as removed; False if there is none."""
        return await self._enter(lambda connection: _changed(connection, (channel, subdir, filename), yanked=True))

    async def delete_package(self, channel: str, subdir: str, filename: str) -> bool:
        """Take the package away; its name stays taken. False if there is none."""
        return await self._enter(lambda connection: _changed(connection, (channel, subdir, filename), deleted=True))

    def _standing(self, connection: sqlite3.Connection) -> Iterator[Entry]:
        yield from super()._standing(connection)
        for *row, deleted in connection.execute(f"SELECT {_PACKAGE}, deleted FROM hosted_packages"):  # noqa: S608
            yield PackageKept(_package(tuple(row)), bool(deleted))


_FILE = "channel, path, state, sha256, server, etag, last_modified, checked_at, fresh_until"
_GENERATION = (
    "channel, place, line, source, policy, index_sha256, manifest, flat_json, flat_zst, base_url, shards_url, "
    "made_at, flips_at"
)
_PACKAGE = "channel, subdir, filename, sha256, size, record, uploaded_at, uploader, yanked"
_PACKAGES = f"SELECT {_PACKAGE} FROM hosted_packages"  # noqa: S608
_THIS_ONE = "WHERE channel = ? AND subdir = ? AND filename = ? AND deleted = 0"
_UNUSED = """
    SELECT value FROM json_each(?) WHERE value NOT IN (
        SELECT sha256 FROM channel_files
        UNION SELECT source FROM generations UNION SELECT index_sha256 FROM generations
        UNION SELECT manifest FROM generations
        UNION SELECT flat_json FROM generations UNION SELECT flat_zst FROM generations
        UNION SELECT sha256 FROM pins UNION SELECT sha256 FROM hosted_files UNION SELECT sha256 FROM hosted_packages
    )
"""


def _insert(table: str, columns: str) -> str:
    marks = ", ".join("?" * len(columns.split(",")))
    return f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608


def _replace(
    connection: sqlite3.Connection, generation: Generation, old: list[OldShard], now: float, keep_until: float
) -> list[str]:
    key = (generation.channel, generation.place)
    sql = f"SELECT {_GENERATION} FROM generations WHERE channel = ? AND place = ? AND line = ?"  # noqa: S608
    before = connection.execute(sql, (*key, generation.line)).fetchone()
    connection.execute(_insert("generations", _GENERATION), astuple(generation))
    connection.execute("DELETE FROM old_shards WHERE channel = ? AND place = ? AND until < ?", (*key, now))
    connection.executemany(
        _insert("old_shards", "channel, place, digest, pack, start, length, until"),
        [(*key, *astuple(shard), keep_until) for shard in old],
    )
    if before is None:
        return []
    replaced = sorted(Generation(*before).blobs - generation.blobs)
    return [sha256 for (sha256,) in connection.execute(_UNUSED, (json.dumps(replaced),))]


def _published(connection: sqlite3.Connection, package: HostedPackage) -> PackageKept | None:
    sql = "SELECT sha256, deleted OR yanked FROM hosted_packages WHERE channel = ? AND subdir = ? AND filename = ?"
    found = connection.execute(sql, (package.channel, package.subdir, package.filename)).fetchone()
    if found is not None and found[0] != package.sha256:
        raise Conflict(
            f"{package.filename} stands for other bytes in {package.channel}/{package.subdir}",
            hint="a published name keeps its meaning: raise the build number",
        )
    is_listed = found is not None and not found[1]
    return None if is_listed else PackageKept(package)


def _changed(
    connection: sqlite3.Connection, key: tuple[str, str, str], *, yanked: bool = False, deleted: bool = False
) -> PackageKept | None:
    row = connection.execute(f"{_PACKAGES} {_THIS_ONE}", key).fetchone()
    if row is None:
        return None
    package = _package(row)
    return PackageKept(replace(package, yanked=yanked or package.yanked), deleted)


def _package(row: Row) -> HostedPackage:
    package = HostedPackage(*row)
    return replace(package, yanked=bool(package.yanked))
