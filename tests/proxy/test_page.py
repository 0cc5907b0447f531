"""Reading project pages: the JSON and the HTML form, honest, careless and hostile."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from envproxy.errors import BadUpstreamBody
from envproxy.pypi.page import Page, dump, load, parse

URL = "https://index.example.org/simple/foo/"
SHA = "ab" * 32

MODERN = {
    "meta": {"api-version": "1.4", "_last-serial": 7},
    "name": "Foo",
    "versions": ["1.0", "2.0"],
    "project-status": {"status": "archived", "reason": "done"},
    "alternate-locations": [],
    "files": [
        {
            "filename": "foo-1.0-py3-none-any.whl",
            "url": "https://files.example.org/aa/foo-1.0-py3-none-any.whl",
            "hashes": {"sha256": SHA.upper()},
            "size": 1234,
            "upload-time": "2024-05-06T07:08:09.123456Z",
            "requires-python": ">=3.8",
            "yanked": "broken",
            "core-metadata": {"sha256": "cd" * 32},
            "data-dist-info-metadata": {"sha256": "cd" * 32},
            "provenance": "https://index.example.org/integrity/foo",
            "unheard-of": {"deep": [1, 2.5, None, 10**30]},
        },
        {"filename": "foo-2.0.tar.gz", "url": "../../files/foo-2.0.tar.gz", "hashes": {}},
    ],
}


def read(body: bytes | str | dict[str, Any], content_type: str | None = None, url: str = URL) -> Page:
    if isinstance(body, dict):
        body = json.dumps(body)
    return parse(body.encode() if isinstance(body, str) else body, content_type=content_type, url=url, project="foo")


def one_file(**keys: Any) -> dict[str, Any]:
    entry = {"filename": "foo-1.0.zip", "url": "foo-1.0.zip", "hashes": {}} | keys
    return {"meta": {"api-version": "1.0"}, "name": "foo", "files": [entry]}


def listed(*anchors: str, head: str = "") -> str:
    return (
        f"<!DOCTYPE html><html><head>{head}<title>Links for foo</title></head><body>{''.join(anchors)}</body></html>"
    )


def names(page: Page) -> list[str]:
    return [file.filename for file in page.files()]


def test_a_modern_json_page_is_read_whole():
    page = read(MODERN, "application/vnd.pypi.simple.v1+json")

    wheel, sdist = page.files()
    assert page.name == "foo"
    assert page.versions == ("1.0", "2.0")
    assert page.status == "archived"
    assert page.meta == {key: MODERN[key] for key in ("meta", "project-status", "alternate-locations")}
    assert wheel.filename == "foo-1.0-py3-none-any.whl"
    assert wheel.url == "https://files.example.org/aa/foo-1.0-py3-none-any.whl"
    assert wheel.sha256 == SHA
    assert wheel.size == 1234
    assert wheel.upload_time == datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    assert wheel.yanked == "broken"
    assert wheel.core_metadata == {"sha256": "cd" * 32}
    assert wheel.raw["unheard-of"] == {"deep": [1, 2.5, None, 10**30]}
    assert wheel.raw["requires-python"] == ">=3.8"
    assert sdist.url == "https://index.example.org/files/foo-2.0.tar.gz"
    assert (sdist.sha256, sdist.size, sdist.upload_time) == (None, None, None)
    assert (sdist.yanked, sdist.core_metadata) == (False, False)


def test_the_stored_form_gives_the_same_page_back():
    page = read(MODERN)
    assert load(dump(page)) == page


def test_a_file_is_found_by_its_name():
    page = read(MODERN)
    found = page.find("foo-2.0.tar.gz")
    assert found is not None
    assert found.url.endswith("/files/foo-2.0.tar.gz")
    assert page.find("foo-3.0.tar.gz") is None


@pytest.mark.parametrize("label", ["application/json", "text/plain", "text/html", "", None])
@pytest.mark.parametrize("prefix", ["", "\n  ", "\ufeff"], ids=["bare", "indented", "bom"])
def test_json_is_recognised_whatever_its_label(label: str | None, prefix: str):
    assert names(read(prefix + json.dumps(one_file()), label)) == ["foo-1.0.zip"]


@pytest.mark.parametrize("label", ["text/html; charset=utf-8", "application/json", "text/plain", None])
def test_html_is_recognised_whatever_its_label(label: str | None):
    assert names(read(listed('<a href="foo-1.0.zip">x</a>'), label)) == ["foo-1.0.zip"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="nothing"),
        pytest.param("Service temporarily unavailable", id="plain text"),
        pytest.param(json.dumps(MODERN)[:-20], id="truncated JSON"),
        pytest.param(b'{"files": [], "x": "\xff"}', id="JSON that is not UTF-8"),
        pytest.param('{"files": [' + "[" * 100_000, id="JSON too deep"),
        pytest.param({"error": "login required"}, id="JSON without files"),
        pytest.param({"files": {"foo-1.0.zip": {}}}, id="files that are no list"),
        pytest.param({"meta": {"api-version": "2.0"}, "files": []}, id="JSON of version 2"),
        pytest.param({"name": "bar", "files": []}, id="another project's page"),
        pytest.param(one_file(filename="../foo-1.0.zip"), id="no usable file at all"),
        pytest.param("<html><title>Sign in</title><form></form></html>", id="login page"),
        pytest.param('<html><h1>Welcome</h1><a href="portal-2.0.zip">our app</a></html>', id="captive portal"),
        pytest.param('<html><title>Index of /</title><a href="bar-1.0.zip">x</a></html>', id="another directory"),
        pytest.param('<meta name="pypi:repository-version" content="2.0">', id="HTML of version 2"),
        pytest.param(listed("<![ 1 ]>"), id="broken declaration"),
    ],
)
def test_what_is_no_page_of_the_project_is_never_an_empty_page(body: bytes | str | dict[str, Any]):
    with pytest.raises(BadUpstreamBody) as caught:
        read(body, "text/html")
    assert caught.value.status == 503
    assert URL in caught.value.message


def test_the_complaint_does_not_give_credentials_away():
    with pytest.raises(BadUpstreamBody) as caught:
        read("oops", url="https://user:secret@index.example.org/simple/foo/?token=secret")
    assert "https://index.example.org/simple/foo/ sent" in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "bad",
    [
        {"url": "x"},
        {"filename": "foo-9.zip"},
        {"filename": 9, "url": "x"},
        {"filename": "../foo-9.zip", "url": "x"},
        {"filename": "foo-9.zip", "url": "file:///etc/passwd"},
        {"filename": "foo-9.zip", "url": "javascript:alert(1)"},
        {"filename": "foo-9.zip", "url": "https:///no-host"},
        {"filename": "foo-9.zip", "url": "http://[broken/foo-9.zip"},
        {"filename": "foo-9.zip", "url": "https://files.example.org/a\r\nb"},
        "not an object",
        None,
    ],
    ids=repr,
)
def test_a_bad_entry_does_not_lose_the_page(bad: object):
    page = one_file()
    page["files"].insert(0, bad)
    assert names(read(page)) == ["foo-1.0.zip"]


def test_of_two_entries_of_one_name_the_first_counts():
    page = one_file(size=1)
    page["files"].append(page["files"][0] | {"size": 2})
    assert [file.size for file in read(page).files()] == [1]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", "12"),
        ("size", -1),
        ("size", True),
        ("upload-time", "yesterday"),
        ("upload-time", "0001-01-01T00:00:00+14:00"),
        ("yanked", None),
        ("requires-python", 3),
        ("gpg-sig", "no"),
        ("provenance", 1),
        ("core-metadata", "yes"),
    ],
)
def test_a_known_key_of_the_wrong_kind_is_left_out(key: str, value: object):
    (file,) = read(one_file(**{key: value})).files()
    assert key not in file.raw


@pytest.mark.parametrize(
    ("keys", "sidecar"),
    [
        ({}, False),
        ({"core-metadata": False}, False),
        ({"core-metadata": True}, True),
        ({"core-metadata": {}}, True),
        ({"core-metadata": {"SHA256": "AB"}}, {"sha256": "ab"}),
        ({"data-dist-info-metadata": {"sha256": "ab"}}, {"sha256": "ab"}),
        ({"dist-info-metadata": True}, True),
        ({"data-core-metadata": True}, True),
        ({"dist-info-metadata": True, "core-metadata": False}, False),
    ],
)
def test_a_sidecar_is_read_in_every_spelling(keys: dict[str, Any], sidecar: bool | dict[str, str]):
    (file,) = read(one_file(**keys)).files()
    assert file.core_metadata == sidecar


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-02T03:04:05Z", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2024-01-02T03:04:05", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2024-01-02T03:04:05+02:00", datetime(2024, 1, 2, 1, 4, 5, tzinfo=UTC)),
    ],
)
def test_an_upload_time_is_in_utc(text: str, moment: datetime):
    (file,) = read(one_file(**{"upload-time": text})).files()
    assert file.upload_time == moment
    assert file.upload_time.tzinfo is UTC


def test_a_malformed_digest_is_no_sha256_but_stays_visible():
    (file,) = read(one_file(hashes={"sha256": "xyz", "md5": "CD" * 16, "odd": 1})).files()
    assert file.sha256 is None
    assert file.hashes == {"sha256": "xyz", "md5": "cd" * 16}


def test_a_fragment_of_a_json_url_is_a_hash_and_not_part_of_the_url():
    (file,) = read(one_file(url=f"foo-1.0.zip#sha256={SHA}&egg=foo")).files()
    assert file.url == f"{URL}foo-1.0.zip"
    assert file.hashes == {"sha256": SHA}


def test_html_attributes_become_the_keys_of_json():
    anchor = (
        f'<A HREF="../../f/foo-1.0-py3-none-any.whl?x=1&amp;y=2#sha256={SHA}" data-requires-python="&gt;=3.8,&lt;4"'
        ' data-yanked="bad &quot;build&quot;" data-core-metadata="sha256=cdcd" data-dist-info-metadata="true"'
        ' data-gpg-sig="true" data-provenance="https://index.example.org/p">foo-1.0-py3-none-any.whl</A>'
    )
    (file,) = read(listed(anchor)).files()
    assert file.raw == {
        "filename": "foo-1.0-py3-none-any.whl",
        "url": "https://index.example.org/f/foo-1.0-py3-none-any.whl?x=1&y=2",
        "hashes": {"sha256": SHA},
        "requires-python": ">=3.8,<4",
        "yanked": 'bad "build"',
        "core-metadata": {"sha256": "cdcd"},
        "gpg-sig": True,
        "provenance": "https://index.example.org/p",
    }


@pytest.mark.parametrize(
    ("attribute", "key", "value"),
    [
        ("data-yanked", "yanked", True),
        ('data-yanked=""', "yanked", True),
        ('data-dist-info-metadata="sha256=ab"', "core-metadata", {"sha256": "ab"}),
        ('data-core-metadata="true"', "core-metadata", True),
        ('data-core-metadata="maybe"', "core-metadata", False),
        ('data-gpg-sig="false"', "gpg-sig", False),
    ],
)
def test_an_html_attribute_is_read(attribute: str, key: str, value: object):
    (file,) = read(listed(f'<a href="foo-1.0.zip" {attribute}>x</a>')).files()
    assert file.raw[key] == value


@pytest.mark.parametrize(
    ("base", "href", "url"),
    [
        ("", "foo-1.0.zip", "https://index.example.org/simple/foo/foo-1.0.zip"),
        ("", "/f/foo-1.0.zip", "https://index.example.org/f/foo-1.0.zip"),
        ("", "//cdn.example.org/foo-1.0.zip", "https://cdn.example.org/foo-1.0.zip"),
        ("", "http://cdn.example.org/foo-1.0.zip", "http://cdn.example.org/foo-1.0.zip"),
        ("https://cdn.example.org/a/", "b/foo-1.0.zip", "https://cdn.example.org/a/b/foo-1.0.zip"),
        ("/mirror/", "foo-1.0.zip", "https://index.example.org/mirror/foo-1.0.zip"),
        ("http://[", "foo-1.0.zip", "https://index.example.org/simple/foo/foo-1.0.zip"),
    ],
)
def test_a_link_is_resolved_against_the_base_or_the_final_url(base: str, href: str, url: str):
    head = f'<base href="{base}">' if base else ""
    (file,) = read(listed(f'<a href="{href}">x</a>', head=head)).files()
    assert file.url == url


def test_only_links_to_distributions_are_files():
    hrefs = [
        "../",
        "?C=M;O=D",
        "README.html",
        "foo-1.0.zip.asc",
        "file:///srv/foo-1.0.zip",
        "javascript:foo-1.0.zip",
        "data:,foo-1.0.zip",
        "x/..%2Ffoo-1.0.zip",
        "foo-1.0%2Blocal.zip#md5=" + "ab" * 16,
    ]
    page = read(listed("<a>no link</a>", *(f'<a href="{href}">foo-1.0.zip</a>' for href in hrefs)))
    (file,) = page.files()
    assert file.filename == "foo-1.0+local.zip"
    assert file.hashes == {"md5": "ab" * 16}


@pytest.mark.parametrize(
    "body",
    [
        '<!DOCTYPE html><meta name="pypi:repository-version" content="1.0"><title>foo</title>',
        "<html><head><title>\n Links for foo</title></head></html>",
        "<html><body><h1>Links for <b>foo</b></h1></body></html>",
    ],
    ids=["version", "title", "heading"],
)
def test_an_html_page_that_calls_itself_one_may_be_empty(body: str):
    assert read(body).entries == ()


def test_a_bare_directory_listing_of_the_projects_files_is_a_page():
    page = read('<html><title>Index of /foo</title><a href="../">..</a><a href="Foo-1.0.tar.gz">x</a></html>')
    assert names(page) == ["Foo-1.0.tar.gz"]


def test_an_html_page_tells_its_version_and_status():
    head = (
        '<meta name="pypi:repository-version" content="1.4"><meta name="pypi:project-status" content="deprecated">'
        '<meta name="pypi:project-status-reason" content="use &quot;bar&quot;">'
    )
    page = read(listed(head=head))
    assert page.meta == {
        "meta": {"api-version": "1.4"},
        "project-status": {"status": "deprecated", "reason": 'use "bar"'},
    }
    assert page.status == "deprecated"
    assert page.versions is None


def test_an_html_page_larger_than_one_read_is_whole():
    page = read(listed(*(f'<a href="foo-{n}.zip" data-yanked="é">x</a>\n' for n in range(5_000))))
    assert names(page) == [f"foo-{n}.zip" for n in range(5_000)]
    assert {file.yanked for file in page.files()} == {"é"}


@pytest.mark.parametrize("status", [None, "archived", {"status": 5}, {}])
def test_without_a_readable_marker_a_project_is_active(status: object):
    assert read({"files": [], "project-status": status}).status == "active"
