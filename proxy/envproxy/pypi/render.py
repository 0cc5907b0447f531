"""Writes a project page in the forms that clients read, and keeps each form ready to send (PEP 691, 503).

The JSON form is made from the Page, the HTML form from the JSON, so the two cannot disagree. Invariants: what a
client is told about a sidecar is what this proxy can serve, not what upstream said; every representation has its own
strong ETag, taken from the very bytes that it names; the same page always gives the same bytes. Nothing here decides
which files are shown or under which URL: the caller's `offer` does.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass
from enum import Enum
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING, Any, assert_never

import msgspec
import zstandard
from packaging.version import InvalidVersion, Version

from envproxy.pypi.entries import SIDECAR_KEYS
from envproxy.pypi.names import version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from envproxy.pypi.entries import ProjectFile
    from envproxy.pypi.page import Page

_API_VERSION = re.compile(r"1\.([0-9]{1,3})")
_NEWEST_MINOR = 4  # PEP 792
_GZIP_LEVEL = 6
_ZSTD_LEVEL = 3
_LARGE_BYTES = 1_000_000

_encoder = msgspec.json.Encoder()
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


class Format(Enum):
    """A form of the page; the value is its media type."""

    JSON = "application/vnd.pypi.simple.v1+json"
    HTML_V1 = "application/vnd.pypi.simple.v1+html"
    HTML = "text/html"

    @property
    def content_type(self) -> str:
        """The exact Content-Type: clients compare it literally, and only text/html may have a charset."""
        return "text/html; charset=utf-8" if self is Format.HTML else self.value


class Encoding(Enum):
    """A content coding (RFC 9110, 8.4.1; RFC 8878); the value is its token."""

    IDENTITY = "identity"
    GZIP = "gzip"
    ZSTD = "zstd"


class Offer(msgspec.Struct, frozen=True):
    """How a file is offered: where, and with which sidecar (none, one of unknown digest, or its SHA-256 in hex)."""

    url: str
    core_metadata: bool | str


@dataclass(frozen=True, slots=True)
class Variant:
    """One representation, ready to send. `encoding` is the Content-Encoding, None for identity."""

    body: bytes
    etag: str
    content_type: str
    encoding: str | None


class _JsonPage(msgspec.Struct):
    """As much of a rendered page as its HTML form needs."""

    meta: dict[str, Any]
    name: str
    files: tuple[msgspec.Raw, ...]
    status: dict[str, Any] = msgspec.field(default_factory=dict, name="project-status")


_decode_page = msgspec.json.Decoder(_JsonPage).decode


def render_json(page: Page, offer: Callable[[ProjectFile], Offer | None]) -> bytes:
    """The page as JSON (PEP 691), without the files for which `offer` gives None.

    `versions` (PEP 700) is upstream's unless a file is hidden or upstream sent none: then it is read from the names
    of the files that are shown. PEP 700 makes `size` mandatory from 1.1 on, so a page with one unsized file calls
    itself 1.0; its newer keys are then extras, which PEP 691 lets a client use or ignore.
    """
    body = BytesIO()
    body.write(b'{"files":[')
    shown: list[str] = []
    sized = True
    for file in page.files():
        offered = offer(file)
        if offered is not None:
            shown.append(file.filename)
            sized = sized and file.size is not None
            body.write(b"," if len(shown) > 1 else b"")
            body.write(_encoder.encode(_entry(file, offered)))
    versions: Iterable[str] | None = page.versions
    if versions is None or len(shown) < len(page.entries):
        versions = _versions(shown, page.name)
    meta = page.meta.get("meta", {})
    head = {
        **page.meta,
        "meta": {**meta, "api-version": _api_version(meta.get("api-version"), sized=sized)},
        "name": page.name,
        "versions": versions,
    }
    body.write(b"],")
    body.write(_encoder.encode(head)[1:])
    return body.getvalue()


def render_html(json_page: bytes) -> bytes:
    """The HTML form (PEP 503, 592, 629, 658/714, 740, 792) of a page that `render_json` wrote."""
    page = _decode_page(json_page)
    body = BytesIO()
    for line in _html_lines(page):
        body.write(line.encode() + b"\n")
    return body.getvalue()


class Rendition:
    """One rendered page in all its representations; each is built once, when first asked for.

    Only the zstd form of the JSON is kept from the start: it is what all others are made from, and the smallest. A
    large page is never kept unpacked: it is twenty times the rest, and installers do not ask for it.
    Safe among threads: racing builders make equal bytes, and the first to finish is the one that is kept.
    """

    def __init__(self, json_page: bytes) -> None:
        """Compresses the page: blocking, some milliseconds for a megabyte."""
        self._variants: dict[tuple[Format, Encoding], Variant] = {}
        self._keep(Format.JSON, Encoding.ZSTD, _encoded(json_page, Encoding.ZSTD))

    @property
    def nbytes(self) -> int:
        """The bytes of all bodies held; the two HTML formats share theirs."""
        held = list(self._variants.items())
        return sum(len(variant.body) for (fmt, _), variant in held if fmt is not Format.HTML_V1)

    def get(self, fmt: Format, enc: Encoding) -> Variant | None:
        """The representation, if it is ready."""
        return self._variants.get((fmt, enc))

    def build(self, fmt: Format, enc: Encoding) -> Variant:
        """The representation, built now if it is not ready: blocking, so not for the event loop."""
        if (fmt, Encoding.ZSTD) not in self._variants:
            self._keep(fmt, Encoding.ZSTD, _encoded(render_html(self._unpacked(Format.JSON)), Encoding.ZSTD))
        ready = self._variants.get((fmt, enc))
        if ready is not None:
            return ready
        body = _encoded(self._unpacked(fmt), enc)
        if enc is Encoding.IDENTITY and len(body) > _LARGE_BYTES:
            return _variant(fmt, enc, body)
        self._keep(fmt, enc, body)
        return self._variants[fmt, enc]

    def _keep(self, fmt: Format, enc: Encoding, body: bytes) -> None:
        for each in (Format.JSON,) if fmt is Format.JSON else (Format.HTML_V1, Format.HTML):
            self._variants.setdefault((each, enc), _variant(each, enc, body))

    def _unpacked(self, fmt: Format) -> bytes:
        return zstandard.ZstdDecompressor().decompress(self._variants[fmt, Encoding.ZSTD].body)


def _variant(fmt: Format, enc: Encoding, body: bytes) -> Variant:
    encoding = None if enc is Encoding.IDENTITY else enc.value
    return Variant(body, _etag(body, fmt), fmt.content_type, encoding)


def _entry(file: ProjectFile, offered: Offer) -> dict[str, Any]:
    """The file's object. PyPI writes the sidecar under both keys; `dist-info-metadata` crashes old pip (PEP 714)."""
    entry = file.raw.copy()
    for key in SIDECAR_KEYS:
        entry.pop(key, None)
    entry["url"] = offered.url
    if offered.core_metadata:
        digest = offered.core_metadata
        entry["core-metadata"] = {"sha256": digest} if isinstance(digest, str) else True
        entry["data-dist-info-metadata"] = entry["core-metadata"]
    return entry


