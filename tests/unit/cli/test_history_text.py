"""For how long an applied intent was in force, as `warpctl history` shows it."""

from __future__ import annotations

import pytest

from warpd.cli.history import active_for


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
