"""How a finding is shown: its source line fits a terminal, with the caret below its place."""

from __future__ import annotations

import pytest

from warpd.errors import Finding, Where, render_finding

WIDTH = 80


def excerpt(source: str, column: int) -> tuple[str, str]:
    """The source line as it is shown, and the character above the caret."""
    where = Where("warp.yaml", 1, column, source)
    _headline, shown, caret = render_finding(Finding("code", "path", "text", where=where)).split(
        "\n"
    )
    assert max(len(shown), len(caret)) <= WIDTH
    return shown, (shown + " ")[caret.index("^")]


@pytest.mark.parametrize("length", [1, 79, 80, 81, 120, 500])
def test_every_place_of_a_line_has_its_caret(length: int) -> None:
    source = "".join(chr(ord("a") + number % 26) for number in range(length))
    for column in range(1, length + 1):
        shown, above = excerpt(source + "\n", column)
        assert above == source[column - 1], column
        assert shown.strip("…") in source
        assert len(shown) == min(length, WIDTH)
    assert excerpt(source, length + 1)[1] == " "  # something is missing at the end


def test_a_line_that_is_cut_says_so() -> None:
    source = "x" * 300
    cut = [(shown[0], shown[-1]) for shown, _ in (excerpt(source, at) for at in (1, 150, 300))]
    assert cut == [("x", "…"), ("…", "…"), ("…", "x")]
    assert excerpt("y" * 80, 80)[0] == "y" * 80
