"""Which URLs an artifact of a lock may be had from, and in which order."""

from __future__ import annotations

import pytest

from envagent.fetch.sources import Origins, Place, Sources
from envagent.lock.model import CondaPackage, InterpreterArchive, PythonPackage

PROXY = "http://proxy.example.org:8417"
ORIGINS = Origins(
    indexes={
        "main": ("https://index.example.org/simple/",),
        "corp": ("https://pkgs.example.org/simple/", "https://index.example.org/simple/"),
    },
    channels={
        "conda-forge": ("https://conda.example.org/conda-forge/", "https://mirror.example.org/cf/"),
        "own": (),
    },
    files={"pythons": ("https://releases.example.org/download/",)},
)
SOURCES = Sources(PROXY, fallback=True, origins=ORIGINS)
DIGEST = "ab" * 32
FILE = "https://files.example.org/packages/aa/bb/torch-2.1.0+cpu-py3-none-any.whl"


def wheel(index: str, url: str = FILE, built_from: str = "") -> PythonPackage:
    return PythonPackage(
        kind="wheel", name="torch", version="2.1.0+cpu", url=url, size=9, sha256=DIGEST, index=index,
        filename="torch-2.1.0+cpu-py3-none-any.whl", built_from=built_from,
    )  # fmt: skip


def conda(channel: str, url: str) -> CondaPackage:
    return CondaPackage(
        name="zlib", version="1.3", url=url, size=9, sha256=DIGEST, build="h0", channel=channel, subdir="linux-64"
    )


def through(*paths: str) -> list[Place]:
    return [Place(PROXY + path, is_proxy=True) for path in paths]


def on_index(*names: str) -> list[Place]:
    file = f"files/torch/{DIGEST}/torch-2.1.0%2Bcpu-py3-none-any.whl"
    return through(*(f"/pypi/{name}/{file}" for name in names))


@pytest.mark.parametrize(
    ("index", "names"),
    [
        ("corp", ["corp"]),
        ("https://pkgs.example.org/simple", ["corp"]),
        ("https://index.example.org/simple/", ["main", "corp"]),
        ("", ["main", "corp"]),
        ("elsewhere", []),
        ("https://private.example.org/simple/", []),
    ],
    ids=["name", "url without slash", "url of two", "no index", "unknown name", "unknown url"],
)
def test_a_wheel_is_asked_of_the_proxys_index_of_that_name_or_url_and_then_upstream(
    index: str, names: list[str]
) -> None:
    assert SOURCES.places(wheel(index)) == (*on_index(*names), Place(FILE, is_proxy=False))


def test_upstream_is_left_out_where_that_is_forbidden() -> None:
    assert Sources(PROXY, fallback=False, origins=ORIGINS).places(wheel("main")) == tuple(on_index("main"))


@pytest.mark.parametrize("fallback", [True, False])
def test_without_a_proxy_there_is_upstream_alone(fallback: bool) -> None:
    assert Sources("", fallback=fallback).places(wheel("main")) == (Place(FILE, is_proxy=False),)


def test_a_proxy_that_was_not_asked_knows_no_names() -> None:
    assert Sources(PROXY).places(wheel("main")) == (Place(FILE, is_proxy=False),)


def test_a_url_of_the_proxy_itself_is_no_way_around_it() -> None:
    hosted = f"{PROXY}/pypi/team/files/torch/{DIGEST}/torch.whl"
    places = Sources(PROXY, fallback=False, origins=ORIGINS).places(wheel("team", hosted))
    assert places == (Place(hosted, is_proxy=True),)


def test_a_built_wheel_is_nowhere_but_on_the_index_it_was_published_to() -> None:
    source = f"https://files.example.org/torch-2.1.0.tar.gz#sha256={DIGEST}"
    assert SOURCES.places(wheel("corp", "", source)) == tuple(on_index("corp"))
    assert SOURCES.places(wheel("elsewhere", "", source)) == ()


@pytest.mark.parametrize(
    ("channel", "url", "path"),
    [
        ("conda-forge", "https://conda.example.org/conda-forge/linux-64/zlib-1.3-h0.conda", "conda-forge"),
        ("https://mirror.example.org/cf", "https://mirror.example.org/cf/linux-64/zlib-1.3-h0.conda", "conda-forge"),
        ("conda-forge", "https://other.example.org/cdn/linux-64/zlib-1.3-h0.conda", "conda-forge"),
        ("own", "http://gone.example.org/conda/own/linux-64/zlib-1.3-h0.conda", "own"),
        (
            "conda-forge/label/rc",
            "https://conda.example.org/conda-forge/label/rc/linux-64/zlib-1.3-h0.conda",
            "conda-forge/label/rc",
        ),
        ("own/label/rc", "http://gone.example.org/own/label/rc/linux-64/zlib-1.3-h0.conda", "own/label/rc"),
    ],
    ids=["name and url", "mirror", "name alone", "hosted", "label by url", "label by name"],
)
def test_a_conda_package_is_asked_of_the_proxys_channel(channel: str, url: str, path: str) -> None:
    expected = (*through(f"/conda/{path}/linux-64/zlib-1.3-h0.conda"), Place(url, is_proxy=False))
    assert SOURCES.places(conda(channel, url)) == expected


def test_a_channel_whose_name_only_begins_alike_is_another_one() -> None:
    url = "https://conda.example.org/conda-forge-evil/linux-64/zlib-1.3-h0.conda"
    assert SOURCES.places(conda("conda-forge-evil", url)) == (Place(url, is_proxy=False),)


def test_an_interpreter_is_asked_of_the_files_upstream_that_its_url_is_below() -> None:
    url = "https://releases.example.org/download/20240107/cpython-3.12.tar.gz"
    archive = InterpreterArchive(
        name="cpython", version="3.12.1", url=url, size=9, sha256=DIGEST, filename="cpython-3.12.tar.gz"
    )
    expected = (*through("/files/pythons/20240107/cpython-3.12.tar.gz"), Place(url, is_proxy=False))
    assert SOURCES.places(archive) == expected
