"""Files that go back with a rollback: which, and which never."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import world
from warpd.errors import Busy, WarpError
from warpd.service.history import NOTHING, History
from warpd.service.restored_files import number_with_files, undone_with_files
from warpd.service.workspace import Session
from warpd.testing.fake_kernel import FakeKernel


def text(*names: str) -> str:
    return json.dumps({"version": 1, "networks": {name: world.network(1) for name in names}})


def applied(session: Session) -> int:
    read = session.read()
    session.commit(read)
    return History(session).record(read, "test").number


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """Two applied intents; the second one in force."""
    (tmp_path / "warp.yaml").write_text(text("a"))
    made = Session(tmp_path / "warp.yaml", tmp_path / "state")
    assert applied(made) == 1
    (tmp_path / "warp.yaml").write_text(text("a", "b"))
    assert applied(made) == 2
    return made


def test_kernel_and_files_go_back_to_a_number(session: Session) -> None:
    with session.store.writer(command="test"):
        data = undone_with_files(session, FakeKernel(), 1)
    assert data["complete"] and data["in_force"] == 1
    assert data["files"] == {"written": ["warp.yaml"], "removed": []}
    assert session.config.read_text() == text("a")


def test_files_of_networks_d_come_and_go(session: Session) -> None:
    folder = session.config.parent / "networks.d"
    folder.mkdir()
    (folder / "c.yaml").write_text(json.dumps({"networks": {"c": world.network(1)}}))
    assert applied(session) == 3
    with session.store.writer(command="test"):
        data = undone_with_files(session, FakeKernel(), 2)
    assert data["files"] == {"written": [], "removed": ["networks.d/c.yaml"]}
    assert not (folder / "c.yaml").exists()
    with session.store.writer(command="test"):
        data = undone_with_files(session, FakeKernel(), 3)
    assert data["files"] == {"written": ["networks.d/c.yaml"], "removed": []}
    assert "c" in session.read().intent.networks


def test_the_folder_may_have_moved(session: Session, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    session.config.rename(moved / "warp.yaml")
    session = Session(moved / "warp.yaml", tmp_path / "state")
    with session.store.writer(command="test"):
        undone_with_files(session, FakeKernel(), 1)
    assert (moved / "warp.yaml").read_text() == text("a")
    assert not (tmp_path / "warp.yaml").exists()


def test_an_edit_is_never_lost(session: Session) -> None:
    session.config.write_text(text("a", "edited"))
    kernel = FakeKernel()
    with pytest.raises(Busy, match="edited"), session.store.writer(command="test"):
        undone_with_files(session, kernel, 1)
    assert session.config.read_text() == text("a", "edited") and not kernel.objects
    assert History(session).in_force_number() == 2


def test_before_the_first_apply_there_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "warp.yaml").write_text(text("a"))
    session = Session(tmp_path / "warp.yaml", tmp_path / "state")
    History(session).record_pending(applied(session), NOTHING, 60, "test")
    with pytest.raises(WarpError) as caught:
        number_with_files(session, None)
    assert caught.value.code == "nothing-kept"


def test_with_nothing_to_undo_nothing_is_put_back(session: Session) -> None:
    with pytest.raises(WarpError) as caught:
        number_with_files(session, None)
    assert caught.value.code == "nothing-pending"
