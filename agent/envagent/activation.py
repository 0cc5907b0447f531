"""What a shell's activation would set, as values: for a command that is run inside an environment.

Of the standard library only what starts at once is imported (no pathlib): `envagent run` in an environment that was
made before costs a few milliseconds. A Conda environment with scripts in `etc/conda/activate.d` has them run in a
shell first, as `conda run` does. A running command holds its prefix: gc leaves it alone.
"""

from __future__ import annotations

import fcntl
import os
import sys

TYPE_CHECKING = False  # of typing, which takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SCRIPTS = "etc/conda/activate.d"
_SOURCING = f'for script in "$CONDA_PREFIX"/{_SCRIPTS}/*.sh; do . "$script"; done; exec "$@"'
_REPLACED = frozenset({"PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV"})


def variables(prefix: str, environ: Mapping[str, str], *, is_conda: bool) -> dict[str, str]:
    """The variables of a process inside the prefix; what another activated environment had set is replaced."""
    kept = {name: value for name, value in environ.items() if name not in _REPLACED}
    own = {"CONDA_PREFIX": prefix, "CONDA_DEFAULT_ENV": prefix} if is_conda else {"VIRTUAL_ENV": prefix}
    return {**kept, **own, "PATH": f"{prefix}/bin{os.pathsep}{environ.get('PATH') or os.defpath}"}


def enter(prefix: str, command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Become the command, inside the prefix. Returns only where that fails: 126 or 127, as shells do (POSIX)."""
    is_conda = os.path.isdir(f"{prefix}/conda-meta")
    words = list(command)
    if is_conda and _has_scripts(prefix):
        words = ["/bin/sh", "-c", _SOURCING, "sh", *words]
    _hold(prefix)
    sys.stdout.flush()
    try:
        os.execvpe(words[0], words, variables(prefix, environ, is_conda=is_conda))  # noqa: S606  # the caller's command
    except OSError as error:
        sys.stderr.write(f"error: {command[0]} cannot be run: {error.strerror}\n")
        return 127 if isinstance(error, FileNotFoundError) else 126


def _hold(prefix: str) -> None:
    """A shared lock on the prefix that the command inherits: it ends with the command."""
    held = os.open(prefix, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_SH)
    os.set_inheritable(held, True)


def _has_scripts(prefix: str) -> bool:
    try:
        return any(name.endswith(".sh") for name in os.listdir(f"{prefix}/{_SCRIPTS}"))
    except FileNotFoundError:
        return False
