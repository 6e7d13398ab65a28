"""The desk between the loop, which alone touches kernel and files, and everybody who asks it
something.

Others (the control socket, on a thread of its own) hand in a question and wait for its answer; the
loop takes them one by one between its passes. What has happened is kept as a bounded row of events
with numbers, and what is counted as `Stats`. Nothing here looks, changes or prints.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from warpd.daemon.event_buffer import EventRow, LoggedEvent
from warpd.daemon.http.view import View
from warpd.daemon.stats import SocketStats, Stats
from warpd.errors import Busy

KEPT: Final = 1000  # events, of all networks together
ASKED_MAX: Final = 32  # questions that wait at a time
READERS_MAX: Final = 24  # of whoever may only look: the rest is for those who may change


@dataclass(frozen=True, slots=True)
class Request:
    """What the loop is asked: `status`, `plan`, `apply`, `confirm`, `rollback`, `history`, with its
    arguments.
    """

    verb: str
    arguments: Mapping[str, Any]
    answer: Future[Any] = field(default_factory=Future)


class Mailbox:
    """Thread-safe. `wake` is called when a question has come in."""

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self._wake = wake
        self._guard = threading.Lock()
        self._questions: deque[Request] = deque()
        self._events = EventRow(KEPT)
        self._count = 0
        self._listeners: list[Callable[[], None]] = []
        self.stats = Stats()  # replaced whole by the loop, so that a reader never sees half of them
        self.socket = SocketStats()  # likewise, by the socket's thread
        self.view: View | None = None  # what the last look showed, for all readers
        self.daemon: tuple[Mapping[str, Any], float] = (
            {},
            0.0,
        )  # how the daemon is, as `status` shows it, and since when
        self.moment = 0  # counts what makes an earlier view outdated
        self.watched_until_s = float(
            "-inf"
        )  # until when somebody is thought to read, by `time.monotonic`

    def submit(self, verb: str, arguments: Mapping[str, Any], reader: bool = False) -> Request:
        """Hand in a question; its `answer` is set by the loop. Raises: Busy when too many wait."""
        question = Request(verb, arguments)
        with self._guard:
            if len(self._questions) >= (READERS_MAX if reader else ASKED_MAX):
                raise Busy("warpd has too many questions to answer", hint="try again in a moment")
            self._questions.append(question)
        self._wake()
        return question

    @property
    def waiting(self) -> bool:
        """Whether there are questions that the loop has not taken."""
        return bool(self._questions)

    def questions(self) -> Iterator[Request]:
        """Taken by the loop; one that nobody waits for any more is left out."""
        while True:
            with self._guard:
                if not self._questions:
                    return
                question = self._questions.popleft()
            if question.answer.set_running_or_notify_cancel():
                yield question

    def subscribe(self, listener: Callable[[], None]) -> None:
        """`listener` is called on the loop's thread after each event."""
        self._listeners.append(listener)

    def tell(self, time: str, kind: str, **fields: Any) -> None:
        with self._guard:
            self._count += 1
            self._events.add(LoggedEvent(self._count, time, kind, fields))
        for listener in self._listeners:
            listener()

    def restore(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Remember what an earlier daemon wrote down, before anything else is told; numbers go on
        from there.
        """
        with self._guard:
            for row in rows:
                fields = {
                    key: value
                    for key, value in row.items()
                    if key not in ("number", "time", "kind")
                }
                self._count = max(self._count, row["number"])
                self._events.add(LoggedEvent(row["number"], row["time"], row["kind"], fields))

    @property
    def last_number(self) -> int:
        """Of the latest event; 0 before any."""
        return self._count

    def events(self, after: int = 0) -> list[LoggedEvent]:
        """Events with a number above `after`, oldest first."""
        with self._guard:
            return self._events.after(after)


class SelfPipe:
    """A pipe that another thread, or a signal, writes to end the loop's wait."""

    def __init__(self) -> None:
        self._read, self.written = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def __call__(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: awake anyway
            os.write(self.written, b"\0")

    def fileno(self) -> int:
        return self._read

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 4096)

    def close(self) -> None:
        os.close(self._read)
        os.close(self.written)
