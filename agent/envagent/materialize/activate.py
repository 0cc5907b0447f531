"""The activation scripts of the standard library's `venv`, for any prefix: asked of it once per Python, then kept.

Importing it and having it write its scripts takes as long as all else of a small environment. So the scripts of a
prefix that does not exist are kept in one file, and its path and name are replaced by the real ones. They have spaces
in them: newer versions of `venv` quote what they paste in only where a shell needs that. Inside quotes no path or
name that venv.py allows is read in another way.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import msgspec

_PLACE = Path("/of any path/the name of any prefix")
_VERSION = "-".join(map(str, (sys.implementation.name, *sys.version_info)))


def scripts(prefix: Path, kept: Path) -> dict[str, bytes]:
    """The scripts of a prefix, path in it to content; `kept` is the directory where they are kept (blocking).

    Where they cannot be kept they are made each time.
    """
    place = kept / f"activation-{_VERSION}"
    texts = _read(place) or _write(place, _made())
    its = {
        f"bin/{name}": text.replace(str(_PLACE), str(prefix)).replace(_PLACE.name, prefix.name)
        for name, text in texts.items()
    }
    return {path: text.encode(errors="surrogateescape") for path, text in its.items()}


def _made() -> dict[str, str]:
    import tempfile  # noqa: PLC0415  # slow to import, as the next, and needed once
    from venv import EnvBuilder  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        context = SimpleNamespace(
            env_dir=str(_PLACE),
            env_name=_PLACE.name,
            prompt=_PLACE.name,
            bin_name="bin",
            env_exe=str(_PLACE / "bin" / "python"),
            bin_path=folder,
        )
        EnvBuilder().setup_scripts(context)
        return {path.name: path.read_bytes().decode() for path in Path(folder).iterdir()}


def _read(place: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(place.read_bytes(), type=dict[str, str])
    except (OSError, msgspec.MsgspecError):
        return {}


def _write(place: Path, texts: dict[str, str]) -> dict[str, str]:
    draft = place.with_name(f"{place.name}.{os.urandom(4).hex()}")
    with suppress(OSError):
        draft.write_bytes(msgspec.json.encode(texts))
        draft.replace(place)
    return texts
