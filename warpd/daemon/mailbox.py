"""What passes between the loop, which alone changes the kernel, and everybody else.

The control socket, on a thread of its own, hands in a request and waits for its answer; the loop
takes requests one by one between its passes. The loop leaves here what readers see: events with
numbers, what is counted (`Stats`), and the view of the last look. Nothing here looks at the kernel,
changes or prints anything.
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

from warpd.allocation.model import Allocations
from warpd.daemon.event_buffer import EventRow, LoggedEvent
from warpd.daemon.http.view import View
from warpd.daemon.samples import Samples
from warpd.daemon.stats import SocketStats, Stats
from warpd.errors import Busy
from warpd.store.state_folder import Store

EVENTS_MAX: Final = 1000  # events, of all networks together
REQUESTS_MAX: Final = 32  # that wait at a time
READERS_MAX: Final = 24  # of those who may only look: the rest is for those who may change


@dataclass(frozen=True, slots=True)
class Request:
    """What the loop is asked.

    Attributes:
        verb: one of `handlers.ANSWERS`, such as `status` or `apply`.
        arguments: what the verb takes.
        answer: set by the loop.
    """

    verb: str
    arguments: Mapping[str, Any]
    answer: Future[Any] = field(default_factory=Future)


class Mailbox:
    """Requests in, events and published state out. Thread-safe.

    Attributes:
        stats: what is counted; replaced whole by the loop, so that a reader never sees half of it.
        socket: the same of the control socket; replaced whole by its thread.
        stale_configs: network -> devices whose config is not the one that they need; {} while
            nobody knows; replaced whole by a thread of its own.
        samples: of the last day; replaced whole by the loop.
        view: what the last look showed, for all readers; None before any.
        daemon: how the daemon is, as `status` shows it, and since when by `time.monotonic`.
        records: the state folder, for those who read what is on record; None without one.
        allocations: of the intent in force.
        moment: counts what makes an earlier view outdated.
        watched_until_s: until when a reader is assumed to be present, by `time.monotonic`.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        """`wake` is called when a request has come in."""
        self._wake = wake
        self._guard = threading.Lock()
        self._requests: deque[Request] = deque()
        self._events = EventRow(EVENTS_MAX)
        self._count = 0
        self._listeners: list[Callable[[], None]] = []
        self.stats = Stats()
        self.socket = SocketStats()
        self.stale_configs: Mapping[str, int] = {}
        self.samples = Samples()
        self.view: View | None = None
        self.daemon: tuple[Mapping[str, Any], float] = ({}, 0.0)
        self.moment = 0
        self.records: Store | None = None
        self.allocations = Allocations({})  # of the intent in force
        self.watched_until_s = float("-inf")

    def first_names(self, network: str, endpoint: str) -> tuple[str, str]:
        """The names under which an endpoint's config versions are on record."""
        allocated = self.allocations.networks.get(network)
        if allocated is None or endpoint not in allocated.endpoints:
            return network, endpoint
        return allocated.first_names(network, endpoint) or (network, endpoint)

    def submit(self, verb: str, arguments: Mapping[str, Any], reader: bool = False) -> Request:
        """Hand in a request; its `answer` is set by the loop.

        `reader` says that it is of somebody who may only look.

        Raises:
            Busy: too many wait.
        """
        request = Request(verb, arguments)
        with self._guard:
            if len(self._requests) >= (READERS_MAX if reader else REQUESTS_MAX):
                raise Busy("warpd has too many requests to answer", hint="try again in a moment")
            self._requests.append(request)
        self._wake()
        return request

    @property
    def has_requests(self) -> bool:
        """Whether there are requests that the loop has not taken."""
        return bool(self._requests)

    def requests(self) -> Iterator[Request]:
        """Take requests; one that nobody waits for any more is left out."""
        while True:
            with self._guard:
                if not self._requests:
                    return
                request = self._requests.popleft()
            if request.answer.set_running_or_notify_cancel():
                yield request

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
        """Take over the events that an earlier daemon wrote down, before there are others; numbers
        go on from there.
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
