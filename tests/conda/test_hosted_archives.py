"""What an uploaded package must be: an archive that is what its name says, with a record that clients can read."""

from __future__ import annotations

import asyncio
import json
import zipfile
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from fixtures.conda_packages import make_conda
from fixtures.disk import partials
from fixtures.team import upload

if TYPE_CHECKING:
    from fixtures.proxy import LocalProxy
    from fixtures.visitor import Visitor

ALPHA = make_conda("alpha")


def _zip(member: str) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(member, b"")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("noarch/alpha-1.0-0.conda", b"not a zip", "not a package"),
        ("noarch/alpha-1.0-0.conda", ALPHA.data[:-30], "not a package"),
        ("noarch/alpha-1.0-0.tar.bz2", ALPHA.data, "not a package"),
        ("noarch/alpha-1.0-0.conda", _zip("other"), "has no info-alpha-1.0-0.tar.zst"),
        ("noarch/alpha-2.0-0.conda", ALPHA.data, "has no info-alpha-2.0-0.tar.zst"),
        ("linux-64/alpha-1.0-0.conda", ALPHA.data, "is for noarch, not for linux-64"),
        ("noarch/alpha.conda", ALPHA.data, "is not the name of a package"),
        ("elsewhere/alpha-1.0-0.conda", ALPHA.data, "is not a subdir"),
        ("noarch/alpha-1.0-0.conda", make_conda("alpha", extra={"version": "1.1"}).data, "its version is '1.1'"),
        ("noarch/alpha-1.0-0.tar.bz2", make_conda("alpha", form=".tar.bz2").data[:-40], "not a package"),
        ("noarch/alpha-1..0-0.conda", make_conda("alpha", "1..0").data, "a version that is none"),
    ],
)
async def test_a_package_that_is_not_what_its_name_says_is_refused(
    team: LocalProxy, visitor: Visitor, path: str, body: bytes, says: str
) -> None:
    status, said = await upload(team, path, body)
    assert (status, says in json.loads(said)["detail"]) == (400, True), said
    assert (await visitor.index()).shards == {}
    assert not await asyncio.to_thread(lambda: list((team.parts.store.root / "partial").iterdir()))


def _nested(levels: int) -> object:
    value: object = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"x": 2**70}, "cannot be packed"),
        ({"x": "long" * 250_000}, "more than 1000000 bytes"),
        ({"x": _nested(50)}, "nested more than 50 levels"),
        ({"depends": 3}, "Expected `array`, got `int` - at `$.depends`"),
        ({"depends": None}, "`$.depends`"),
        ({"constrains": [1]}, "`$.constrains"),
        ({"timestamp": "soon"}, "`$.timestamp`"),
        ({"timestamp": 2**62}, "`$.timestamp`"),
        ({"build_number": "a"}, "`$.build_number`"),
        ({"build_number": None}, "`$.build_number`"),
        ({"noarch": "weird"}, "`$.noarch`"),
        ({"license": ["MIT"]}, "`$.license`"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_a_record_that_clients_cannot_read_is_refused_and_spoils_nothing(
    team: LocalProxy, visitor: Visitor, extra: dict[str, object], says: str
) -> None:
    odd, beta = make_conda("odd", extra=extra), make_conda("beta", extra={"x": _nested(49)})
    status, said = await upload(team, odd.path, odd.data)
    assert (status, says in json.loads(said)["detail"]) == (400, True), said
    assert (await visitor.get(odd.path)).status == 404
    assert (await upload(team, beta.path, beta.data))[0] == 201
    assert list((await visitor.index(cache_control="no-cache")).shards) == ["beta"]
    assert await asyncio.to_thread(partials, team.parts.store.root) == []
