"""A stream that log lines are written to: it never blocks and never fails.

Repairs must not wait for whoever reads the log. A line that cannot be written at once (a full disk,
a reader that is gone or has stopped) is left out and counted.
"""

from __future__ import annotations

import os
import select
from collections.abc import MutableMapping
from typing import Any, Final

# A pipe that poll(2) calls writable takes so many bytes at once (PIPE_BUF of pipe(7)).
PIECE_BYTES: Final = select.PIPE_BUF


class LogStream:
    """Writes lines to a file descriptor; `lost` lines could not be written since the last one.

    Args:
        descriptor: of an open file; -1 for none, so that every line is lost.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_within_line = False
        self.lost = 0

    def write(self, text: str) -> int:
        """Write one line with its end, or count it as lost; return the length of the text."""
        data = text.encode("utf-8", "backslashreplace")
        if self._is_within_line:  # the last line broke off
            data = b"\n" + data
        written = self._write(data)
        self._is_within_line = 0 < written < len(data) or (self._is_within_line and not written)
        self.lost = 0 if written == len(data) else self.lost + 1
        return len(text)

    def flush(self) -> None:
        """Nothing is buffered."""

    def count_lost(
        self, _logger: Any, _method: str, line: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """A processor of structlog: say how many lines were lost before this one."""
        if self.lost:
            line["lost"] = self.lost
        return line

    def _write(self, data: bytes) -> int:
        """Return how many bytes were written without waiting."""
        done = 0
        try:
            while done < len(data) and self._is_writable():
                done += os.write(self._descriptor, data[done : done + PIECE_BYTES])
        except OSError:
            pass
        return done

    def _is_writable(self) -> bool:
        if self._descriptor < 0:
            return False
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(0))
