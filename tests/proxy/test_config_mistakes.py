"""Mistakes in the configuration: all are found, each says where, which rule and what to try, none shows a secret."""

from pathlib import Path

import pytest

from envproxy.config import describe, load
from envproxy.errors import ConfigError, Problem


def written(folder: Path, text: str) -> Path:
    file = folder / "envproxy.toml"
    file.write_text(text, "utf-8")
    return file


def problems_of(path: Path | None = None, **sources: dict[str, str]) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ=sources.get("environ", {}), overrides=sources.get("overrides", {}))
    return caught.value.problems


def test_ten_mistakes_in_one_file_are_ten_problems(tmp_path: Path):
    file = written(
        tmp_path,
        """
        [server]
        listen = "8417"
        [log]
        levle = "debug"
        [store]
        limit = "5%"
        [auth]
        read = "token"
        [pypi.upstreams.corp]
        url = "https://ci:hunter2@pkgs.example.org/simple/"
        username = "ci"
        [pypi.upstreams.other]
        url = "https://other.example.org/"
        bearer = "hunter2"
        [pypi.hosted.pypi]
        [pypi.indexes.main]
        sources = ["crop"]
        [pypi.indexes.main.owners]
        "corp-*" = "corp"
        """,
    )

    text = describe(problems_of(file))

    assert text == (
        "log.levle: is not a setting\n"
        "  hint: did you mean 'level'?\n"
        "server.listen: must be HOST:PORT, not '8417'\n"
        '  hint: such as "127.0.0.1:8417", "[::1]:8417" or "0.0.0.0:8417"\n'
        "store.limit: must be a size in bytes, not '5%'\n"
        '  hint: such as "200GB", "512MiB" or 1000000\n'
        "pypi.upstreams.corp.url: must not embed credentials\n"
        '  hint: set username and password = "env:NAME" instead\n'
        "pypi.upstreams.other.bearer: must be a reference to a secret, never the secret itself\n"
        '  hint: write "env:NAME" or "file:PATH"\n'
        "auth.read: is token, but no token has the scope read\n"
        '  hint: add [auth.tokens.NAME] with scopes = ["read"]\n'
        "pypi.upstreams.corp.username: is set without a password\n"
        "  hint: add password\n"
        "pypi.hosted.pypi: is also the name of an upstream\n"
        "  hint: choose another name\n"
        "pypi.indexes.main.sources: names 'crop', which is neither an upstream nor a hosted index\n"
        "  hint: did you mean 'corp'?\n"
        "pypi.indexes.main.owners: gives 'corp-*' to 'corp', which is not among the sources of this index\n"
        "  hint: did you mean 'crop'?"
    )


