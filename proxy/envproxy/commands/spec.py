"""How a command names files: by SHA-256, by file name, or a whole release by project==version."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from packaging.utils import canonicalize_version
from packaging.version import InvalidVersion, Version

from envproxy.command import UsageError
from envproxy.errors import ClientError
from envproxy.pypi.names import normalize, version_of

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Named(Protocol):
    """A file that can be named."""

    @property
    def project(self) -> str:
        """Normalised (PEP 503)."""

    @property
    def filename(self) -> str:
        """As on the page."""

    @property
    def sha256(self) -> str:
        """In lower-case hex."""


F = TypeVar("F", bound=Named)


@dataclass(frozen=True, slots=True)
class Spec:
    """One name; at most one of its fields but `text` is set."""

    text: str
    release: tuple[str, str] | None = None
    sha256: str | None = None

    def among(self, files: Iterable[F]) -> list[F]:
        """The files that it names, in their order."""
        return [file for file in files if self._names(file)]

    def _names(self, file: Named) -> bool:
        if self.release is not None:
            project, version = self.release
            found = version_of(file.filename, project)
            return file.project == project and found is not None and canonicalize_version(found) == version
        return self.text in (file.filename, file.sha256)


def parse_spec(text: str) -> Spec:
    """Read a SPEC. Raises UsageError for a project==version that has no such project or version in it."""
    name, is_release, version = text.partition("==")
    if not is_release:
        return Spec(text, sha256=text if _SHA256.fullmatch(text) else None)
    try:
        return Spec(text, release=(normalize(name.strip()), canonicalize_version(Version(version))))
    except (ClientError, InvalidVersion) as error:
        raise UsageError(f"{text!r} is not project==version: {error}") from error
