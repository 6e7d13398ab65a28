"""Files that an earlier warpd wrote are read, mean the same, and are replaced by the next write.

`previous_formats/` holds a YAML, its lock file and its state folder as they were written when the
state folder's file was `grants.json`, version 2, and both files called tombstones `freed`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from warpd.allocation.lockfile import lock_text, parsed
from warpd.allocation.model import Allocations
from warpd.allocation.state_json import from_json, to_json
from warpd.service.history import History
from warpd.service.workspace import Workspace
from warpd.store.state_folder import ALLOCATIONS, ALLOCATIONS_BEFORE, Store

WRITTEN = Path(__file__).with_name("previous_formats")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WRITTEN, tmp_path / "gateway"))


def test_both_files_hold_the_same_allocations() -> None:
    stored = from_json((WRITTEN / "state" / ALLOCATIONS_BEFORE).read_text())
    locked = parsed(Path("warp.lock.yaml"), (WRITTEN / "warp.lock.yaml").read_bytes())
    assert locked == stored
    assert sorted(stored.networks) == ["corp", "frames", "privat"]
    assert [(row.network, row.endpoint) for row in stored.tombstones] == [
        ("corp", "hq"),
        ("frames", "left"),
        ("shop", ""),
        ("shop", "till"),
    ]
    assert stored.networks["frames"].endpoints["right"].vni == 110002
    assert stored.networks["privat"].first_names("privat", "handset") == ("privacy", "phone")


def test_only_words_of_the_files_have_changed() -> None:
    before = (WRITTEN / "state" / ALLOCATIONS_BEFORE).read_text()
    expected = before.replace('"version": 2', '"version": 3').replace('"freed"', '"tombstones"')
    assert to_json(from_json(before)) == expected
    lock = (WRITTEN / "warp.lock.yaml").read_text().split("version: 1\n")[1]
    networks, tombstones = lock.split("freed:")
    text = lock_text(from_json(before))
    assert networks in text and text.endswith(tombstones.partition("\n")[2])


def test_version_1_had_no_tombstones() -> None:
    document = json.loads((WRITTEN / "state" / ALLOCATIONS_BEFORE).read_text())
    document["version"] = 1
    del document["freed"]
    read = from_json(json.dumps(document))
    assert read.tombstones == () and sorted(read.networks) == ["corp", "frames", "privat"]


def test_the_former_file_is_replaced_by_the_first_write(folder: Path) -> None:
    workspace = Workspace(folder / "warp.yaml", folder / "state")
    read = workspace.read()
    assert read.previous == read.allocations
    with workspace.store.writer("test"):
        workspace.store.write_allocations(read.allocations)
    assert not (folder / "state" / ALLOCATIONS_BEFORE).exists()
    assert Store(folder / "state").read_allocations() == read.previous


def test_a_crash_between_the_write_and_the_removal_is_made_good(folder: Path) -> None:
    state = folder / "state"
    store = Store(state)
    allocations = store.read_allocations()
    changed = Allocations({"corp": allocations.networks["corp"]})
    (state / ALLOCATIONS).write_text(to_json(changed))
    assert Store(state).read_allocations() == changed
    again = Store(state)
    again.write_allocations(again.read_allocations())
    assert not (state / ALLOCATIONS_BEFORE).exists()


def test_the_history_gives_allocations_that_are_lost(folder: Path) -> None:
    workspace = Workspace(folder / "warp.yaml", folder / "state")
    entry = History(workspace).entry(1)
    (folder / "state" / ALLOCATIONS_BEFORE).unlink()
    assert Store(folder / "state").read_allocations() == entry.allocations
    assert sorted(entry.allocations.networks) == ["corp", "frames", "privat"]
