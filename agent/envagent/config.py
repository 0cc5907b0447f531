"""What the agent is told by its surroundings: flags before variables before a file before defaults, read once.

Every setting has a variable ENVAGENT_<NAME> and a key in the TOML file: `--config`, else ENVAGENT_CONFIG, else
`$XDG_CONFIG_HOME/envagent/config.toml` where there is one. What differs from call to call has a flag, too. A mistake
is refused with the place it stands in. Secrets are named by reference only (env:NAME or file:PATH), without a flag.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from envagent.errors import ConfigRefused, UsageError
from envagent.places import CONFIG_VARIABLE, LINK_MODE, config_file, data_directory

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Mapping
    from types import SimpleNamespace

    from envproxy.kinds import Address

_LABEL = re.compile(r"[A-Za-z0-9._-]{0,64}")
_PREFIX = "ENVAGENT_"
CLIENTS = ("machine", "network")
T = TypeVar("T")
LINK_MODES = ("hardlink", "reflink", "copy", "overlay", "writable-overlay")


@dataclass(frozen=True, slots=True)
class Config:
    """`proxy` is the origin of an envproxy, "" for none, and `proxy_token` what it wants to see.

    `proxy_fallback` allows upstream URLs beside it; `early` leaves bytecode and proofs of RECORD for later. Of
    `envagent serve` are the intervals in seconds, 0 for never, and the bytes that its gc keeps. The rest is of it as
    a node of the swarm: `zone` and `tenant` are labels, `swarm_secret` is what the proxy wants of agents; bytes per
    second for peers, bytes of artifacts and of free disk, where 0 is no bound; seconds that a peer may be silent; who
    finds the proxy's faces; where peers come with a certificate, and this node's own with its key and authority.
    """

    data: Path
    proxy: str = ""
    proxy_fallback: bool = True
    link_mode: str = LINK_MODE
    bytecode: bool = True
    early: bool = False
    proxy_token: str = field(default="", repr=False)
    zone: str = ""
    tenant: str = ""
    upload_rate: int = 0
    artifacts_limit: int = 0
    min_free: int = 0
    peer_timeout: int = 2
    clients: str = "machine"
    peers_listen: Address | None = None
    peers_cert: Path | None = None
    peers_key: Path | None = None
    peers_ca: Path | None = None
    swarm_secret: str = field(default="", repr=False)
    scrub_interval: int = 7 * 86_400
    gc_interval: int = 0
    gc_budget: int = 0

    @property
    def store(self) -> Path:
        """The root of the node store."""
        return self.data / "store"

    @property
    def mounts(self) -> bool:
        """Whether environments are overlays, which only those see who may mount, or one command alone."""
        return self.link_mode.endswith("overlay")

    @property
    def artifacts(self) -> Path:
        """Verified downloads, by sha256."""
        return self.data / "artifacts"

    @property
    def upkeep(self) -> Path:
        """When the daemon last did what it does from time to time."""
        return self.data / "upkeep"

    @property
    def swarm(self) -> Path:
        """What a node of the swarm keeps: its name, artifacts on their way, events."""
        return self.data / "swarm"

    @property
    def swarm_events(self) -> Path:
        """The log of what became of each piece."""
        return self.swarm / "events.jsonl"

    @property
    def partial(self) -> Path:
        """Artifacts of which a node of the swarm has only pieces."""
        return self.swarm / "partial"

    @property
    def environments(self) -> Path:
        """Where prefixes go that nobody named."""
        return self.data / "environments"


class _Written(NamedTuple):
    """A setting as somebody wrote it, and where."""

    value: object
    where: str
    environ: Mapping[str, str]


def config_of(args: Namespace | SimpleNamespace) -> Config:
    """The configuration of this process, with the flags that the command has."""
    flags = {
        name: value
        for name in _READERS
        if (value := getattr(args, name.replace("-", "_"), None)) not in (None, False)
    }
    if getattr(args, "no_proxy_fallback", False):
        flags["proxy-fallback"] = False
    if getattr(args, "no_bytecode", False):
        flags["bytecode"] = False
    return load(flags, os.environ, file=args.config)


def load(flags: Mapping[str, object], environ: Mapping[str, str], *, file: str | None = None) -> Config:
    """The configuration of these flags and variables, and of the file that they name.

    Variables that Kubernetes sets for a service called envagent are let be. Raises ConfigRefused with everything that
    is wrong, misspelt variables included; UsageError for a file that cannot be read.
    """
    written = {name: _Written(value, f"--{name}", environ) for name, value in flags.items()}
    for variable in sorted(name for name in environ if name.startswith(_PREFIX) and name != CONFIG_VARIABLE):
        name = variable.removeprefix(_PREFIX).lower().replace("_", "-")
        if name in _READERS or not _is_service_link(variable, environ[variable]):
            written.setdefault(name, _Written(environ[variable], variable, environ))
    told = file or environ.get(CONFIG_VARIABLE)
    path = Path(told or config_file(environ))
    for name, value in _document(path, must_exist=bool(told)).items():
        written.setdefault(name, _Written(value, f"{path}: {name}", environ))
    return Config(**{"data": Path(data_directory(environ)), **_settings(written)})


def changed(config: Config, settings: Mapping[str, object], *, where: str) -> Config:
    """The configuration with these values for some settings, that stand in `where`. Raises ConfigRefused."""
    written = {name: _Written(value, f"{where}: {name}", {}) for name, value in settings.items()}
    return replace(config, **_settings(written))


def _settings(written: Mapping[str, _Written]) -> dict[str, Any]:
    """What each says. Raises ConfigRefused."""
    settings, faults = {}, []
    for name, setting in written.items():
        try:
            settings[name.replace("-", "_")] = _READERS.get(name, _unknown)(setting)
        except UsageError as error:
            faults.append(error)
    if faults:
        raise ConfigRefused(faults)
    return settings


def _document(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        if must_exist:
            raise UsageError(f"there is no configuration file {path}", hint="it is named by --config") from None
        return {}
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {str(error.strerror).lower()}", hint="it is the configuration: a file of TOML"
        ) from None
    import tomllib  # noqa: PLC0415  # only where there is such a file

    try:
        return tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from None


# --- what a value may be --------------------------------------------------------------------------------


def _unknown(written: _Written) -> None:
    from envproxy.kinds import likely  # noqa: PLC0415  # for mistakes

    if not written.where.startswith(_PREFIX):
        close = likely(written.where.rpartition(": ")[2], _READERS)
        raise UsageError(f"{written.where} is no setting", hint=close or f"settings are {', '.join(_READERS)}")
    known = [name.upper().replace("-", "_") for name in _READERS]
    close = likely(written.where.removeprefix(_PREFIX), known, prefix=_PREFIX)
    raise UsageError(
        f"{written.where} is not the variable of a setting",
        hint=close or f"{_PREFIX} is for settings only: call other variables otherwise",
    )


def _is_service_link(variable: str, text: str) -> bool:
    from envproxy.settings import is_service_link  # noqa: PLC0415  # for mistakes, and in Kubernetes

    return is_service_link(variable, text)


def _path(written: _Written) -> Path:
    if not isinstance(written.value, str) or not written.value:
        raise UsageError(f"{written.where} must be a path")
    return Path(written.value).expanduser().absolute()


def _address(written: _Written) -> Address:
    from envproxy.kinds import address  # noqa: PLC0415  # few have one

    return _read_by(address, written)


def _origin(written: _Written) -> str:
    text = written.value if isinstance(written.value, str) else None
    url = urlsplit(text or "")
    if text is None or (text and (url.scheme not in {"http", "https"} or not url.hostname or url.path.strip("/"))):
        raise UsageError(
            f"{written.where} must be the origin of an envproxy", hint="such as http://127.0.0.1:8417, without a path"
        )
    if url.username is not None or url.password is not None or url.query or url.fragment:
        raise UsageError(f"{written.where} has more in it than a host and a port", hint="credentials go into netrc")
    return text.rstrip("/")


def _secret(written: _Written) -> str:
    """What env:NAME or file:PATH refers to; never shown."""
    from envproxy.kinds import SECRET, BadValueError, Surroundings  # noqa: PLC0415  # few have one

    try:
        return SECRET.read(written.value, Surroundings(written.environ, Path())).reveal()
    except BadValueError as error:
        raise UsageError(f"{written.where} {error.rule}", hint=error.hint) from None


def _label(written: _Written) -> str:
    if not isinstance(written.value, str) or not _LABEL.fullmatch(written.value):
        raise UsageError(f"{written.where} cannot be {written.value!r}", hint="letters, digits, '.', '_' and '-'")
    return written.value


def _size(written: _Written) -> int:
    from envproxy.kinds import size  # noqa: PLC0415  # few are set

    return _read_by(size, written)


def _duration(written: _Written) -> int:
    from envproxy.kinds import duration  # noqa: PLC0415  # few are set

    return _read_by(duration, written)


def _read_by(read: Callable[[object], T], written: _Written) -> T:
    """As the proxy's configuration reads it."""
    from envproxy.kinds import BadValueError  # noqa: PLC0415  # as above

    try:
        return read(written.value)
    except BadValueError as error:
        raise UsageError(f"{written.where} {error.rule}", hint=error.hint) from None


