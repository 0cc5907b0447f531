"""Locks of Python packages, by the real uv through the real proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from envagent.errors import LockRefused, SourceUnreachable, Unresolvable, UsageError
from envagent.lock.canonical import canonical_bytes
from envagent.lock.model import Interpreter, Lock
from envagent.resolve.asked import Upgrade
from fixtures.locking import lock, releases
from fixtures.proxy import running_proxy
from fixtures.upstream import FakeIndex, Status, Style
from fixtures.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.proxy import LocalProxy


async def test_a_wheel_stands_in_the_lock_with_upstreams_url_and_all_that_is_known_of_it(
    data: Path, index: FakeIndex, proxy: LocalProxy
) -> None:
    wheel = make_wheel("alpha", "1.0", requires=["beta>=1"], requires_python=">=3.9")
    index.add(wheel, make_wheel("beta", "2.0"))
    environment = await lock(data, proxy.url, pypi=("alpha>=1",))
    [target] = environment.targets
    alpha, beta = target.python
    assert alpha.url == index.file_url(wheel.filename)
    assert (alpha.sha256, alpha.size) == (wheel.sha256, len(wheel.data))
    assert (alpha.index, alpha.filename) == ("main", wheel.filename)
    assert (alpha.depends, alpha.requires_python) == (("beta>=1",), ">=3.9")
    assert (alpha.requested_by, beta.requested_by) == (("alpha>=1",), ())
    assert target.interpreter == Interpreter("system", version="3.11")
    assert proxy.url not in canonical_bytes(Lock({"default": environment})).decode()


async def test_markers_hold_for_the_target_and_not_for_this_machine(
    data: Path, index: FakeIndex, proxy: LocalProxy
) -> None:
    needs = ["on-win; sys_platform == 'win32'", "on-mac; sys_platform == 'darwin'", "old; python_version < '3.10'"]
    index.add(make_wheel("alpha", "1.0", requires=[*needs, "on-arm; platform_machine in 'arm64 aarch64'"]))
    index.add(*(make_wheel(name, "1.0") for name in ("on-win", "on-mac", "on-arm", "old")))
    platforms = ("linux-64", "linux-aarch64", "osx-arm64", "win-64")
    environment = await lock(data, proxy.url, *platforms, pypi=("alpha",))
    assert {target.name: sorted(releases(target)) for target in environment.targets} == {
        "linux-64": ["alpha"],
        "linux-aarch64": ["alpha", "on-arm"],
        "osx-arm64": ["alpha", "on-arm", "on-mac"],
        "win-64": ["alpha", "on-win"],
    }


async def test_each_target_gets_the_wheel_that_fits_it_best(data: Path, index: FakeIndex, proxy: LocalProxy) -> None:
    tags = (
        "manylinux_2_17_x86_64",
        "manylinux_2_28_x86_64",
        "manylinux_2_39_x86_64",
        "win_amd64",
        "macosx_11_0_arm64",
    )
    index.add(*(make_wheel("alpha", "1.0", tag=f"cp311-cp311-{tag}") for tag in tags))
    platforms = (
        "linux-64",
        "linux-64+glibc=2.30",
        "linux-64+glibc=2.17",
        "linux-64+glibc=2.40",
        "win-64",
        "osx-arm64",
    )
    environment = await lock(data, proxy.url, *platforms, pypi=("alpha",))
    assert {
        target.name: target.python[0].filename[len("alpha-1.0-cp311-cp311-") :] for target in environment.targets
    } == {
        "linux-64": "manylinux_2_28_x86_64.whl",
        "linux-64-glibc2.30": "manylinux_2_28_x86_64.whl",
        "linux-64-glibc2.17": "manylinux_2_17_x86_64.whl",
        "linux-64-glibc2.40": "manylinux_2_39_x86_64.whl",
        "win-64": "win_amd64.whl",
        "osx-arm64": "macosx_11_0_arm64.whl",
    }


async def test_extras_bring_what_they_need_and_others_are_not_spoken_of(
    data: Path, index: FakeIndex, proxy: LocalProxy
) -> None:
    index.add(make_wheel("alpha", "1.0", requires=["gamma; extra == 'fast'", "delta; extra == 'slow'"]))
    index.add(make_wheel("gamma", "1.0"), make_wheel("delta", "1.0"))
    environment = await lock(data, proxy.url, pypi=("alpha[fast]",))
    alpha, gamma = environment.targets[0].python
    assert gamma.name == "gamma"
    assert alpha.depends == ('gamma; extra == "fast"',)


async def test_a_name_that_the_private_index_has_comes_from_nowhere_else(tmp_path: Path, data: Path) -> None:
    async with FakeIndex() as public, FakeIndex() as corp:
        public.add(make_wheel("secret", "9.0"), make_wheel("alpha", "1.0"))
        corp.add(make_wheel("secret", "1.0", requires=["alpha"]))
        corp.require_basic("robot", "hunter2")
        settings = {
            "pypi.upstreams.corp.url": corp.url,
            "pypi.upstreams.corp.username": "robot",
            "pypi.upstreams.corp.password": "env:PASSWORD",
            "pypi.indexes.main.sources": "corp, pypi",
        }
        environ = {"PASSWORD": "hunter2"}
        async with running_proxy(tmp_path, upstream=public, settings=settings, environ=environ) as proxy:
            environment = await lock(data, proxy.url, pypi=("secret",))
        alpha, secret = environment.targets[0].python
        assert secret.url == corp.file_url("secret-1.0-py3-none-any.whl")
        assert alpha.url == public.file_url("alpha-1.0-py3-none-any.whl")
        assert b"hunter2" not in canonical_bytes(Lock({"default": environment}))


async def test_several_indexes_are_asked_in_their_order(tmp_path: Path, data: Path) -> None:
    async with FakeIndex() as public, FakeIndex() as corp:
        public.add(make_wheel("secret", "9.0"), make_wheel("alpha", "1.0"))
        corp.add(make_wheel("secret", "1.0"))
        settings = {"pypi.upstreams.corp.url": corp.url, "pypi.indexes.work.sources": "corp"}
        async with running_proxy(tmp_path, upstream=public, settings=settings) as proxy:
            environment = await lock(data, proxy.url, pypi=("secret", "alpha"), indexes=("work", "main"))
    assert [(p.name, p.version, p.index) for p in environment.targets[0].python] == [
        ("alpha", "1.0", "main"),
        ("secret", "1.0", "work"),
    ]


async def test_without_a_proxy_indexes_are_urls_and_name_their_files(data: Path, index: FakeIndex) -> None:
    index.add(make_wheel("alpha", "1.0"), make_wheel("beta", "1.0", requires=["alpha"]))
    async with FakeIndex() as second:
        second.add(make_wheel("gamma", "1.0", requires=["beta"]), make_wheel("alpha", "5.0"))
        environment = await lock(data, "", pypi=("gamma",), indexes=(index.url, second.url))
        assert [(p.name, p.version, p.index) for p in environment.targets[0].python] == [
            ("alpha", "1.0", index.url),
            ("beta", "1.0", index.url),
            ("gamma", "1.0", second.url),
        ]


async def test_metadata_are_read_out_of_the_wheel_where_the_index_has_none_beside(
    data: Path, index: FakeIndex
) -> None:
    index.style = Style(sidecars="none")
    index.add(make_wheel("alpha", "1.0", requires=["beta"]), make_wheel("beta", "1.0"))
    environment = await lock(data, "", pypi=("alpha",), indexes=(index.url,))
    assert environment.targets[0].python[0].depends == ("beta",)


async def test_a_host_that_forbids_what_it_does_not_have_is_no_obstacle(data: Path, index: FakeIndex) -> None:
    index.style = Style(sidecars="none")
    index.fail("*.metadata", Status(403))
    index.add(make_wheel("alpha", "1.0", requires=["beta"]), make_wheel("beta", "1.0"))
    environment = await lock(data, "", pypi=("alpha",), indexes=(index.url,))
    assert environment.targets[0].python[0].depends == ("beta",)


async def test_a_wheel_that_is_named_by_its_url_is_of_no_index(
    data: Path, index: FakeIndex, proxy: LocalProxy
) -> None:
    wheel = make_wheel("alpha", "1.0", requires=["beta"])
    index.add(wheel, make_wheel("beta", "1.0"))
    async with FakeIndex() as elsewhere:
        elsewhere.add(wheel)
        url = elsewhere.file_url(wheel.filename)
        environment = await lock(data, proxy.url, pypi=(f"alpha @ {url}",))
    alpha, beta = environment.targets[0].python
    assert (alpha.url, alpha.index, alpha.size, alpha.sha256) == (url, "", len(wheel.data), wheel.sha256)
    assert beta.index == "main"


async def test_releases_after_the_date_do_not_exist(data: Path, index: FakeIndex, proxy: LocalProxy) -> None:
    index.add(make_wheel("alpha", "1.0", upload_time="2024-03-01T12:00:00Z"))
    index.add(make_wheel("alpha", "2.0", upload_time="2024-03-02T00:00:00Z"))
    environment = await lock(data, proxy.url, pypi=("alpha",), options={"exclude-newer": "2024-03-01"})
    assert releases(environment.targets[0]) == {"alpha": "1.0"}


async def test_constraints_hold_back_what_nothing_else_does(data: Path, index: FakeIndex, proxy: LocalProxy) -> None:
    index.add(make_wheel("alpha", "1.0"), make_wheel("alpha", "2.0"))
    environment = await lock(data, proxy.url, pypi=("alpha",), options={"constraints": '["alpha<2", "unused==1"]'})
    assert releases(environment.targets[0]) == {"alpha": "1.0"}


@pytest.mark.parametrize(
    ("upgrade", "found"),
    [
        (Upgrade(), {"alpha": "1.0", "beta": "1.0", "gamma": "1.0"}),
        (Upgrade(names=frozenset({"beta"})), {"alpha": "1.0", "beta": "2.0", "gamma": "1.0"}),
        (Upgrade(everything=True), {"alpha": "2.0", "beta": "2.0", "gamma": "1.0"}),
    ],
    ids=["nothing", "one", "everything"],
)
async def test_what_an_earlier_lock_found_stays_unless_it_may_be_upgraded(
    data: Path, index: FakeIndex, proxy: LocalProxy, upgrade: Upgrade, found: dict[str, str]
) -> None:
    index.add(*(make_wheel(name, "1.0") for name in ("alpha", "beta", "gamma")))
    earlier = await lock(data, proxy.url, pypi=("alpha", "beta"))
    async with FakeIndex() as later:
        later.add(*(make_wheel(name, version) for name in ("alpha", "beta") for version in ("1.0", "2.0")))
        later.add(make_wheel("gamma", "1.0"))
        environment = await lock(
            data, "", pypi=("alpha", "beta", "gamma"), indexes=(later.url,), earlier=earlier, upgrade=upgrade
        )
    assert releases(environment.targets[0]) == found


async def test_the_same_request_gives_the_same_bytes(tmp_path: Path, index: FakeIndex, proxy: LocalProxy) -> None:
    index.add(
        make_wheel("alpha", "1.0", requires=["beta", "gamma"]), make_wheel("beta", "1.0"), make_wheel("gamma", "1")
    )
    locks = [
        await lock(tmp_path / data, proxy.url, *platforms, pypi=pypi)
        for data, platforms, pypi in [
            ("one", ("linux-64", "win-64"), ("alpha", "gamma")),
            ("two", ("win-64", "linux-64"), ("gamma", "alpha")),
        ]
    ]
    assert len({canonical_bytes(Lock({"default": environment})) for environment in locks}) == 1


async def test_a_request_that_nothing_meets_is_explained_in_uvs_words(
    data: Path, index: FakeIndex, proxy: LocalProxy
) -> None:
    index.add(make_wheel("alpha", "1.0", requires=["beta>=2"]), make_wheel("beta", "1.0"))
    with pytest.raises(Unresolvable) as refused:
        await lock(data, proxy.url, pypi=("alpha",))
    assert refused.value.message.startswith(
        "the Python packages cannot be resolved for linux-64:\n  No solution found"
    )
    assert "depend" in refused.value.message
    assert "beta>=2" in refused.value.message
    assert refused.value.exit_code == 2


async def test_an_index_that_fails_is_no_request_that_nothing_meets(
    data: Path, index: FakeIndex, proxy: LocalProxy
) -> None:
    index.fail("/simple/alpha/", Status(500))
    with pytest.raises(SourceUnreachable) as refused:
        await lock(data, proxy.url, pypi=("alpha",))
    assert "alpha" in refused.value.message
    assert refused.value.exit_code == 1


async def test_a_proxy_that_does_not_answer_is_named(data: Path) -> None:
    with pytest.raises(SourceUnreachable, match=r"127\.0\.0\.1 cannot be reached"):
        await lock(data, "http://127.0.0.1:1", pypi=("alpha",))


async def test_an_index_that_the_proxy_does_not_have_is_refused_by_name(data: Path, proxy: LocalProxy) -> None:
    with pytest.raises(UsageError, match="the proxy has no index 'work'") as refused:
        await lock(data, proxy.url, pypi=("alpha",), indexes=("work",))
    assert refused.value.hint == "it has: main"


async def test_a_name_of_an_index_needs_a_proxy(data: Path) -> None:
    with pytest.raises(UsageError, match="the index 'work' is a name, and names are a proxy's"):
        await lock(data, "", pypi=("alpha",), indexes=("work",))


async def test_a_platform_that_uv_does_not_know_is_refused(data: Path, proxy: LocalProxy) -> None:
    with pytest.raises(UsageError, match="uv resolves no Python packages for linux-s390x"):
        await lock(data, proxy.url, "linux-s390x", pypi=("alpha",))


async def test_a_directory_has_no_digest_and_is_refused(tmp_path: Path, data: Path, proxy: LocalProxy) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text('[project]\nname = "alpha"\nversion = "1.0"\n')
    with pytest.raises(LockRefused, match="is a directory or a checkout"):
        await lock(data, proxy.url, pypi=(f"alpha @ {project.as_uri()}",))


async def test_only_wheels_are_taken_where_nothing_may_be_built(
    data: Path, index: FakeIndex, proxy: LocalProxy
) -> None:
    index.add(make_wheel("alpha", "1.0"), make_sdist("alpha", "2.0"))
    environment = await lock(data, proxy.url, pypi=("alpha",), options={"only-binary": "yes"})
    assert releases(environment.targets[0]) == {"alpha": "1.0"}


async def test_the_python_of_an_earlier_lock_stays_until_another_is_asked_for(
    data: Path, index: FakeIndex, proxy: LocalProxy
) -> None:
    index.add(make_wheel("alpha", "1.0"))
    earlier = await lock(data, proxy.url, pypi=("alpha",), python="3.10")
    same = await lock(data, proxy.url, pypi=("alpha",), python="", earlier=earlier)
    other = await lock(data, proxy.url, pypi=("alpha",), python="3.12", earlier=earlier)
    versions = [environment.targets[0].python_version for environment in (earlier, same, other)]
    assert versions == ["3.10", "3.10", "3.12"]


@pytest.mark.parametrize(
    "style",
    [Style(sizes="none"), Style(hashes="none"), Style(formats=("html",))],
    ids=["no-sizes", "no-digests", "only-html"],
)
async def test_sizes_and_digests_that_an_index_does_not_tell_are_found_out(
    data: Path, index: FakeIndex, style: Style
) -> None:
    wheel = make_wheel("alpha", "1.0")
    index.style = style
    index.add(wheel)
    environment = await lock(data, "", pypi=("alpha",), indexes=(index.url,))
    [alpha] = environment.targets[0].python
    assert (alpha.sha256, alpha.size) == (wheel.sha256, len(wheel.data))


async def test_a_file_of_which_only_an_md5_is_told_is_refused(
    data: Path, index: FakeIndex, proxy: LocalProxy
) -> None:
    index.style = Style(hashes="md5")
    index.add(make_wheel("alpha", "1.0"))
    with pytest.raises(LockRefused, match=r"alpha-1\.0-py3-none-any\.whl: has no sha256"):
        await lock(data, proxy.url, pypi=("alpha",))
