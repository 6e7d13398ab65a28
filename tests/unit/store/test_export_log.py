"""The log of exports: its rows, and what is found when somebody has altered it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from warpd.store.export_log import (
    FILE,
    append,
    first_altered,
    rows,
    rows_before,
    unchained,
)

LINES = 6
ROW = {"time": "2026-11-27T20:00:00+00:00", "network": "corp", "endpoint": "laptop"}


def row(user: str, **more: Any) -> dict[str, Any]:
    return {**ROW, "user": user, "version": 1, "format": "wg-quick", **more}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / FILE
    for number in range(1, LINES + 1):
        append(made, row(f"user {number}", reason="x" * number))
    return made


def altered(path: Path, change: Callable[[list[str]], None]) -> int | None:
    lines = path.read_text().splitlines()
    change(lines)
    return first_altered("".join(f"{line}\n" for line in lines))


def test_what_was_written_is_whole(path: Path) -> None:
    assert first_altered(path.read_text()) is None
    assert [each.user for each in rows(path.read_text())] == [
        f"user {number}" for number in range(1, LINES + 1)
    ]


@pytest.mark.parametrize("place", range(LINES - 1))
def test_another_name_in_a_line_is_found_at_the_next(path: Path, place: int) -> None:
    def rename(lines: list[str]) -> None:
        lines[place] = lines[place].replace(f"user {place + 1}", "somebody")

    assert altered(path, rename) == place + 2


@pytest.mark.parametrize("place", range(LINES - 1))
def test_a_line_taken_out_is_found(path: Path, place: int) -> None:
    assert altered(path, lambda lines: lines.__delitem__(place)) == place + 1


@pytest.mark.parametrize("place", range(1, LINES + 1))
def test_a_line_put_in_is_found(path: Path, place: int) -> None:
    def put_in(lines: list[str]) -> None:
        lines.insert(place, json.dumps(row("nobody")))

    assert altered(path, put_in) == place + 1


def test_two_lines_that_changed_places_are_found(path: Path) -> None:
    def swap(lines: list[str]) -> None:
        lines[2], lines[3] = lines[3], lines[2]

    assert altered(path, swap) == 3


def test_lines_cut_off_at_the_end_are_told_by_the_chain(path: Path) -> None:
    chain = append(path, row("last"))
    whole = path.read_text().splitlines()
    following = row("next")
    path.write_text("".join(f"{line}\n" for line in whole[:-1]))
    append(path, following)
    assert first_altered(path.read_text()) is None
    assert chain not in path.read_text()


def test_lines_without_a_chain_are_counted(path: Path) -> None:
    assert unchained(path.read_text()) == 0
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    stripped = "".join(
        json.dumps({key: value for key, value in line.items() if key != "chain"}) + "\n"
        for line in lines
    )
    assert first_altered(stripped) is None and unchained(stripped) == LINES
    path.write_text(stripped)
    append(path, row("zoe"))
    assert unchained(path.read_text()) == LINES


def test_lines_from_before_the_chain_count_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_text("".join(json.dumps(row(user)) + "\n" for user in ("ann", "bob")))
    append(path, row("zoe"))
    assert first_altered(path.read_text()) is None
    assert [each.user for each in rows(path.read_text())] == ["ann", "bob", "zoe"]
    path.write_text(path.read_text().replace("bob", "eve"))
    assert first_altered(path.read_text()) == 3


def test_a_line_torn_by_a_crash_is_no_alteration(path: Path) -> None:
    with path.open("a") as file:
        file.write('{"time": "2026-01-01T00:00:00+00:00", "user": "to')
    append(path, row("zoe"))
    assert first_altered(path.read_text()) is None
    assert [each.number for each in rows(path.read_text())] == [*range(1, LINES + 1), LINES + 2]


def test_pages_of_rows_are_the_latest_first(path: Path) -> None:
    text = path.read_text()
    assert [each.number for each in rows_before(text, None, 2)] == [6, 5]
    assert [each.number for each in rows_before(text, 5, 3)] == [4, 3, 2]
    assert rows_before(text, 1, 3) == []
    assert rows_before("", None, 3) == []
