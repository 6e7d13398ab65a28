"""Events on disk, over restarts and failures of the disk; and how they are asked for and told."""

from __future__ import annotations

import json
import os
import resource
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from warpd.cli.events import Filter, event_text, known_kinds, moment, texts
from warpd.daemon.mailbox import Mailbox
from warpd.errors import WarpError
from warpd.store import event_log
from warpd.store.event_log import FILE, RETRY_S, EventLog

NOW = datetime(2026, 1, 31, 8, 0, tzinfo=UTC)


class Daemon:
    """A desk and its log, as the loop has them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_s = 0.0
        self.mailbox = Mailbox()
        self.mailbox.restore(event_log.read(folder))
        self.written = self.mailbox.last_number
        self.log = EventLog(folder, lambda: [event.as_json() for event in self.mailbox.events()])

    def tell(self, count: int = 1, **fields: Any) -> None:
        for _ in range(count):
            self.mailbox.tell(NOW.isoformat(), "change", **fields)
        new = self.mailbox.events(self.written)
        self.written = self.mailbox.last_number
        self.now_s += RETRY_S
        self.log.append((event.as_json() for event in new), self.now_s)

    def numbers(self) -> list[int]:
        return [event.number for event in self.mailbox.events()]


def on_disk(folder: Path) -> list[int]:
    return [row["number"] for row in event_log.read(folder)]


def test_a_restart_keeps_events_and_counts_on(tmp_path: Path) -> None:
    first = Daemon(tmp_path)
    first.tell(3, network="corp", why="in the intent")
    second = Daemon(tmp_path)
    assert second.mailbox.events() == first.mailbox.events()
    second.tell()
    assert Daemon(tmp_path).numbers() == [1, 2, 3, 4]
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_a_crash_in_the_middle_of_a_line(tmp_path: Path) -> None:
    Daemon(tmp_path).tell(2)
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"number": 3, "time": "20')
    again = Daemon(tmp_path)
    assert again.numbers() == [1, 2]
    again.tell()
    assert Daemon(tmp_path).numbers() == [1, 2, 3]


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\xfe\n",
        b"[]\n",
        b"1\n",
        b'{"number": "x"}\n',
        b"{" * 9999 + b"\n",
        b"\0" * 999,
        b'{"number": 1, "time": 2, "kind": 3}\n',
    ],
)
def test_a_file_that_holds_something_else(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / FILE).write_bytes(raw)
    daemon = Daemon(tmp_path)
    assert daemon.numbers() == []
    daemon.tell()
    assert Daemon(tmp_path).numbers() == [1]


def test_it_does_not_grow_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "SIZE_MAX", 300_000)
    daemon = Daemon(tmp_path)
    for _ in range(60):
        daemon.tell(100, why="x" * 50)
        assert (tmp_path / FILE).stat().st_size <= 300_000
    assert Daemon(tmp_path).numbers() == daemon.numbers() == list(range(5001, 6001))
    assert os.listdir(tmp_path) == [FILE]


def test_a_link_or_a_pipe_in_its_place_is_neither_followed_nor_waited_for(tmp_path: Path) -> None:
    target = tmp_path / "passwd"
    target.write_text("root\n")
    state = tmp_path / "state"
    state.mkdir()
    (state / FILE).symlink_to(target)
    daemon = Daemon(state)
    daemon.tell()
    assert daemon.log.failure and target.read_text() == "root\n" and daemon.numbers() == [1]
    daemon.tell()
    assert (
        on_disk(state) == [1, 2]
        and not (state / FILE).is_symlink()
        and target.read_text() == "root\n"
    )
    (state / FILE).unlink()
    os.mkfifo(state / FILE)
    assert event_log.read(state) == []
    daemon.tell()
    assert "not a regular file" in daemon.log.failure
    daemon.tell()
    assert on_disk(state) == daemon.numbers() == [1, 2, 3, 4]


def test_a_full_disk_keeps_them_in_memory_and_says_so(tmp_path: Path) -> None:
    """The limit on the size of a file stands in for the disk: write(2) writes a part, then
    fails.
    """
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    daemon = Daemon(tmp_path)
    try:
        daemon.tell(3)
        full = (tmp_path / FILE).stat().st_size + 10
        resource.setrlimit(resource.RLIMIT_FSIZE, (full, limits[1]))
        daemon.tell(2)
        failure = daemon.log.failure
        whole = (tmp_path / FILE).read_bytes()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert failure == "File too large" and daemon.numbers() == [1, 2, 3, 4, 5]
    assert whole.endswith(b"\n") and on_disk(tmp_path) == [1, 2, 3], "nothing half written"
    daemon.log.append([], daemon.now_s)
    assert daemon.log.failure and on_disk(tmp_path) == [1, 2, 3], "tried again after a pause"
    daemon.log.append([], daemon.now_s + RETRY_S)
    assert daemon.log.failure == "" and on_disk(tmp_path) == [
        1,
        2,
        3,
        4,
        5,
    ], "made up for when there is room"


def test_the_last_of_the_disk_is_left_to_what_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon(tmp_path)
    daemon.tell()
    monkeypatch.setattr(event_log, "ROOM_MIN", 2**62)
    daemon.tell()
    assert daemon.log.failure == "No space left on device" and on_disk(tmp_path) == [1]
    assert os.listdir(tmp_path) == [FILE]
    monkeypatch.undo()
    daemon.tell()
    assert on_disk(tmp_path) == daemon.numbers() == [1, 2, 3]


def test_a_folder_that_comes_later(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "state")
    daemon.tell()
    assert daemon.log.failure == "" and not (tmp_path / "state").exists(), (
        "the folder is others' to make"
    )
    (tmp_path / "state").mkdir()
    daemon.tell()
    assert on_disk(tmp_path / "state") == [1, 2]


# -- asking and telling


def test_events_by_filter() -> None:
    event = {"kind": "change", "network": "corp", "repair": True, "time": NOW.isoformat()}
    assert Filter().takes(event) and Filter("corp", ("change", "failed"), True, NOW).takes(event)
    assert not Filter("web").takes(event) and not Filter(kinds=("failed",)).takes(event)
    assert not Filter(repairs=True).takes({**event, "repair": False})
    assert not Filter("corp").takes({"kind": "intent_applied", "time": ""})
    assert not Filter(since=NOW + timedelta(seconds=1)).takes(event) and not Filter(
        since=NOW
    ).takes({**event, "time": "?"})


def test_since_takes_times_and_durations() -> None:
    assert moment("30m", NOW) == NOW - timedelta(minutes=30) and moment(
        "1d", NOW
    ) == NOW - timedelta(days=1)
    assert (
        moment("2026-01-31T07:00", NOW)
        == moment("2026-01-31T08:00+01:00", NOW)
        == NOW - timedelta(hours=1)
    )
    for wrong in ("x", "m", "-5m", "9" * 30 + "d", "2026-13-01"):
        with pytest.raises(WarpError) as caught:
            moment(wrong, NOW)
        assert caught.value.code == "bad-time" and "30m" in caught.value.hint


def test_an_unknown_kind_is_refused_with_the_kinds_there_are() -> None:
    with pytest.raises(WarpError) as caught:
        known_kinds(("change", "chagne"))
    assert caught.value.code == "bad-kind" and "'chagne'" in str(caught.value)
    assert "change, condition" in str(caught.value)
    assert known_kinds(("change", "failed")) == ("change", "failed")


def test_many_changes_are_one_line() -> None:
    why = "in the intent, not in the kernel"
    row: dict[str, Any] = {
        "time": NOW.isoformat(),
        "kind": "change",
        "network": "corp",
        "vcid": 7,
        "action": "create",
    }
    rows = [
        {**row, "number": each, "object": f"root/link/x{each}", "why": why, "repair": False}
        for each in range(1, 69)
    ]
    other = {
        "number": 99,
        "time": NOW.isoformat(),
        "kind": "failed",
        "network": "corp",
        "error": "EPERM\n  at x",
        "why": why,
    }
    lines = list(texts([*rows, other, *rows[:2]]))
    assert len(lines) == 4
    assert lines[0].startswith(
        "2026-01-31T08:00:00Z  change     network=corp  vcid=7  action=create  why=in the intent"
    )
    assert "objects=68" in lines[0] and "first=root/link/x1" in lines[0]
    assert lines[1].endswith("error=EPERM at x  why=in the intent, not in the kernel"), (
        "one event, one line"
    )
    assert "object=root/link/x2" in lines[3]


def test_a_list_is_told_by_its_first() -> None:
    event = {
        "number": 1,
        "time": NOW.isoformat(),
        "kind": "intent_invalid",
        "findings": ["warp.yaml:1:1: x", "warp.yaml:2:1: y"],
    }
    assert event_text(event).endswith("findings=warp.yaml:1:1: x (and 1 more)")
    assert json.loads(json.dumps(event)) == event