UPSTREAM = '[pypi.upstreams.corp]\nurl = "https://pkgs.example.org/simple/"\n'
ONE_MISTAKE = {
    "unknown section": ("[sever]\nlisten = 'a:1'", "sever", "is not a setting", "'server'"),
    "key outside its section": ("listen = 'a:1'", "listen", "is not a setting", "'server.listen'"),
    "section that is no table": ("server = 1", "server", "must be a table", "[server]"),
    "key beside the names": ("[pypi.upstreams]\nurl = 'x'", "pypi.upstreams.url", "must be a table", ""),
    "bad name": ('[pypi.hosted."Team A"]', 'pypi.hosted."Team A"', "must have a name of lower-case", ""),
    "port too high": ("server.listen = 'a:65536'", "server.listen", "HOST:PORT, not 'a:65536'", ""),
    "no host": ("server.listen = ':80'", "server.listen", "must be HOST:PORT", "0.0.0.0"),
    "not IPv6": ("server.listen = '[a]:80'", "server.listen", "must have an IPv6 address", ""),
    "empty path": ("server.data = ''", "server.data", "must be a path", ""),
    "choice": ("log.level = 'warn'", "log.level", "must be one of debug, info, warning, error", "'warning'"),
    "choice of another type": ("log.level = [1]", "log.level", "not [1]", ""),
    "boolean": ("log.access = 1", "log.access", "must be true or false, not 1", ""),
    "size of nothing": ("store.limit = 0", "store.limit", "must be more than 0 bytes, not 0", ""),
    "negative size": ("store.min-free = -1", "store.min-free", "must be a size in bytes, not -1", ""),
    "boolean size": ("store.limit = true", "store.limit", "must be a size in bytes, not True", ""),
    "duration": ("server.drain = '1 fortnight'", "server.drain", "must be a duration", "30s"),
    "duration in months": ("server.drain = '1M'", "server.drain", "must be a duration", ""),
    "fraction of a second": ("server.drain = 0.5", "server.drain", "whole number of seconds", ""),
    "endless duration": ("server.drain = '5300w'", "server.drain", "at most 100 years", ""),
    "token without secret": (
        "[auth.tokens.ci]",
        "auth.tokens.ci.secret",
        "is required",
        "ENVPROXY_AUTH_TOKENS_CI_SECRET",
    ),
    "unknown scope": (
        "[auth.tokens.ci]\nsecret = 'env:SET'\nscopes = ['write']",
        "auth.tokens.ci.scopes",
        "must be a list of read, upload, not ['write']",
        "",
    ),
    "no scope": ("[auth.tokens.ci]\nsecret = 'env:SET'\nscopes = []", "auth.tokens.ci.scopes", "must be a list", ""),
    "tokens that may only upload": (
        "[auth]\nread = 'token'\n[auth.tokens.ci]\nsecret = 'env:SET'\nscopes = ['upload']",
        "auth.read",
        "no token has the scope read",
        "auth.tokens.NAME",
    ),
    "upstream without url": ("[pypi.upstreams.corp]", "pypi.upstreams.corp.url", "is required", ""),
    "url of another scheme": ("pypi.upstreams.a.url = 'ftp://h/'", "pypi.upstreams.a.url", "http:// or https://", ""),
    "url without host": ("pypi.upstreams.a.url = 'https:///x'", "pypi.upstreams.a.url", "not 'https:///x'", ""),
    "url that cannot be split": (
        "pypi.upstreams.a.url = 'http://[x/'",
        "pypi.upstreams.a.url",
        "must be an http",
        "",
    ),
    "url with spaces": ("pypi.upstreams.a.url = 'http://a b/'", "pypi.upstreams.a.url", "must be an http", ""),
    "url with query": ("pypi.upstreams.a.url = 'http://a/?t=hunter2'", "pypi.upstreams.a.url", "neither query", ""),
    "url of another type": ("pypi.upstreams.a.url = 1", "pypi.upstreams.a.url", "must be text, not 1", ""),
    "unset variable": (
        UPSTREAM + "username = 'ci'\npassword = 'env:UNSET'",
        "pypi.upstreams.corp.password",
        "refers to the variable UNSET, which is not set",
        "",
    ),
    "empty variable": (
        UPSTREAM + "bearer = 'env:EMPTY'",
        "pypi.upstreams.corp.bearer",
        "refers to an empty secret",
        "",
    ),
    "unreadable secret": (
        UPSTREAM + "bearer = 'file:absent'",
        "pypi.upstreams.corp.bearer",
        "refers to absent, which cannot be read: No such file",
        "",
    ),
    "binary secret": (UPSTREAM + "bearer = 'file:binary'", "pypi.upstreams.corp.bearer", "is not UTF-8 text", ""),
    "absent certificates": (
        UPSTREAM + "ca-file = 'absent'",
        "pypi.upstreams.corp.ca-file",
        "existing file",
        "absent",
    ),
    "password without username": (
        UPSTREAM + "password = 'env:SET'",
        "pypi.upstreams.corp.password",
        "is set without a username",
        "",
    ),
    "two kinds of credentials": (
        UPSTREAM + "username = 'ci'\npassword = 'env:SET'\nbearer = 'env:SET'",
        "pypi.upstreams.corp.bearer",
        "is set, but so is password",
        "keep one",
    ),
    "credentials and netrc": (
        UPSTREAM + "bearer = 'env:SET'\nnetrc = true",
        "pypi.upstreams.corp.bearer",
        "is set, but so is netrc",
        "keep one",
    ),
    "no time at all": (
        UPSTREAM + "read-timeout = '0s'",
        "pypi.upstreams.corp.read-timeout",
        "must be more than 0 seconds",
        "",
    ),
    "no connections": (
        UPSTREAM + "max-connections = 0",
        "pypi.upstreams.corp.max-connections",
        "must be a whole number of at least 1, not 0",
        "",
    ),
    "description of another type": ("pypi.hosted.a.description = 1", "pypi.hosted.a.description", "must be text", ""),
    "index without sources": ("[pypi.indexes.a]", "pypi.indexes.a.sources", "is required", ""),
    "no sources": ("pypi.indexes.main.sources = []", "pypi.indexes.main.sources", "must name at least one", ""),
    "sources that are no list": ("pypi.indexes.main.sources = 0", "pypi.indexes.main.sources", "list of texts", ""),
    "sources, no owners checked": (
        "pypi.indexes.main.sources = []\npypi.indexes.main.owners = {x = 'pypi'}",
        "pypi.indexes.main.sources",
        "must name at least one",
        "",
    ),
    "source twice": (
        "pypi.indexes.main.sources = ['pypi', 'pypi']",
        "pypi.indexes.main.sources",
        "names pypi more than once",
        "",
    ),
    "unknown source": (
        "pypi.indexes.main.sources = ['x']",
        "pypi.indexes.main.sources",
        "names 'x'",
        "known are pypi",
    ),
    "owner that is no source": (
        UPSTREAM + "[pypi.indexes.main]\nowners = {'corp-*' = 'corp'}",
        "pypi.indexes.main.owners",
        "gives 'corp-*' to 'corp', which is not among the sources",
        "add it to the sources of main",
    ),
    "owner pattern that matches nothing": (
        "pypi.indexes.main.owners = {'My_Corp.*' = 'pypi'}",
        "pypi.indexes.main.owners",
        "has the pattern 'My_Corp.*', but project names are normalised",
        "write 'my-corp-*'",
    ),
    "owners that are no table": (
        "pypi.indexes.main.owners = ['a']",
        "pypi.indexes.main.owners",
        "must map",
        "corp-*",
    ),
    "pins that are no table": ("files.python.pins = ['a']", "files.python.pins", "must map paths to their", "<hex>"),
    "a pin that is no digest": (
        "files.python.pins = {'a/b.tgz' = 'ABC'}",
        "files.python.pins",
        "has no SHA-256 in lower-case hex for 'a/b.tgz'",
        "",
    ),
    "a pin of what is not below the url": (
        f"files.python.pins = {{'../b.tgz' = '{'a' * 64}'}}",
        "files.python.pins",
        "has '../b.tgz', which is not the path of a file",
        "",
    ),
    "two credentials for files": (
        "[files.python]\nnetrc = true\nbearer = 'env:SET'",
        "files.python.bearer",
        "is set, but so is netrc",
        "keep one kind of credential",
    ),
    "freeze without offset": (
        "pypi.indexes.main.policy.freeze = 2026-01-31T00:00:00",
        "pypi.indexes.main.policy.freeze",
        "must be a date or a date-time with offset",
        "2026-01-31T00:00:00Z",
    ),
    "freeze in words": (
        "pypi.indexes.main.policy.freeze = 'yesterday'",
        "pypi.indexes.main.policy.freeze",
        "not 'yesterday'",
        "",
    ),
    "freeze before the first year": (
        "pypi.indexes.main.policy.freeze = 0001-01-01T00:00:00+05:00",
        "pypi.indexes.main.policy.freeze",
        "must be a date",
        "",
    ),
    "rule that is no text": (
        "pypi.indexes.main.policy.deny = [1]",
        "pypi.indexes.main.policy.deny",
        "must be a list of texts, not [1]",
        "",
    ),
}


