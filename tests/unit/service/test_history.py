"""What was applied is kept whole, with its allocations; one apply waits for a yes at a time; times
that make sense.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests import world
from warpd.errors import Busy, WarpError
from warpd.service import history as module
from warpd.service.history import ENTRIES_MAX, NOTHING, History, files_digest
from warpd.service.rollback import seconds_of
from warpd.service.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "warp.yaml", tmp_path / "state")


def say(workspace: Workspace, **networks: object) -> None:
    workspace.config.write_text(json.dumps({"version": 1, "networks": networks}))


def applied(workspace: Workspace) -> module.HistoryEntry:
    read = workspace.read()
    workspace.commit(read)
    return History(workspace).record(read, "test")


def test_nothing_was_applied(workspace: Workspace) -> None:
    history = History(workspace)
    assert history.in_force() is None and history.entries() == [] and history.pending() is None
    assert not workspace.store.folder.exists(), "looking creates nothing"


def test_the_same_is_kept_once(workspace: Workspace) -> None:
    say(workspace, a=world.network(1))
    assert [applied(workspace).number, applied(workspace).number] == [1, 1]
    say(workspace, a=world.network(2))
    assert applied(workspace).number == 2 and [
        entry.number for entry in History(workspace).entries()
    ] == [1, 2]
    assert (workspace.store.folder / "history" / "000001.json").stat().st_mode & 0o777 == 0o600


def test_what_another_process_applied_has_no_second_copy_of_the_allocations(
    workspace: Workspace,
) -> None:
    say(workspace, guests={"type": "secure-internet"})
    first = applied(workspace)
    read = Workspace(workspace.config, workspace.store.folder).read()
    later = module.History(workspace)
    assert read.allocations == first.allocations
    assert read.allocations is not first.allocations
    assert later.record(read, "warpd").allocations is read.allocations
    assert later.entry(first.number).allocations is read.allocations


def test_an_entry_reads_as_it_was_with_its_allocations(
    workspace: Workspace, tmp_path: Path
) -> None:
    say(workspace, a=world.network(1))
    (tmp_path / "networks.d").mkdir()
    (tmp_path / "networks.d" / "more.yaml").write_text(
        json.dumps({"networks": {"b": world.network(2)}})
    )
    before = workspace.read()
    entry = applied(workspace)
    (tmp_path / "networks.d" / "more.yaml").unlink()
    (tmp_path / "networks.d" / "other.yaml").write_text(
        json.dumps({"networks": {"c": world.network(3)}})
    )
    say(workspace, a=world.network(3, subnet="10.77.0.0/24"))
    applied(workspace)
    again = History(workspace).read(History(workspace).entry(entry.number))
    assert again.intent == before.intent and again.allocations == before.allocations
    assert files_digest(before.loaded.contents) == entry.digest


def test_only_the_newest_are_kept_and_what_is_gone_back_to(workspace: Workspace) -> None:
    for number in range(ENTRIES_MAX + 5):
        say(workspace, a=world.network(1, mtu=1300 + number))
        applied(workspace)
        if number == 0:
            History(workspace).record_pending(1, NOTHING, 3600, "test")
    numbers = [entry.number for entry in History(workspace).entries()]
    assert numbers == [1, *range(6, ENTRIES_MAX + 6)]


def test_an_entry_that_does_not_come_into_force_is_not_kept(workspace: Workspace) -> None:
    say(workspace, a=world.network(1))
    applied(workspace)
    in_the_way = workspace.store.folder / ".in-force.json.new"
    in_the_way.mkdir()
    say(workspace, a=world.network(2))
    for _ in range(3):
        with pytest.raises(WarpError):
            applied(workspace)
    assert [entry.number for entry in History(workspace).entries()] == [1]
    in_the_way.rmdir()
    assert applied(workspace).number == 2


def test_one_apply_waits_at_a_time(workspace: Workspace) -> None:
    say(workspace, a=world.network(1))
    history = History(workspace)
    pending = history.record_pending(applied(workspace).number, NOTHING, 60, "ann")
    assert 59 < pending.left_s() <= 60 and history.pending() == pending
    with pytest.raises(Busy, match="ann") as caught:
        history.refuse_pending()
    assert caught.value.exit_code == 5
    assert history.confirm() == 1 and history.pending() is None
    with pytest.raises(WarpError, match="nothing waits"):
        history.confirm()


def test_too_late_is_too_late(workspace: Workspace) -> None:
    say(workspace, a=world.network(1))
    History(workspace).record_pending(applied(workspace).number, NOTHING, -1, "ann")
    with pytest.raises(WarpError, match="too late"):
        History(workspace).confirm()


def test_a_reboot_ends_the_time(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    say(workspace, a=world.network(1))
    pending = History(workspace).record_pending(applied(workspace).number, NOTHING, 3600, "ann")
    (tmp_path / "boot").write_text("another\n")
    monkeypatch.setattr(module, "BOOT_ID", tmp_path / "boot")
    assert pending.left_s() == 0


def test_a_clock_that_is_set_changes_nothing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(workspace, a=world.network(1))
    pending = History(workspace).record_pending(applied(workspace).number, NOTHING, 60, "ann")
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert 59 < pending.left_s() <= 60


@pytest.mark.parametrize(
    "text", ["{", "{}", "[]", '{"version": 1}', '{"version": 2, "number": 1}', "null"]
)
def test_a_damaged_entry_is_named(workspace: Workspace, text: str) -> None:
    say(workspace, a=world.network(1))
    applied(workspace)
    (workspace.store.folder / "history" / "000001.json").write_text(text)
    with pytest.raises(WarpError, match=r"000001\.json is damaged"):
        History(workspace).entries()


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60), ("5m", 300), ("1h", 3600), ("90", 90), ("24h", 86400)]
)
def test_times_to_confirm(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "4s", "0", "-5s", "25h", "1d", "1.5h", "٣m", "9" * 30, "60 s"]
)
def test_no_times_to_confirm(text: str) -> None:
    with pytest.raises(WarpError, match="no time to confirm"):
        seconds_of(text)


def test_how_long_each_entry_has_been_in_force(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over rollbacks: the time between is not counted, and what is in force goes on."""
    now = 1_800_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    say(workspace, a=world.network(1))
    applied(workspace)
    now += 100
    say(workspace, a=world.network(2))
    applied(workspace)
    now += 10
    history = History(workspace)
    assert history.active_s() == {1: 100}
    history.mark_restored(1, "refused")
    now += 1000
    assert history.active_s() == {1: 100, 2: 10}
    history.mark_restored(1, "")  # the same again: nothing ends
    assert history.active_since() == "2027-01-15T08:01:50+00:00"
    say(workspace, a=world.network(3))
    applied(workspace)
    assert history.active_s() == {1: 1100, 2: 10}


def test_how_long_is_not_known_of_what_an_earlier_version_recorded(workspace: Workspace) -> None:
    say(workspace, a=world.network(1))
    applied(workspace)
    pointer = workspace.store.folder / "in-force.json"
    pointer.write_text(json.dumps({"version": 1, "number": 1, "refused": ""}))
    assert History(workspace).active_since() is None
    say(workspace, a=world.network(2))
    applied(workspace)
    assert History(workspace).active_s() == {}
    assert History(workspace).active_since() is not None


def test_a_file_whose_name_is_not_utf8_is_kept_and_read_again(
    workspace: Workspace, tmp_path: Path
) -> None:
    say(workspace, a=world.network(1))
    (tmp_path / "networks.d").mkdir()
    odd = tmp_path / "networks.d" / os.fsdecode(b"k\xf6ln.yaml")
    odd.write_text(json.dumps({"networks": {"b": world.network(2)}}))
    read = workspace.read()
    entry = applied(workspace)
    (kept,) = History(workspace).entries()
    assert kept.digest == entry.digest == files_digest(read.loaded.contents)
    again = History(workspace).read(kept)
    assert again.intent == read.intent and odd in again.loaded.contents
