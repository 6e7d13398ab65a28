"""`suspended.json`: what is read, what is refused, and how much time is left."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from warpd.allocation.suspensions import Suspension
from warpd.errors import WarpError
from warpd.store.state_folder import Store
from warpd.store.suspensions import SUSPENDED, SuspensionStore

NOW_S = 1_800_000_000
ITEM = Suspension("net", "phone", NOW_S, NOW_S + 60, "anna (web)", "lost")


class Times:
    """Two clocks that the test turns."""

    def __init__(self) -> None:
        self.epoch_s, self.mono_s = float(NOW_S), 5.0

    def go_on(self, seconds: float) -> None:
        self.epoch_s += seconds
        self.mono_s += seconds


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def opened(folder: Path, times: Times) -> SuspensionStore:
    return SuspensionStore(Store(folder), lambda: times.epoch_s, lambda: times.mono_s)


def test_what_is_written_is_read_by_the_next_one(folder: Path, times: Times) -> None:
    store = opened(folder, times)
    assert store.current() == () and not (folder / SUSPENDED).exists()
    assert store.add(ITEM) is None
    endless = replace(ITEM, endpoint="tablet", until_s=None, reason="")
    assert store.add(endless) is None
    assert opened(folder, times).current() == (ITEM, endless)
    assert store.remove(ITEM.first_names) == ITEM
    assert store.remove(ITEM.first_names) is None
    assert opened(folder, times).current() == (endless,)


def test_another_process_is_heard(folder: Path, times: Times) -> None:
    mine, other = opened(folder, times), opened(folder, times)
    mine.add(ITEM)
    assert other.current() == (ITEM,)
    other.remove(ITEM.first_names)
    assert mine.active() == (ITEM,) and mine.current() == ()


def test_its_time_is_over_by_either_clock(folder: Path, times: Times) -> None:
    store = opened(folder, times)
    store.add(ITEM)
    assert store.next_end == 65.0
    times.go_on(59)
    assert store.active() == (ITEM,) and store.pop_expired() == []
    times.epoch_s -= 86_400
    times.mono_s += 2
    assert store.active() == ()
    assert store.pop_expired() == [ITEM] and store.pop_expired() == []
    assert store.settle() is None
    assert opened(folder, times).current() == ()


def test_read_again_it_has_the_time_that_was_left(folder: Path, times: Times) -> None:
    mine, other = opened(folder, times), opened(folder, times)
    mine.add(ITEM)
    times.go_on(30)
    times.epoch_s -= 86_400
    other.add(replace(ITEM, endpoint="tablet", until_s=None))
    mine.refresh()
    times.mono_s += 31
    assert [item.endpoint for item in mine.active()] == ["tablet"]


WRONG: dict[str, Any] = {
    "network": 7,
    "endpoint": None,
    "since_s": True,
    "until_s": NOW_S,
    "by": "x" * 65,
    "reason": "two\nlines",
}


@pytest.mark.parametrize("field", [*WRONG, "more", "twice", "much"])
def test_a_file_of_another_shape_is_not_read_as_less(
    folder: Path, times: Times, field: str
) -> None:
    store = opened(folder, times)
    store.add(ITEM)
    row = asdict(ITEM)
    rows = {"twice": [row, row], "more": [{**row, "more": 1}], "much": [row] * 10_001}
    document = {"version": 1, "suspended": rows.get(field, [{**row, field: WRONG.get(field)}])}
    (folder / SUSPENDED).write_text(json.dumps(document))
    assert store.current() == (ITEM,) and "damaged" in store.unreadable
    late = opened(folder, times)
    assert late.current() == () and "damaged" in late.unreadable
    with pytest.raises(WarpError, match="damaged"):
        raise late.add(replace(ITEM, endpoint="tablet")) or AssertionError("it was written over")
    assert [item.endpoint for item in late.current()] == ["tablet"] and late.is_unwritten
    assert json.loads((folder / SUSPENDED).read_text()) == document
    assert store.settle() is None and store.unreadable == ""
    assert late.current() == (ITEM, replace(ITEM, endpoint="tablet"))


def test_there_is_an_end_to_how_many(
    folder: Path, times: Times, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warpd.store.suspensions.SUSPENSIONS_MAX", 2)
    store = opened(folder, times)
    store.add(ITEM)
    store.add(replace(ITEM, endpoint="b"))
    with pytest.raises(WarpError, match="suspended already"):
        store.add(replace(ITEM, endpoint="c"))
    assert store.add(replace(ITEM, reason="again")) is None
