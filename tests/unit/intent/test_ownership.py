"""What warpd reads with the rights of root by a name that others can set: no line of another file
comes out of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from warpd.allocation.lockfile import read_lock
from warpd.errors import render_finding
from warpd.intent.file_names import LOCK_FILE
from warpd.intent.loader import Loaded, load

SECRET = "root:$y$j9T$TOPSECRET:19000:0:99999:7:::\n"
USER = 61234
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="files of several users")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "etc"
    (made / "networks.d").mkdir(parents=True)
    (made / "warp.yaml").write_text("version: 1\nnetworks: {}\n")
    (tmp_path / "shadow").write_text(SECRET)
    (tmp_path / "shadow").chmod(0o600)
    return made


def told(loaded: Loaded) -> str:
    return "\n".join(render_finding(item) for item in loaded.findings)


def link(folder: Path, secret: Path) -> Path:
    (folder / "networks.d" / "x.yaml").symlink_to(secret)
    return folder / "networks.d" / "x.yaml"


def link_to_link(folder: Path, secret: Path) -> Path:
    (folder / "inside").symlink_to(secret)
    (folder / "networks.d" / "x.yaml").symlink_to("../inside")
    return folder / "networks.d" / "x.yaml"


def folder_elsewhere(folder: Path, secret: Path) -> Path:
    secret.rename(secret.parent / "x.yaml")
    (folder / "networks.d").rmdir()
    (folder / "networks.d").symlink_to(secret.parent)
    return folder / "networks.d" / "x.yaml"


def main_file(folder: Path, secret: Path) -> Path:
    (folder / "warp.yaml").unlink()
    (folder / "warp.yaml").symlink_to(secret)
    return folder / "warp.yaml"


def hard_link(folder: Path, secret: Path) -> Path:
    os.chown(folder / "networks.d", USER, USER)
    os.link(secret, folder / "networks.d" / "x.yaml")
    return folder / "networks.d" / "x.yaml"


WAYS: list[Callable[[Path, Path], Path]] = [
    link,
    link_to_link,
    folder_elsewhere,
    main_file,
    hard_link,
]


@needs_root
@pytest.mark.parametrize("way", WAYS)
def test_no_line_of_another_file_is_quoted(
    folder: Path, tmp_path: Path, way: Callable[[Path, Path], Path]
) -> None:
    named = way(folder, tmp_path / "shadow")
    loaded = load(folder)
    assert "TOPSECRET" not in told(loaded)
    assert [item.code for item in loaded.findings if item.is_error] == ["file-untrusted"]
    assert str(named) in told(loaded)
    assert loaded.intent is None


@needs_root
def test_what_is_not_quoted_is_still_told(folder: Path) -> None:
    """A file of a user in a folder of root is read, since root has let it there; its lines are not
    for others.
    """
    own = folder / "networks.d" / "own.yaml"
    own.write_text("networks:\n  a: {type: l2-mesh, endpoints: {}}\n")
    os.chown(own, USER, USER)
    assert load(folder).intent is not None
    own.write_text(f"networks:\n  a: {{type: l2-mesh, {SECRET.strip()}: 1}}\n")
    loaded = load(folder)
    assert loaded.intent is None and "TOPSECRET" not in told(loaded)
    assert all(
        item.where is not None and (item.where.file, item.where.line) == (str(own), 2)
        for item in loaded.findings
    )
    assert f"uid {USER}" in told(loaded)


@needs_root
def test_a_lock_that_is_a_link_elsewhere(folder: Path, tmp_path: Path) -> None:
    (folder / LOCK_FILE).symlink_to(tmp_path / "shadow")
    lock = read_lock(folder / LOCK_FILE)
    assert lock is not None and [item.code for item in lock.findings] == ["file-untrusted"]


def test_links_inside_the_folder_go_on_working(folder: Path) -> None:
    """As a container's mount has it: files lead to ..data, ..data to a dated folder that is
    swapped.
    """
    for number, version in enumerate(("..1", "..2")):
        data = folder / version
        (data / "networks.d").mkdir(parents=True)
        (data / "warp.yaml").write_text("version: 1\nnetworks: {}\n")
        (data / "networks.d" / "a.yaml").write_text(
            f"networks:\n  n{number}: {{type: l2-mesh, endpoints: {{}}}}\n"
        )
        (folder / "..tmp").symlink_to(version)
        (folder / "..tmp").rename(folder / "..data")
        if not number:
            (folder / "warp.yaml").unlink()
            (folder / "warp.yaml").symlink_to("..data/warp.yaml")
            (folder / "networks.d" / "a.yaml").symlink_to("../..data/networks.d/a.yaml")
        loaded = load(folder)
        assert loaded.intent is not None, told(loaded)
        assert list(loaded.intent.networks) == [f"n{number}"]


def test_the_file_that_is_named_may_be_a_link_to_what_all_can_read(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "warp.yaml").rename(tmp_path / "real.yaml")
    (tmp_path / "real.yaml").chmod(0o644)
    (folder / "warp.yaml").symlink_to(tmp_path / "real.yaml")
    assert load(folder / "warp.yaml").intent is not None


@needs_root
def test_a_checkout_of_another_user_is_quoted_as_ever(folder: Path) -> None:
    (folder / "networks.d" / "a.yaml").write_text("networks:\n  a: {typ: 1}\n")
    for path in (
        folder,
        folder / "networks.d",
        folder / "networks.d" / "a.yaml",
        folder / "warp.yaml",
    ):
        os.chown(path, USER, USER)
    loaded = load(folder)
    assert "a: {typ: 1}" in told(loaded)
