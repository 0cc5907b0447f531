"""A hosted channel takes packages and indexes itself; clients see each change as soon as it is answered."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from envproxy.conda.worker import Workshop
from envproxy.errors import StorageFull
from fixtures.clock import FakeClock
from fixtures.conda_packages import make_conda
from fixtures.disk import disk_that_takes, partials
from fixtures.repodata import SHARD_INDEX, unpacked
from fixtures.team import BEARER, running_team, send, upload
from fixtures.visitor import visiting

if TYPE_CHECKING:
    from pathlib import Path

    from envproxy.conda.making import Job, Made
    from fixtures.conda_packages import Package
    from fixtures.proxy import LocalProxy
    from fixtures.visitor import Visitor

ALPHA = make_conda("alpha")


@pytest.mark.parametrize("form", [".conda", ".tar.bz2"])
async def test_an_uploaded_package_is_in_every_form_of_repodata(
    team: LocalProxy, visitor: Visitor, form: str
) -> None:
    package = make_conda("gamma", subdir="linux-64", form=form)
    status, said = await upload(team, package.path, package.data)
    assert (status, said) == (201, f"linux-64/{package.filename} published in team\n")
    flat = json.loads((await visitor.get("linux-64/repodata.json")).body)
    record = flat[package.section][package.filename]
    assert record.pop("indexed_timestamp") > 0
    assert record == package.record
    assert package.filename in (await visitor.shard("gamma", "linux-64"))[package.section]
    assert (await visitor.get(package.path)).body == package.data


async def test_noarch_is_always_there_and_other_subdirs_are_not(visitor: Visitor) -> None:
    assert (await visitor.index()).shards == {}
    assert json.loads((await visitor.get("noarch/repodata.json")).body)["packages.conda"] == {}
    assert (await visitor.get(f"linux-64/{SHARD_INDEX}")).status == 404


async def test_a_change_is_seen_at_once_and_leaves_other_shards_alone(team: LocalProxy, visitor: Visitor) -> None:
    await upload(team, ALPHA.path, ALPHA.data)
    before = (await visitor.index()).shards
    beta = make_conda("beta")
    await upload(team, beta.path, beta.data)
    after = (await visitor.index()).shards
    assert sorted(after) == ["alpha", "beta"]
    assert after["alpha"] == before["alpha"]


async def test_a_shard_stays_for_a_week_after_its_last_index(tmp_path: Path) -> None:
    clock = FakeClock()
    async with (
        running_team(tmp_path, clock=clock) as proxy,
        visiting(proxy.channel("team")) as visitor,
    ):
        await upload(proxy, ALPHA.path, ALPHA.data)
        path = f"noarch/shards/{(await visitor.index()).shards['alpha']}.msgpack.zst"
        first = (await visitor.get(path)).body
        for version, days in (("2.0", 3), ("3.0", 7), ("4.0", 2)):
            clock.advance(days * 24 * 3600)
            assert (await visitor.get(path)).body == first
            package = make_conda("alpha", version)
            await upload(proxy, package.path, package.data)
        assert (await visitor.get(path)).status == 404


async def test_many_uploads_at_once_are_all_in_the_index(team: LocalProxy, visitor: Visitor) -> None:
    packages = [make_conda(f"package-{number}") for number in range(12)]
    replies = await asyncio.gather(*(upload(team, package.path, package.data) for package in packages))
    assert {status for status, _ in replies} == {201}
    assert sorted((await visitor.index()).shards) == sorted(package.name for package in packages)


async def test_readers_get_every_form_of_repodata_while_packages_are_uploaded(
    team: LocalProxy, visitor: Visitor
) -> None:
    packages = [make_conda(f"package-{number}") for number in range(15)]
    done = asyncio.Event()
    refused: list[tuple[str, int]] = []

    async def read(path: str) -> None:
        while not done.is_set():
            reply = await visitor.get(path)
            if reply.status != 200:
                refused.append((path, reply.status))

    async with asyncio.TaskGroup() as readers:
        for path in (f"noarch/{SHARD_INDEX}", "noarch/repodata.json", "noarch/repodata.json.zst"):
            readers.create_task(read(path))
        for package in packages:
            assert (await upload(team, package.path, package.data))[0] == 201
        done.set()
    assert refused == []


async def test_a_published_name_keeps_its_meaning(team: LocalProxy, visitor: Visitor) -> None:
    await upload(team, ALPHA.path, ALPHA.data)
    assert (await upload(team, ALPHA.path, ALPHA.data))[0] == 200
    other = make_conda("alpha", depends=["beta"])
    status, said = await upload(team, ALPHA.path, other.data)
    assert (status, "stands for other bytes" in said) == (409, True)
    assert (await send("DELETE", f"{visitor.url}/{ALPHA.path}"))[0] == 200
    assert (await upload(team, ALPHA.path, other.data))[0] == 409
    assert (await upload(team, ALPHA.path, ALPHA.data))[0] == 201


async def test_a_yanked_package_is_listed_as_removed_and_stays_downloadable(
    team: LocalProxy, visitor: Visitor
) -> None:
    await upload(team, ALPHA.path, ALPHA.data)
    assert await send("DELETE", f"{visitor.url}/{ALPHA.path}?yank=1") == (200, f"{ALPHA.filename} yanked\n")
    flat = json.loads((await visitor.get("noarch/repodata.json")).body)
    assert (flat["packages.conda"], flat["removed"]) == ({}, [ALPHA.filename])
    assert (await visitor.get(ALPHA.path)).body == ALPHA.data


async def test_a_yanked_package_that_is_uploaded_again_is_listed_again(team: LocalProxy, visitor: Visitor) -> None:
    await upload(team, ALPHA.path, ALPHA.data)
    await send("DELETE", f"{visitor.url}/{ALPHA.path}?yank=1")
    said = f"noarch/{ALPHA.filename} published in team\n"
    assert await upload(team, ALPHA.path, ALPHA.data) == (201, said)
    flat = json.loads((await visitor.get("noarch/repodata.json")).body)
    assert (list(flat["packages.conda"]), flat["removed"]) == ([ALPHA.filename], [])
    assert (await visitor.shard("alpha"))["removed"] == []
    assert (await upload(team, ALPHA.path, ALPHA.data))[0] == 200


async def test_a_deleted_package_is_gone(team: LocalProxy, visitor: Visitor) -> None:
    await upload(team, ALPHA.path, ALPHA.data)
    await send("DELETE", f"{visitor.url}/{ALPHA.path}")
    assert (await visitor.get(ALPHA.path)).status == 404
    assert (await visitor.index()).shards == {}
    assert (await send("DELETE", f"{visitor.url}/{ALPHA.path}"))[0] == 404


async def test_the_apis_of_prefix_and_quetz_clients_are_understood(team: LocalProxy, visitor: Visitor) -> None:
    beta = make_conda("beta")
    prefix = {**BEARER, "X-File-Name": ALPHA.filename, "X-File-SHA256": ALPHA.sha256}
    assert (await send("POST", f"{team.url}/api/v1/upload/team", ALPHA.data, prefix))[0] == 201
    quetz = f"{team.url}/api/channels/team/upload/{beta.filename}?force=false&sha256={beta.sha256}"
    assert (await send("POST", quetz, beta.data, {"X-API-Key": "s3cret-token"}))[0] == 201
    assert sorted((await visitor.index()).shards) == ["alpha", "beta"]


FORM = (
    b"--frontier\r\n"
    b'Content-Disposition: form-data; name="file"; filename="%s"\r\n'
    b"content-type: application/octet-stream\r\n"
    b"content-length: %d\r\n"
    b"x-file-name: %s\r\n"
    b"x-file-sha256: %s\r\n\r\n%s\r\n"
    b"--frontier\r\n"
    b'Content-Disposition: form-data; name="attestation"\r\n\r\n{}\r\n'
    b"--frontier--\r\n"
)
FORM_TYPE = {"Content-Type": "multipart/form-data; boundary=frontier"}


def form_of(package: Package) -> bytes:
    """What rattler_upload 0.10 sends to prefix.dev."""
    name = package.filename.encode()
    return FORM % (name, len(package.data), name, package.sha256.encode(), package.data)


async def test_a_form_as_clients_of_prefix_send_it_is_understood(team: LocalProxy, visitor: Visitor) -> None:
    url = f"{team.url}/api/v1/upload/team?force=true"
    assert (await send("POST", url, form_of(ALPHA), {**BEARER, **FORM_TYPE}))[0] == 201
    assert (await send("POST", url, form_of(ALPHA), {**BEARER, **FORM_TYPE}))[0] == 200
    assert (await visitor.get(ALPHA.path)).body == ALPHA.data


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param(form_of(ALPHA).replace(b'name="file"', b'name="other"'), "no file in it", id="no file"),
        pytest.param(form_of(ALPHA)[:400], "cannot be read", id="cut short"),
        pytest.param(form_of(ALPHA).replace(b"--frontier", b"--border"), "cannot be read", id="another boundary"),
        pytest.param(form_of(ALPHA).replace(b"x-file-name", b"x-other"), "not the name of a package", id="no name"),
        pytest.param(form_of(ALPHA).replace(ALPHA.sha256[:9].encode(), b"000000000"), "SHA-256", id="another digest"),
    ],
)
async def test_a_form_that_is_broken_is_refused(team: LocalProxy, visitor: Visitor, body: bytes, says: str) -> None:
    status, said = await send("POST", f"{team.url}/api/v1/upload/team", body, {**BEARER, **FORM_TYPE})
    assert (status, says in said) == (400, True), said
    assert (await visitor.index()).shards == {}
    assert await asyncio.to_thread(partials, team.parts.store.root) == []


async def test_a_form_without_a_token_is_not_read(team: LocalProxy) -> None:
    assert (await send("POST", f"{team.url}/api/v1/upload/team", form_of(ALPHA), FORM_TYPE))[0] == 401


async def test_an_upload_that_the_disk_has_no_room_for_is_said_to_be_that(team: LocalProxy, visitor: Visitor) -> None:
    with disk_that_takes(100):
        status, said = await upload(team, ALPHA.path, ALPHA.data)
    assert (status, "the disk had room for 100 bytes" in said) == (507, True), said
    assert (await upload(team, ALPHA.path, ALPHA.data))[0] == 201
    assert (await visitor.get(ALPHA.path)).body == ALPHA.data


async def test_a_package_that_could_not_be_listed_is_listed_when_it_is_sent_again(
    team: LocalProxy, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_self: Workshop, _job: Job) -> Made:
        raise StorageFull("the disk had no room")

    await upload(team, ALPHA.path, ALPHA.data)
    beta = make_conda("beta")
    with monkeypatch.context() as patched:
        patched.setattr(Workshop, "do", full)
        assert (await upload(team, beta.path, beta.data))[0] == 507
    assert list((await visitor.index()).shards) == ["alpha"]
    assert (await upload(team, beta.path, beta.data))[0] == 200
    assert list((await visitor.index()).shards) == ["alpha", "beta"]


async def test_uploading_takes_a_token_with_that_scope(team: LocalProxy, visitor: Visitor) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert (await send("PUT", f"{visitor.url}/{ALPHA.path}", ALPHA.data, headers))[0] == 401
        assert (await send("DELETE", f"{visitor.url}/{ALPHA.path}", b"", headers))[0] == 401
    assert (await visitor.index()).shards == {}


async def test_a_digest_that_the_client_states_must_hold(team: LocalProxy) -> None:
    headers = {**BEARER, "X-File-Name": ALPHA.filename, "X-File-SHA256": "0" * 64}
    status, said = await send("POST", f"{team.url}/api/v1/upload/team", ALPHA.data, headers)
    assert (status, "arrived with SHA-256" in said) == (400, True)


async def test_a_channel_that_is_mirrored_takes_no_upload(team: LocalProxy) -> None:
    status, said = await send("PUT", f"{team.channel('conda-forge')}/{ALPHA.path}", ALPHA.data)
    assert (status, "no hosted channel" in said) == (400, True)


async def test_a_restart_keeps_everything(tmp_path: Path) -> None:
    async with running_team(tmp_path) as proxy:
        await upload(proxy, ALPHA.path, ALPHA.data)
        async with visiting(proxy.channel("team")) as visitor:
            before = await visitor.get(f"noarch/{SHARD_INDEX}")
    async with (
        running_team(tmp_path) as proxy,
        visiting(proxy.channel("team")) as visitor,
    ):
        after = await visitor.get(f"noarch/{SHARD_INDEX}")
        assert (after.body, list(unpacked(after.body)["shards"])) == (before.body, ["alpha"])
        assert (await visitor.get(ALPHA.path)).body == ALPHA.data
        assert {pin.sha256 for pin in await proxy.parts.catalog.pins()} == {ALPHA.sha256}


async def test_repodata_that_was_evicted_is_made_again(team: LocalProxy, visitor: Visitor) -> None:
    await upload(team, ALPHA.path, ALPHA.data)
    shards = (await visitor.index()).shards
    store = team.parts.store
    for blob in await asyncio.to_thread(lambda: list(store.walk())):
        if blob.sha256 != ALPHA.sha256:
            await asyncio.to_thread(store.delete, blob.sha256)
    assert (await visitor.index()).shards == shards
    assert await visitor.shard("alpha")
