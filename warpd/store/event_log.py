"""The events of a daemon on disk, so that a restart does not lose them: `events.jsonl` in the state
folder.

A line of JSON each, in the order in which they happened. The file is appended to, and written anew
from what is still remembered when it has grown too large, so that it is bounded as the memory is.
It is a record for people: nothing is decided by it, a line that cannot be read is passed over, and
a disk that takes no writes stops nothing.

Lives here: the file. Does not: which events are remembered (`daemon.mailbox`), who may read them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from warpd.store.atomic_file import put

FILE: Final = "events.jsonl"
SIZE_MAX: Final = 4 * 1024 * 1024  # bytes at which the file is written anew
ROOM_MIN: Final = 1024 * 1024  # free bytes of the disk, reserved for allocations and history
RETRY_S: Final = 5.0
LINE_MAX: Final = 64 * 1024  # bytes of a line that is read; no event is nearly as long
_FLAGS: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

# Every kind of event; a unit test compares with what the daemon emits.
EVENT_KINDS: Final = (
    "awaiting_consent",
    "change",
    "condition",
    "conflict",
    "exported",
    "failed",
    "intent_applied",
    "intent_invalid",
    "object_contested",
    "problem",
    "problem_over",
    "recovered_from_kernel",
    "request",
    "resumed",
    "rollback",
    "source_failed",
    "source_pulled",
    "started",
    "state_unwritable",
    "state_writable",
    "stopping",
    "suspended",
)

Row = Mapping[str, Any]


def known_kind(text: str) -> str:
    """Return the kind of event, where it is one.

    Raises:
        ValueError: no event ever has this kind; the message lists those that events have.
    """
    if text in EVENT_KINDS:
        return text
    raise ValueError(f"{text[:40]!r} is no kind of event; the kinds are {', '.join(EVENT_KINDS)}")


class EventLog:
    """One file, with one writer: the daemon.

    `remembered` gives all that it is to hold when written anew.
    """

    def __init__(self, folder: Path, remembered: Callable[[], Iterable[Row]]) -> None:
        self._path = folder / FILE
        self._remembered = remembered
        self._is_torn = True  # a crash may have left a part of a line at the end of the file
        self.is_behind = False  # the disk lacks events that are remembered
        self._next_try_s = 0.0
        self.failure = ""  # why it does, as far as the file itself is to blame

    def append(self, rows: Iterable[Row], now_s: float) -> None:
        """Write these down, and what could not be written before.

        Never raises for what a disk does.

        `now_s` is any clock that only goes forward: a disk that took no writes is tried again with
        the next event, or after a pause.
        """
        text = _lines(rows)
        is_due = self.is_behind and now_s >= self._next_try_s
        if not text and not is_due:
            return
        try:
            if self.is_behind:
                self._write_anew()
            else:
                self._append(text)
        except OSError as failure:
            self.is_behind, self._next_try_s = True, now_s + RETRY_S
            # A state folder that is not there is told as such, by others.
            is_gone = isinstance(failure, FileNotFoundError)
            self.failure = "" if is_gone else failure.strerror or str(failure)
        else:
            self.is_behind, self.failure = False, ""

    def _append(self, text: bytes) -> None:
        """All of it or nothing. Raises: OSError."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _FLAGS, 0o600)
        try:
            size = _size(fd)
            _leave_room(self._path.parent, len(text))
            if size + len(text) > SIZE_MAX:
                self._write_anew()
                return
            if self._is_torn and size and os.pread(fd, 1, size - 1) != b"\n":
                text = b"\n" + text
            _write_all(fd, text, size)
            self._is_torn = False
        finally:
            os.close(fd)

    def _write_anew(self) -> None:
        """Only what is remembered, put in place at once. Raises: OSError."""
        text = _lines(self._remembered())
        _leave_room(self._path.parent, len(text))
        put(self._path, text)
        self._is_torn = False


def read(folder: Path) -> list[dict[str, Any]]:
    """What a file holds, oldest first; nothing where there is none that can be read."""
    try:
        fd = os.open(folder / FILE, os.O_RDONLY | _FLAGS)
    except OSError:
        return []
    try:
        _size(fd)
        with open(fd, "rb", closefd=False) as file:
            raw = file.read(2 * SIZE_MAX)
    except OSError:
        return []
    finally:
        os.close(fd)
    rows = (_event(line) for line in raw.split(b"\n") if 0 < len(line) <= LINE_MAX)
    return [row for row in rows if row is not None]


def _event(line: bytes) -> dict[str, Any] | None:
    """None for what is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not isinstance(row.get("number"), int):
        return None
    is_whole = all(isinstance(row.get(name), str) for name in ("time", "kind"))
    return row if is_whole else None


def _lines(rows: Iterable[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _size(fd: int) -> int:
    """Bytes of a regular file. Raises: OSError for anything else."""
    seen = os.fstat(fd)
    if not stat.S_ISREG(seen.st_mode):
        raise OSError(errno.EINVAL, f"{FILE} is not a regular file")
    return seen.st_size


def _leave_room(folder: Path, count: int) -> None:
    """Raises: OSError where so many bytes more would take the last of the disk."""
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize < count + ROOM_MIN:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _write_all(fd: int, text: bytes, size: int) -> None:
    """Append to a file of this size; on failure it is as it was. Raises: OSError."""
    view = memoryview(text)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(fd, size)
        raise
