"""What holds for every page: nothing is lost on the way through, and no bytes can break the reader."""

from __future__ import annotations

import contextlib
import json
from typing import Any
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from envproxy.errors import BadUpstreamBody
from envproxy.pypi.entries import ProjectFile
from envproxy.pypi.negotiate import choose_encoding, choose_format, matches
from envproxy.pypi.page import Page, dump, load, parse
from envproxy.pypi.render import Encoding, Format, Offer, render_html, render_json

URL = "https://index.example.org/simple/foo/"
KNOWN = {"meta", "name", "versions", "files", "project-status", "filename", "url", "hashes", "size", "upload-time"}
KNOWN |= {"requires-python", "yanked", "gpg-sig", "provenance", "core-metadata", "data-core-metadata"}
KNOWN |= {"data-dist-info-metadata", "dist-info-metadata"}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
lines = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
unknown = st.dictionaries(texts.filter(lambda key: key not in KNOWN), values, max_size=3)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
filenames = st.builds(
    lambda version, local, ending: f"foo-{version}{local}{ending}",
    st.integers(0, 30),
    st.sampled_from(["", "+cu121", ".post1", " é&<"]),
    st.sampled_from([".tar.gz", ".zip", "-py3-none-any.whl"]),
)


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    filename = draw(filenames)
    optional = st.fixed_dictionaries(
        {},
        optional={
            "size": st.integers(0, 2**40),
            "requires-python": lines,
            "yanked": st.booleans() | lines,
            "gpg-sig": st.booleans(),
            "core-metadata": st.booleans() | st.builds(lambda digest: {"sha256": digest}, digests),
            "provenance": st.just("https://index.example.org/provenance?a=1&b=2"),
        },
    )
    url = f"https://files.example.org/{quote(filename)}"
    hashes = draw(st.just({}) | st.builds(lambda digest: {"sha256": digest}, digests))
    return draw(unknown) | draw(optional) | {"filename": filename, "url": url, "hashes": hashes}


documents = st.builds(
    lambda extra, files: extra | {"meta": {"api-version": "1.4"}, "name": "foo", "files": files},
    unknown,
    st.lists(entries(), max_size=5, unique_by=lambda entry: entry["filename"]),
)


def read(document: dict[str, Any]) -> Page:
    return parse(json.dumps(document).encode(), content_type=None, url=URL, project="foo")


def offer(file: ProjectFile) -> Offer:
    sidecar = file.core_metadata
    return Offer(url=file.url, core_metadata=sidecar if isinstance(sidecar, bool) else sidecar["sha256"])


@given(documents)
def test_nothing_that_upstream_sent_is_lost(document: dict[str, Any]):
    page = read(document)
    assert [dict(file.raw) for file in page.files()] == document["files"]
    assert page.meta == {key: value for key, value in document.items() if key not in {"name", "files"}}
    assert load(dump(page)) == page


@given(documents)
def test_our_own_json_is_read_as_the_same_page(document: dict[str, Any]):
    page = read(document)
    again = parse(render_json(page, offer), content_type=None, url=URL, project="foo")
    assert [facts(file) for file in again.files()] == [facts(file) for file in page.files()]
    assert {**again.meta, "meta": None} == {**page.meta, "meta": None}


@given(documents)
def test_our_own_html_is_read_as_the_same_files(document: dict[str, Any]):
    page = read(document)
    html = render_html(render_json(page, offer))
    again = parse(html, content_type=None, url=URL, project="foo")
    assert [html_facts(file) for file in again.files()] == [html_facts(file) for file in page.files()]


def facts(file: ProjectFile) -> tuple[Any, ...]:
    known = (file.filename, file.url, file.hashes, file.size, file.upload_time, file.yanked, file.core_metadata)
    sidecar_keys = {"core-metadata", "data-dist-info-metadata"}
    return (*known, {key: value for key, value in file.raw.items() if key not in sidecar_keys})


def html_facts(file: ProjectFile) -> tuple[Any, ...]:
    attributes = [file.raw.get(key) for key in ("requires-python", "gpg-sig", "provenance")]
    return (file.filename, file.url, file.hashes, file.yanked, file.core_metadata, *attributes)


@given(st.binary(max_size=300), st.sampled_from([b"", b"{", b"<", b'{"files":[', b"<title>Links for</title><"]))
def test_no_bytes_make_the_reader_fail_otherwise_than_by_refusing(noise: bytes, start: bytes):
    with contextlib.suppress(BadUpstreamBody):
        parse(start + noise, content_type="text/html", url=URL, project="foo")


FRAGMENTS = """
<a|href="foo-1.0.zip"|href='//[x/foo-1.0.zip'|href=data:,foo-1.0.zip|>|</a>|<base href='http://['>|<!--|-->|<![|]]>
&#xD800;|&amp|<meta name=pypi:repository-version content=1|<h1>Links for foo|</h1>|<?|<script>|</|<!DOCTYPE [|\x00
data-yanked|data-core-metadata='sha256='|data-core-metadata=sha256=ab|data-gpg-sig|#sha256=x|%2F|é
""".replace("\n", "|").split("|")
hostile = st.lists(st.sampled_from(FRAGMENTS) | texts, max_size=25).map(" ".join)


@given(hostile)
def test_no_markup_makes_the_reader_fail_otherwise_than_by_refusing(markup: str):
    with contextlib.suppress(BadUpstreamBody):
        page = parse(f"<h1>Links for foo</h1>{markup}".encode(), content_type=None, url=URL, project="foo")
        render_html(render_json(page, offer))


@given(
    st.dictionaries(st.sampled_from(sorted(KNOWN)), values), st.dictionaries(st.sampled_from(sorted(KNOWN)), values)
)
def test_no_json_makes_the_reader_or_the_writer_fail(top: dict[str, Any], entry: dict[str, Any]):
    files = [{"filename": "foo-1.0.zip", "url": "foo-1.0.zip"} | entry, {"filename": "foo-2.0.zip", "url": "x"}]
    with contextlib.suppress(BadUpstreamBody):
        page = read({"meta": {}, **top, "files": files})
        render_html(render_json(page, lambda file: Offer(url=file.url, core_metadata=True)))


@given(texts, texts)
def test_no_header_leaves_a_request_without_an_answer(header: str, other: str):
    assert choose_format(header) in Format
    assert choose_encoding(header) in Encoding
    assert matches(header, f'"{other}"') in {True, False}
