"""Replace a file whole, or make a new one: synced and renamed; one of the operator's with the mode
and owner it had.

Lives here: files, and what may go wrong with them. Does not: what stands in them. A crash at any
byte leaves the old file or the new one; a file that somebody else changed meanwhile is left as they
made it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from warpd.errors import Busy, WarpError


def replace(path: Path, old: bytes, new: bytes) -> str:
    """Put `new` where `old` was read; behind a symbolic link, where that leads.

    Owner, group and mode stay, as far as the kernel lets this user keep them.

    Returns:
        What could not be kept; "" where all was.

    Raises:
        Busy: the file holds something else than `old` by now.
        WarpError: it cannot be written.
    """
    target = Path(os.path.realpath(path))
    with translate_oserror(target), _folder(target.parent) as folder:
        _refuse_changed(target, old)
        was = os.stat(target)
        beside, lost = _beside(target, new, stat.S_IMODE(was.st_mode), was, target)
        try:
            _refuse_changed(
                target, old
            )  # the last moment: other edits wait for the folder, editors do not
            os.rename(beside, target)
        except BaseException:
            os.unlink(beside)
            raise
        os.fsync(folder)
    return lost


def create(path: Path, new: bytes, mode: int) -> None:
    """Make a file that must not be there yet.

    Raises:
        WarpError: it is there, or cannot be written.
    """
    with translate_oserror(path), _folder(path.parent) as folder:
        beside, _lost = _beside(path, new, mode, None, None)
        try:
            os.link(beside, path)  # fails where rename would replace
        finally:
            os.unlink(beside)
        os.fsync(folder)


def put(path: Path, data: bytes) -> None:
    """Put a file of warpd's own in place, whatever was there; for root alone, and for one writer at
    a time.

    Raises:
        OSError: nothing was written, and nothing is left of the attempt; or the new file is in
            place, and it is not known whether a power failure would undo that.
    """
    beside = path.with_name(f".{path.name}.new")
    try:
        write_synced(beside, data)
        os.rename(beside, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(beside)  # remove the partial file: the disk may be full
        raise
    sync_folder(path.parent)


def write_synced(path: Path, data: bytes) -> None:
    """Make a file for root alone, in place of what a crash may have left there. Raises: OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have a new or renamed file outlive a power cut. Raises: OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def translate_oserror(path: Path) -> Iterator[None]:
    """An errno, as an error that names the file."""
    try:
        yield
    except OSError as failure:
        denied = failure.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        hint = "run it as somebody who may write there" if denied else ""
        text = "is there already" if isinstance(failure, FileExistsError) else failure.strerror
        raise WarpError(
            f"{path}: {text}; nothing was written",
            code="file-unwritable",
            who="operator",
            hint=hint,
        ) from failure


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[int]:
    """The open folder, which one edit at a time holds locked."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)


def _refuse_changed(path: Path, old: bytes) -> None:
    if path.read_bytes() != old:
        raise Busy(
            f"{path} was changed by somebody else meanwhile; nothing was written",
            code="file-changed",
            hint="try again",
        )


def _beside(
    path: Path, data: bytes, mode: int, owner: os.stat_result | None, like: Path | None
) -> tuple[Path, str]:
    """A synced file next to `path`, ready to take its place; and what of `owner` could not be kept.

    Never readable by more people than that one.
    """
    lost = ""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside)  # of a crash
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            if owner is not None and (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                mode, lost = _give(fd, owner, mode)
            if like is not None:
                _copy_attributes(like, fd)
            os.fchmod(fd, mode)
            os.fsync(fd)
    except BaseException:
        os.unlink(beside)
        raise
    return beside, lost


def _give(fd: int, owner: os.stat_result, mode: int) -> tuple[int, str]:
    """Give a new file to an owner and a group, or to the group alone.

    Only root may give files away; others may give them to groups that they are in (chown(2)). Where
    the group cannot be kept, another one must not get its rights.

    Returns:
        The mode that the file may have, and what could not be kept.
    """
    lost = []
    if owner.st_uid != os.geteuid():
        lost.append(f"it belongs to uid {os.geteuid()} now (it was uid {owner.st_uid}'s)")
    with contextlib.suppress(PermissionError):
        os.fchown(fd, owner.st_uid, owner.st_gid)
        return mode, ""
    with contextlib.suppress(PermissionError):
        os.fchown(fd, -1, owner.st_gid)
        return mode, ", ".join(lost)
    lost.append(f"its group (gid {owner.st_gid}) has no rights any more")
    return mode & ~stat.S_IRWXG, ", and ".join(lost)


def _copy_attributes(like: Path, fd: int) -> None:
    """Access lists and labels, as far as the file system lets us."""
    with contextlib.suppress(OSError):
        for name in os.listxattr(like):
            with contextlib.suppress(OSError):
                os.setxattr(fd, name, os.getxattr(like, name))
