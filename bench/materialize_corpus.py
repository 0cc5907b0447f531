"""The wheels to materialize: real ones that `--live` downloaded, or synthetic ones of the same shape.

Synthetic wheels are filled with pieces of what is here anyway, the standard library's modules and the interpreter's
own library, so that they inflate like real ones. Everything is kept under `.bench/` for the next run.
"""

from __future__ import annotations

import base64
import hashlib
import random
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NAMES = {"mid": "materialize.txt", "torch": "materialize_torch.txt"}
WHEELS = 150
FILES_EACH = 180
QUICK_WHEELS = 12
# Shares of files by size, as in 150 common wheels: 60 % below 4 KB, and a few libraries that make up half the bytes.
SIZES = ((0.60, 100, 4_000), (0.35, 4_000, 64_000), (0.047, 64_000, 1_000_000), (0.003, 1_000_000, 16_000_000))
_LEVEL = 1  # of deflate: to make them quickly; it inflates at the speed of level 6


@dataclass(frozen=True, slots=True)
class Wheels:
    """A set of wheels: `names` are pins (name==version); `is_real` says that they are the world's."""

    label: str
    paths: tuple[Path, ...]
    is_real: bool

    def requirements(self) -> str:
        """Pins with the hash of each, as pip and uv read them."""
        return "".join(
            "{}=={} --hash=sha256:{}\n".format(*path.name.split("-")[:2], sha256(path)) for path in self.paths
        )


def sha256(path: Path) -> str:
    """Of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def obtain(label: str, place: Path, *, live: bool, quick: bool) -> Wheels | None:
    """The set `label`: as it was downloaded, downloaded now if `live`, else synthetic (mid) or None (torch)."""
    folder = place / f"wheels-{label}"
    if live and not quick and not _is_complete(folder):
        download(label, folder)
    if _is_complete(folder) and not quick:
        return Wheels(label, tuple(sorted(folder.glob("*.whl"))), is_real=True)
    if label != "mid":
        return None
    folder = place / f"wheels-synthetic-{QUICK_WHEELS if quick else WHEELS}"
    if not _is_complete(folder):
        make(folder, QUICK_WHEELS if quick else WHEELS)
    return Wheels(label, tuple(sorted(folder.glob("*.whl"))), is_real=False)


def download(label: str, folder: Path) -> None:
    """By pip, from wherever it is set up to take packages. Raises subprocess.CalledProcessError.

    The torch stack is torch's own build for CPUs, whose version says +cpu; a public index has the one for GPUs.
    """
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--no-deps"]
    subprocess.run([*argv, "--dest", folder, "-r", Path(__file__).with_name(NAMES[label])], check=True)
    _complete(folder)


def make(folder: Path, count: int) -> None:
    """Synthetic wheels, the same in every run on this machine."""
    folder.mkdir(parents=True, exist_ok=True)
    text, code = sources()
    for number in range(count):
        _make_wheel(folder, number, random.Random(number), text, code)
    _complete(folder)


def _make_wheel(folder: Path, number: int, choose: random.Random, text: bytes, code: bytes) -> None:
    name, info = f"synthetic_{number:03}", f"synthetic_{number:03}-1.0.dist-info"
    members = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n".encode(),
    }
    members |= {f"{name}/{path}": content for path, content in contents(choose, text, code, FILES_EACH)}
    members[f"{info}/RECORD"] = b"".join(_row(path, data) for path, data in members.items()) + b"%s/RECORD,,\n" % (
        info.encode()
    )
    with zipfile.ZipFile(
        folder / f"{name}-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL
    ) as w:
        for path, data in members.items():
            w.writestr(zipfile.ZipInfo(path), data, zipfile.ZIP_DEFLATED)


def contents(choose: random.Random, text: bytes, code: bytes, count: int) -> Iterator[tuple[str, bytes]]:
    """Paths and contents of so many files, pieces of `text` and `code`."""
    for file in range(count):
        [(_, least, most)] = choose.choices(SIZES, weights=[share for share, _, _ in SIZES])
        size = choose.randint(least, most)
        source, suffix = (code, "so") if least >= 64_000 else (text, "py" if file % 2 else "txt")
        start = choose.randrange(len(source))
        content = (source[start : start + size] * (1 + size // (len(source) - start)))[:size]
        yield f"part{file % 12:02}/file{file:03}.{suffix}", content


def _row(path: str, data: bytes) -> bytes:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(data)}\n".encode()


def sources() -> tuple[bytes, bytes]:
    """Text and machine code of this Python, some megabytes of each."""
    library = Path(sysconfig.get_path("stdlib"))
    text = b"".join(path.read_bytes() for path in sorted(library.glob("*.py")))
    binary = Path(sysconfig.get_config_var("LIBDIR")) / str(sysconfig.get_config_var("INSTSONAME"))
    code = (binary if binary.is_file() else Path(sys.executable)).read_bytes()
    return text, code


def _complete(folder: Path) -> None:
    (folder / "complete").touch()


def _is_complete(folder: Path) -> bool:
    return (folder / "complete").exists()
