"""The bytes of a lock, and the ids that are taken of them.

Canonical bytes are RFC 8785 (JCS): UTF-8, keys sorted, no whitespace, no newline at the end; a lock holds strings and
integers below 2**53 only, for which Python's own writer says the same. Keys with an empty value are left out, except
`depends`. Packages stand in the order of (kind, name), targets by name. So `sha256sum lock.json` prints the lock id.
The request id is taken of the requests alone: equal requests may have different solutions, and the reverse.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from envagent.lock.model import VERSION

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from envagent.lock.model import Environment, Lock, Package, Request, Target


def canonical_bytes(lock: Lock) -> bytes:
    """The one byte string of a lock: what is written, published and hashed."""
    return encode(document(lock))


def lock_id(lock: Lock) -> str:
    """64 hexadecimal digits: sha256 of the canonical bytes."""
    return hashlib.sha256(canonical_bytes(lock)).hexdigest()


def request_id(lock: Lock) -> str:
    """64 hexadecimal digits that say what was asked for, and for which targets, not what was found."""
    asked = {name: _question(environment) for name, environment in lock.environments.items()}
    return hashlib.sha256(encode({"envmesh-request": VERSION, "environments": asked})).hexdigest()


def encode(value: object) -> bytes:
    """RFC 8785 of a value without floats."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def document(lock: Lock) -> dict[str, Any]:
    """The lock as the JSON value that its bytes are the text of."""
    environments = {name: _environment(environment) for name, environment in lock.environments.items()}
    return {"envmesh-lock": VERSION, "environments": environments}


def request_document(request: Request) -> dict[str, Any]:
    """A request as it stands in a lock."""
    return _members(request)


def package_document(package: Package) -> dict[str, Any]:
    """A package as it stands in a lock."""
    return {"kind": package.kind, "depends": list(package.depends), **_members(package)}


def _environment(environment: Environment) -> dict[str, Any]:
    targets = [
        _target(target) | {"packages": [package_document(p) for p in target.packages]}
        for target in environment.targets
    ]
    return {"request": request_document(environment.request), "targets": targets}


def _question(environment: Environment) -> dict[str, Any]:
    targets = [_machine(target) for target in environment.targets]
    return {"request": request_document(environment.request), "targets": targets}


def _target(target: Target) -> dict[str, Any]:
    interpreter = {"interpreter": _members(target.interpreter)} if target.interpreter else {}
    return _machine(target) | interpreter


def _machine(target: Target) -> dict[str, Any]:
    name = {} if target.name == target.platform else {"name": target.name}
    virtual = {"virtual-packages": dict(target.virtual_packages)} if target.virtual_packages else {}
    return {"platform": target.platform, **name, **virtual}


def _members(thing: DataclassInstance) -> dict[str, Any]:
    values = ((field.name.replace("_", "-"), getattr(thing, field.name)) for field in dataclasses.fields(thing))
    return {key: _plain(value) for key, value in values if value}


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value
