"""Configuration: what is accepted, what is refused and how it is said, and that secrets stay secret."""

import dataclasses
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pypi_simple
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envproxy import kinds
from envproxy.config import KEYS, default_endpoint, load, reference
from envproxy.kinds import Secret
from envproxy.tables import Config, IndexConfig

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"


def written(folder: Path, text: str) -> Path:
    file = folder / "envproxy.toml"
    file.write_text(text, "utf-8")
    return file


def test_without_any_configuration_main_serves_pypi_on_loopback():
    config = load(None, environ={})

    assert (config.server.host, config.server.port) == ("127.0.0.1", 8417)
    assert config.server.data == Path("envmesh-data")
    assert config.pypi.indexes == {"main": IndexConfig(name="main", sources=("pypi",))}
    assert list(config.pypi.upstreams) == ["pypi"]


def test_the_default_upstream_is_the_one_that_the_library_names():
    assert default_endpoint() == pypi_simple.PYPI_SIMPLE_ENDPOINT
    assert load(None, environ={}).pypi.upstreams["pypi"].url == pypi_simple.PYPI_SIMPLE_ENDPOINT


def test_the_built_in_upstream_can_be_moved_and_tuned_apart(tmp_path: Path):
    moved = load(written(tmp_path, '[pypi.upstreams.pypi]\nurl = "http://127.0.0.1:1/simple"'), environ={})
    tuned = load(written(tmp_path, "[pypi.upstreams.pypi]\nmax-connections = 7"), environ={})

    assert moved.pypi.upstreams["pypi"].url == "http://127.0.0.1:1/simple/"
    assert tuned.pypi.upstreams["pypi"].max_connections == 7
    assert tuned.pypi.upstreams["pypi"].url == default_endpoint()


