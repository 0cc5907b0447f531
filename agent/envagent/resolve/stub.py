"""A wheel without content: how a solver of Python packages is told of a distribution that is there already.

It has a name and a version and needs nothing: whoever provides the distribution has seen to its needs.
"""

from __future__ import annotations

import io
import zipfile


def filename(name: str, version: str) -> str:
    """The name of the file (the binary distribution format: dashes are underscores)."""
    return f"{name.replace('-', '_')}-{version.replace('-', '_')}-py3-none-any.whl"


def wheel(name: str, version: str) -> bytes:
    """The file."""
    folder = f"{name.replace('-', '_')}-{version.replace('-', '_')}.dist-info"
    members = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: envagent\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{folder}/{member},,\n" for member in [*members, "RECORD"])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, text in {**members, "RECORD": record}.items():
            archive.writestr(f"{folder}/{member}", text)
    return buffer.getvalue()
