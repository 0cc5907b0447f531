"""What pages say of files arrives at the clients that decide by it: yanked, requires-python, upload-time, names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixtures.clients import Client, Pip, Uv
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.proxy import Proxy
    from fixtures.upstream import FakeIndex

pytestmark = pytest.mark.clients
pip_and_uv = pytest.mark.parametrize("client", [Pip, Uv], indirect=True)


@pip_and_uv
async def test_a_yanked_release_is_passed_over(client: Client, proxy: Proxy, upstream: FakeIndex) -> None:
    upstream.add(make_wheel("gamma", "1.0"), bad := make_wheel("gamma", "1.1"))
    upstream.yank(bad.filename, "deletes files")
    outcome = await client.install("gamma", proxy.simple())
    assert outcome.installed == {"gamma": "1.0"}, outcome.output


@pip_and_uv
async def test_a_yanked_release_installs_with_its_reason_when_it_is_asked_for(
    client: Client, proxy: Proxy, upstream: FakeIndex
) -> None:
    upstream.add(bad := make_wheel("gamma", "1.1"))
    upstream.yank(bad.filename, "deletes files")
    outcome = await client.install("gamma==1.1", proxy.simple())
    assert outcome.installed == {"gamma": "1.1"}, outcome.output
    assert "deletes files" in outcome.output


@pip_and_uv
async def test_a_release_for_another_python_is_passed_over(client: Client, proxy: Proxy, upstream: FakeIndex) -> None:
    upstream.add(make_wheel("gamma", "1.0"), make_wheel("gamma", "1.1", requires_python=">=4"))
    outcome = await client.install("gamma", proxy.simple())
    assert outcome.installed == {"gamma": "1.0"}, outcome.output


@pytest.mark.parametrize(("kind", "variable"), [(Pip, "PIP_UPLOADED_PRIOR_TO"), (Uv, "UV_EXCLUDE_NEWER")])
async def test_clients_with_a_cut_off_date_of_their_own_find_upload_times(
    kind: type[Client], variable: str, room: Path, proxy: Proxy, upstream: FakeIndex
) -> None:
    upstream.add(make_wheel("gamma", "1.0"), make_wheel("gamma", "1.1", upload_time="2024-03-07T00:00:00Z"))
    client = kind(room, environ={variable: "2024-03-05T00:00:00Z"})
    outcome = await client.install("gamma", proxy.simple())
    assert outcome.installed == {"gamma": "1.0"}, outcome.output


@pip_and_uv
async def test_a_name_may_be_spelled_in_any_way(client: Client, proxy: Proxy, upstream: FakeIndex) -> None:
    upstream.add(make_wheel("Gamma.Ray_Burst", "1.0", requires=["BETA>=2"]))
    outcome = await client.install("gamma-ray.burst", proxy.simple())
    assert set(outcome.installed.values()) == {"1.0", "2.1"}, outcome.output


@pip_and_uv
async def test_a_project_that_upstream_quarantined_is_not_installed(
    client: Client, proxy: Proxy, upstream: FakeIndex
) -> None:
    upstream.set_status("alpha", "quarantined", "malware")
    outcome = await client.install("alpha", proxy.simple())
    assert not outcome.ok
    assert outcome.installed == {}
