"""Upstreams that are poor, sloppy or unlucky: through the proxy every client installs all the same.

The table names what upstream does; docs/conformance.md has the same rows, with what clients make of them without the
proxy. pip and uv walk through the whole table, the others through rows that they trip over in ways of their own.
Clients never try again here, so it is the proxy that makes up for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from fixtures.clients import Pdm, Pip, Pipenv, Poetry, Uv
from fixtures.document import table_rows
from fixtures.upstream import Cut, HangAfter, Redirect, Refuse, Status, Style

if TYPE_CHECKING:
    from fixtures.clients import Client
    from fixtures.proxy import Proxy
    from fixtures.upstream import FakeIndex, Fault

PAGE = "/simple/alpha/"
WHEEL = "/files/alpha/alpha-1.0-py3-none-any.whl"
SIDECARS = "*.metadata"

pytestmark = pytest.mark.clients


@dataclass(frozen=True)
class Defect:
    """A standing `style`, and perhaps a `fault` on `path` that happens so many `times` (None: always)."""

    style: Style = Style()  # noqa: RUF009 (frozen)
    path: str = "*"
    fault: Fault | None = None
    times: int | None = None

    @property
    def patience(self) -> str:
        return "0.3s" if isinstance(self.fault, HangAfter) else "60s"

    def befall(self, upstream: FakeIndex) -> None:
        upstream.style = self.style
        if self.fault:
            upstream.fail(self.path, self.fault, times=self.times)


DEFECTS = {
    # Pages.
    "JSON labelled application/json": Defect(Style(content_type="application/json")),
    "JSON labelled text/html": Defect(Style(formats=("json",), content_type="text/html")),
    "pages labelled text/plain": Defect(Style(content_type="text/plain")),
    "pages without a type": Defect(Style(content_type="")),
    "nothing but HTML": Defect(Style(formats=("html",))),
    "nothing but HTML, labelled text/plain": Defect(Style(formats=("html",), content_type="text/plain")),
    "API 1.0, so neither versions, sizes nor times": Defect(
        Style(api_version="1.0", upload_times=False, sizes="none")
    ),
    "a page that was moved": Defect(path=PAGE, fault=Redirect("/simple/Alpha/"), times=1),
    "a page that fails once": Defect(path=PAGE, fault=Status(503), times=1),
    "a connection that is reset once": Defect(path=PAGE, fault=Refuse(), times=1),
    # Links and what is said of files.
    "relative links": Defect(Style(links="relative")),
    "links to another host": Defect(Style(links="off-host")),
    "no hashes": Defect(Style(hashes="none")),
    "MD5 only": Defect(Style(hashes="md5")),
    "no sizes": Defect(Style(sizes="none")),
    "wrong sizes": Defect(Style(sizes="wrong")),
    # Core metadata.
    "no sidecars": Defect(Style(sidecars="none")),
    "no sidecars, and no byte ranges to do without": Defect(Style(sidecars="none", ranges=False)),
    "no sidecars, and wrong sizes": Defect(Style(sidecars="none", sizes="wrong")),
    "sidecars that pages keep silent about": Defect(Style(sidecars="unadvertised")),
    "sidecars announced without a digest": Defect(Style(sidecars="no-digest")),
    "sidecars announced but missing": Defect(Style(sidecars="advertised-missing")),
    "sidecars announced but forbidden": Defect(path=SIDECARS, fault=Status(403)),
    "sidecars that contradict their digest": Defect(Style(sidecars="wrong-bytes")),
    "sidecars that fail": Defect(path=SIDECARS, fault=Status(500)),
    # Bodies.
    "neither validators nor byte ranges": Defect(Style(validators=False, ranges=False)),
    "chunked bodies without a length": Defect(Style(lengths=False)),
    "compressed pages": Defect(Style(gzip=True)),
    "a body that is cut": Defect(path=WHEEL, fault=Cut(100_000), times=1),
    "a body that is cut by a reset": Defect(path=WHEEL, fault=Cut(100_000, reset=True), times=1),
    "a body that is cut, and no byte ranges": Defect(
        Style(ranges=False, validators=False), path=WHEEL, fault=Cut(100_000), times=1
    ),
    "a body that stops coming": Defect(path=WHEEL, fault=HangAfter(100_000), times=1),
    "a file that was moved": Defect(path=WHEEL, fault=Redirect(WHEEL), times=1),
    "everything missing at once": Defect(
        Style(
            formats=("html",), api_version="1.0", hashes="none", sidecars="none",
            validators=False, ranges=False, lengths=False, links="relative",
        )
    ),
}  # fmt: skip

ROWS = [
    *((client, defect) for defect in DEFECTS for client in (Pip, Uv)),
    (Poetry, "JSON labelled application/json"),  # reads it as HTML and finds no versions
    (Poetry, "no hashes"),  # downloads every file to hash it
    (Poetry, "sidecars that fail"),  # tries six times for each package
    (Poetry, "a body that is cut"),  # does not resume
    (Pdm, "pages without a type"),  # ignores them
    (Pdm, "a page that fails once"),  # never tries again
    (Pdm, "sidecars announced but missing"),  # downloads every wheel
    (Pdm, "a body that stops coming"),  # waits for more than a minute
    (Pipenv, "JSON labelled text/html"),  # finds no versions
    (Pipenv, "sidecars announced but missing"),  # fails
]


@pytest.mark.parametrize(
    ("client", "defect", "patience"),
    [(client, defect, DEFECTS[defect].patience) for client, defect in ROWS],
    indirect=["client"],
)
async def test_clients_install_from_an_upstream_with(
    client: Client, defect: str, proxy: Proxy, upstream: FakeIndex
) -> None:
    DEFECTS[defect].befall(upstream)
    outcome = await client.install("alpha", proxy.simple())
    assert outcome.installed == {"alpha": "1.0", "beta": "2.1"}, outcome.output
    assert outcome.ok
    assert upstream.count(path=DEFECTS[defect].path), "the defect met no request"


def test_the_document_has_these_rows_and_no_others() -> None:
    assert table_rows("conformance.md", "Poor upstreams") == list(DEFECTS)