EVERY_KEY = {
    # key: what is written, the attribute, its value
    "server.listen": ("[::1]:0", "listen", ("::1", 0)),
    "server.data": ("cache", "data", Path("cache")),
    "server.drain": ("2m", "drain_s", 120),
    "log.level": ("debug", "level", "debug"),
    "log.format": ("json", "format", "json"),
    "log.access": ("false", "access", False),
    "store.limit": ("1TB", "limit_bytes", 10**12),
    "store.min-free": ("0", "min_free_bytes", 0),
    "memory.pages": ("1MiB", "pages_bytes", 1_048_576),
    "auth.read": ("token", "read", "token"),
    "auth.tokens.ci.secret": ("env:CI_TOKEN", "secret", "c-secret"),
    "auth.tokens.ci.scopes": ("read,upload", "scopes", {"read", "upload"}),
    "pypi.upstreams.corp.url": ("https://pkgs.example.org/simple", "url", "https://pkgs.example.org/simple/"),
    "pypi.upstreams.corp.username": ("ci", "username", "ci"),
    "pypi.upstreams.corp.password": ("env:PASSWORD", "password", "p-secret"),
    "pypi.upstreams.corp.netrc": ("false", "netrc", False),
    "pypi.upstreams.corp.ca-file": ("ca.pem", "ca_file", Path("ca.pem")),
    "pypi.upstreams.corp.fresh-for": ("1h", "fresh_for_s", 3600),
    "pypi.upstreams.corp.connect-timeout": ("0.5s", "connect_timeout_s", 0.5),
    "pypi.upstreams.corp.read-timeout": ("60", "read_timeout_s", 60.0),
    "pypi.upstreams.corp.max-connections": ("5", "max_connections", 5),
    "pypi.upstreams.corp.forbidden-is-absent": ("true", "forbidden_is_absent", True),
    "pypi.upstreams.other.url": ("http://other.example.org/", "url", "http://other.example.org/"),
    "pypi.upstreams.other.bearer": ("file:bearer", "bearer", "b-secret"),
    "pypi.hosted.team.description": ("Team", "description", "Team"),
    "pypi.indexes.main.sources": ("team, corp, pypi", "sources", ("team", "corp", "pypi")),
    "pypi.indexes.main.owners": ("corp-*=corp, a=team", "owners", (("corp-*", "corp"), ("a", "team"))),
    "pypi.indexes.main.policy.min-age": ("1w", "min_age_s", 604_800),
    "pypi.indexes.main.policy.freeze": ("2026-01-31", "freeze_at", datetime(2026, 1, 31, tzinfo=UTC)),
    "pypi.indexes.main.policy.allow": ("numpy,pandas>=2,<3", "allow", ("numpy", "pandas>=2,<3")),
    "pypi.indexes.main.policy.deny": ("evil-*", "deny", ("evil-*",)),
    "pypi.indexes.main.policy.allow-anyway": ("fix==1.2.3", "allow_anyway", ("fix==1.2.3",)),
    "pypi.indexes.main.policy.removed": ("refuse", "removed", "refuse"),
    "pypi.indexes.main.policy.quarantined": ("keep", "quarantined", "keep"),
    "conda.repodata-limit": ("500MB", "repodata_limit_bytes", 500_000_000),
    "conda.channels.lab.url": (
        "https://conda.example.org/lab, /srv/lab",
        "url",
        ("https://conda.example.org/lab/", "file:///srv/lab/"),
    ),
    "conda.channels.lab.username": ("ci", "username", "ci"),
    "conda.channels.lab.password": ("env:PASSWORD", "password", "p-secret"),
    "conda.channels.lab.netrc": ("false", "netrc", False),
    "conda.channels.lab.ca-file": ("ca.pem", "ca_file", Path("ca.pem")),
    "conda.channels.lab.shards": ("always", "shards", "always"),
    "conda.channels.lab.fresh-for": ("1m", "fresh_for_s", 60),
    "conda.channels.lab.connect-timeout": ("0.5s", "connect_timeout_s", 0.5),
    "conda.channels.lab.read-timeout": ("60", "read_timeout_s", 60.0),
    "conda.channels.lab.max-connections": ("5", "max_connections", 5),
    "conda.channels.lab.forbidden-is-absent": ("true", "forbidden_is_absent", True),
    "conda.channels.lab.policy.min-age": ("1w", "min_age_s", 604_800),
    "conda.channels.lab.policy.freeze": ("2026-01-31", "freeze_at", datetime(2026, 1, 31, tzinfo=UTC)),
    "conda.channels.lab.policy.allow": ("numpy,pandas >=2,<3", "allow", ("numpy", "pandas >=2,<3")),
    "conda.channels.lab.policy.deny": ("evil-*", "deny", ("evil-*",)),
    "conda.channels.lab.policy.allow-anyway": ("fix ==1.2.3", "allow_anyway", ("fix ==1.2.3",)),
    "conda.channels.lab.policy.removed": ("refuse", "removed", "refuse"),
    "conda.channels.beta.url": ("http://beta.example.org/", "url", ("http://beta.example.org/",)),
    "conda.channels.beta.token": ("env:CI_TOKEN", "token", "c-secret"),
    "conda.channels.gamma.url": ("http://gamma.example.org/", "url", ("http://gamma.example.org/",)),
    "conda.channels.gamma.bearer": ("file:bearer", "bearer", "b-secret"),
    "conda.hosted.house.description": ("House", "description", "House"),
    "files.tools.url": ("https://tools.example.org", "url", "https://tools.example.org/"),
    "files.tools.username": ("ci", "username", "ci"),
    "files.tools.password": ("env:PASSWORD", "password", "p-secret"),
    "files.tools.netrc": ("false", "netrc", False),
    "files.tools.ca-file": ("ca.pem", "ca_file", Path("ca.pem")),
    "files.tools.fresh-for": ("1m", "fresh_for_s", 60),
    "files.tools.connect-timeout": ("0.5s", "connect_timeout_s", 0.5),
    "files.tools.read-timeout": ("60", "read_timeout_s", 60.0),
    "files.tools.max-connections": ("5", "max_connections", 5),
    "files.tools.forbidden-is-absent": ("true", "forbidden_is_absent", True),
    "files.tools.checksums": ("{name}.sha256", "checksums", "{name}.sha256"),
    "files.tools.changing": ("latest/*, *.json", "changing", ("latest/*", "*.json")),
    "files.tools.pins": (f"1.0/a.tgz={'a' * 64}", "pins", (("1.0/a.tgz", "a" * 64),)),
    "files.more.url": ("https://more.example.org/", "url", "https://more.example.org/"),
    "files.more.bearer": ("file:bearer", "bearer", "b-secret"),
    "swarm.enabled": ("true", "enabled", True),
    "swarm.secret": ("env:CI_TOKEN", "secret", "c-secret"),
    "swarm.tenants.lab.secret": ("env:PASSWORD", "secret", "p-secret"),
    "swarm.leases": ("4", "leases", 4),
    "swarm.lease": ("2.5s", "lease_s", 2.5),
    "swarm.heartbeat": ("1s", "heartbeat_s", 1.0),
    "swarm.expiry": ("3s", "expiry_s", 3.0),
    "swarm.unleased": ("1MB", "unleased_bytes", 1_000_000),
}


