"""Parts of the suite: each file is in exactly one."""

from __future__ import annotations

import pytest

from tests.conftest import MINUTES, parts

FILES = [f"tests/live/test_{number}.py" for number in range(37)]


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_each_file_is_in_one_part(count: int) -> None:
    found = parts([*FILES, *FILES], count)
    assert len(found) == count
    assert sorted(file for part in found for file in part) == sorted(FILES)


def test_long_files_are_in_different_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MINUTES, "test_3.py", 9.0)
    monkeypatch.setitem(MINUTES, "test_4.py", 9.0)
    first, second = parts(FILES, 2)
    assert ("tests/live/test_3.py" in first) != ("tests/live/test_4.py" in first)
    assert abs(len(first) - len(second)) <= 1
