"""docs/lock.schema.json tells other programs the form of a lock: it must take what we write and no other form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from envagent.lock.canonical import document
from envagent.lock.model import Lock
from envagent.lock.reading import from_document
from fixtures.locks import Index, example, imported, locks, package_of, real

jsonschema = pytest.importorskip("jsonschema", reason="the schema is checked by the jsonschema package")
SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parents[3] / "docs" / "lock.schema.json").read_text())
)


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA.schema)


@given(locks())
def test_the_schema_takes_every_lock_of_conda_and_wheels(lock: Lock):
    SCHEMA.validate(document(lock))


@given(locks("system"))
def test_the_schema_takes_every_lock_of_wheels(lock: Lock):
    SCHEMA.validate(document(lock))


def test_the_schema_takes_the_lock_of_a_real_file():
    SCHEMA.validate(document(imported(real("pixi-lock/pypi.pixi.lock"), Index())))


def test_the_schema_takes_pinned_interpreters_and_built_wheels():
    archive = {"kind": "interpreter", "name": "cpython", "version": "3.12.1", "filename": "cpython.tar.zst"}
    archive |= {"url": "https://files.example.org/cpython.tar.zst", "size": 9, "sha256": "1" * 64}
    lock = example()
    lock["environments"]["default"]["targets"][0]["packages"].append(archive)
    lock["environments"]["default"]["targets"][0]["interpreter"] = {"kind": "files", "name": "cpython"}
    del package_of(lock, 1)["url"]
    package_of(lock, 1)["built-from"] = f"git+https://code.example.org/numpy@{'a' * 40}"
    from_document(lock)
    SCHEMA.validate(lock)


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "A" * 64},
        {"size": 0},
        {"url": "https://me:secret@files.example.org/n.whl"},
        {"url": "ftp://files.example.org/n.whl"},
        {"kind": "egg"},
        {"sha512": ""},
        {"depends": "numpy"},
    ],
)
def test_the_schema_takes_no_other_form(change: dict[str, Any]):
    lock = example()
    package_of(lock, 1).update(change)
    assert not SCHEMA.is_valid(lock)
