"""For how long an applied intent was in force, as `warpctl history` shows it."""

from __future__ import annotations

import pytest

from warpd.cli.history import _rollback_text, active_for


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (86_399, "23 h"),
        (86_400, "1 d 0 h"),
        (100 * 86_400 + 3600, "100 d 1 h"),
    ],
)
def test_active_for(seconds: int | None, text: str) -> None:
    assert active_for(seconds) == text


def test_going_back_to_another_name_shows_the_name() -> None:
    """A rename changes no peer, and is shown all the same."""
    entry = {
        "number": 1,
        "time": "2026-11-28T08:05:57+00:00",
        "by": "root",
        "diff": "-  a: {renamed_from: b}\n+  b: {}",
        "overview": [],
        "risks": [],
    }
    head, *rest = _rollback_text(entry, plain).splitlines()
    assert head == "Going back to number 1, applied at 2026-11-28T08:05:57+00:00 by root:"
    assert rest == ["-  a: {renamed_from: b}", "+  b: {}"]
    unknown = {**entry, "overview": None, "risks": None}
    assert _rollback_text(unknown, plain).splitlines()[1:] == rest
    same = {**entry, "diff": ""}
    assert _rollback_text(same, plain).splitlines()[1:] == ["(nothing changes)"]


def plain(text: str, _colour: str) -> str:
    return text
