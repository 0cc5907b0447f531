"""A project page of the simple API as one upstream sent it, in a form that is cheap to keep (PEP 691, 700, 740, 792).

A page may list 50,000 files, so it is never held as objects: each entry stays canonical JSON (`msgspec.Raw`) and is
decoded alone, when somebody looks at it. Invariants: every entry has a safe filename, unique on its page, and an
absolute http(s) URL without fragment; keys that this version does not know are kept as they came; a body that is not
a project page raises BadUpstreamBody and never becomes an empty page. Known keys with a value of the wrong kind are
left out, for strict clients reject a whole page over one of them. Nothing here decides what clients may see.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urldefrag, urljoin, urlsplit

import msgspec

from envproxy.errors import BadUpstreamBody, ClientError
from envproxy.pypi.html import PageReader
from envproxy.pypi.names import check_filename, normalize, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

# PEP 714 renamed the key; the index that introduced it misspelt it, and its mirrors still do. The first wins.
SIDECAR_KEYS = ("core-metadata", "data-core-metadata", "data-dist-info-metadata", "dist-info-metadata")

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PLAIN_URL = re.compile(
    r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?/[!-\"$-~]*"
)  # most, and quicker than taking it apart
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+!-]{0,200}")
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_encoder = msgspec.json.Encoder()
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_entries = msgspec.json.Decoder(tuple[msgspec.Raw, ...]).decode


class _Named(msgspec.Struct):
    filename: str


_Kept = tuple[str, msgspec.Raw | bytes]
"""A filename and its canonical entry."""


class _Plain(msgspec.Struct, rename="kebab", forbid_unknown_fields=True):
    """An entry of known keys with values of the right kinds (see `_KINDS`)."""

    filename: str
    url: str
    hashes: dict[str, str]
    size: Annotated[int, msgspec.Meta(ge=0)] | msgspec.UnsetType = msgspec.UNSET
    upload_time: datetime | msgspec.UnsetType = msgspec.UNSET
    yanked: bool | str | msgspec.UnsetType = msgspec.UNSET
    requires_python: str | msgspec.UnsetType | None = msgspec.UNSET
    gpg_sig: bool | msgspec.UnsetType = msgspec.UNSET
    provenance: str | msgspec.UnsetType | None = msgspec.UNSET
    core_metadata: bool | dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    data_core_metadata: bool | dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    data_dist_info_metadata: bool | dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    dist_info_metadata: bool | dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class _Stored(msgspec.Struct):
    name: str
    meta: dict[str, Any]
    versions: tuple[str, ...] | None
    files: tuple[msgspec.Raw, ...]


_decode_named = msgspec.json.Decoder(_Named).decode
_decode_plain = msgspec.json.Decoder(_Plain).decode
_decode_stored = msgspec.json.Decoder(_Stored).decode


class ProjectFile(msgspec.Struct, frozen=True):
    """One file of a page; `raw` has every key that was kept. Decided when asked, for most are asked for little."""

    raw: dict[str, Any]

    @property
    def filename(self) -> str:
        """Unique on its page, and safe as a path segment."""
        name: str = self.raw["filename"]
        return name

    @property
    def url(self) -> str:
        """Absolute, http(s), without fragment."""
        url: str = self.raw["url"]
        return url

    @property
    def hashes(self) -> Mapping[str, str]:
        """Digests in lower-case hexadecimal, by algorithm."""
        hashes: Mapping[str, str] = self.raw["hashes"]
        return hashes

    @property
    def size(self) -> int | None:
        """In bytes."""
        return self.raw.get("size")

    @property
    def upload_time(self) -> datetime | None:
        """In UTC."""
        return _moment(self.raw.get("upload-time"))

    @property
    def yanked(self) -> bool | str:
        """Whether, or why (PEP 592)."""
        return self.raw.get("yanked") or False

    @property
    def core_metadata(self) -> bool | Mapping[str, str]:
        """Whether upstream has a sidecar (PEP 658), or its digests."""
        announced = next((self.raw[key] for key in SIDECAR_KEYS if key in self.raw), False)
        if isinstance(announced, bool):
            return announced
        return {name.lower(): digest.lower() for name, digest in announced.items() if isinstance(digest, str)} or True

    @property
    def sha256(self) -> str | None:
        """The lower-case hex digest; None when upstream gives none or something that is no SHA-256."""
        return _sha256_of(self.hashes)


class Link(msgspec.Struct, frozen=True):
    """As much of a file as tells its bytes from others: cheap to decode, for looking at thousands."""

    filename: str
    url: str
    hashes: dict[str, str]

    @property
    def sha256(self) -> str | None:
        """As `ProjectFile.sha256`."""
        return _sha256_of(self.hashes)


_decode_link = msgspec.json.Decoder(Link).decode


@dataclass(frozen=True, slots=True)
class Page:
    """One project page.

    `meta` has the top-level keys other than name, files and versions, known or not; of them `meta` and
    `project-status`, where present, are objects.
    """

    name: str
    meta: Mapping[str, Any]
    versions: tuple[str, ...] | None
    entries: tuple[msgspec.Raw, ...]

    def files(self) -> Iterator[ProjectFile]:
        """Every file in upstream's order, decoded one at a time."""
        return map(_decoded, self.entries)

    def links(self) -> Iterator[Link]:
        """Every file as a `Link`."""
        return map(_decode_link, self.entries)

    def find(self, filename: str) -> ProjectFile | None:
        """The file of that name; the others are looked at no further than their names."""
        for entry in self.entries:
            if _decode_named(entry).filename == filename:
                return _decoded(entry)
        return None

    @property
    def status(self) -> str:
        """The project's status marker (PEP 792): active, archived, quarantined, deprecated or a newer one."""
        status = self.meta.get("project-status", {}).get("status")
        return status if isinstance(status, str) else "active"


