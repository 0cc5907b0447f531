"""THREAT_MODEL.md names no module and no test that there is not, and no defence without both."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "THREAT_MODEL.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`((?:proxy|agent|tests|deploy)/[^`]+)`", TEXT)))
DEFENCES = re.findall(r"^\|(?P<what>[^|]+)\|(?P<where>[^|]+)\|(?P<tested>[^|]+)\|$", TEXT, re.MULTILINE)
THREATS = ("confusion", "path traversal", "token", "flooding", "hostile wheel", "lock", "hardlink", "peer")


@cache
def functions_of(file: Path) -> set[str]:
    module = ast.parse(file.read_text("utf-8"))
    return {node.name for node in module.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_module_and_every_file_of_tests_is_there() -> None:
    assert NAMED
    assert [name for name in NAMED if not (ROOT / name.partition("::")[0]).is_file()] == []


def test_every_test_is_in_its_file() -> None:
    tests = [(name, *name.split("::")) for name in NAMED if "::" in name]
    assert tests
    assert [name for name, file, test in tests if test not in functions_of(ROOT / file)] == []


def test_each_defence_has_a_module_and_a_test() -> None:
    defences = [row for row in DEFENCES if row[0].strip() not in {"what stops it", "---"}]
    assert len(defences) > 40
    for what, where, tested in defences:
        assert re.search(r"`(proxy|agent|deploy)/[^`]+`", where), what
        assert re.search(r"`tests/[^`]+::test_\w+`", tested), what


def test_each_threat_has_a_section() -> None:
    headings = [line.lower() for line in TEXT.splitlines() if line.startswith("## ")]
    assert [threat for threat in THREATS if not any(threat in heading for heading in headings)] == []
