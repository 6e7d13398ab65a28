"""Which folders are watched, and what is told of them. Real files, real inotify."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from warpd.daemon.watcher import Watcher, folders_of


def test_every_folder_on_the_way_counts(tmp_path: Path) -> None:
    """As a container's mount has it: warp.yaml -> ..data/warp.yaml, ..data -> ..2026, the folder a
    symlink too.
    """
    real = tmp_path / "volume"
    (real / "..2026").mkdir(parents=True)
    (real / "..data").symlink_to("..2026")
    (real / "warp.yaml").symlink_to("..data/warp.yaml")
    (tmp_path / "etc").symlink_to("volume")
    found = folders_of(tmp_path / "etc" / "warp.yaml")
    assert found == {str(tmp_path), str(real), str(real / "..2026")}


def test_a_circle_of_symlinks_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert str(tmp_path) in folders_of(tmp_path / "a" / "warp.yaml")


def _rename(folder: Path) -> None:
    (folder / "new").write_text("rename")
    (folder / "new").rename(folder / "warp.yaml")


def _swap(folder: Path) -> None:
    (folder / "link").symlink_to("elsewhere.yaml")
    (folder / "link").rename(folder / "warp.yaml")


def _write(folder: Path) -> None:
    (folder / "warp.yaml").write_text("in place")


def _extra(folder: Path) -> None:
    (folder / "networks.d").mkdir()
    (folder / "networks.d" / "a.yaml").write_text("more")


def _gone(folder: Path) -> None:
    (folder / "warp.yaml").unlink()


@pytest.mark.parametrize("change", [_rename, _swap, _write, _extra, _gone])
def test_what_is_told(tmp_path: Path, change: Callable[[Path], None]) -> None:
    (tmp_path / "warp.yaml").write_text("first")
    told = threading.Event()
    watch = Watcher(tmp_path / "warp.yaml", told.set, lambda: None)
    watch.start()
    try:
        (tmp_path / "warp.yaml").read_text()
        assert not told.wait(0.3), "reading is no change"
        change(tmp_path)
        assert told.wait(5)
    finally:
        watch.stop()


@pytest.mark.parametrize("target", ["warp.yaml~", "not/watched/warp.yaml"])
def test_a_file_that_is_moved_away(tmp_path: Path, target: str) -> None:
    """Half of the rename is all that is seen of a file that goes where nobody looks."""
    (tmp_path / "not" / "watched").mkdir(parents=True)
    (tmp_path / "warp.yaml").touch()
    told = threading.Event()
    watch = Watcher(tmp_path / "warp.yaml", told.set, lambda: None)
    watch.start()
    try:
        (tmp_path / "warp.yaml").rename(tmp_path / target)
        assert told.wait(5)
    finally:
        watch.stop()


def test_a_folder_that_is_replaced_is_watched_again(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    told = threading.Event()
    watch = Watcher(folder / "warp.yaml", told.set, lambda: None)
    watch.start()
    try:
        folder.rmdir()
        folder.mkdir()
        assert told.wait(5), "the folder's own folder is watched as well"
        deadline = time.monotonic() + 5
        again = False
        while not again and time.monotonic() < deadline:
            watch.follow()
            told.clear()
            _write(folder)
            again = told.wait(0.2)
        assert again
    finally:
        watch.stop()
