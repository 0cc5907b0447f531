"""The configuration of envproxy: read once, into frozen dataclasses, or refused with all its problems.

Flags win over ENVPROXY_ variables, those over the TOML file, that over what is built in. The settings are declared in
tables.py; docs/configuration.md has the table that is made from these declarations. Invariant: a `Config` that `load`
returned has no contradictions.
"""

from __future__ import annotations

import importlib.util
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from envproxy.contradictions import contradictions
from envproxy.errors import ConfigError, Problem
from envproxy.kinds import Surroundings
from envproxy.settings import Key, Settings, keys_of, reference_table
from envproxy.tables import Config

_NO_OVERRIDES: Mapping[str, str] = MappingProxyType({})
_ENDPOINT = re.compile(r"""^PYPI_SIMPLE_ENDPOINT(?::\s*\w+)?\s*=\s*["']([^"']+)["']""", re.MULTILINE)

KEYS: tuple[Key, ...] = tuple(keys_of(Config))


def load(path: Path | None, *, environ: Mapping[str, str], overrides: Mapping[str, str] = _NO_OVERRIDES) -> Config:
    """Read the configuration; `overrides` are dotted keys with values as in a variable.

    Raises ConfigError with every problem found, except that a file which cannot be read or is not TOML is
    reported alone: what follows from its absence would mislead.
    """
    config, problems = examine(path, environ=environ, overrides=overrides)
    if problems:
        raise ConfigError(problems)
    return config


def examine(
    path: Path | None, *, environ: Mapping[str, str], overrides: Mapping[str, str] = _NO_OVERRIDES
) -> tuple[Config, list[Problem]]:
    """The configuration with every problem found in it; where there is one, a default stands. Raises as `load`."""
    settings = Settings(KEYS, Surroundings(environ, path.parent if path else Path()))
    settings.add_table(_built_in())
    if path:
        settings.add_table(_table(path))
    settings.add_environment(environ)
    settings.add_overrides(overrides)
    config = settings.build(Config)
    return config, [*settings.problems, *contradictions(config, settings)]


def describe(problems: Iterable[Problem]) -> str:
    """Problems for a terminal: one line each, and one more where there is a hint."""
    lines = []
    for problem in problems:
        lines.append(f"{problem.where}: {problem.what}")
        if problem.hint:
            lines.append(f"  hint: {problem.hint}")
    return "\n".join(lines)


def reference() -> str:
    """The table of all settings in docs/configuration.md."""
    return reference_table(KEYS)


def default_endpoint() -> str:
    """The simple API of PyPI, as the library pypi_simple names it.

    Read from the library's source: importing it for one constant would cost every start 17 MB and 0.2 s.
    """
    spec = importlib.util.find_spec("pypi_simple")
    assert spec is not None
    assert spec.origin is not None
    # Not by ast: CPython 3.11 can fail when two threads parse at once, and configurations are read in threads.
    if match := _ENDPOINT.search(Path(spec.origin).read_text("utf-8")):
        return match[1]
    raise LookupError(f"{spec.origin} has no PYPI_SIMPLE_ENDPOINT")


def _built_in() -> dict[str, object]:
    return {
        "pypi": {
            "upstreams": {"pypi": {"url": default_endpoint()}},
            "indexes": {"main": {"sources": ["pypi"]}},
        },
        "conda": {"channels": {"conda-forge": {"url": "https://conda.anaconda.org/conda-forge"}}},
        "files": {
            "python": {"url": "https://www.python.org/ftp/python/"},
            "python-build-standalone": {
                "url": "https://github.com/astral-sh/python-build-standalone/releases/",
                "checksums": "SHA256SUMS",
                "changing": ["latest/*"],
            },
        },
    }


def _table(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(path), "is not UTF-8 text")]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Problem(str(path), f"is not TOML: {error}")]) from error