@pytest.mark.parametrize(("text", "where", "what", "hint"), ONE_MISTAKE.values(), ids=ONE_MISTAKE.keys())
def test_one_mistake_is_one_problem_that_says_where_what_and_how(tmp_path, text, where, what, hint):
    (tmp_path / "binary").write_bytes(b"\xff")

    [problem] = problems_of(written(tmp_path, text), environ={"SET": "s", "EMPTY": ""})

    assert problem.where == where
    assert what in problem.what
    assert hint in problem.hint
    assert "hunter2" not in describe([problem])


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("ENVPROXY_STORE_LIMITS", "did you mean 'ENVPROXY_STORE_LIMIT'?"),
        ("ENVPROXY_PYPI_INDEXES_MAIN_POLICY_MINAGE", "did you mean 'ENVPROXY_PYPI_INDEXES_MAIN_POLICY_MIN_AGE'?"),
        ("ENVPROXY_AUTH_TOKENS_CI_SECRT", "did you mean 'ENVPROXY_AUTH_TOKENS_<NAME>_SECRET'?"),
        ("ENVPROXY_PYPI_UPSTREAMS__URL", "did you mean"),
        ("ENVPROXY_X", "ENVPROXY_ is for settings only"),
    ],
)
def test_an_unknown_variable_is_a_problem_that_names_the_likely_one_and_hides_its_value(variable, hint):
    [problem] = problems_of(environ={variable: "hunter2"})

    assert (problem.where, problem.what) == (variable, "is not the variable of a setting")
    assert problem.hint.startswith(hint)
    assert "hunter2" not in describe([problem])


