"""Whether files are still the same, and whether somebody is writing them. Nothing is read."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from warpd.intent.loader import files_of

# A file that is held open, and that nobody has written to for so long, is read as it is.
WRITING_MAX_S: Final = 10.0

# For each file: path, device, inode, size, and times of the last change of content and of status,
# in nanoseconds. A file that cannot be looked at has the errno in place of the inode.
Fingerprint = tuple[tuple[str, int, int, int, int, int], ...]


def intent_files(config: Path) -> list[Path]:
    """The main file, and those in the folder beside it that are read with it, by name.

    `config` is the main file, or the folder that holds it.
    """
    try:
        main, beside, _findings = files_of(config)
    except OSError:  # a file system that fails: whoever reads the files says so
        return [config]
    return [main, *beside]


def fingerprint(paths: Iterable[Path]) -> Fingerprint:
    """Equal to an earlier one when the files are the same: same places, inodes, sizes, times."""
    return tuple(_fingerprint_of(path) for path in paths)


def _fingerprint_of(path: Path) -> tuple[str, int, int, int, int, int]:
    try:
        seen = path.stat()
    except OSError as failure:
        return str(path), -1, failure.errno or 0, 0, 0, 0
    return (
        str(path),
        seen.st_dev,
        seen.st_ino,
        seen.st_size,
        seen.st_mtime_ns,
        seen.st_ctime_ns,
    )


def being_written(paths: Iterable[Path], now_s: float) -> bool:
    """Whether somebody has one of these files open for writing, or git is at work on the folder of
    the first.

    The kernel grants a read lease only on a file that nobody has open for writing (fcntl(2),
    F_SETLEASE). File systems without leases (NFS) say nothing. `now_s` is seconds since the epoch.
    """
    files = list(paths)
    if any(_is_open_for_writing(path, now_s) for path in files):
        return True
    return any(_git_at_work(path, now_s) for path in files[:1])


def _is_open_for_writing(path: Path, now_s: float) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        if not _is_recent(os.fstat(fd).st_mtime, now_s):
            return False
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as failure:
        return failure.errno == errno.EAGAIN
    finally:
        os.close(fd)
    return False


def _git_at_work(path: Path, now_s: float) -> bool:
    """git holds index.lock while it writes a work tree; one left over from a crash is old."""
    for folder in path.resolve().parents:
        with contextlib.suppress(OSError):
            if (folder / ".git").exists():
                lock = folder / ".git" / "index.lock"
                return _is_recent(lock.stat().st_mtime, now_s)
    return False


def _is_recent(mtime_s: float, now_s: float) -> bool:
    """Whether a time stamp is about now. One that lies far in the future is of a clock that was set
    back since, and says nothing: what has it would count as being written for as long.
    """
    return abs(now_s - mtime_s) <= WRITING_MAX_S
