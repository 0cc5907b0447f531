"""The words of a channel: subdirs, labels, package filenames, and the files that lie beside packages (CEP 26, 36).

Names arrive from URLs, so each is checked here before it becomes part of a path, a key or an upstream URL. Nothing
here knows what a channel contains.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from envproxy.errors import ClientError

NOARCH = "noarch"
SHARD_INDEX = "repodata_shards.msgpack.zst"
SHARD_SUFFIX = ".msgpack.zst"
FLAT = ("repodata.json.zst", "repodata.json", "repodata.json.bz2")
"""The forms of flat repodata, in the order in which upstream is asked for them."""

BESIDE_PACKAGES = frozenset(
    f"{stem}{form}"
    for stem in ("run_exports.json", "repodata_from_packages.json", "current_repodata.json")
    for form in ("", ".zst", ".bz2")
) | {"patch_instructions.json"}
"""Files of a subdir that are passed on as they are."""

AT_THE_ROOT = frozenset({"channeldata.json", "channeldata.json.zst", "notices.json", "rss.xml"})
"""Files of a channel that are passed on as they are."""

PLATFORMS = frozenset(
    f"{system}-{cpu}"
    for system, cpus in {
        "linux": "32 64 aarch64 armv6l armv7l loongarch64 ppc64 ppc64le riscv32 riscv64 s390x",
        "osx": "64 arm64",
        "win": "32 64 arm64",
        "emscripten": "wasm32",
        "wasi": "wasm32",
        "freebsd": "64",
        "zos": "z",
    }.items()
    for cpu in cpus.split()
) | {NOARCH}
"""The subdirs that clients ask for; the absence of any other is not worth remembering."""

_ASKED_FOR = frozenset({*FLAT, SHARD_INDEX}) | BESIDE_PACKAGES | AT_THE_ROOT
_SUBDIR = re.compile(r"noarch|[a-z0-9]{1,20}-[a-z0-9_]{1,20}")
_LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:-]{0,99}")
_PACKAGE = re.compile(
    r"(?P<name>[A-Za-z0-9_][A-Za-z0-9_.+-]*)-(?P<version>[A-Za-z0-9_.!+~]+)-(?P<build>[A-Za-z0-9_.+~!]+)"
    r"(?P<form>\.conda|\.tar\.bz2)"
)
_SIGNATURES = re.compile(r"(?P<package>.+\.(?:conda|tar\.bz2))\.sigs(?:\.[0-9a-f]{64})?")
_LONGEST = 250  # of a filename: what file systems take, with room for a suffix


@dataclass(frozen=True, slots=True)
class Filename:
    """A package filename in its parts; `form` is ".conda" or ".tar.bz2"."""

    text: str
    name: str
    version: str
    build: str
    form: str

    @property
    def magic(self) -> bytes:
        """What such a file begins with: the signature of a ZIP archive, or of bzip2 (CEP 35)."""
        return b"PK\x03\x04" if self.form == ".conda" else b"BZh"


def check_subdir(text: str) -> str:
    """The subdir itself. Raises ClientError for anything that cannot be one."""
    if not _SUBDIR.fullmatch(text):
        raise ClientError(f"{text[:60]!r} is not a subdir", hint="such as linux-64 or noarch")
    return text


def check_label(text: str) -> str:
    """The label itself. Raises ClientError for anything that cannot be one."""
    if not _LABEL.fullmatch(text):
        raise ClientError(f"{text[:60]!r} is not a label")
    return text


def parse_filename(text: str) -> Filename | None:
    """The parts of a package filename, None if it is none: `numpy-2.1.0-py312_0.conda`."""
    found = _PACKAGE.fullmatch(text) if len(text) <= _LONGEST else None
    return None if found is None else Filename(text, *found.group("name", "version", "build", "form"))


def signed_package(text: str) -> str | None:
    """The package that a Sigstore sidecar is about: `<package>.sigs`, `<package>.sigs.<sha256>`; else None."""
    found = _SIGNATURES.fullmatch(text)
    return found["package"] if found and parse_filename(found["package"]) else None


def name_in(filename: str) -> str:
    """The package name in a filename as well as it can be told: all but the last two parts."""
    return filename.rsplit("-", 2)[0]


def filename_at(key: str, form: str) -> str:
    """The file that a key of repodata is about; those of `v3` lack the form ("conda"), others ("") have it."""
    ending = f".{form}" if form else ""
    return key.removesuffix(ending) + ending


def place(subdir: str, label: str | None = None) -> str:
    """Where a subdir lies below its channel: `linux-64`, or `label/rc/linux-64`."""
    return f"label/{check_label(label)}/{check_subdir(subdir)}" if label else check_subdir(subdir)


def subdir_of(where: str) -> str:
    """The subdir in what `place` made."""
    return where.rpartition("/")[2]


def is_asked_for(path: str) -> bool:
    """Whether every client asks for such a path of a channel, so that its absence is worth remembering."""
    subdir, _, filename = path.rpartition("/")
    return filename in _ASKED_FOR and (not subdir or subdir in PLATFORMS)
