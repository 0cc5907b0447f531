"""Reads the HTML form of a project page (PEP 503, 592, 629, 658/714, 740, 792) into the words of the JSON form.

Entries come out one at a time in the spelling of PEP 691, so `page` treats both forms alike, and a page of 50,000
links costs no more than the text of it. Invariant: any bytes can be read; what is no link to a distribution is passed
over. This module does not decide whether what it read is a project page at all: it only reports the signs.
"""

from __future__ import annotations

import codecs
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin

from envproxy.pypi.names import is_distribution

if TYPE_CHECKING:
    from collections.abc import Iterator

_FEED_BYTES = 64 * 1024
_HEADINGS = ("title", "h1")


class PageReader(HTMLParser):
    """One pass over one page. Read after `entries` is exhausted: `meta` has the `pypi:` elements by what follows the
    colon, `titled` is whether the page calls itself `Links for ...`.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.meta: dict[str, str] = {}
        self.titled = False
        self._base: str | None = None
        self._url = url
        self._heading: list[str] = []
        self._in_heading = False
        self._entries: list[dict[str, Any]] = []

    def entries(self, body: bytes) -> Iterator[dict[str, Any]]:
        """One file entry for every link to a distribution, in order, its URL resolved against `<base>`.

        Read as UTF-8 whatever the label says: links are ASCII, and a wrong letter elsewhere does no harm.
        Raises AssertionError, as the standard library does, on a broken `<![...]` declaration.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for start in range(0, len(body), _FEED_BYTES):
            self.feed(decoder.decode(body[start : start + _FEED_BYTES]))
            yield from self._drain()
        self.feed(decoder.decode(b"", final=True))
        self.close()
        yield from self._drain()

    def _drain(self) -> list[dict[str, Any]]:
        ready, self._entries = self._entries, []
        return ready

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called by the parser. Of a repeated attribute the first counts (HTML, 13.2.5.33)."""
        given = {name: value or "" for name, value in reversed(attrs)}
        self._in_heading = self._in_heading or tag in _HEADINGS
        if tag == "a":
            self._link(given)
        elif tag == "base" and "href" in given and self._base is None:
            self._base = _join(self._url, given["href"])
        elif tag == "meta" and given.get("name", "").startswith("pypi:"):
            self.meta.setdefault(given["name"].removeprefix("pypi:"), given.get("content", ""))

    def handle_endtag(self, tag: str) -> None:
        """Called by the parser."""
        if tag in _HEADINGS:
            self.titled = self.titled or "".join(self._heading).strip().lower().startswith("links for ")
            self._heading.clear()
            self._in_heading = False

    def handle_data(self, data: str) -> None:
        """Called by the parser, possibly several times for one text."""
        if self._in_heading:
            self._heading.append(data)

    def _link(self, attrs: dict[str, str]) -> None:
        href = attrs.get("href", "").strip()
        filename = unquote(href.partition("#")[0].partition("?")[0].rpartition("/")[2])
        url = _join(self._base or self._url, href)
        if url is not None and is_distribution(filename):
            self._entries.append({"filename": filename, "url": url, **_described(attrs)})


def _join(base: str, href: str) -> str | None:
    try:
        return urljoin(base, href.strip())
    except ValueError:  # such as an unclosed IPv6 bracket
        return None


def _described(attrs: dict[str, str]) -> dict[str, Any]:
    """What the data attributes of one link say, under the keys of PEP 691."""
    entry: dict[str, Any] = {}
    if attrs.get("data-requires-python"):
        entry["requires-python"] = attrs["data-requires-python"]
    if "data-yanked" in attrs:
        entry["yanked"] = attrs["data-yanked"] or True
    # PEP 714: the new name wins over the old one.
    sidecar = attrs.get("data-core-metadata", attrs.get("data-dist-info-metadata"))
    if sidecar is not None:
        entry["core-metadata"] = _core_metadata(sidecar)
    if attrs.get("data-gpg-sig") in ("true", "false"):
        entry["gpg-sig"] = attrs["data-gpg-sig"] == "true"
    if attrs.get("data-provenance"):
        entry["provenance"] = attrs["data-provenance"]
    return entry


def _core_metadata(value: str) -> bool | dict[str, str]:
    """`true` or `<algorithm>=<hex digest>` (PEP 658); a sidecar announced in any other way is not relied on."""
    algorithm, _, digest = value.partition("=")
    if algorithm and digest:
        return {algorithm: digest}
    return value.lower() == "true"
