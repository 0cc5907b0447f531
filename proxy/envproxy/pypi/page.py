"""A project page of the simple API as one upstream sent it, in a form that is cheap to keep (PEP 691, 700, 792).

Its files stay entries (entries.py), never objects. Invariant: a body that is not a project page raises
BadUpstreamBody and never becomes an empty page. Nothing here decides what clients may see.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from envproxy.errors import BadUpstreamBody, ClientError
from envproxy.pypi.entries import (
    UNREADABLE,
    canonical,
    canonical_from_html,
    decode_file,
    decode_link,
    filename_of,
)
from envproxy.pypi.html import PageReader
from envproxy.pypi.names import normalize, version_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from envproxy.pypi.entries import Link, ProjectFile

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_listed = msgspec.json.Decoder(tuple[msgspec.Raw, ...]).decode


class _Stored(msgspec.Struct):
    name: str
    meta: dict[str, Any]
    versions: tuple[str, ...] | None
    files: tuple[msgspec.Raw, ...]


_decode_stored = msgspec.json.Decoder(_Stored).decode


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
        return map(decode_file, self.entries)

    def links(self) -> Iterator[Link]:
        """Every file as a `Link`."""
        return map(decode_link, self.entries)

    def find(self, filename: str) -> ProjectFile | None:
        """The file of that name; the others are looked at no further than their names."""
        for entry in self.entries:
            if filename_of(entry) == filename:
                return decode_file(entry)
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


def dump(page: Page) -> bytes:
    """The page as the catalog keeps it; `load` gives it back unchanged."""
    return msgspec.json.encode(_Stored(page.name, dict(page.meta), page.versions, page.entries))


def load(data: bytes) -> Page:
    """A page that `dump` wrote. Its entries are views of `data`. Raises msgspec.DecodeError for anything else."""
    stored = _decode_stored(data)
    return Page(stored.name, stored.meta, stored.versions, stored.files)


def _from_json(body: bytes, url: str, project: str) -> Page:
    try:
        members = _decode_members(body)
        listed = _decode_listed(members.pop("files", b"null"))
        meta = _top_level(members)
        entries = canonical(listed, url)
    except UNREADABLE as error:
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
        entries = canonical_from_html(reader.entries(body), url)
    except AssertionError as error:
        raise _bad(url, f"broken HTML: {error}") from error
    declared = reader.meta.get("repository-version")
    _check_api_version(declared, url)
    # A login page or a captive portal answers 200 as well. A bare directory listing says nothing about itself, but
    # its files are named after the project.
    is_page = declared is not None or reader.titled
    if not is_page and not any(version_of(filename_of(entry), project) for entry in entries):
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
