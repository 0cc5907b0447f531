"""The list of all projects of an index: merged, kept, made anew behind clients' backs, never thinner than it was."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envproxy.engine.catalog import HostedFile
from envproxy.errors import BadUpstreamBody
from envproxy.policy import Policy, parse_rule
from envproxy.pypi.admission import EVERY_NAME, Admission
from envproxy.pypi.listing import FRESH_S, RECHECK_S, RETRY_S
from envproxy.pypi.render import Format
from envproxy.pypi.roster import NameReader, Roster
from fixtures.proxy import LocalProxy, proxy_process, running_proxy
from fixtures.upstream import Cut, Delay, FakeIndex, RawBody, Status, Style
from fixtures.wheels import make_wheel
from fixtures.wire import HTML, JSON, wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fixtures.clock import FakeClock
    from fixtures.faults import Fault
    from fixtures.wire import Ask, Reply

LIST = "/pypi/main/simple/"


def names(answer: Reply) -> list[str]:
    assert answer.status == 200, answer
    return [project["name"] for project in answer.json()["projects"]]


def impatient(proxy: LocalProxy) -> None:
    proxy.parts.listings["main"].patience_s = 0.0


# --- what it says ---------------------------------------------------------------------------------------


async def test_the_list_names_every_project_in_each_form(ask: Ask, upstream: FakeIndex) -> None:
    upstream.add(make_wheel("beta", "1.0"), make_wheel("alpha", "1.0"), make_wheel("gamma-ray", "1.0"))
    as_json, as_html = await ask(LIST, JSON), await ask(LIST, HTML)
    assert as_json.headers["Content-Type"] == "application/vnd.pypi.simple.v1+json"
    assert as_json.json() == {
        "meta": {"api-version": "1.0"},
        "projects": [{"name": "alpha"}, {"name": "beta"}, {"name": "gamma-ray"}],
    }
    assert as_html.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b'<a href="gamma-ray/">gamma-ray</a>' in as_html.body
    assert (await ask(f"{LIST}gamma-ray/", HTML)).status == 200  # where the link leads
    v1_html = await ask(LIST, {"Accept": "application/vnd.pypi.simple.v1+html"})
    assert (v1_html.headers["Content-Type"], v1_html.body) == ("application/vnd.pypi.simple.v1+html", as_html.body)
    assert len({answer.headers["ETag"] for answer in (as_json, as_html, v1_html)}) == 3


async def test_without_slash_it_is_a_relative_redirect(ask: Ask) -> None:
    answer = await ask("/pypi/main/simple")
    assert (answer.status, answer.headers["Location"]) == (301, "simple/")


async def test_an_unknown_index_has_no_list(ask: Ask) -> None:
    assert (await ask("/pypi/nobody/simple/")).status == 404


async def test_conditional_requests_and_head_work_as_for_a_page(ask: Ask, upstream: FakeIndex) -> None:
    upstream.add(make_wheel("alpha", "1.0"))
    full = await ask(LIST, JSON)
    again = await ask(LIST, {**JSON, "If-None-Match": full.headers["ETag"]})
    assert (again.status, again.headers["ETag"], again.headers["Vary"]) == (304, full.headers["ETag"], "Accept")
    head = await ask(LIST, JSON, method="HEAD")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(full.body)))


async def test_the_list_has_the_names_of_all_sources_hosted_ones_too(
    tmp_path: Path, upstream: FakeIndex, clock: FakeClock
) -> None:
    toml = (
        '[pypi.upstreams.corp]\nurl = "{}"\n[pypi.hosted.team]\n'
        '[pypi.indexes.main]\nsources = ["team", "corp", "pypi"]'
    )
    upstream.style = Style(formats=("html",))
    upstream.add(make_wheel("alpha", "1.0"), make_wheel("beta", "1.0"))
    async with FakeIndex() as corp:
        corp.add(make_wheel("beta", "1.0"), make_wheel("corp-tool", "1.0"))
        running = running_proxy(tmp_path, upstream=upstream, toml=toml.format(corp.url), clock=clock)
        async with running as proxy, wire(proxy.url) as ask:
            await proxy.parts.catalog.add_hosted(hosted("team-tool"))
            assert names(await ask(LIST, JSON)) == ["alpha", "beta", "corp-tool", "team-tool"]


async def test_an_index_of_hosted_files_only_lists_an_upload_at_once(tmp_path: Path) -> None:
    toml = '[pypi.hosted.team]\n[pypi.indexes.main]\nsources = ["team"]'
    async with running_proxy(tmp_path, toml=toml) as proxy, wire(proxy.url) as ask:
        assert names(await ask(LIST, JSON)) == []
        await proxy.parts.catalog.add_hosted(hosted("team-tool"))
        answer = await ask(LIST, JSON)
        assert (names(answer), answer.headers["Cache-Control"]) == (["team-tool"], "no-cache")


def hosted(project: str) -> HostedFile:
    return HostedFile(
        source="team",
        project=project,
        filename=f"{project}-1.0.tar.gz",
        sha256="0" * 64,
        size=1,
        metadata_sha256=None,
        requires_python=None,
        upload_time="2024-03-01T12:00:00Z",
        yanked=None,
        version="1.0",
        uploader="release",
    )


@pytest.mark.parametrize(
    ("policy", "listed"),
    [
        ('deny = ["evil-*"]', ["alpha", "team-tool"]),
        ('deny = ["Team.Tool", "alpha"]', ["evil-twin"]),
        ('deny = ["alpha==1.0", "evil-twin>=1"]', ["alpha", "evil-twin", "team-tool"]),
        ('allow = ["alpha>=2", "evil-*"]\ndeny = ["*-twin"]', ["alpha"]),
        ('min-age = "7d"\nfreeze = 2020-01-01T00:00:00Z', ["alpha", "evil-twin", "team-tool"]),
    ],
)
async def test_a_name_that_the_policy_refuses_in_every_version_is_not_listed(
    tmp_path: Path, upstream: FakeIndex, policy: str, listed: list[str]
) -> None:
    upstream.add(make_wheel("alpha", "1.0"), make_wheel("evil-twin", "1.0"))
    toml = (
        f'[pypi.hosted.team]\n[pypi.indexes.main]\nsources = ["team", "pypi"]\n[pypi.indexes.main.policy]\n{policy}\n'
    )
    async with running_proxy(tmp_path, upstream=upstream, toml=toml) as proxy, wire(proxy.url) as ask:
        await proxy.parts.catalog.add_hosted(hosted("team-tool"))
        assert names(await ask(LIST, JSON)) == listed
        assert (await ask(LIST, HTML)).body.count(b"<a ") == len(listed)


async def test_a_list_made_before_a_name_was_denied_does_not_go_out_even_without_network(
    tmp_path: Path, upstream: FakeIndex, clock: FakeClock
) -> None:
    upstream.add(make_wheel("alpha", "1.0"), make_wheel("beta", "1.0"))
    async with running_proxy(tmp_path, upstream=upstream, clock=clock) as proxy, wire(proxy.url) as ask:
        assert names(await ask(LIST, JSON)) == ["alpha", "beta"]
    toml = '[pypi.indexes.main]\nsources = ["pypi"]\n[pypi.indexes.main.policy]\ndeny = ["beta"]'
    running = running_proxy(tmp_path, upstream=upstream, toml=toml, clock=clock)
    async with running as proxy, wire(proxy.url) as ask:
        await upstream.stop()
        assert (await ask(LIST, JSON)).status == 503
        clock.advance(RETRY_S)
        await upstream.start()
        assert names(await ask(LIST, JSON)) == ["alpha"]


RULES = ["evil-*", "numpy", "numpy>=2", "*-twin==1.0", "a?c"]


@given(
    deny=st.lists(st.sampled_from(RULES), max_size=3),
    allow=st.lists(st.sampled_from(RULES), max_size=3),
    name=st.sampled_from(["numpy", "evil-twin", "good-twin", "abc", "a-b", "numpy2", "evil-"]),
)
def test_the_list_agrees_with_the_refusal_of_a_name(deny: list[str], allow: list[str], name: str) -> None:
    policy = Policy(deny=tuple(map(parse_rule, deny)), allow=tuple(map(parse_rule, allow)))
    assert Admission.under(policy).filter()(name.encode()) == policy.judge_name(name).allowed


async def test_a_source_that_has_no_list_gives_no_names(ask: Ask, upstream: FakeIndex) -> None:
    upstream.fail("/simple/", Status(404))
    assert names(await ask(LIST, JSON)) == []


# --- when it is made ------------------------------------------------------------------------------------


async def test_a_list_is_made_once_a_day_and_then_behind_the_clients_back(
    ask: Ask, upstream: FakeIndex, proxy: LocalProxy, clock: FakeClock
) -> None:
    upstream.add(make_wheel("alpha", "1.0"))
    first = await ask(LIST, JSON)
    assert (first.cache, first.headers["Cache-Control"]) == ("miss", "public, max-age=600")
    upstream.add(make_wheel("beta", "1.0"))
    clock.advance(FRESH_S - 60)
    second = await ask(LIST, HTML)
    assert (second.cache, second.headers["Cache-Control"], b"beta" in second.body) == (
        "hit",
        "public, max-age=60",
        False,
    )
    clock.advance(60)
    third = await ask(LIST, JSON)
    assert (third.cache, third.headers["Cache-Control"], names(third)) == ("stale", "no-cache", ["alpha"])
    await proxy.settled()
    fourth = await ask(LIST, JSON)
    assert (fourth.cache, names(fourth)) == ("hit", ["alpha", "beta"])
    assert upstream.count() == 2


async def test_a_client_that_asks_past_caches_gets_a_new_list_but_not_every_minute(
    ask: Ask, upstream: FakeIndex, clock: FakeClock
) -> None:
    refresh = {**JSON, "Cache-Control": "no-cache"}
    await ask(LIST, JSON)
    assert (await ask(LIST, refresh)).cache == "hit"
    clock.advance(RECHECK_S)
    assert (await ask(LIST, refresh)).cache == "revalidated"
    clock.advance(RECHECK_S)
    upstream.add(make_wheel("alpha", "1.0"))
    answer = await ask(LIST, refresh)
    assert (answer.cache, names(answer)) == ("miss", ["alpha"])


async def test_many_at_once_are_one_request_upstream(ask: Ask, upstream: FakeIndex) -> None:
    upstream.add(make_wheel("alpha", "1.0"))
    opened = asyncio.Event()
    upstream.fail("/simple/", Delay(opened))
    asking = [asyncio.create_task(ask(LIST, headers)) for headers in (JSON, HTML) * 6]
    await upstream.arrived("/simple/")
    opened.set()
    assert {answer.status for answer in await asyncio.gather(*asking)} == {200}
    assert upstream.count() == 1


async def test_a_list_that_takes_its_time_is_503_until_it_is_there(
    ask: Ask, upstream: FakeIndex, proxy: LocalProxy
) -> None:
    upstream.add(make_wheel("alpha", "1.0"))
    impatient(proxy)
    opened = asyncio.Event()
    upstream.fail("/simple/", Delay(opened))
    waiting = await ask(LIST, JSON)
    assert (waiting.status, waiting.headers["Retry-After"]) == (503, "10")
    assert waiting.reason == "the list of index main is being made"
    opened.set()
    await proxy.settled()
    assert names(await ask(LIST, JSON)) == ["alpha"]
    assert upstream.count() == 1


async def test_one_project_is_answered_without_a_look_at_the_list(ask: Ask, upstream: FakeIndex) -> None:
    upstream.add(make_wheel("alpha", "1.0"))
    await ask("/pypi/main/simple/alpha/", JSON)
    await ask("/pypi/main/simple/nobody/", JSON)
    assert upstream.count(path="/simple/") == 0


# --- when it cannot be made -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Status(500), id="500"),
        pytest.param(Status(403), id="403"),
        pytest.param(Cut(60), id="cut"),
        pytest.param(RawBody(b"<html><title>Sign in</title><a href='/x'>help</a>", "text/html"), id="a portal page"),
        pytest.param(RawBody(b'{"message": "no"}', "application/json"), id="another object"),
    ],
)
async def test_a_failing_source_makes_no_thinner_list(
    ask: Ask, upstream: FakeIndex, clock: FakeClock, proxy: LocalProxy, fault: Fault
) -> None:
    upstream.add(make_wheel("alpha", "1.0"))
    upstream.fail("/simple/", fault)
    failed = await ask(LIST, JSON)
    assert failed.status == 503
    assert int(failed.headers["Retry-After"]) > 0
    upstream.clear_faults()
    clock.advance(RETRY_S)
    assert names(await ask(LIST, JSON)) == ["alpha"]
    upstream.fail("/simple/", fault)
    clock.advance(FRESH_S)
    for _ in range(2):
        stale = await ask(LIST, JSON)
        assert (stale.cache, names(stale)) == ("stale", ["alpha"])
        await proxy.settled()


async def test_a_list_that_failed_is_not_tried_again_for_every_client(
    ask: Ask, upstream: FakeIndex, clock: FakeClock
) -> None:
    upstream.fail("/simple/", Status(403))
    assert [(await ask(LIST, JSON)).status for _ in range(3)] == [503] * 3
    assert upstream.count() == 1
    clock.advance(RETRY_S)
    await ask(LIST, JSON)
    assert upstream.count() == 2


async def test_after_a_restart_without_network_the_list_is_still_there(
    tmp_path: Path, upstream: FakeIndex, clock: FakeClock
) -> None:
    upstream.add(make_wheel("alpha", "1.0"))
    async with running_proxy(tmp_path, upstream=upstream, clock=clock) as proxy, wire(proxy.url) as ask:
        before = await ask(LIST, JSON)
    await upstream.stop()
    async with running_proxy(tmp_path, upstream=upstream, clock=clock) as proxy, wire(proxy.url) as ask:
        after = await ask(LIST, JSON)
    assert (after.cache, after.body, after.headers["ETag"]) == ("hit", before.body, before.headers["ETag"])


async def test_a_list_that_was_evicted_is_made_again(ask: Ask, upstream: FakeIndex, proxy: LocalProxy) -> None:
    upstream.add(make_wheel("alpha", "1.0"))
    await ask(LIST, JSON)
    made, _ = await proxy.parts.listings["main"].get()
    await asyncio.to_thread(proxy.parts.store.delete, made.html)
    assert (await ask(LIST, JSON)).cache == "miss"


# --- the size of it -------------------------------------------------------------------------------------


async def test_a_list_of_600_000_projects_is_made_within_the_memory_of_a_page(
    tmp_path: Path, upstream: FakeIndex
) -> None:
    body = await asyncio.to_thread(long_list, 600_000)
    assert len(body) > 30_000_000
    upstream.fail("/simple/", RawBody(body, "text/html"))
    async with proxy_process(tmp_path, upstream=upstream) as proxy, wire(proxy.url) as ask:
        await ask("/healthz")
        before_kb = await asyncio.to_thread(peak_kb, proxy.process.pid)
        answer = await ask(LIST, JSON)
        while answer.status == 503:
            answer = await ask(LIST, JSON)
        after_kb = await asyncio.to_thread(peak_kb, proxy.process.pid)
    assert answer.body.count(b'{"name":"project-') == 600_000
    assert after_kb - before_kb < 30_000
    assert upstream.count() == 1


def long_list(projects: int) -> bytes:
    links = (b'<a href="/simple/project-%d/">Project_%d</a><br/>\n' % (n, n) for n in range(projects))
    return b"<!DOCTYPE html><html><head><title>Simple index</title></head><body>\n" + b"".join(links)


def peak_kb(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


# --- names, piece by piece ------------------------------------------------------------------------------


def read(body: bytes, step: int) -> list[bytes]:
    reader = NameReader("the index")
    found = [name for start in range(0, len(body), step) for name in reader.feed(body[start : start + step])]
    reader.close()
    return found


PYPI_JSON = b'{"meta": {"_last-serial": 9, "api-version": "1.4"}, "projects": [%s]}' % b", ".join(
    b'{"_last-serial": 1, "name": "%s"}' % name for name in (b"0", b"Django", b"zope.interface", b"a__b--c")
)
PYPI_HTML = b"""<!DOCTYPE html><html><head>
<meta name="pypi:repository-version" content="1.1"><title>Simple index</title></head><body>
    <a href="/simple/0/">0</a>
    <A HREF="/simple/django/" data-x='1'> Django </A><br>
    <a href="zope-interface/">zope.interface/</a>
    <a href="../">../</a> <a href="?C=N;O=D">Name and date</a> <abbr>none</abbr>
    <a href="a-b-c/"
       >a__b--c</a>
