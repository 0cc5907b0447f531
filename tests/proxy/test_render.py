"""Writing project pages: exact bytes, honest versions, and every representation ready to send."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
import zstandard
from pypi_simple import DistributionPackage, ProjectPage

from envproxy.pypi.entries import ProjectFile
from envproxy.pypi.page import Page, parse
from envproxy.pypi.render import Encoding, Format, Offer, Rendition, render_html, render_json

SHA = "ab" * 32
SIDECAR = "cd" * 32
OURS = "https://proxy.example.org/pypi/main/simple/foo/"


def entry(filename: str, **keys: Any) -> dict[str, Any]:
    url = f"https://files.example.org/{filename}"
    return {"filename": filename, "url": url, "hashes": {"sha256": SHA}, "size": 10} | keys


def page_of(*files: dict[str, Any], **keys: Any) -> Page:
    document = {"meta": {"api-version": "1.4"}, "name": "foo", "files": files} | keys
    body = json.dumps(document).encode()
    return parse(body, content_type=None, url="https://index.example.org/simple/foo/", project="foo")


def offer(file: ProjectFile) -> Offer | None:
    return Offer(url=f"../../files/{file.filename}", core_metadata=False)


def without(filename: str) -> Any:
    return lambda file: None if file.filename == filename else offer(file)


FULL = page_of(
    entry(
        "foo-1.0-py3-none-any.whl",
        **{"requires-python": ">=3.8,<4", "yanked": 'bad "build" & more', "gpg-sig": True, "new-key": [1]},
        **{"dist-info-metadata": True, "provenance": "https://index.example.org/p?a=1&b=2"},
    ),
    entry("foo-2.0.tar.gz", yanked=True, **{"core-metadata": {"sha256": "00"}}),
    versions=["2.0", "1.0", "0.1"],
    **{"project-status": {"status": "archived", "reason": "<done>"}, "_top": {"k": 1}},
)


def offer_sidecars(file: ProjectFile) -> Offer:
    return Offer(
        url=f"../../files/{file.filename}", core_metadata=SIDECAR if file.filename.endswith(".whl") else True
    )


def test_a_page_is_written_with_our_links_and_sidecars_and_upstreams_everything_else():
    assert json.loads(render_json(FULL, offer_sidecars)) == {
        "meta": {"api-version": "1.4"},
        "name": "foo",
        "versions": ["2.0", "1.0", "0.1"],
        "project-status": {"status": "archived", "reason": "<done>"},
        "_top": {"k": 1},
        "files": [
            {
                "filename": "foo-1.0-py3-none-any.whl",
                "url": "../../files/foo-1.0-py3-none-any.whl",
                "hashes": {"sha256": SHA},
                "size": 10,
                "requires-python": ">=3.8,<4",
                "yanked": 'bad "build" & more',
                "gpg-sig": True,
                "new-key": [1],
                "provenance": "https://index.example.org/p?a=1&b=2",
                "core-metadata": {"sha256": SIDECAR},
                "data-dist-info-metadata": {"sha256": SIDECAR},
            },
            {
                "filename": "foo-2.0.tar.gz",
                "url": "../../files/foo-2.0.tar.gz",
                "hashes": {"sha256": SHA},
                "size": 10,
                "yanked": True,
                "core-metadata": True,
                "data-dist-info-metadata": True,
            },
        ],
    }


def test_the_html_form_says_the_same():
    assert render_html(render_json(FULL, offer_sidecars)).decode() == (
        "<!DOCTYPE html>\n"
        '<html lang="en">\n'
        "<head>\n"
        '<meta charset="utf-8">\n'
        '<meta name="pypi:repository-version" content="1.4">\n'
        '<meta name="pypi:project-status" content="archived">\n'
        '<meta name="pypi:project-status-reason" content="&lt;done&gt;">\n'
        "<title>Links for foo</title>\n"
        "</head>\n"
        "<body>\n"
        "<h1>Links for foo</h1>\n"
        f'<a href="../../files/foo-1.0-py3-none-any.whl#sha256={SHA}" data-requires-python="&gt;=3.8,&lt;4"'
        ' data-yanked="bad &quot;build&quot; &amp; more"'
        f' data-core-metadata="sha256={SIDECAR}" data-dist-info-metadata="sha256={SIDECAR}"'
        ' data-gpg-sig="true" data-provenance="https://index.example.org/p?a=1&amp;b=2"'
        ">foo-1.0-py3-none-any.whl</a><br>\n"
        f'<a href="../../files/foo-2.0.tar.gz#sha256={SHA}" data-yanked=""'
        ' data-core-metadata="true" data-dist-info-metadata="true">foo-2.0.tar.gz</a><br>\n'
        "</body>\n"
        "</html>\n"
    )


def test_a_sidecar_that_we_cannot_serve_is_not_mentioned():
    (file,) = json.loads(render_json(page_of(entry("foo-1.0.zip", **{"core-metadata": True})), offer))["files"]
    assert not [key for key in file if "metadata" in key]


def test_a_hidden_file_takes_its_version_along():
    page = page_of(
        entry("foo-1.0.zip"),
        entry("foo-10.0.zip"),
        entry("foo-2.0-py3-none-any.whl"),
        entry("foo-2.0.zip"),
        entry("foo-3.0.zip"),
        entry("foo-2004d.zip"),
        versions=["3.0", "10.0", "2.0", "1.0", "2004d"],
    )
    written = json.loads(render_json(page, without("foo-3.0.zip")))
    assert "foo-3.0.zip" not in [file["filename"] for file in written["files"]]
    assert written["versions"] == ["2004d", "1.0", "2.0", "10.0"]


def test_versions_are_read_from_the_files_when_upstream_sends_none():
    page = page_of(entry("foo-1.1.zip"), entry("foo-1.0.zip"))
    assert json.loads(render_json(page, offer))["versions"] == ["1.0", "1.1"]


@pytest.mark.parametrize(
    ("upstream", "size", "written"),
    [
        ("1.4", 10, "1.4"),
        ("1.9", 10, "1.4"),
        ("1.1", 10, "1.1"),
        ("1.0", 10, "1.1"),
        (1, 10, "1.1"),
        ("1.4", None, "1.0"),
    ],
)
def test_the_api_version_is_what_the_page_lives_up_to(upstream: object, size: int | None, written: str):
    page = page_of(
        entry("foo-1.0.zip"), entry("foo-2.0.zip", size=size), meta={"api-version": upstream, "_serial": 3}
    )
    assert json.loads(render_json(page, offer))["meta"] == {"api-version": written, "_serial": 3}


def test_a_hidden_file_without_size_does_not_lower_the_version():
    page = page_of(entry("foo-1.0.zip"), entry("foo-2.0.zip", size=None))
    assert json.loads(render_json(page, without("foo-2.0.zip")))["meta"]["api-version"] == "1.4"


@pytest.mark.parametrize(
    ("hashes", "fragment"),
    [({"md5": "00", "sha256": SHA}, f"#sha256={SHA}"), ({"md5": "00"}, "#md5=00"), ({}, "")],
    ids=["sha256 first", "md5 only", "none"],
)
def test_an_html_link_carries_the_best_hash(hashes: dict[str, str], fragment: str):
    page = render_html(render_json(page_of(entry("foo-1.0.zip", hashes=hashes)), offer)).decode()
    assert f'<a href="../../files/foo-1.0.zip{fragment}">' in page


def test_html_cannot_be_broken_out_of():
    evil = '"><script>alert(1)</script>'
    page = page_of(
        entry(f"foo-1.0-{evil.replace('/', '')}.zip", **{"requires-python": evil, "yanked": evil}),
        **{"project-status": {"status": evil, "reason": evil}},
    )
    written = render_html(render_json(page, lambda file: Offer(url=evil, core_metadata=False)))
    assert b"<script" not in written


@pytest.fixture
def rendition() -> Rendition:
    return Rendition(render_json(FULL, offer))


DECODE = {
    Encoding.IDENTITY: bytes,
    Encoding.GZIP: gzip.decompress,
    Encoding.ZSTD: lambda body: zstandard.ZstdDecompressor().decompress(body),
}
EVERY = [(fmt, enc) for fmt in Format for enc in Encoding]


@pytest.mark.parametrize(("fmt", "enc"), EVERY)
def test_every_representation_decodes_to_the_page(rendition: Rendition, fmt: Format, enc: Encoding):
    json_page = render_json(FULL, offer)
    variant = rendition.build(fmt, enc)
    assert DECODE[enc](variant.body) == (json_page if fmt is Format.JSON else render_html(json_page))
    assert variant.encoding == {"identity": None}.get(enc.value, enc.value)
    assert rendition.get(fmt, enc) is variant
    assert rendition.build(fmt, enc) is variant


def test_every_representation_has_its_own_strong_etag(rendition: Rendition):
    etags = [rendition.build(fmt, enc).etag for fmt, enc in EVERY]
    assert len(set(etags)) == 9
    assert all(etag.startswith('"') and etag.endswith('"') for etag in etags)


def test_the_content_types_are_exact(rendition: Rendition):
    assert [rendition.build(fmt, Encoding.GZIP).content_type for fmt in Format] == [
        "application/vnd.pypi.simple.v1+json",
        "application/vnd.pypi.simple.v1+html",
        "text/html; charset=utf-8",
    ]


def test_the_same_page_gives_the_same_bytes_and_etags():
    first, second = (Rendition(render_json(FULL, offer)) for _ in range(2))
    for fmt, enc in reversed(EVERY):
        first.build(fmt, enc)
    assert [first.get(fmt, enc) for fmt, enc in EVERY] == [second.build(fmt, enc) for fmt, enc in EVERY]


def test_a_changed_page_changes_every_etag(rendition: Rendition):
    other = Rendition(render_json(FULL, without("foo-2.0.tar.gz")))
    for fmt, enc in EVERY:
        assert rendition.build(fmt, enc).etag != other.build(fmt, enc).etag


def test_only_the_smallest_forms_are_held_until_others_are_asked_for(rendition: Rendition):
    ready = [(fmt, enc) for fmt, enc in EVERY if rendition.get(fmt, enc)]
    assert ready == [(Format.JSON, Encoding.ZSTD)]
    held = rendition.nbytes
    html = rendition.build(Format.HTML, Encoding.GZIP)
    assert rendition.get(Format.HTML_V1, Encoding.GZIP).body is html.body
    packed = rendition.get(Format.HTML, Encoding.ZSTD)
    assert packed is not None
    assert rendition.nbytes == held + len(html.body) + len(packed.body)


def test_a_large_page_is_never_held_unpacked():
    page = page_of(*(entry(f"foo-{n}.0-py3-none-any.whl") for n in range(8_000)))
    rendition = Rendition(render_json(page, offer))
    for fmt in (Format.JSON, Format.HTML):
        first, second = (rendition.build(fmt, Encoding.IDENTITY) for _ in range(2))
        assert (first.body, first.etag) == (second.body, second.etag)
        assert len(first.body) > 1_000_000
    assert rendition.nbytes < 500_000


def test_another_reader_finds_the_same_packages_in_both_forms():
    json_page = render_json(FULL, offer_sidecars)
    from_json = ProjectPage.from_json_data(json.loads(json_page), OURS)
    from_html = ProjectPage.from_html("foo", render_html(json_page), OURS)

    assert [facts(package) for package in from_json.packages] == [facts(package) for package in from_html.packages]
    assert (from_json.status, from_json.status_reason) == (from_html.status, from_html.status_reason)
    assert from_json.repository_version == from_html.repository_version == "1.4"
    assert facts(from_json.packages[0]) == (
        "foo-1.0-py3-none-any.whl",
        "https://proxy.example.org/pypi/main/files/foo-1.0-py3-none-any.whl",
        {"sha256": SHA},
        ">=3.8,<4",
        True,
        'bad "build" & more',
        {"sha256": SIDECAR},
        True,
        "https://index.example.org/p?a=1&b=2",
    )


def facts(package: DistributionPackage) -> tuple[Any, ...]:
    return (
        package.filename,
        package.url,
        package.digests,
        package.requires_python,
        package.is_yanked,
        package.yanked_reason or "",
        package.metadata_digests,
        package.has_sig,
        package.provenance_url,
    )


def test_a_page_of_fifty_thousand_files_goes_through():
    page = page_of(*(entry(f"foo-{n}.0-py3-none-any.whl") for n in range(50_000)))
    rendition = Rendition(render_json(page, without("foo-7.0-py3-none-any.whl")))
    body = gzip.decompress(rendition.build(Format.HTML, Encoding.GZIP).body)
    assert body.count(b"<a href=") == 49_999
    assert page.find("foo-49999.0-py3-none-any.whl").size == 10
