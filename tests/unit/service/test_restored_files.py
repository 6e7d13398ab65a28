"""Files that go back with a rollback: which, and which never."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import world
from warpd.errors import Busy, WarpError
from warpd.service.history import NOTHING, History
from warpd.service.restored_files import number_with_files, undone_with_files
from warpd.service.workspace import Workspace
from warpd.testing.fake_kernel import FakeKernel


def text(*names: str) -> str:
    return json.dumps({"version": 1, "networks": {name: world.network(1) for name in names}})


def applied(workspace: Workspace) -> int:
    read = workspace.read()
    workspace.commit(read)
    return History(workspace).record(read, "test").number


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two applied intents; the second one in force."""
    (tmp_path / "warp.yaml").write_text(text("a"))
    made = Workspace(tmp_path / "warp.yaml", tmp_path / "state")
    assert applied(made) == 1
    (tmp_path / "warp.yaml").write_text(text("a", "b"))
    assert applied(made) == 2
    return made


def test_kernel_and_files_go_back_to_a_number(workspace: Workspace) -> None:
    with workspace.store.writer(command="test"):
        data = undone_with_files(workspace, FakeKernel(), 1)
    assert data["complete"] and data["in_force"] == 1
    assert data["files"] == {"written": ["warp.yaml"], "removed": []}
    assert workspace.config.read_text() == text("a")


def test_files_of_networks_d_come_and_go(workspace: Workspace) -> None:
    folder = workspace.config.parent / "networks.d"
    folder.mkdir()
    (folder / "c.yaml").write_text(json.dumps({"networks": {"c": world.network(1)}}))
    assert applied(workspace) == 3
    with workspace.store.writer(command="test"):
        data = undone_with_files(workspace, FakeKernel(), 2)
    assert data["files"] == {"written": [], "removed": ["networks.d/c.yaml"]}
    assert not (folder / "c.yaml").exists()
    with workspace.store.writer(command="test"):
        data = undone_with_files(workspace, FakeKernel(), 3)
    assert data["files"] == {"written": ["networks.d/c.yaml"], "removed": []}
    assert "c" in workspace.read().intent.networks


def test_the_folder_may_have_moved(workspace: Workspace, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    workspace.config.rename(moved / "warp.yaml")
    workspace = Workspace(moved / "warp.yaml", tmp_path / "state")
    with workspace.store.writer(command="test"):
        undone_with_files(workspace, FakeKernel(), 1)
    assert (moved / "warp.yaml").read_text() == text("a")
    assert not (tmp_path / "warp.yaml").exists()


def test_an_edit_is_never_lost(workspace: Workspace) -> None:
    workspace.config.write_text(text("a", "edited"))
    kernel = FakeKernel()
    with pytest.raises(Busy, match="edited"), workspace.store.writer(command="test"):
        undone_with_files(workspace, kernel, 1)
    assert workspace.config.read_text() == text("a", "edited") and not kernel.objects
    assert History(workspace).in_force_number() == 2


def test_before_the_first_apply_there_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "warp.yaml").write_text(text("a"))
    workspace = Workspace(tmp_path / "warp.yaml", tmp_path / "state")
    History(workspace).record_pending(applied(workspace), NOTHING, 60, "test")
    with pytest.raises(WarpError) as caught:
        number_with_files(workspace, None)
    assert caught.value.code == "nothing-kept"


def test_with_nothing_to_undo_nothing_is_put_back(workspace: Workspace) -> None:
    with pytest.raises(WarpError) as caught:
        number_with_files(workspace, None)
    assert caught.value.code == "nothing-pending"
