"""The files of a project page, each an entry: canonical JSON that is cheap to keep (PEP 691, 700, 714, 740).

A page may list 50,000 of them, so they are never held as objects: an entry stays `msgspec.Raw` and is decoded alone,
when somebody looks at it. Invariants: every canonical entry has a safe filename, unique among them, and an absolute
http(s) URL without fragment; keys that this version does not know are kept as they came. Known keys with a value of
the wrong kind are left out, for strict clients reject a whole page over one of them, and so is an entry without a
usable filename and URL. Nothing here decides what clients may see.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urldefrag, urljoin, urlsplit

import msgspec

from envproxy.errors import ClientError
from envproxy.pypi.names import check_filename

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding JSON from elsewhere can raise."""

# PEP 714 renamed the key; the index that introduced it misspelt it, and its mirrors still do. The first wins.
SIDECAR_KEYS = ("core-metadata", "data-core-metadata", "data-dist-info-metadata", "dist-info-metadata")

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PLAIN_URL = re.compile(
    r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?/[!-\"$-~]*"
)  # most, and quicker than taking it apart
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+!-]{0,200}")

_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
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


_decode_named = msgspec.json.Decoder(_Named).decode
_decode_plain = msgspec.json.Decoder(_Plain).decode


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


decode_link = msgspec.json.Decoder(Link).decode
"""An entry as a `Link`."""


def decode_file(entry: msgspec.Raw) -> ProjectFile:
    """An entry with all its keys."""
    return ProjectFile(_decode_object(entry))


def filename_of(entry: msgspec.Raw) -> str:
    """The name alone, without looking at the rest."""
    return _decode_named(entry).filename


def canonical(listed: Iterable[msgspec.Raw], base: str) -> tuple[msgspec.Raw, ...]:
    """The usable entries of a JSON page. Relative links start at `base`. Raises one of `UNREADABLE`."""
    return _packed(_usable(listed, base))


def canonical_from_html(found: Iterable[dict[str, Any]], base: str) -> tuple[msgspec.Raw, ...]:
    """The usable entries among the links of an HTML page, given with the keys of PEP 691."""
    return _packed(_mended(found, base))


def _usable(listed: Iterable[msgspec.Raw], base: str) -> Iterator[_Kept]:
    """The usable entries; what needs no second look stays as it came."""
    for entry in listed:
        try:
            plain = _decode_plain(entry)
        except msgspec.ValidationError:  # a key that is not known, or with a value of another kind
            plain = None
        except UNREADABLE:  # this file cannot be offered; the others can
            continue
        if plain is not None and _is_plain(plain):
            yield plain.filename, entry
        else:
            yield from _mended(_readable(entry), base)


def _readable(entry: msgspec.Raw) -> Iterator[dict[str, Any]]:
    try:
        yield _decode_object(entry)
    except UNREADABLE:
        return


def _mended(entries: Iterable[dict[str, Any]], base: str) -> Iterator[_Kept]:
    for entry in entries:
        if (kept := _canonical_entry(entry, base)) is not None:
            yield kept["filename"], _encode(kept)


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


def _sha256_of(hashes: Mapping[str, str]) -> str | None:
    digest = hashes.get("sha256", "")
    return digest if _SHA256.fullmatch(digest) else None
