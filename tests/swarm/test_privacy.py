"""Which places are public: only those of which nothing says otherwise."""

from __future__ import annotations

from pathlib import Path

from envproxy.config import load
from envproxy.swarm.privacy import public_places

CONFIG = """
[pypi.upstreams.corp]
url = "https://pkgs.example.org/simple"
bearer = "env:TOKEN"
[pypi.upstreams.mirror]
url = "https://mirror.example.org/simple"
[pypi.hosted.team]
[pypi.indexes.main]
sources = ["pypi", "mirror"]
[pypi.indexes.mixed]
sources = ["corp", "pypi"]
[pypi.indexes.own]
sources = ["team", "pypi"]
[conda.channels.lab]
url = "https://conda.example.org/lab"
token = "env:TOKEN"
[conda.hosted.house]
[files.tools]
url = "https://tools.example.org/"
netrc = true
"""


def test_places_with_credentials_or_uploads_are_private(tmp_path: Path):
    file = tmp_path / "envproxy.toml"
    file.write_text(CONFIG)

    public = public_places(load(file, environ={"TOKEN": "t"}))

    assert public == {"pypi/main", "conda/conda-forge", "files/python", "files/python-build-standalone"}


def test_where_reading_takes_a_token_nothing_is_public(tmp_path: Path):
    file = tmp_path / "envproxy.toml"
    file.write_text('[auth]\nread = "token"\n[auth.tokens.ci]\nsecret = "env:TOKEN"\n')

    assert public_places(load(file, environ={"TOKEN": "t"})) == frozenset()