def _switch(written: _Written) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if isinstance(written.value, bool):
        return written.value
    if (found := words.get(str(written.value).lower())) is None:
        raise UsageError(f"{written.where} cannot be {written.value!r}", hint="it is true or false")
    return found


def _link_mode(written: _Written) -> str:
    return _one_of(LINK_MODES, written)


def _clients(written: _Written) -> str:
    return _one_of(CLIENTS, written)


def _one_of(words: tuple[str, ...], written: _Written) -> str:
    if written.value not in words:
        raise UsageError(f"{written.where} cannot be {written.value!r}", hint=f"it is one of {', '.join(words)}")
    return str(written.value)


_READERS: dict[str, Callable[[_Written], Any]] = {
    "data": _path,
    "proxy": _origin,
    "proxy-token": _secret,
    "proxy-fallback": _switch,
    "link-mode": _link_mode,
    "bytecode": _switch,
    "early": _switch,
    "zone": _label,
    "tenant": _label,
    "swarm-secret": _secret,
    "upload-rate": _size,
    "artifacts-limit": _size,
    "min-free": _size,
    "peer-timeout": _duration,
    "clients": _clients,
    "peers-listen": _address,
    "peers-cert": _path,
    "peers-key": _path,
    "peers-ca": _path,
    "scrub-interval": _duration,
    "gc-interval": _duration,
    "gc-budget": _size,
}
