"""A lock of one program among several, by flock(2) on an open file."""

from __future__ import annotations

import fcntl
import time
from typing import Final

PAUSE_S: Final = 0.02


def take(fd: int, patience_s: float) -> bool:
    """Take the lock for as long as `fd` is open; False where another program keeps it too long.

    Raises: OSError when the file system has no locks.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(PAUSE_S)