</body></html>"""


@pytest.mark.parametrize("body", [PYPI_JSON, PYPI_HTML], ids=["JSON", "HTML"])
@pytest.mark.parametrize("step", [1, 7, 64, 100_000])
def test_names_are_found_wherever_the_pieces_are_cut(body: bytes, step: int) -> None:
    assert read(body, step) == [b"0", b"django", b"zope-interface", b"a-b-c"]


@pytest.mark.parametrize(
    "name", [b"", b"-x", b"x-", b"a b", b"a/b", b"..", b"a\\u0041", b"x" * 201, b"<b>", "ü".encode()]
)
def test_what_is_no_name_is_passed_over(name: bytes) -> None:
    assert read(b'{"projects": [{"name": "%s"}, {"name": "good"}]}' % name, 1000) == [b"good"]
    assert read(b'<title>Simple index</title><a href="x/">%s</a><a href="good/">good</a>' % name, 1000) == [b"good"]


@pytest.mark.parametrize("body", [b"", b"<html><a href='/'>home</a></html>", b"[]", b'{"files": []}', b"\x00" * 9])
def test_what_is_no_list_is_refused(body: bytes) -> None:
    with pytest.raises(BadUpstreamBody, match="the index sent something that is no list of projects"):
        read(body, 1000)


def test_a_list_without_end_takes_no_memory() -> None:
    reader = NameReader("the index")
    reader.feed(b"<title>Simple index</title>")
    for _ in range(100):
        assert reader.feed(b"<a href=" + b"x" * 100_000) == []
    assert len(reader._rest) < 10_000


@pytest.fixture
def roster() -> Iterator[Roster]:
    roster = Roster(EVERY_NAME)
    yield roster
    roster.close()


def test_names_come_out_in_order_and_once(roster: Roster) -> None:
    roster.add([b"b", b"c"])
    roster.add([b"c", b"a"])
    assert json.loads(b"".join(roster.written(Format.JSON)))["projects"] == [
        {"name": "a"},
        {"name": "b"},
        {"name": "c"},
    ]
    assert b"".join(roster.written(Format.HTML)).count(b"<a ") == 3


@pytest.mark.parametrize("count", [0, 1, 2000, 2001, 6000])
def test_the_json_is_whole_at_every_length(roster: Roster, count: int) -> None:
    roster.add(b"p%d" % number for number in range(count))
    assert len(json.loads(b"".join(roster.written(Format.JSON)))["projects"]) == count
