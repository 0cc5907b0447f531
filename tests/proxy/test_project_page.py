"""The project page on the wire: what each client gets for its own headers, and what it may keep for how long.

Sections follow the return contract of the PyPI face: representation, validators, freshness, redirects, links.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import threading
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import pytest
import zstandard

from envproxy.pypi.index import RECHECK_S
from envproxy.pypi.render import Encoding, Format, render_html
from fixtures.proxy import running_proxy
from fixtures.upstream import Delay, FakeIndex, RawBody, Status, Style
from fixtures.wheels import Dist, make_sdist, make_wheel
from fixtures.wire import HTML, JSON, talk, wire

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.clock import FakeClock
    from fixtures.proxy import LocalProxy
    from fixtures.wire import Ask

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
HTML_TYPE = "text/html; charset=utf-8"
ALPHA = "/pypi/main/simple/alpha/"

# What the five clients send, word for word.
PIP = {
    "Accept": f"{JSON_TYPE}, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01",
    "Accept-Encoding": "gzip, deflate",
}
UV = {
    "Accept": f"{JSON_TYPE}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01",
    "Accept-Encoding": "gzip, deflate, zstd",
}
POETRY = {"Accept": f"{JSON_TYPE}, */*;q=0.1", "Accept-Encoding": "gzip, deflate, zstd"}
PDM = {
    "Accept": f"{JSON_TYPE}, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01",
    "Accept-Encoding": "gzip, deflate",
}
V1_HTML = {"Accept": "application/vnd.pypi.simple.v1+html"}
OLD_PIP = {"Accept": "text/html", "Accept-Encoding": "gzip, deflate"}


@pytest.fixture
def alpha(upstream: FakeIndex) -> Dist:
    wheel = make_wheel("alpha", "1.0", requires_python=">=3.9")
    upstream.add(wheel)
    return wheel


def decoded(body: bytes, encoding: str | None) -> bytes:
    match encoding:
        case "gzip":
            return gzip.decompress(body)
        case "zstd":
            return zstandard.ZstdDecompressor().decompress(body)
        case _:
            return body


# --- representation -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "content_type", "encoding"),
    [
        pytest.param(PIP, JSON_TYPE, "gzip", id="pip and pipenv"),
        pytest.param(UV, JSON_TYPE, "zstd", id="uv"),
        pytest.param(POETRY, JSON_TYPE, "zstd", id="poetry"),
        pytest.param(PDM, JSON_TYPE, "gzip", id="pdm"),
        pytest.param(OLD_PIP, HTML_TYPE, "gzip", id="pip before JSON"),
        pytest.param(V1_HTML, V1_HTML["Accept"], None, id="HTML by its new name"),
        pytest.param({}, HTML_TYPE, None, id="no header at all"),
        pytest.param({"Accept": "image/png", "Accept-Encoding": "br"}, HTML_TYPE, None, id="nothing we have"),
        pytest.param({"Accept": ";;q=?,\t,"}, HTML_TYPE, None, id="rubbish"),
    ],
)
async def test_each_client_gets_the_form_it_reads_best(
    ask: Ask, alpha: Dist, headers: dict[str, str], content_type: str, encoding: str | None
) -> None:
    answer = await ask(ALPHA, headers)
    assert (answer.status, answer.reason) == (200, "OK")
    assert answer.headers["Content-Type"] == content_type
    assert answer.headers.get("Content-Encoding") == encoding
    assert answer.headers["Content-Length"] == str(len(answer.body))
    body = decoded(answer.body, encoding).decode()
    if content_type == JSON_TYPE:
        assert json.loads(body)["files"][0]["hashes"] == {"sha256": alpha.sha256}
    else:
        assert f"#sha256={alpha.sha256}" in body


async def test_the_page_varies_by_what_it_is_negotiated_on_and_by_nothing_else(ask: Ask, alpha: Dist) -> None:
    for headers in (PIP, UV, OLD_PIP, {**PIP, "User-Agent": "pip/26.3"}):
        assert (await ask(ALPHA, headers)).headers["Vary"] == "Accept, Accept-Encoding"


async def test_head_has_the_headers_of_get_and_no_body(ask: Ask, alpha: Dist) -> None:
    got = await ask(ALPHA, PIP)
    head = await ask(ALPHA, PIP, method="HEAD")
    assert head.body == b""
    changing = ("Date", "X-Envmesh-Cache")
    assert {k: v for k, v in head.headers.items() if k not in changing} == {
        k: v for k, v in got.headers.items() if k not in changing
    }


async def test_one_connection_serves_one_answer_after_the_other(proxy: LocalProxy, alpha: Dist) -> None:
    paths = (
        ALPHA,
        "/pypi/main/simple/nobody/",
        "/pypi/main/simple/Alpha/",
        f"/pypi/main/files/alpha/x/{alpha.filename}",
    )
    requests = "".join(f"GET {path} HTTP/1.1\r\nHost: proxy\r\n\r\n" for path in paths)
    said = await talk(
        proxy.url, f"{requests}GET {ALPHA} HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n\r\n".encode()
    )
    assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"200", b"404", b"301", b"400", b"200"]


async def test_the_json_carries_what_upstream_said_and_what_this_version_does_not_know(
    ask: Ask, upstream: FakeIndex
) -> None:
    upstream.style = Style(
        extra_keys={"alternate-moons": ["Phobos"], "_last-serial": 42}, extra_file_keys={"moon": {"phase": 0.5}}
    )
    wheel, sdist = make_wheel("alpha", "1.0", requires_python=">=3.9"), make_sdist("alpha", "1.0")
    upstream.add(wheel, sdist)
    upstream.yank(wheel.filename, "too round")
    page = (await ask(ALPHA, JSON)).json()
    assert page["meta"] == {"api-version": "1.4"}
    assert page["name"] == "alpha"
    assert page["versions"] == ["1.0"]
    assert (page["alternate-moons"], page["_last-serial"]) == (["Phobos"], 42)
    shown = {file["filename"]: file for file in page["files"]}
    assert shown[wheel.filename]["yanked"] == "too round"
    assert shown[wheel.filename]["requires-python"] == ">=3.9"
    assert shown[wheel.filename]["upload-time"] == wheel.upload_time
    assert shown[wheel.filename]["size"] == len(wheel.data)
    assert shown[wheel.filename]["moon"] == {"phase": 0.5}
    assert "core-metadata" not in shown[sdist.filename]


async def test_an_older_upstream_is_not_made_to_look_newer_than_it_is(ask: Ask, upstream: FakeIndex) -> None:
    upstream.style = Style(api_version="1.1")
    upstream.add(make_wheel("alpha", "1.0"))
    assert (await ask(ALPHA, JSON)).json()["meta"]["api-version"] == "1.1"


async def test_every_wheel_is_announced_with_metadata_whatever_upstream_says(ask: Ask, upstream: FakeIndex) -> None:
    upstream.style = Style(sidecars="none")
    upstream.add(make_wheel("alpha", "1.0"))
    [file] = (await ask(ALPHA, JSON)).json()["files"]
    assert file["core-metadata"] is True
    assert 'data-core-metadata="true"' in (await ask(ALPHA, HTML)).body.decode()


async def test_a_status_marker_comes_through_in_both_forms(ask: Ask, alpha: Dist, upstream: FakeIndex) -> None:
    upstream.set_status("alpha", "archived", "read only")
    assert (await ask(ALPHA, JSON)).json()["project-status"] == {"status": "archived", "reason": "read only"}
    assert 'name="pypi:project-status" content="archived"' in (await ask(ALPHA, HTML)).body.decode()


# --- validators -----------------------------------------------------------------------------------------


async def test_each_representation_has_its_own_strong_etag(ask: Ask, alpha: Dist) -> None:
    forms: list[dict[str, str]] = [
        {**accept, **coding}
        for accept in (JSON, HTML, V1_HTML)
        for coding in ({}, {"Accept-Encoding": "gzip"}, {"Accept-Encoding": "zstd"})
    ]
    etags = [(await ask(ALPHA, headers)).headers["ETag"] for headers in forms]
    assert len(set(etags)) == 9
    assert all(etag.startswith('"') and etag.endswith('"') for etag in etags)
    assert [(await ask(ALPHA, headers)).headers["ETag"] for headers in forms] == etags


@pytest.mark.parametrize(
    "form",
    ["{}", "W/{}", '"other", {}', 'W/"other",W/{} , "third"', "*"],
    ids=["alone", "weak", "in a list", "in a list of weak ones", "any"],
)
async def test_who_has_the_page_already_gets_304_with_all_its_headers(ask: Ask, alpha: Dist, form: str) -> None:
    full = await ask(ALPHA, PIP)
    again = await ask(ALPHA, {**PIP, "If-None-Match": form.format(full.headers["ETag"])})
    assert (again.status, again.body) == (304, b"")
    for name in ("ETag", "Vary", "Cache-Control"):
        assert again.headers[name] == full.headers[name]
    assert "Content-Encoding" not in again.headers


@pytest.mark.parametrize("etag", ['"other"', 'W/"other"', "nonsense", ""])
async def test_who_has_something_else_gets_the_page(ask: Ask, alpha: Dist, etag: str) -> None:
    assert (await ask(ALPHA, {**PIP, "If-None-Match": etag})).status == 200


async def test_the_etag_of_another_encoding_does_not_count(ask: Ask, alpha: Dist) -> None:
    plain = (await ask(ALPHA, JSON)).headers["ETag"]
    assert (await ask(ALPHA, {**PIP, "If-None-Match": plain})).status == 200


async def test_a_conditional_head_is_304_too(ask: Ask, alpha: Dist) -> None:
    etag = (await ask(ALPHA, PIP)).headers["ETag"]
    assert (await ask(ALPHA, {**PIP, "If-None-Match": etag}, method="HEAD")).status == 304


# --- freshness ------------------------------------------------------------------------------------------


async def test_max_age_is_what_is_left_of_the_freshness(ask: Ask, alpha: Dist, clock: FakeClock) -> None:
    assert (await ask(ALPHA, PIP)).headers["Cache-Control"] == "public, max-age=600"
    clock.advance(200.5)
    assert (await ask(ALPHA, PIP)).headers["Cache-Control"] == "public, max-age=399"
    clock.advance(399)
    assert (await ask(ALPHA, PIP)).headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    ("said", "given"),
    [
        ("max-age=120", "public, max-age=120"),
        ("max-age=86400", "public, max-age=600"),
        ("max-age=0", "public, max-age=30"),
        ("no-store", "public, max-age=30"),
    ],
)
async def test_upstream_says_how_long_within_bounds(
    ask: Ask, alpha: Dist, upstream: FakeIndex, said: str, given: str
) -> None:
    upstream.style = Style(cache_control=said)
    assert (await ask(ALPHA, PIP)).headers["Cache-Control"] == given


async def test_a_fresh_page_costs_upstream_nothing(
    ask: Ask, alpha: Dist, upstream: FakeIndex, clock: FakeClock
) -> None:
    assert (await ask(ALPHA, PIP)).cache == "miss"
    clock.advance(599)
    assert {(await ask(ALPHA, headers)).cache for headers in (PIP, UV, OLD_PIP)} == {"hit"}
    assert upstream.count() == 1


async def test_a_page_just_past_its_freshness_goes_out_at_once_and_is_refreshed_behind(
    ask: Ask, alpha: Dist, upstream: FakeIndex, clock: FakeClock, proxy: LocalProxy
) -> None:
    first = await ask(ALPHA, JSON)
    clock.advance(601)
    upstream.add(make_wheel("alpha", "2.0"))
    answered = asyncio.Event()
    upstream.fail("/simple/alpha/", Delay(answered), times=1)
    second = await ask(ALPHA, JSON)
    assert (second.cache, second.body) == ("stale", first.body)
    answered.set()
    await proxy.settled()
    third = await ask(ALPHA, JSON)
    assert (third.cache, third.json()["versions"]) == ("hit", ["1.0", "2.0"])
    assert upstream.count() == 2


async def test_a_page_long_past_its_freshness_is_refreshed_first(
    ask: Ask, alpha: Dist, upstream: FakeIndex, clock: FakeClock
) -> None:
    await ask(ALPHA, JSON)
    clock.advance(901)
    upstream.add(make_wheel("alpha", "2.0"))
    answer = await ask(ALPHA, JSON)
    assert (answer.cache, answer.json()["versions"]) == ("miss", ["1.0", "2.0"])


async def test_a_refresh_is_conditional_and_a_304_keeps_the_etag(
    ask: Ask, alpha: Dist, upstream: FakeIndex, clock: FakeClock
) -> None:
    first = await ask(ALPHA, PIP)
    clock.advance(901)
    second = await ask(ALPHA, PIP)
    assert (second.cache, second.headers["ETag"]) == ("revalidated", first.headers["ETag"])
    assert second.headers["Cache-Control"] == "public, max-age=600"
    assert "If-None-Match" in upstream.requests[-1].headers


async def test_without_validators_upstream_a_change_is_found_by_content(
    ask: Ask, alpha: Dist, upstream: FakeIndex, clock: FakeClock, proxy: LocalProxy
) -> None:
    upstream.style = Style(validators=False)
    first = await ask(ALPHA, PIP)
    found_at = clock()
    clock.advance(901)
    same = await ask(ALPHA, PIP)
    assert (same.cache, same.headers["ETag"]) == ("revalidated", first.headers["ETag"])
    row = await proxy.parts.catalog.load_page("pypi", "alpha")
    assert row is not None
    assert (row.changed_at, row.checked_at) == (found_at, clock())
    clock.advance(901)
    upstream.yank(alpha.filename)
    changed = await ask(ALPHA, PIP)
    assert changed.cache == "miss"
    assert changed.headers["ETag"] != first.headers["ETag"]


async def test_a_client_that_asks_past_caches_is_heard_but_not_in_a_burst(
    ask: Ask, alpha: Dist, upstream: FakeIndex, clock: FakeClock
) -> None:
    refresh = {**UV, "Cache-Control": "no-cache"}
    await ask(ALPHA, UV)
    clock.advance(RECHECK_S + 1)
    assert (await ask(ALPHA, refresh)).cache == "revalidated"
    assert [(await ask(ALPHA, refresh)).cache for _ in range(5)] == ["hit"] * 5
    assert upstream.count() == 2
    clock.advance(RECHECK_S + 1)
    upstream.yank(alpha.filename)
    assert (await ask(ALPHA, refresh)).cache == "miss"


async def test_the_max_age_0_that_pip_always_sends_is_no_wish_to_go_past_caches(
    ask: Ask, alpha: Dist, upstream: FakeIndex, clock: FakeClock
) -> None:
    await ask(ALPHA, PIP)
    clock.advance(RECHECK_S + 1)
    assert (await ask(ALPHA, {**PIP, "Cache-Control": "max-age=0"})).cache == "hit"
    assert upstream.count() == 1


async def test_twelve_at_once_on_a_cold_page_are_one_request_upstream_and_twelve_right_answers(
    ask: Ask, alpha: Dist, upstream: FakeIndex
) -> None:
    opened = asyncio.Event()
    upstream.fail("/simple/alpha/", Delay(opened))
    asking = [asyncio.create_task(ask(ALPHA, headers)) for headers in (PIP, UV, OLD_PIP, JSON) * 3]
    await upstream.arrived("/simple/alpha/")
    opened.set()
    answers = await asyncio.gather(*asking)
    assert {answer.status for answer in answers} == {200}
    for answer in answers:
        body = decoded(answer.body, answer.headers.get("Content-Encoding"))
        assert alpha.filename.encode() in body
    assert upstream.count() == 1


async def test_a_form_that_many_want_at_once_is_made_once(
    alpha: Dist, proxy: LocalProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bytes] = []
    all_want_it = threading.Event()

    def slow(json_page: bytes) -> bytes:
        made.append(json_page)
        all_want_it.wait()
        return render_html(json_page)

    monkeypatch.setattr("envproxy.pypi.render.render_html", slow)
    index, shelf = proxy.parts.indexes["main"], proxy.parts.shelf
    ready, _ = await index.get("alpha")
    held = shelf.nbytes
    building = [asyncio.create_task(index.build("alpha", ready, Format.HTML, Encoding.GZIP)) for _ in range(12)]
    await asyncio.sleep(0)
    all_want_it.set()
    [body] = {variant.body for variant in await asyncio.gather(*building)}
    assert len(made) == 1
    assert shelf.nbytes > held + len(body)


async def test_what_was_evicted_from_memory_comes_back_without_upstream(
    ask: Ask, alpha: Dist, upstream: FakeIndex, proxy: LocalProxy, clock: FakeClock
) -> None:
    first = await ask(ALPHA, PIP)
    proxy.parts.shelf.forget()
    again = await ask(ALPHA, PIP)
    assert (again.cache, again.body) == ("hit", first.body)
    clock.advance(601)
    proxy.parts.shelf.forget()
    assert (await ask(ALPHA, PIP)).cache == "stale"  # and refreshed behind, as it would be had it stayed
    await proxy.settled()
    assert (await ask(ALPHA, PIP)).cache == "hit"
    assert upstream.count() == 2


# --- absence --------------------------------------------------------------------------------------------


async def test_an_absent_name_is_404_for_at_most_a_minute(ask: Ask, upstream: FakeIndex, clock: FakeClock) -> None:
    first = await ask("/pypi/main/simple/nobody/", PIP)
    assert (first.status, first.cache) == (404, "negative")
    assert first.headers["Cache-Control"] == "public, max-age=60"
    assert first.headers["Content-Type"] == "application/problem+json"
    clock.advance(45)
    second = await ask("/pypi/main/simple/nobody/", PIP)
    assert (second.status, second.headers["Cache-Control"]) == (404, "public, max-age=15")
    assert upstream.count() == 1
    clock.advance(16)
    upstream.add(make_wheel("nobody", "1.0"))
    assert (await ask("/pypi/main/simple/nobody/", PIP)).status == 200


async def test_a_403_is_no_absence_unless_the_upstream_is_known_to_mean_it(
    tmp_path: Path, upstream: FakeIndex, ask: Ask
) -> None:
    upstream.style = Style(unknown_is=403)
    refused = await ask("/pypi/main/simple/nobody/", PIP)
    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    assert "forbidden-is-absent" in refused.json()["hint"]
    other = tmp_path / "other"
    other.mkdir()
    settings = {"pypi.upstreams.pypi.forbidden-is-absent": "true"}
    async with running_proxy(other, upstream=upstream, settings=settings) as proxy, wire(proxy.url) as asking:
        assert (await asking("/pypi/main/simple/nobody/", PIP)).status == 404


async def test_a_project_taken_away_upstream_disappears_and_may_come_back(
    ask: Ask, alpha: Dist, upstream: FakeIndex, clock: FakeClock
) -> None:
    await ask(ALPHA, PIP)
    upstream.remove_project("alpha")
    clock.advance(901)
    gone = await ask(ALPHA, PIP)
    assert (gone.status, gone.cache) == (404, "negative")
    clock.advance(61)
    upstream.add(make_wheel("alpha", "1.1"))
    back = await ask(ALPHA, JSON)
    assert (back.status, back.json()["versions"]) == (200, ["1.1"])


async def test_a_quarantined_project_shows_no_file_any_more(
    ask: Ask, alpha: Dist, upstream: FakeIndex, clock: FakeClock
) -> None:
    await ask(ALPHA, PIP)
    upstream.set_status("alpha", "quarantined")
    clock.advance(901)
    page = (await ask(ALPHA, JSON)).json()
    assert (page["files"], page["project-status"]) == ([], {"status": "quarantined"})


# --- failure --------------------------------------------------------------------------------------------


async def test_an_upstream_that_fails_is_503_with_a_number_of_seconds_and_a_reason(
    ask: Ask, upstream: FakeIndex
) -> None:
    upstream.fail("/simple/alpha/", Status(502))
    answer = await ask(ALPHA, PIP)
    assert answer.status == 503
    assert answer.headers["Retry-After"] == "5"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.reason == answer.json()["detail"] == "pypi answered 502 for alpha"


async def test_the_pause_that_upstream_asks_for_is_handed_on(ask: Ask, upstream: FakeIndex) -> None:
    upstream.fail("/simple/alpha/", Status(429, {"Retry-After": "17"}))
    answer = await ask(ALPHA, PIP)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "17")


# --- redirects and links --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/pypi/main/simple/alpha", ALPHA),
        ("/pypi/main/simple/Alpha_One/", "/pypi/main/simple/alpha-one/"),
        ("/pypi/main/simple/Alpha..One", "/pypi/main/simple/alpha-one/"),
    ],
)
async def test_other_spellings_lead_to_the_canonical_url_by_a_relative_redirect(
    ask: Ask, upstream: FakeIndex, path: str, leads_to: str
) -> None:
    answer = await ask(path, PIP)
    assert answer.status == 301
    assert urljoin(answer.url, answer.headers["Location"]) == urljoin(answer.url, leads_to)
    assert not answer.headers["Location"].startswith(("/", "http"))
    assert upstream.count() == 0


async def test_links_are_relative_and_lead_to_the_file_behind_any_prefix(ask: Ask, alpha: Dist) -> None:
    page = await ask(ALPHA, JSON)
    [link] = [file["url"] for file in page.json()["files"]]
    assert link == f"../../files/alpha/{alpha.sha256}/{alpha.filename}"
    assert urljoin("https://mirror.example.org/team/pypi/main/simple/alpha/", link) == (
        f"https://mirror.example.org/team/pypi/main/files/alpha/{alpha.sha256}/{alpha.filename}"
    )
    assert (await ask(page.file_path(alpha.filename))).body == alpha.data


@pytest.mark.parametrize("links", ["relative", "off-host"])
async def test_wherever_upstream_keeps_its_files_clients_come_to_us(
    ask: Ask, upstream: FakeIndex, alpha: Dist, links: str
) -> None:
    upstream.style = Style(links=links)
    page = await ask(ALPHA, HTML)
    assert b'href="../../files/alpha/' in page.body
    assert str(upstream.port).encode() not in page.body
    assert str(upstream.files_port).encode() not in page.body
    assert (await ask((await ask(ALPHA, JSON)).file_path(alpha.filename))).body == alpha.data


# --- poor upstreams -------------------------------------------------------------------------------------


async def test_an_upstream_that_knows_only_html_still_becomes_json(
    ask: Ask, upstream: FakeIndex, alpha: Dist
) -> None:
    upstream.style = Style(formats=("html",))
    page = (await ask(ALPHA, JSON)).json()
    assert page["meta"]["api-version"] == "1.0"  # an HTML page gives no sizes, which 1.1 promises
    assert page["files"][0]["hashes"] == {"sha256": alpha.sha256}


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/json", "text/html"])
async def test_a_wrong_or_missing_content_type_does_not_matter(
    ask: Ask, upstream: FakeIndex, alpha: Dist, content_type: str
) -> None:
    upstream.style = Style(content_type=content_type)
    assert (await ask(ALPHA, JSON)).json()["files"][0]["filename"] == alpha.filename


async def test_an_unusable_page_after_a_good_one_is_answered_by_the_good_one(
    ask: Ask, upstream: FakeIndex, alpha: Dist, clock: FakeClock
) -> None:
    first = await ask(ALPHA, JSON)
    clock.advance(901)
    upstream.fail("/simple/alpha/", RawBody(b"<html><title>Please log in</title></html>", "text/html"))
    second = await ask(ALPHA, JSON)
    assert (second.cache, second.body) == ("stale", first.body)
