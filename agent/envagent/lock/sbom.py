"""An environment of a lock as a CycloneDX 1.6 bill of materials.

All targets are one bill: a component is an artifact, told from others by its purl and its sha256. The same lock gives
the same document, so it has no time in it and its serial number is derived from the lock id.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING
from urllib.parse import quote

from envagent.lock.canonical import lock_id
from envagent.lock.graph import needs
from envagent.lock.model import CondaPackage, Package, PythonPackage

if TYPE_CHECKING:
    from envagent.lock.model import Lock

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:envmesh:lock")


def sbom(lock: Lock, env: str | None = None) -> dict[str, object]:
    """The bill of one environment, a JSON document. Raises UsageError if there is no such environment."""
    name = lock.label(env)
    edges: dict[Package, set[Package]] = {}
    for target in lock.environments[name].targets:
        for package, needed in needs(target).items():
            edges.setdefault(package, set()).update(needed)
    identity = lock_id(lock)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(_NAMESPACE, f"{identity}/{name}").urn,
        "version": 1,
        "metadata": {
            "component": {"type": "application", "bom-ref": f"environment:{name}", "name": name},
            "properties": [{"name": "envmesh:lock-id", "value": identity}],
        },
        "components": [_component(package) for package in sorted(edges, key=_reference)],
        "dependencies": [_dependency(package, edges[package]) for package in sorted(edges, key=_reference)],
    }


def purl(package: Package) -> str:
    """The package URL (ECMA-427) of a package."""
    if isinstance(package, CondaPackage):
        ending = "conda" if package.filename.endswith(".conda") else "tar.bz2"
        qualifiers = {"build": package.build, "channel": package.channel, "subdir": package.subdir, "type": ending}
        return _purl("conda", package, qualifiers)
    if isinstance(package, PythonPackage):
        repository = package.index if "://" in package.index else ""
        return _purl("pypi", package, {"file_name": package.filename, "repository_url": repository})
    return _purl("generic", package, {"download_url": package.url})


def _purl(kind: str, package: Package, qualifiers: dict[str, str]) -> str:
    named = "&".join(f"{key}={quote(value, safe=':/')}" for key, value in sorted(qualifiers.items()) if value)
    return f"pkg:{kind}/{quote(package.name, safe='')}@{quote(package.version, safe='')}?{named}"


def _reference(package: Package) -> str:
    return f"{purl(package)}#{package.sha256}"


def _component(package: Package) -> dict[str, object]:
    component: dict[str, object] = {
        "type": "library",
        "bom-ref": _reference(package),
        "name": package.name,
        "version": package.version,
        "purl": purl(package),
        "hashes": [{"alg": "SHA-256", "content": package.sha256}],
    }
    if isinstance(package, CondaPackage) and package.license:
        component["licenses"] = [{"license": {"name": package.license}}]
    if package.url:
        component["externalReferences"] = [{"type": "distribution", "url": package.url}]
    return component


def _dependency(package: Package, needed: set[Package]) -> dict[str, object]:
    return {"ref": _reference(package), "dependsOn": sorted(map(_reference, needed))}
