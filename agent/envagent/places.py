"""Where the agent's files are unless it is told otherwise: the base directories of freedesktop.org.

Only `os` is imported: who asks for an environment that was made before is answered from here (recall.py) within a few
milliseconds. A base directory that is not absolute counts as not set, as the specification says.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # of typing, which takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Mapping

DATA_VARIABLE = "ENVAGENT_DATA"
CONFIG_VARIABLE = "ENVAGENT_CONFIG"
LINK_MODE_VARIABLE = "ENVAGENT_LINK_MODE"
LINK_MODE = "hardlink"
"""How files get into an environment unless it is told otherwise."""
SOCKET = "envagent.sock"
"""The daemon's socket in the data directory."""


def data_directory(environ: Mapping[str, str]) -> str:
    """The data directory of this user."""
    return _below(environ, "XDG_DATA_HOME", ".local/share")


def config_file(environ: Mapping[str, str]) -> str:
    """The configuration file of this user, which need not exist."""
    return f"{_below(environ, 'XDG_CONFIG_HOME', '.config')}/config.toml"


def _below(environ: Mapping[str, str], variable: str, otherwise: str) -> str:
    told = environ.get(variable, "")
    base = told if told.startswith("/") else f"{environ.get('HOME') or os.path.expanduser('~')}/{otherwise}"
    return f"{base}/envagent"
