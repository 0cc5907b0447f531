"""Upstreams that fail: clients fail with a reason, keep nothing wrong, and succeed once upstream is well again.

A failure is never told as an absence, and never as a page without files: both send clients to other indexes, or to
the conclusion that a project has no versions. pip is the exception that no server can help: it prints the same line
for a page that failed as for one that is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from fixtures.clients import Client, Pdm, Pip, Pipenv, Poetry, Uv
from fixtures.document import table_rows
from fixtures.proxy import running_proxy
from fixtures.upstream import Cut, Hang, RawBody, Refuse, Status, Style, WrongBytes

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.clock import FakeClock
    from fixtures.proxy import LocalProxy, Proxy
    from fixtures.upstream import FakeIndex, Fault

PAGE = "/simple/alpha/"
WHEEL = "/files/alpha/alpha-1.0-py3-none-any.whl"
PAUSE_S = 120  # after which the proxy asks an upstream again that failed
PIP_KNOWS_NOTHING = "No matching distribution found for alpha"

pytestmark = pytest.mark.clients


@dataclass(frozen=True)
class Failure:
    """A `fault` on every request for `path`, and what pip and uv print because of it."""

    path: str
    fault: Fault
    pip: str
    uv: str

    @property
    def patience(self) -> str:
        return "0.3s" if isinstance(self.fault, Hang) else "60s"

    def told_by(self, client: Client) -> str:
        return self.pip if client.name == "pip" else self.uv


FAILURES = {
    "pages answer 500": Failure(PAGE, Status(500), PIP_KNOWS_NOTHING, "pypi answered 500 for alpha"),
    "pages answer 429": Failure(PAGE, Status(429), PIP_KNOWS_NOTHING, "pypi answered 429 for alpha"),
    "pages answer 401": Failure(PAGE, Status(401), PIP_KNOWS_NOTHING, "pypi answered 401 for alpha"),
    "pages answer 403": Failure(PAGE, Status(403), PIP_KNOWS_NOTHING, "pypi answered 403 for alpha"),
    "pages hang": Failure(PAGE, Hang(), PIP_KNOWS_NOTHING, "did not answer in time"),
    "pages are cut": Failure(PAGE, Cut(50), PIP_KNOWS_NOTHING, "cut alpha short"),
    "pages are those of a login": Failure(
        PAGE, RawBody(b"<html>Please log in.</html>", "text/html"), PIP_KNOWS_NOTHING, "no page of 'alpha'"
    ),
    "connections are reset": Failure(PAGE, Refuse(), PIP_KNOWS_NOTHING, "cannot be reached"),
    "files answer 403": Failure(WHEEL, Status(403), "too many 503 error responses", "pypi answered 403"),
    "files are missing": Failure(
        WHEEL,
        Status(404),
        "pypi has no alpha-1.0-py3-none-any.whl any more",
        "pypi has no alpha-1.0-py3-none-any.whl",
    ),
    "files are those of a login": Failure(
        WHEEL, RawBody(b"Please log in.", "text/html"), "too many 503 error responses", "not what its index promises"
    ),
    "files have a wrong byte": Failure(
        WHEEL, WrongBytes(), "not enough bytes were received", "error reading a body from connection"
    ),
}


@pytest.mark.parametrize("client", [Pip, Uv], indirect=True)
@pytest.mark.parametrize(
    ("failure", "patience"), [(failure, failure.patience) for failure in FAILURES.values()], ids=FAILURES
)
async def test_clients_fail_and_then_recover_when(
    client: Client, failure: Failure, proxy: LocalProxy, upstream: FakeIndex, clock: FakeClock
) -> None:
    upstream.fail(failure.path, failure.fault)
    outcome = await client.install("alpha", proxy.simple())
    assert not outcome.ok
    assert outcome.installed == {}
    assert failure.told_by(client) in outcome.output

    upstream.clear_faults()
    clock.advance(PAUSE_S)
    outcome = await client.install("alpha", proxy.simple())
    assert outcome.installed == {"alpha": "1.0", "beta": "2.1"}, outcome.output


@pytest.mark.parametrize(
    ("client", "said"),
    [
        (Pip, "No matching distribution found for nosuch"),
        (Uv, "nosuch was not found in the package registry"),
        (Poetry, "nosuch (*) which doesn't match any versions"),
        (Pdm, "Unable to find candidates for nosuch"),
        (Pipenv, "No matching distribution found for nosuch"),
    ],
    indirect=["client"],
)
async def test_an_unknown_name_is_unknown_to(client: Client, said: str, proxy: Proxy, upstream: FakeIndex) -> None:
    outcome = await client.install("nosuch", proxy.simple())
    assert not outcome.ok
    assert said in outcome.output
    assert upstream.count() == 1


async def test_a_403_may_be_declared_to_mean_an_unknown_name(tmp_path: Path, room: Path, upstream: FakeIndex) -> None:
    upstream.style = Style(unknown_is=403)
    settings = {"pypi.upstreams.pypi.forbidden-is-absent": "true"}
    async with running_proxy(tmp_path, upstream=upstream, settings=settings) as proxy:
        outcome = await Uv(room).install("nosuch", proxy.simple())
        assert "nosuch was not found in the package registry" in outcome.output
        assert (await Uv(room).install("beta", proxy.simple())).ok


@pytest.mark.parametrize(
    ("client", "said"),
    [
        (Pip, PIP_KNOWS_NOTHING),
        (Uv, "127.0.0.1 cannot be reached"),
        (Pdm, "some issues with the package name or network condition"),
        (Pipenv, PIP_KNOWS_NOTHING),
    ],
    indirect=["client"],
)
async def test_what_was_never_cached_waits_for_the_end_of_the_outage(
    client: Client, said: str, proxy: Proxy, upstream: FakeIndex, clock: FakeClock
) -> None:
    await upstream.stop()
    outcome = await client.install("alpha", proxy.simple())
    assert not outcome.ok
    assert said in outcome.output

    await upstream.start()
    clock.advance(PAUSE_S)
    outcome = await client.install("alpha", proxy.simple())
    assert outcome.installed == {"alpha": "1.0", "beta": "2.1"}, outcome.output


@pytest.mark.parametrize("kind", [Pip, Uv])
async def test_clients_that_come_back_when_told_to_get_through(
    kind: type[Client], room: Path, proxy: Proxy, upstream: FakeIndex
) -> None:
    upstream.fail(PAGE, Status(503), times=2)  # which the proxy passes on as 503 with Retry-After
    outcome = await kind(room, retries=1).install("alpha", proxy.simple())
    assert outcome.installed == {"alpha": "1.0", "beta": "2.1"}, outcome.output


@pytest.mark.parametrize(("client", "patience"), [(Pip, "0.3s"), (Uv, "0.3s")], indirect=["client"])
async def test_what_is_cached_installs_while_upstream_hangs(
    client: Client, warm_proxy: Proxy, upstream: FakeIndex, clock: FakeClock
) -> None:
    clock.advance(24 * 3600)
    upstream.fail("*", Hang())
    outcome = await client.install("alpha", warm_proxy.simple())
    assert outcome.installed == {"alpha": "1.0", "beta": "2.1"}, outcome.output


@pytest.mark.parametrize("client", [Pip, Uv], indirect=True)
async def test_a_file_that_is_not_what_its_page_promises_is_never_installed(
    client: Client, proxy: Proxy, upstream: FakeIndex, clock: FakeClock
) -> None:
    upstream.style = Style(hashes="wrong")
    outcome = await client.install("beta", proxy.simple())
    assert not outcome.ok
    assert outcome.installed == {}

    upstream.style = Style()
    clock.advance(24 * 3600)
    outcome = await client.install("beta", proxy.simple())
    assert outcome.installed == {"beta": "2.1"}, outcome.output


@pytest.mark.parametrize("client", [Pip, Uv], indirect=True)
async def test_a_sidecar_that_is_not_what_its_page_promises_fails_one_install_and_is_promised_no_more(
    client: Client, proxy: Proxy, upstream: FakeIndex
) -> None:
    upstream.style = Style(sidecars="wrong-hash")
    outcome = await client.install("beta", proxy.simple())
    assert not outcome.ok

    outcome = await client.install("beta", proxy.simple())
    assert outcome.installed == {"beta": "2.1"}, outcome.output


def test_the_document_has_these_rows_and_no_others() -> None:
    assert table_rows("conformance.md", "Failing upstreams") == list(FAILURES)