def _api_version(upstream: object, *, sized: bool) -> str:
    """The version that the page lives up to. Not newer than upstream's: since 1.4 no status means active."""
    if not sized:
        return "1.0"
    declared = _API_VERSION.fullmatch(str(upstream))
    return f"1.{max(1, min(int(declared[1]), _NEWEST_MINOR)) if declared else 1}"


def _versions(filenames: Iterable[str], project: str) -> list[str]:
    """All versions of these files, in order; those that PEP 440 does not know come first."""
    found = {version for filename in filenames if (version := version_of(filename, project)) is not None}
    return sorted(found, key=_age)


def _age(version: str) -> tuple[bool, Version | str]:
    try:
        return (True, Version(version))
    except InvalidVersion:
        return (False, version)


def _html_lines(page: _JsonPage) -> Iterator[str]:
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta name="pypi:repository-version" content="{escape(page.meta["api-version"])}">'
    for name, key in (("project-status", "status"), ("project-status-reason", "reason")):
        if isinstance(page.status.get(key), str):
            yield f'<meta name="pypi:{name}" content="{escape(page.status[key])}">'
    title = f"Links for {escape(page.name)}"
    yield f"<title>{title}</title>\n</head>\n<body>\n<h1>{title}</h1>"
    for entry in page.files:
        yield _anchor(_decode_object(entry))
    yield "</body>\n</html>"


def _anchor(file: dict[str, Any]) -> str:
    hashes = file["hashes"]
    algorithm = "sha256" if "sha256" in hashes else next(iter(hashes), None)
    fragment = f"#{algorithm}={hashes[algorithm]}" if algorithm else ""
    attributes = "".join(f' {name}="{escape(value)}"' for name, value in _attributes(file))
    return f'<a href="{escape(file["url"] + fragment)}"{attributes}>{escape(file["filename"])}</a><br>'


def _attributes(file: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if file.get("requires-python"):
        yield "data-requires-python", file["requires-python"]
    if yanked := file.get("yanked"):
        yield "data-yanked", yanked if isinstance(yanked, str) else ""
    if sidecar := file.get("core-metadata"):
        value = f"sha256={sidecar['sha256']}" if isinstance(sidecar, dict) else "true"
        yield "data-core-metadata", value
        yield "data-dist-info-metadata", value
    if "gpg-sig" in file:
        yield "data-gpg-sig", "true" if file["gpg-sig"] else "false"
    if file.get("provenance"):
        yield "data-provenance", file["provenance"]


def _encoded(body: bytes, enc: Encoding) -> bytes:
    match enc:
        case Encoding.IDENTITY:
            return body
        case Encoding.GZIP:
            return gzip.compress(body, _GZIP_LEVEL, mtime=0)
        case Encoding.ZSTD:
            packed = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_content_size=True).compress(body)
            return bytes(memoryview(packed))  # what it returns keeps the memory of the worst case: five times this
        case _:
            assert_never(enc)


def _etag(body: bytes, fmt: Format) -> str:
    """Strong, from the bytes as sent; the format counts, for the two HTML formats differ in nothing else."""
    digest = hashlib.sha256(fmt.value.encode())
    digest.update(body)
    return f'"{digest.hexdigest()[:32]}"'
