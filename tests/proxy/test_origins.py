"""Where things come from upstream: the URLs that a lock may hold, and never a credential among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

from envproxy.origins import public_url
from fixtures.proxy import running_proxy
from fixtures.upstream import FakeIndex, Status, Style
from fixtures.wheels import make_wheel
from fixtures.wire import wire

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.wire import Ask

SECRETS = """
[pypi.upstreams.corp]
url = "https://pkgs.example.org/simple"
username = "robot"
password = "env:PASSWORD"

[pypi.hosted.team]

[pypi.indexes.work]
sources = ["team", "corp", "pypi"]

[conda.channels.lab]
url = ["https://conda.example.org/lab", "/srv/mirror/lab"]
token = "env:PASSWORD"

[conda.hosted.own]
"""


async def test_names_lead_to_the_urls_of_upstreams_without_their_credentials(
    tmp_path: Path, upstream: FakeIndex
) -> None:
    environ = {"PASSWORD": "hunter2"}
    async with (
        running_proxy(tmp_path, upstream=upstream, toml=SECRETS, environ=environ) as proxy,
        wire(proxy.url) as ask,
    ):
        answer = await ask("/api/origins")
    assert b"hunter2" not in answer.body
    assert b"robot" not in answer.body
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {
        "indexes": {"main": [upstream.url], "work": ["https://pkgs.example.org/simple/", upstream.url]},
        "channels": {
            "conda-forge": ["https://conda.anaconda.org/conda-forge/"],
            "lab": ["https://conda.example.org/lab/"],
            "own": [],
        },
        "files": {
            "python": ["https://www.python.org/ftp/python/"],
            "python-build-standalone": ["https://github.com/astral-sh/python-build-standalone/releases/"],
        },
    }


@pytest.mark.parametrize("links", ["relative", "off-host"])
async def test_files_of_a_project_have_the_urls_of_its_upstream(upstream: FakeIndex, ask: Ask, links: str) -> None:
    upstream.style = Style(links=links)
    upstream.add(make_wheel("alpha", "1.0"), make_wheel("alpha", "2.0"))
    files = (await ask("/pypi/main/origins/alpha/")).json()["files"]
    assert files == {
        name: upstream.file_url(name) for name in ("alpha-1.0-py3-none-any.whl", "alpha-2.0-py3-none-any.whl")
    }


async def test_asking_for_origins_costs_no_more_than_the_page(upstream: FakeIndex, ask: Ask) -> None:
    upstream.add(make_wheel("alpha", "1.0"))
    await ask("/pypi/main/simple/alpha/")
    await ask("/pypi/main/origins/Alpha/")
    assert upstream.count() == 1


async def test_what_is_hosted_here_has_no_other_origin(tmp_path: Path) -> None:
    wheel = make_wheel("alpha", "1.0")
    toml = """
    [auth.tokens.release]
    secret = "env:TOKEN"
    scopes = ["upload"]
    [pypi.hosted.team]
    [pypi.indexes.main]
    sources = ["team"]
    """
    form = aiohttp.FormData({":action": "file_upload", "name": "alpha", "version": "1.0", "filetype": "bdist_wheel"})
    form.add_field("content", wheel.data, filename=wheel.filename)
    login = {"Authorization": "Bearer publish"}
    async with running_proxy(tmp_path, toml=toml, environ={"TOKEN": "publish"}) as proxy, wire(proxy.url) as ask:
        async with aiohttp.ClientSession(proxy.url) as client:
            await client.post("/pypi/main/legacy/", data=form, headers=login, raise_for_status=True)
        assert (await ask("/pypi/main/origins/alpha/")).json() == {"files": {}}


async def test_a_name_that_nobody_has_is_said_to_be_absent(ask: Ask) -> None:
    answer = await ask("/pypi/main/origins/nobody/")
    assert (answer.status, answer.json()["detail"]) == (404, "index main has no project nobody")


async def test_a_name_that_the_policy_refuses_has_no_origins(tmp_path: Path, upstream: FakeIndex) -> None:
    upstream.add(make_wheel("evil", "1.0"))
    toml = '[pypi.indexes.main.policy]\ndeny = ["evil"]\n'
    async with running_proxy(tmp_path, upstream=upstream, toml=toml) as proxy, wire(proxy.url) as ask:
        assert (await ask("/pypi/main/origins/evil/")).status == 403
    assert upstream.requests == []


async def test_an_upstream_that_fails_is_no_absence(upstream: FakeIndex, ask: Ask) -> None:
    upstream.fail("/simple/alpha/", Status(500))
    assert (await ask("/pypi/main/origins/alpha/")).status == 503


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://robot:hunter2@files.example.org/a.whl", "https://files.example.org/a.whl"),
        ("https://files.example.org/a.whl?X-Amz-Signature=hunter2", "https://files.example.org/a.whl"),
        ("https://files.example.org/a.whl#sha256=ab", "https://files.example.org/a.whl"),
        ("https://conda.example.org/t/hunter2/lab/", "https://conda.example.org/lab/"),
        ("https://files.example.org:8443/a%20b.whl", "https://files.example.org:8443/a%20b.whl"),
    ],
)
def test_a_url_is_shown_without_what_may_be_a_secret(url: str, shown: str) -> None:
    assert public_url(url) == shown
