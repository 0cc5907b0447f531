"""Conda and PyPI in one environment: what conda provides is taken as given, and nothing is there twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from envagent.errors import AccessRefused, SourceUnreachable, Unresolvable, UsageError
from envagent.lock.canonical import canonical_bytes
from envagent.lock.model import Interpreter, Lock
from envagent.resolve.provided import distributions
from fixtures.conda_packages import File, make_conda
from fixtures.faults import Status
from fixtures.locking import lock, releases
from fixtures.proxy import running_proxy
from fixtures.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from fixtures.channel import FakeChannel
    from fixtures.conda_packages import Package
    from fixtures.proxy import LocalProxy
    from fixtures.upstream import FakeIndex

DEMO = ("demo",)
PYTHON = make_conda("python", "3.11.2", subdir="linux-64")


def provides(
    conda_name: str, version: str, *dists: str, depends: tuple[str, ...] = (), form: str = ".conda"
) -> Package:
    """A conda package with the given dist-info directories."""
    files = {f"site-packages/{dist}.dist-info/METADATA": File(b"Name: whatever\n") for dist in dists}
    needs = ["python >=3.11", *depends]
    return make_conda(conda_name, version, noarch="python", depends=needs, files=files, form=form)


@pytest.mark.parametrize("form", [".conda", ".tar.bz2"])
async def test_what_conda_provides_is_given_under_the_name_and_version_of_its_dist_info(
    data: Path, index: FakeIndex, channel: FakeChannel, proxy: LocalProxy, form: str
) -> None:
    channel.add(PYTHON, provides("py-torch-conda", "2.5.0.post1", "Torch_Real-2.5.0", form=form))
    index.add(make_wheel("torch-real", "2.6"), make_wheel("lightning", "1.0", requires=["torch-real>=2", "extra"]))
    index.add(make_wheel("extra", "1.0"))
    environment = await lock(data, proxy.url, conda=("py-torch-conda",), channels=DEMO, pypi=("lightning",))
    [target] = environment.targets
    assert [package.name for package in target.conda] == ["py-torch-conda", "python"]
    assert {package.name: package.version for package in target.python} == {"extra": "1.0", "lightning": "1.0"}
    assert target.interpreter == Interpreter("conda", name="python")


async def test_a_project_that_conda_provides_is_not_installed_again_even_when_asked_for(
    data: Path, index: FakeIndex, channel: FakeChannel, proxy: LocalProxy
) -> None:
    channel.add(PYTHON, provides("numpy", "1.26.4", "numpy-1.26.4"))
    index.add(make_wheel("numpy", "1.26.4"), make_wheel("alpha", "1.0"))
    environment = await lock(data, proxy.url, conda=("numpy",), channels=DEMO, pypi=("numpy>=1.20", "alpha"))
    assert [package.name for package in environment.targets[0].python] == ["alpha"]


async def test_a_project_that_only_conda_has_need_not_be_on_the_index(
    data: Path, index: FakeIndex, channel: FakeChannel, proxy: LocalProxy
) -> None:
    channel.add(PYTHON, provides("conda-own", "3.0", "conda_own-3.0"))
    index.add(make_wheel("alpha", "1.0", requires=["conda-own"]))
    environment = await lock(data, proxy.url, conda=("conda-own",), channels=DEMO, pypi=("alpha",))
    assert releases(environment.targets[0]) == {"alpha": "1.0", "conda-own": "3.0", "python": "3.11.2"}


async def test_an_older_wheel_is_taken_where_the_newest_does_not_go_with_conda(
    data: Path, index: FakeIndex, channel: FakeChannel, proxy: LocalProxy
) -> None:
    channel.add(PYTHON, provides("numpy", "1.26.4", "numpy-1.26.4"))
    index.add(make_wheel("alpha", "1.0", requires=["numpy"]), make_wheel("alpha", "2.0", requires=["numpy>=2"]))
    environment = await lock(data, proxy.url, conda=("numpy",), channels=DEMO, pypi=("alpha",))
    assert releases(environment.targets[0])["alpha"] == "1.0"


async def test_a_conflict_names_the_chain_on_either_side(
    data: Path, index: FakeIndex, channel: FakeChannel, proxy: LocalProxy
) -> None:
    channel.add(PYTHON, provides("numpy", "1.26.4", "numpy-1.26.4"))
    channel.add(provides("pandas", "2.1", "pandas-2.1", depends=("numpy <2",)))
    channel.add(make_conda("tables", "3.0", depends=["pandas"]))
    index.add(
        make_wheel("modern", "1.0", requires=["needs-two"]), make_wheel("needs-two", "5", requires=["numpy>=2"])
    )
    with pytest.raises(Unresolvable) as refused:
        await lock(data, proxy.url, conda=("tables >=3",), channels=DEMO, pypi=("modern",))
    uvs, condas = refused.value.message.split("and from conda there is already:\n")
    assert "numpy>=2" in uvs
    assert "you require modern" in uvs
    assert condas == "  numpy 1.26.4: tables >=3 (asked for) -> tables 3.0 -> pandas 2.1 -> numpy 1.26.4"
    assert refused.value.hint.startswith("ask conda for another version")


async def test_python_of_pypi_packages_is_condas_in_the_version_asked_for(
    data: Path, index: FakeIndex, channel: FakeChannel, proxy: LocalProxy
) -> None:
    channel.add(PYTHON, make_conda("python", "3.12.5", subdir="linux-64"), make_conda("ffmpeg"))
    index.add(make_wheel("alpha", "1.0", requires=["old; python_full_version < '3.11.3'"]), make_wheel("old", "1"))
    environment = await lock(data, proxy.url, conda=("ffmpeg",), channels=DEMO, pypi=("alpha",), python="3.11")
    [target] = environment.targets
    assert target.python_version == "3.11.2"
    assert releases(target)["old"] == "1"


async def test_a_package_is_looked_into_once(
    data: Path, index: FakeIndex, channel: FakeChannel, proxy: LocalProxy
) -> None:
    package = provides("numpy", "1.26.4", "numpy-1.26.4")
    channel.add(PYTHON, package)
    index.add(make_wheel("alpha", "1.0", requires=["numpy"]))
    first = await lock(data, proxy.url, conda=("numpy",), channels=DEMO, pypi=("alpha",))
    await proxy.settled()
    channel.vanish(package)
    assert await lock(data, proxy.url, conda=("numpy",), channels=DEMO, pypi=("alpha",), earlier=first) == first


async def test_a_package_that_cannot_be_looked_into_is_named(
    data: Path, index: FakeIndex, channel: FakeChannel, proxy: LocalProxy
) -> None:
    channel.add(PYTHON, provides("numpy", "1.26.4", "numpy-1.26.4"))
    channel.fail("*/numpy-1.26.4-0.conda", Status(404))
    index.add(make_wheel("alpha", "1.0"))
    with pytest.raises(SourceUnreachable, match=r"numpy-1\.26\.4-0\.conda cannot be read"):
        await lock(data, proxy.url, conda=("numpy",), channels=DEMO, pypi=("alpha",))


def test_distributions_are_told_by_dist_info_and_egg_info_of_site_packages_alone() -> None:
    paths = [
        "site-packages/PyYAML-6.0.2.dist-info/METADATA",
        "lib/python3.11/site-packages/ruamel.yaml-0.18.dist-info/RECORD",
        "Lib/site-packages/pywin32-306-py3.11.egg-info",
        "lib/python3.8/site-packages/docopt-0.6.2-py3.8.egg-info/PKG-INFO",
        "site-packages/setuptools/_vendor/wheel-0.45.1.dist-info/METADATA",
        "share/doc/other-1.0.dist-info/METADATA",
        "site-packages/strange-not_a_version.dist-info/METADATA",
    ]
    assert distributions(paths) == {"pyyaml": "6.0.2", "ruamel-yaml": "0.18", "pywin32": "306", "docopt": "0.6.2"}


async def test_a_proxy_that_wants_a_token_is_shown_it_by_both_solvers_and_no_lock_has_it(
    tmp_path: Path, data: Path, index: FakeIndex, channel: FakeChannel
) -> None:
    channel.add(PYTHON, provides("numpy", "1.26.4", "numpy-1.26.4"))
    index.add(make_wheel("alpha", "1.0", requires=["numpy"]))
    toml = '[auth]\nread = "token"\n[auth.tokens.ci]\nsecret = "env:SECRET"\n'
    environ = {"SECRET": "hunter2"}
    async with running_proxy(
        tmp_path, upstream=index, toml=toml, settings=channel.settings, environ=environ
    ) as proxy:
        environment = await lock(
            data, proxy.url, "linux-64", token="hunter2", conda=("numpy",), channels=DEMO, pypi=("alpha",)
        )
        with pytest.raises(AccessRefused):
            await lock(data, proxy.url, token="wrong", pypi=("alpha",))
    assert releases(environment.targets[0]) == {"alpha": "1.0", "numpy": "1.26.4", "python": "3.11.2"}
    assert b"hunter2" not in canonical_bytes(Lock({"default": environment}))


async def test_extras_of_what_conda_provides_bring_what_they_need(
    data: Path, index: FakeIndex, channel: FakeChannel, proxy: LocalProxy
) -> None:
    said = (
        b"Metadata-Version: 2.1\nName: dask\nVersion: 2024.1\nProvides-Extra: all\nProvides-Extra: plots\n"
        b"Requires-Dist: click\nRequires-Dist: dask[plots]; extra == 'all'\nRequires-Dist: bokeh; extra == 'plots'\n"
    )
    files = {"site-packages/dask-2024.1.dist-info/METADATA": File(said)}
    channel.add(PYTHON, make_conda("dask-core", "2024.1", noarch="python", depends=["python"], files=files))
    index.add(
        make_wheel("alpha", "1.0", requires=["dask[all]"]), make_wheel("bokeh", "3.0"), make_wheel("click", "8")
    )
    environment = await lock(data, proxy.url, conda=("dask-core",), channels=DEMO, pypi=("alpha",))
    assert [package.name for package in environment.targets[0].python] == ["alpha", "bokeh"]


@pytest.mark.parametrize(
    "places",
    [
        {"indexes": ("https://robot:hunter2@pkgs.example.org/simple/",)},
        {"channels": ("https://conda.example.org/t/hunter2/lab",), "conda": ("numpy",)},
    ],
    ids=["index", "channel"],
)
async def test_a_place_with_a_password_is_refused_before_anything_is_asked_and_not_repeated(
    data: Path, proxy: LocalProxy, places: dict[str, tuple[str, ...]]
) -> None:
    with pytest.raises(UsageError, match="carries credentials") as refused:
        await lock(data, proxy.url, pypi=("alpha",), **places)
    assert "hunter2" not in refused.value.message + refused.value.hint
    assert "let a proxy log in there" in refused.value.hint


async def test_a_python_that_is_too_old_is_explained_by_what_asks_for_it(
    data: Path, index: FakeIndex, channel: FakeChannel, proxy: LocalProxy
) -> None:
    channel.add(PYTHON, make_conda("tool", depends=["python 3.11.*"]))
    index.add(make_wheel("alpha", "1.0", requires_python=">=3.12"))
    with pytest.raises(Unresolvable) as refused:
        await lock(data, proxy.url, conda=("tool",), channels=DEMO, pypi=("alpha",), python="")
    assert "Python>=3.12" in refused.value.message
    assert refused.value.message.endswith("\n  python 3.11.2: python (asked for) -> python 3.11.2")