def test_a_bad_value_in_a_variable_is_blamed_on_the_variable():
    [problem] = problems_of(environ={"ENVPROXY_STORE_LIMIT": "much"})

    assert problem.where == "ENVPROXY_STORE_LIMIT"


def test_a_contradiction_in_a_variable_is_blamed_on_the_variable():
    [problem] = problems_of(environ={"ENVPROXY_PYPI_INDEXES_MAIN_SOURCES": "pypy"})

    assert (problem.where, problem.hint) == ("ENVPROXY_PYPI_INDEXES_MAIN_SOURCES", "did you mean 'pypi'?")


def test_an_unknown_flag_is_a_problem():
    [problem] = problems_of(overrides={"server.lisen": "a:1"})

    assert (problem.where, problem.hint) == ("server.lisen", "did you mean 'server.listen'?")


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"[server", "is not TOML"), (b"\xff", "is not UTF-8 text"), (None, "cannot be read: No such file")],
)
def test_an_unusable_file_is_reported_alone(tmp_path: Path, content: bytes | None, what: str):
    file = tmp_path / "envproxy.toml"
    if content is not None:
        file.write_bytes(content)

    [problem] = problems_of(file, environ={"ENVPROXY_PYPI_INDEXES_MAIN_SOURCES": "only-in-the-file"})

    assert problem.where == str(file)
    assert problem.what.startswith(what)


def test_a_variable_that_fits_two_names_is_refused_rather_than_guessed(tmp_path: Path):
    file = written(tmp_path, '[pypi.hosted.a-b]\n[pypi.hosted."a.b"]\n')

    [problem] = problems_of(file, environ={"ENVPROXY_PYPI_HOSTED_A_B_DESCRIPTION": "x"})

    assert problem.what == "could mean a-b or a.b"


@pytest.mark.parametrize("literal", ["'hunter2'", "['hunter2']", "{ env = 'hunter2' }", "'ENV:hunter2'"])
def test_a_literal_secret_is_refused_without_repeating_it(tmp_path: Path, literal: str):
    [problem] = problems_of(written(tmp_path, f"[auth.tokens.ci]\nsecret = {literal}"))

    assert problem.what == "must be a reference to a secret, never the secret itself"
    assert "hunter2" not in describe([problem])