def parse(body: bytes, *, content_type: str | None, url: str, project: str) -> Page:
    """Read an upstream's answer. `url` is the final one after redirects: relative links start there.

    The body itself says whether it is JSON or HTML; its label is believed only where the body does not (indexes label
    JSON as application/json, text/plain and even text/html). Raises BadUpstreamBody.
    """
    name = normalize(project)
    body = body.removeprefix(codecs.BOM_UTF8)
    first = body[:1024].lstrip()[:1]
    if first == b"{":
        return _from_json(body, url, name)
    if first == b"<" or "html" in (content_type or "").lower():
        return _from_html(body, url, name)
    raise _bad(url, f"neither JSON nor HTML (content type: {content_type or 'none'})")


def _sha256_of(hashes: Mapping[str, str]) -> str | None:
    digest = hashes.get("sha256", "")
    return digest if _SHA256.fullmatch(digest) else None


def dump(page: Page) -> bytes:
    """The page as the catalog keeps it; `load` gives it back unchanged."""
    return _encoder.encode(_Stored(page.name, dict(page.meta), page.versions, page.entries))


def load(data: bytes) -> Page:
    """A page that `dump` wrote. Its entries are views of `data`. Raises msgspec.DecodeError for anything else."""
    stored = _decode_stored(data)
    return Page(stored.name, stored.meta, stored.versions, stored.files)


def _from_json(body: bytes, url: str, project: str) -> Page:
    try:
        members = _decode_members(body)
        listed = _decode_entries(members.pop("files", b"null"))
        meta = _top_level(members)
        entries = _packed(_usable(listed, url))
    except _UNREADABLE as error:
        raise _bad(url, f"unusable JSON, or no list of files in it: {error}") from error
    name, versions = meta.pop("name", None), meta.pop("versions", None)
    if isinstance(name, str) and _is_other(name, project):
        raise _bad(url, f"the page of another project: {name[:200]!r} instead of {project!r}")
    _check_api_version(meta.get("meta", {}).get("api-version"), url)
    if listed and not entries:
        raise _bad(url, f"{len(listed)} files, none of them with a usable name and URL")
    return Page(project, meta, _strings(versions) if isinstance(versions, list) else None, entries)


def _from_html(body: bytes, url: str, project: str) -> Page:
    reader = PageReader(url)
    try:
        entries = _packed(_mended(reader.entries(body), url))
    except AssertionError as error:
        raise _bad(url, f"broken HTML: {error}") from error
    declared = reader.meta.get("repository-version")
    _check_api_version(declared, url)
    # A login page or a captive portal answers 200 as well. A bare directory listing says nothing about itself, but
    # its files are named after the project.
    is_page = declared is not None or reader.titled
    if not is_page and not any(version_of(_decode_named(entry).filename, project) for entry in entries):
        raise _bad(url, f"HTML that is no page of {project!r}: it neither says so nor links a file of that name")
    meta: dict[str, Any] = {"meta": {"api-version": declared or "1.0"}}
    if status := reader.meta.get("project-status"):
        reason = reader.meta.get("project-status-reason")
        meta["project-status"] = {"status": status, **({"reason": reason} if reason else {})}
    return Page(project, meta, None, entries)


def _bad(url: str, what: str) -> BadUpstreamBody:
    parts = urlsplit(url)
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    return BadUpstreamBody(
        f"{shown} sent {what}", hint="check that the source's URL is that of a simple index (PEP 503)"
    )