def value_at(config: Config, key: str, attribute: str) -> object:
    found: object = config
    for step in (*key.split(".")[:-1], attribute):
        if isinstance(found, tuple):
            found = {token.name: token for token in config.auth.tokens}
        found = found[step] if isinstance(found, Mapping) else getattr(found, step)
    return found.reveal() if isinstance(found, Secret) else found


def test_the_table_above_has_every_key():
    tables = r"(tokens|upstreams|hosted|indexes|channels|files|tenants)\.\w+"
    generic = {re.sub(tables, r"\1.<name>", key) for key in EVERY_KEY}

    assert generic == {key.path for key in KEYS}


@pytest.mark.parametrize("way", ["variables", "flags"])
def test_every_key_can_be_set_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ca.pem").write_text("certificates")
    (tmp_path / "bearer").write_text("b-secret\n")
    environ = {"CI_TOKEN": "c-secret", "PASSWORD": "p-secret"}
    texts = {key: text for key, (text, _, _) in EVERY_KEY.items()}
    variables = {"ENVPROXY_" + re.sub(r"[.-]", "_", key).upper(): text for key, text in texts.items()}

    if way == "variables":
        config = load(None, environ=environ | variables)
    else:
        config = load(None, environ=environ, overrides=texts)

    read = {key: value_at(config, key, attribute) for key, (_, attribute, _) in EVERY_KEY.items()}
    assert read == {key: value for key, (_, _, value) in EVERY_KEY.items()}


def test_flags_win_over_variables_over_the_file_over_defaults(tmp_path: Path):
    file = written(tmp_path, '[server]\nlisten = "f:1"\ndrain = 1\ndata = "f"\n')
    environ = {"ENVPROXY_SERVER_LISTEN": "v:2", "ENVPROXY_SERVER_DRAIN": "2"}

    server = load(file, environ=environ, overrides={"server.listen": "o:3"}).server

    assert (server.host, server.drain_s, server.data) == ("o", 2, Path("f"))
    assert load(file, environ={}).log == load(None, environ={}).log


def test_a_variable_means_the_name_in_the_file_that_looks_like_it(tmp_path: Path):
    file = written(tmp_path, '[pypi.upstreams."my.corp_x"]\nurl = "http://a.example.org/"')
    environ = {
        "ENVPROXY_PYPI_UPSTREAMS_MY_CORP_X_MAX_CONNECTIONS": "3",
        "ENVPROXY_PYPI_UPSTREAMS_NEW_ONE_URL": "http://b.example.org/",
    }

    upstreams = load(file, environ=environ).pypi.upstreams

    assert list(upstreams) == ["pypi", "my.corp_x", "new-one"]
    assert upstreams["my.corp_x"].max_connections == 3


def test_a_hosted_index_needs_no_keys(tmp_path: Path):
    file = written(tmp_path, '[pypi.hosted.team]\n[pypi.indexes.main]\nsources = ["team"]')

    assert list(load(file, environ={}).pypi.hosted) == ["team"]


