"""The house gets no worse: every figure of `figures.py` is as good as the one that was kept, or
better.
"""

from __future__ import annotations

import ast
import json

import pytest

from tests.house.figures import (
    LIMITS,
    MORE_IS_BETTER,
    complexity,
    decides_by_kind,
    figures,
    line_counts,
    object_kinds,
    patches,
)

KEPT = json.loads(LIMITS.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def present() -> dict[str, float]:
    found = figures()
    print(json.dumps(found, indent=2))
    return found


@pytest.mark.parametrize("name", sorted(KEPT))
def test_no_figure_gets_worse(present: dict[str, float], name: str) -> None:
    worse = present[name] < KEPT[name] if name in MORE_IS_BETTER else present[name] > KEPT[name]
    assert not worse, (
        f"{name}: {present[name]}, and was {KEPT[name]}; better figures are kept by `figures.py"
        " --write`"
    )


def test_every_figure_is_kept(present: dict[str, float]) -> None:
    assert present.keys() == KEPT.keys()


def test_complexity_counts_every_parting_of_the_way() -> None:
    function = ast.parse(
        "def f(a, b):\n    if a and b:\n        return [x for x in a if x]\n    return 1 if b"
        " else 2\n"
    ).body[0]
    assert (
        complexity(function) == 5
    )  # one; if; and; for; the last line's if (a comprehension's own `if` parts no way)


def test_docstrings_and_comments_are_documentation() -> None:
    assert line_counts('"""One.\n\nThree."""\n\nx = 1  # one more\n# and one\n') == (1, 5)


def test_object_kinds_are_the_classes_of_their_room() -> None:
    assert {"Device", "Vxlan", "WireguardPeer", "NftTable", "Route"} <= object_kinds()
    assert "KernelObject" not in object_kinds()


@pytest.mark.parametrize(
    ("text", "decides"),
    [
        ("isinstance(item, Route)", True),
        ("isinstance(item, route.Route | Rule)", True),
        ("isinstance(item, (int, Veth))", True),
        ("type(item) is Route", True),
        ("key.kind == Route.KIND", True),
        ("item.key.kind in ('route', 'rule')", True),
        ("isinstance(item, str)", False),
        ("segment.kind == 'gretap'", False),
        ("type(item) is int", False),
        ("Route(netns, prefix)", False),
    ],
)
def test_a_question_which_kind_something_is(text: str, decides: bool) -> None:
    nodes = ast.walk(ast.parse(text))
    assert any(decides_by_kind(node, {"Route", "Rule", "Veth"}) for node in nodes) == decides


def test_a_class_pattern_asks_which_kind_something_is() -> None:
    nodes = list(ast.walk(ast.parse("match item:\n    case Route(): pass\n")))
    assert any(decides_by_kind(node, {"Route"}) for node in nodes)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("import sys\nsys.modules['rich'] = None\ndel sys.modules['rich']", 2),
        ("import typer\ntyper.rich_utils.STYLE = ''", 1),
        ("from watchdog import x\nsetattr(x, 'delay', 0)", 1),
        ("import importlib\ngetattr(importlib.import_module('x'), 'Y').delay = 0.0", 1),
        ("rows = {}\nrows.setdefault('a', {})['b'] = 1", 0),
        ("import os\nfrom warpd import naming\nos.environ['A'] = ''\nself.a = naming.b", 0),
    ],
)
def test_a_patched_library_is_counted(text: str, count: int) -> None:
    assert patches(text) == count
