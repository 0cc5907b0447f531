"""Choosing a representation: the installers' own headers, the rules of RFC 9110, and nonsense."""

from __future__ import annotations

import pytest

from envproxy.pypi.negotiate import choose_encoding, choose_format, matches
from envproxy.pypi.render import Encoding, Format

JSON = "application/vnd.pypi.simple.v1+json"
HTML_V1 = "application/vnd.pypi.simple.v1+html"


@pytest.mark.parametrize(
    ("client", "accept", "accept_encoding", "encoding"),
    [
        ("pip", f"{JSON}, {HTML_V1}; q=0.1, text/html; q=0.01", "gzip, deflate", Encoding.GZIP),
        ("uv", f"{JSON}, {HTML_V1};q=0.2, text/html;q=0.01", "gzip, deflate, zstd", Encoding.ZSTD),
        ("poetry", f"{JSON}, */*;q=0.1", "gzip, deflate, zstd", Encoding.ZSTD),
        ("pdm", f"{JSON}, {HTML_V1}; q=0.1, text/html; q=0.01", "gzip, deflate", Encoding.GZIP),
        ("pipenv", f"{JSON}, {HTML_V1}; q=0.1, text/html; q=0.01", "gzip, deflate", Encoding.GZIP),
    ],
    ids=lambda value: value if value in {"pip", "uv", "poetry", "pdm", "pipenv"} else "",
)
def test_each_installer_gets_json_in_its_best_coding(
    client: str, accept: str, accept_encoding: str, encoding: Encoding
):
    assert choose_format(accept) is Format.JSON
    assert choose_encoding(accept_encoding) is encoding


@pytest.mark.parametrize(
    ("accept", "fmt"),
    [
        (None, Format.HTML),
        ("", Format.HTML),
        ("*/*", Format.HTML),
        ("text/*", Format.HTML),
        ("application/*", Format.JSON),
        ("application/json", Format.HTML),
        ("image/png", Format.HTML),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", Format.HTML),
        ("text/html", Format.HTML),
        (HTML_V1, Format.HTML_V1),
        (JSON, Format.JSON),
        (JSON.upper(), Format.JSON),
        (f"{JSON};q=0.5, text/html", Format.HTML),
        (f"text/html, {HTML_V1}, {JSON}", Format.JSON),
        (f"{JSON}; q=.1, {HTML_V1}; q=.2", Format.HTML_V1),
        (f"{JSON}, */*", Format.JSON),
        (f"{JSON};q=0, */*", Format.HTML),
        ("text/html;q=0, */*", Format.HTML_V1),
        (f"text/html;q=0, {HTML_V1};q=0, */*;q=0.1", Format.JSON),
        ("*/*;q=0", Format.HTML),
        ("application/vnd.pypi.simple.latest+json", Format.JSON),
        ("application/vnd.pypi.simple.latest+html", Format.HTML_V1),
        ("application/vnd.pypi.simple.v2+json", Format.HTML),
        (f"application/vnd.pypi.simple.v2+json, {JSON};q=0.5", Format.JSON),
        ("text/html;charset=utf-8", Format.HTML),
        (f"{JSON};q=high", Format.HTML),
        (f"{JSON};q=nan", Format.HTML),
        (f"{JSON};q=7", Format.HTML),
        (f",;,q=1,;q=,{JSON},,", Format.JSON),
    ],
)
def test_the_best_liked_format_is_chosen_and_html_in_doubt(accept: str | None, fmt: Format):
    assert choose_format(accept) is fmt


@pytest.mark.parametrize(
    ("accept_encoding", "encoding"),
    [
        (None, Encoding.IDENTITY),
        ("", Encoding.IDENTITY),
        ("identity", Encoding.IDENTITY),
        ("br", Encoding.IDENTITY),
        ("gzip", Encoding.GZIP),
        ("x-gzip", Encoding.GZIP),
        ("GZIP", Encoding.GZIP),
        ("zstd", Encoding.ZSTD),
        ("zstd;q=0.5, gzip", Encoding.GZIP),
        ("gzip, identity", Encoding.GZIP),
        ("gzip;q=0", Encoding.IDENTITY),
        ("gzip;q=0.0, zstd;q=0", Encoding.IDENTITY),
        ("gzip;q=0.5, identity", Encoding.IDENTITY),
        ("*", Encoding.ZSTD),
        ("*, zstd;q=0", Encoding.GZIP),
        ("*;q=0", Encoding.IDENTITY),
        ("identity;q=0", Encoding.IDENTITY),
        ("gzip;q=oops", Encoding.IDENTITY),
    ],
)
def test_the_best_liked_coding_is_chosen_and_none_in_doubt(accept_encoding: str | None, encoding: Encoding):
    assert choose_encoding(accept_encoding) is encoding


@pytest.mark.parametrize(
    ("if_none_match", "matched"),
    [
        ('"abc"', True),
        ('W/"abc"', True),
        ('"x", W/"y" , "abc"', True),
        ('"x,abc","abc"', True),
        ("*", True),
        (" * ", True),
        ('"abcd"', False),
        ('"x, abc"', False),
        ("abc", False),
        ("", False),
        ('"', False),
    ],
)
def test_a_client_has_the_page_when_it_names_the_entity_tag(if_none_match: str, matched: bool):
    assert matches(if_none_match, '"abc"') is matched