def test_certificates_and_secret_files_are_found_beside_the_file_and_data_is_not(tmp_path: Path):
    (tmp_path / "ca.pem").write_text("certificates")
    (tmp_path / "password").write_text("two words \r\n")
    file = written(
        tmp_path,
        '[server]\ndata = "d"\n[pypi.upstreams.pypi]\nca-file = "ca.pem"\nusername = ""\npassword = "file:password"',
    )

    config = load(file, environ={})

    pypi = config.pypi.upstreams["pypi"]
    assert pypi.ca_file == tmp_path / "ca.pem"
    assert pypi.password is not None
    assert pypi.password.reveal() == "two words "
    assert config.server.data == Path("d")


@pytest.mark.parametrize(
    "freeze",
    ["2026-01-31", '"2026-01-31"', "2026-01-31T00:00:00Z", '"2026-01-31T00:00:00Z"', '"2026-01-31 05:30:00+05:30"'],
)
def test_a_freeze_date_is_an_instant_in_utc(tmp_path: Path, freeze: str):
    file = written(tmp_path, f"[pypi.indexes.main.policy]\nfreeze = {freeze}")

    found = load(file, environ={}).pypi.indexes["main"].policy.freeze_at

    assert found == datetime(2026, 1, 31, tzinfo=UTC)
    assert found.tzinfo is UTC


def test_the_path_of_the_file_and_service_links_of_kubernetes_are_not_settings():
    service = {
        "ENVPROXY_CONFIG": "envproxy.toml",
        "ENVPROXY_SERVICE_HOST": "192.0.2.1",
        "ENVPROXY_SERVICE_PORT_HTTP": "8417",
        "ENVPROXY_PORT": "tcp://192.0.2.1:8417",
        "ENVPROXY_PORT_8417_TCP_ADDR": "192.0.2.1",
    }

    assert load(None, environ=service) == load(None, environ={})


def test_no_text_made_from_a_configuration_shows_a_secret(tmp_path: Path):
    file = written(
        tmp_path,
        '[pypi.upstreams.corp]\nurl = "https://pkgs.example.org/simple/"\n'
        "username = 'ci'\npassword = 'env:SET'\n[auth.tokens.ci]\nsecret = 'env:SET'",
    )

    config = load(file, environ={"SET": "hunter2"})

    assert config.auth.tokens[0].secret.reveal() == "hunter2"
    asdict = dataclasses.asdict(config.auth)
    assert "hunter2" not in f"{config} {config!r} {asdict} {config.auth.tokens[0].secret:}"
    assert f"{Secret('hunter2')}" == "Secret(...)"


SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
SIZES |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


@given(number=st.integers(0, 10**15 - 1), unit=st.sampled_from(sorted(SIZES)), gap=st.sampled_from(["", " "]))
def test_a_size_is_its_number_times_its_unit(number: int, unit: str, gap: str):
    assert kinds.size(f"{number}{gap}{unit}") == number * SIZES[unit]
    assert kinds.size(number) == kinds.size(str(number)) == number


@given(number=st.integers(0, 5000), unit=st.sampled_from(sorted(SECONDS)))
def test_a_duration_is_its_number_times_its_unit(number: int, unit: str):
    assert kinds.duration(f"{number}{unit}") == number * SECONDS[unit]
    assert kinds.duration(number) == number


@given(thousandths=st.integers(1, 10**9))
def test_a_timeout_may_have_fractions(thousandths: int):
    assert kinds.timeout(f"{thousandths / 1000:.3f}s") == thousandths / 1000


@given(
    value=st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.lists(st.text()), st.none()),
    read=st.sampled_from([kinds.size, kinds.duration, kinds.timeout, kinds.address, kinds.instant, kinds.owners]),
)
def test_whatever_is_written_is_read_or_refused_but_never_breaks_the_reader(value: object, read):
    with suppress(kinds.BadValueError):
        read(value)


def test_the_documentation_ends_with_exactly_the_table_of_all_settings():
    assert DOCS.read_text("utf-8").endswith("\n\n" + reference())


def test_the_example_of_the_documentation_is_usable(tmp_path: Path):
    [example] = re.findall(r"```toml\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    (tmp_path / "corp-ca.pem").write_text("certificates")

    config = load(
        written(tmp_path, example),
        environ={"CI_TOKEN": "a", "RELEASE_TOKEN": "b", "CORP_PASSWORD": "c"},
    )

    assert config.pypi.indexes["main"].sources == ("team", "corp", "pypi")
