"""Files that a command writes with the rights of root, where others have prepared the place."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from warpd.errors import WarpError
from warpd.store.private_file import write_private

USER = 61234
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="files of several users")


@pytest.fixture
def sticky(tmp_path: Path) -> Path:
    made = tmp_path / "tmp"
    made.mkdir()
    made.chmod(0o1777)
    return made


def test_a_new_file_is_for_its_owner_alone(sticky: Path) -> None:
    write_private(sticky / "a", b"key")
    assert (sticky / "a").read_bytes() == b"key" and stat.S_IMODE(
        (sticky / "a").stat().st_mode
    ) == 0o600
    write_private(sticky / "a", b"other", 0o644)
    assert (sticky / "a").read_bytes() == b"other" and stat.S_IMODE(
        (sticky / "a").stat().st_mode
    ) == 0o644
    assert [path.name for path in sticky.iterdir()] == ["a"]


@needs_root
def test_a_file_of_another_user_is_replaced_and_not_written_into(sticky: Path) -> None:
    (sticky / "a").write_text("theirs")
    os.chown(sticky / "a", USER, USER)
    with (sticky / "a").open() as held:
        write_private(sticky / "a", b"key")
        assert held.read() == "theirs"
    assert (sticky / "a").stat().st_uid == 0


@needs_root
def test_a_link_of_another_user_is_refused(sticky: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (sticky / "a").symlink_to(tmp_path / "victim")
    os.lchown(sticky / "a", USER, USER)
    with pytest.raises(WarpError, match=f"a link of uid {USER}"):
        write_private(sticky / "a", b"key")
    assert (tmp_path / "victim").read_text() == "precious" and (sticky / "a").is_symlink()


@needs_root
def test_a_link_of_another_user_on_the_way_is_refused(sticky: Path, tmp_path: Path) -> None:
    (tmp_path / "cron.d").mkdir()
    (sticky / "folder").symlink_to(tmp_path / "cron.d")
    os.lchown(sticky / "folder", USER, USER)
    with pytest.raises(WarpError, match="a link"):
        write_private(sticky / "folder" / "a", b"key")
    assert not list((tmp_path / "cron.d").iterdir())


@needs_root
def test_a_pipe_of_another_user_is_refused(sticky: Path) -> None:
    os.mkfifo(sticky / "a")
    os.chown(sticky / "a", USER, USER)
    reader = os.open(sticky / "a", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(WarpError, match=f"a pipe or device of uid {USER}"):
            write_private(sticky / "a", b"key")
        assert os.read(reader, 10) == b""
    finally:
        os.close(reader)


def test_our_own_links_and_pipes_do_as_they_say(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "real" / "a").symlink_to("../b")
    write_private(tmp_path / "folder" / "a", b"key")
    assert (tmp_path / "b").read_bytes() == b"key" and (tmp_path / "real" / "a").is_symlink()
    os.mkfifo(tmp_path / "pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_private(tmp_path / "pipe", b"key")
    reader.join()
    assert got == [b"key"]


def test_a_descriptor_of_this_process_is_written_to() -> None:
    ours, theirs = os.pipe()
    write_private(Path(f"/dev/fd/{theirs}"), b"key")
    assert os.read(ours, 10) == b"key"
    os.close(ours)
    os.close(theirs)


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(WarpError, match="too many links"):
        write_private(tmp_path / "a", b"key")


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError):
        write_private(tmp_path / "a", b"key")
    with pytest.raises(FileNotFoundError):
        write_private(tmp_path / "none" / "a", b"key")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
