"""docs/security-rules.md has every rule once, and every test that it names is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "security-rules.md"
ROW = re.compile(r"^\| ([VR]\d+) \| (.+?) \| (.+?) \|$", re.MULTILINE)
RULES = [f"V{number}" for number in range(1, 28)] + [f"R{number}" for number in range(1, 21)]
ROWS = ROW.findall(PAGE.read_text())


@cache
def names_in(file: str) -> frozenset[str]:
    """Tests of a file of Python, or texts of the checks of a script."""
    text = (TESTS / file).read_text()
    if file.endswith(".sh"):
        return frozenset(re.findall(r'^ *check "([^"]+)"', text, re.MULTILINE))
    nodes = ast.parse(text).body
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef))


def test_every_rule_has_one_row() -> None:
    assert [rule for rule, _what, _tests in ROWS] == RULES
    assert PAGE.read_text().count("\n| V") + PAGE.read_text().count("\n| R") == len(RULES)


@pytest.mark.parametrize(("rule", "tests"), [(rule, tests) for rule, _what, tests in ROWS])
def test_its_tests_are_there(rule: str, tests: str) -> None:
    named = re.findall(r"`([^`]+)`", tests)
    assert named, rule
    for test in named:
        file, _, name = test.partition("::")
        assert (TESTS / file).is_file(), test
        assert not name or name in names_in(file), test
        assert name.startswith("test_") or file.endswith(".sh") or not name, test


def test_a_test_that_is_not_there_is_missed() -> None:
    assert "test_of_nothing" not in names_in("unit/test_security_rules.py")
    assert "test_every_rule_has_one_row" in names_in("unit/test_security_rules.py")
    assert "installs" in names_in("vm/deb.sh")