def _top_level(members: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    meta = {key: msgspec.json.decode(value) for key, value in members.items()}
    for key in ("meta", "project-status"):
        if not isinstance(meta.get(key, {}), dict):
            del meta[key]
    return meta


def _strings(values: list[object]) -> tuple[str, ...]:
    return tuple(value for value in values if isinstance(value, str))


def _is_other(name: str, project: str) -> bool:
    try:
        return normalize(name) != project
    except ClientError:  # a name that says nothing, such as an empty one
        return False


def _check_api_version(declared: object, url: str) -> None:
    """PEP 629: another major version cannot be understood; no version at all means 1.0."""
    if declared is not None and str(declared).partition(".")[0] != "1":
        raise _bad(url, f"version {str(declared)[:40]!r} of the simple API, of which only 1.x is understood")


def _usable(listed: Iterable[msgspec.Raw], base: str) -> Iterator[_Kept]:
    """The usable entries; what needs no second look stays as it came."""
    for entry in listed:
        try:
            plain = _decode_plain(entry)
        except msgspec.ValidationError:  # a key that is not known, or with a value of another kind
            plain = None
        except _UNREADABLE:  # this file cannot be offered; the others can
            continue
        if plain is not None and _is_plain(plain):
            yield plain.filename, entry
        else:
            yield from _mended(_readable(entry), base)


def _readable(entry: msgspec.Raw) -> Iterator[dict[str, Any]]:
    try:
        yield _decode_object(entry)
    except _UNREADABLE:
        return


def _mended(entries: Iterable[dict[str, Any]], base: str) -> Iterator[_Kept]:
    for entry in entries:
        if (kept := _canonical_entry(entry, base)) is not None:
            yield kept["filename"], _encoder.encode(kept)


def _is_plain(entry: _Plain) -> bool:
    """Whether an entry is canonical as it stands, as nearly all are."""
    hashes = entry.hashes
    return (
        _PLAIN_NAME.fullmatch(entry.filename) is not None
        and _PLAIN_URL.fullmatch(entry.url) is not None
        and len(hashes) == 1
        and _SHA256.fullmatch(hashes.get("sha256", "")) is not None
        and (not isinstance(entry.provenance, str) or _PLAIN_URL.fullmatch(entry.provenance) is not None)
    )


def _packed(entries: Iterable[_Kept]) -> tuple[msgspec.Raw, ...]:
    """The first entry of each filename, as views of one buffer."""
    seen: set[str] = set()
    buffer = BytesIO()
    buffer.write(b"[")
    for filename, entry in entries:
        if filename not in seen:
            buffer.write(b"," if seen else b"")
            buffer.write(entry)
            seen.add(filename)
    buffer.write(b"]")
    return _decode_entries(buffer.getvalue())


def _canonical_entry(entry: dict[str, Any], base: str) -> dict[str, Any] | None:
    filename, link = entry.get("filename"), entry.get("url")
    if not (isinstance(filename, str) and isinstance(link, str)):
        return None
    try:
        check_filename(filename)
    except ClientError:
        return None
    url, fragment = _absolute(link, base)
    if not url:
        return None
    kept = {key: value for key, value in entry.items() if key not in _KINDS or _KINDS[key](value)}
    if kept.get("provenance"):
        kept["provenance"] = _absolute(kept["provenance"], base)[0]
    return {**kept, "filename": filename, "url": url, "hashes": _hashes(entry.get("hashes"), fragment)}


def _absolute(link: str, base: str) -> tuple[str, str]:
    """The absolute http(s) URL and the fragment cut off it; an empty URL when it cannot be fetched."""
    if _PLAIN_URL.fullmatch(link):
        return link, ""
    try:
        url, fragment = urldefrag(link if link.startswith(("https://", "http://")) else urljoin(base, link))
        parts = urlsplit(url)
        fetchable = parts.scheme in ("http", "https") and parts.hostname and url.isprintable()
    except ValueError:
        return "", ""
    return (url, fragment) if fetchable else ("", "")


def _hashes(given: object, fragment: str) -> dict[str, str]:
    """The hashes as sent, in lower case, and those of the URL's fragment (PEP 503) that are not among them."""
    hashes: dict[str, str] = {}
    if isinstance(given, dict):
        hashes = {name.lower(): digest.lower() for name, digest in given.items() if isinstance(digest, str)}
    for part in fragment.split("&"):
        name, _, digest = part.partition("=")
        if digest and name in hashlib.algorithms_guaranteed:
            hashes.setdefault(name, digest.lower())
    return hashes


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        # PEP 700 asks for UTC with a Z; without any zone UTC is meant.
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _is_sidecar(value: object) -> bool:
    return isinstance(value, bool | dict)


_KINDS: Mapping[str, Callable[[object], bool]] = {
    "size": _is_size,
    "upload-time": lambda value: _moment(value) is not None,
    "yanked": lambda value: isinstance(value, bool | str),
    "requires-python": lambda value: value is None or isinstance(value, str),
    "gpg-sig": lambda value: isinstance(value, bool),
    "provenance": lambda value: value is None or (isinstance(value, str) and value != ""),
    **dict.fromkeys(SIDECAR_KEYS, _is_sidecar),
}


def _decoded(entry: msgspec.Raw) -> ProjectFile:
    return ProjectFile(_decode_object(entry))
