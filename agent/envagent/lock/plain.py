"""Versions and requirements as most locks spell them, known for right without the library that knows all spellings.

Pure. Invariant: what is plain here, `packaging` takes, too; what is not plain may be right all the same, and is for
that library to judge (rules.py), which takes longer to import than a lock of hundreds of packages takes to read.
"""

from __future__ import annotations

import re

_NUMBERS = r"[0-9]+(?:\.[0-9]+)*"
_VERSION = rf"{_NUMBERS}(?:(?:a|b|rc)[0-9]+)?(?:\.post[0-9]+)?(?:\.dev[0-9]+)?"  # PEP 440, public and normalized
_CLAUSE = rf"(?:(?:[<>]=?|[!=]=) ?{_VERSION}|[!=]= ?{_NUMBERS}\.\*|~= ?[0-9]+(?:\.[0-9]+)+)"
_CLAUSES = rf"{_CLAUSE}(?:, ?{_CLAUSE})*"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_EXTRAS = rf"\[{_NAME}(?:, ?{_NAME})*\]"
_VARIABLE = (
    r"(?:extra|os_name|sys_platform|platform_(?:machine|system|python_implementation)|python_(?:full_)?version)"
)
_COMPARED = rf"""{_VARIABLE} ?(?:[<>]=?|[!=]=) ?(?:"[A-Za-z0-9._-]+"|'[A-Za-z0-9._-]+')"""
_MARKER = rf"{_COMPARED}(?: (?:and|or) {_COMPARED})*"
_TAGS = r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*"
_WHEEL = rf"([A-Za-z0-9](?:[._]?[A-Za-z0-9])*)-({_VERSION})-{_TAGS}-{_TAGS}-{_TAGS}\.whl"


def is_version(word: str) -> bool:
    """Whether it is plainly a version (PEP 440)."""
    return bool(re.fullmatch(_VERSION, word))  # compiled when first used, as the next


def is_specifiers(word: str) -> bool:
    """Whether it is plainly a set of version specifiers (PEP 440)."""
    return bool(re.fullmatch(_CLAUSES, word))


def is_requirement(word: str) -> bool:
    """Whether it is plainly a requirement (PEP 508), and of no URL."""
    return bool(re.fullmatch(rf"{_NAME}(?:{_EXTRAS})? ?(?:{_CLAUSES})?(?: ?; ?{_MARKER})?", word))


def is_wheel(filename: str, *, name: str, version: str) -> bool:
    """Whether it is plainly the filename (PEP 427) of a wheel of this project, by its normalized name and version."""
    found = re.fullmatch(_WHEEL, filename)
    return found is not None and re.sub("[._]", "-", found[1]).lower() == name and found[2] == version
