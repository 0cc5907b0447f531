"""A distribution that is there already, as a solver of Python packages is told of it: a wheel without content.

It needs nothing, for whoever provides it has seen to its needs; except what it needs for extras that somebody asks
for, since nobody has asked its provider for them.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envagent.resolve.metadata import Metadata

if TYPE_CHECKING:
    from packaging.requirements import Requirement


@dataclass(frozen=True, slots=True)
class Given:
    """A PEP 503 name and a version; `needs` are the requirements of `extras` (PEP 508, with their markers)."""

    name: str
    version: str
    extras: frozenset[str] = frozenset()
    needs: tuple[Requirement, ...] = ()

    @property
    def metadata(self) -> Metadata:
        """What is said of it."""
        return Metadata(self.name, self.version, self.needs)

    @property
    def filename(self) -> str:
        """The name of the wheel (the binary distribution format: dashes are underscores)."""
        return f"{self._stem}-py3-none-any.whl"

    def wheel(self) -> bytes:
        """The wheel."""
        said = [("Metadata-Version", "2.1"), ("Name", self.name), ("Version", self.version)]
        said += [("Provides-Extra", extra) for extra in sorted(self.extras)]
        said += [("Requires-Dist", str(need)) for need in self.needs]
        folder = f"{self._stem}.dist-info"
        members = {
            "METADATA": "".join(f"{key}: {value}\n" for key, value in said),
            "WHEEL": "Wheel-Version: 1.0\nGenerator: envagent\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = "".join(f"{folder}/{member},,\n" for member in [*members, "RECORD"])
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for member, text in {**members, "RECORD": record}.items():
                archive.writestr(f"{folder}/{member}", text)
        return buffer.getvalue()

    @property
    def _stem(self) -> str:
        return f"{self.name.replace('-', '_')}-{self.version.replace('-', '_')}"
