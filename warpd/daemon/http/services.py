"""What the handlers of the control socket's routes use: the mailbox, looks that readers share, and
streams of events.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from warpd.daemon.event_buffer import LoggedEvent
from warpd.daemon.http.branches import Branches
from warpd.daemon.http.credentials import Credentials
from warpd.daemon.http.kept_candidates import KeptCandidates
from warpd.daemon.http.kept_links import Links
from warpd.daemon.http.lookups import Lookups
from warpd.daemon.http.messages import HttpRequest, json_line
from warpd.daemon.http.visibility import event_seen, unseen
from warpd.daemon.mailbox import Mailbox
from warpd.service.rights import Identity
from warpd.store.state_folder import Store

# An empty line in a stream of events, so that a reader who has gone is noticed.
STREAM_PAUSE_S: Final = 15.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EventForm:
    """How events are written.

    Attributes:
        kind: the type of the content.
        pause: what a reader passes over, so that one who has gone is noticed.
        line: an event.
    """

    kind: str
    pause: bytes
    line: Callable[[Mapping[str, Any]], bytes]


def _server_sent(row: Mapping[str, Any]) -> bytes:
    """An event as browsers take it (HTML, 9.2); its number is what they ask to go on from."""
    return b"id: %d\ndata: %b\n" % (row["number"], json_line(row))


LINES: Final = EventForm("application/x-ndjson", b"\n", json_line)
SERVER_SENT: Final = EventForm("text/event-stream", b":\n\n", _server_sent)


class Services:
    """One of each, for all requests. For the socket's thread."""

    def __init__(
        self, mailbox: Mailbox, interval_s: float, credentials: Credentials, branches: Branches
    ) -> None:
        """`interval_s` is the time between two looks of the loop at everything."""
        self.mailbox, self.credentials = mailbox, credentials
        self.lookups = Lookups(mailbox, interval_s)
        self.candidates = KeptCandidates()
        self.links = Links()
        self.branches = branches
        self.editing = asyncio.Lock()  # one change is looked at at a time
        self._streams: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        mailbox.subscribe(self._event_added)

    def started(self) -> None:
        """Take the running event loop as the one that streams are on."""
        self._loop = asyncio.get_running_loop()

    def daemon(self) -> dict[str, Any]:
        """What the daemon has last said of itself, as of now."""
        status, since_s = self.mailbox.daemon
        last_event = self.mailbox.last_number
        return {**aged(status, time.monotonic() - since_s), "last_event": last_event}

    async def on_record(self, read: Callable[[Store], T]) -> T | None:
        """What is read from the state folder, on a thread of its own; None without a folder.

        Raises:
            WarpError: they cannot be read. Busy: too many wait.
        """
        store = self.mailbox.records
        return await self.credentials.work(lambda: read(store)) if store is not None else None

    # -- streams

    def _event_added(self) -> None:
        """On the thread of the daemon's loop: something has happened."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the server is stopping
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for event in self._streams:
            event.set()

    def event_lines(self, events: Iterable[LoggedEvent], who: Identity, form: EventForm) -> bytes:
        """Those of them that somebody sees."""
        view = self.mailbox.view
        names = unseen(view.networks, who) if view is not None else frozenset()
        rows = (event_seen(item.as_json(), who, names) for item in events)
        return b"".join(form.line(row) for row in rows if row is not None)

    async def stream(
        self, request: HttpRequest, after: int, form: EventForm
    ) -> AsyncGenerator[bytes, None]:
        """Events with a number above `after`, and those to come, until the peer has gone or the
        token of who asks is over.
        """
        who: Identity | None = request.who
        changed = asyncio.Event()
        self._streams.add(changed)
        gone = asyncio.ensure_future(request.gone())
        try:
            while who is not None and not gone.done():
                changed.clear()
                events = self.mailbox.events(after)
                after = events[-1].number if events else after
                yield self.event_lines(events, who, form) or form.pause
                await _first_of(gone, changed)
                who = await self.credentials.still(who, request.headers)
        finally:
            gone.cancel()
            self._streams.discard(changed)


def aged(daemon: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """What the daemon has said of itself, so many seconds later: what is counted down has come
    nearer.
    """
    failing = [
        {**row, "next_try_s": _nearer(row["next_try_s"], seconds)}
        for row in daemon.get("failing", ())
    ]
    next_resync_s = _nearer(daemon.get("next_resync_s", 0.0), seconds)
    pending = daemon.get("pending_confirm")
    if pending is not None:
        pending = {**pending, "left_s": _nearer(pending["left_s"], seconds)}
    counted = {"next_resync_s": next_resync_s, "failing": failing, "pending_confirm": pending}
    return {**daemon, **counted}


def _nearer(left_s: float, seconds: float) -> float:
    return round(max(0.0, left_s - seconds), 1)


async def _first_of(gone: asyncio.Future[Any], changed: asyncio.Event) -> None:
    """Until the peer has gone, something has happened, or it is time for an empty line."""
    waiting = asyncio.ensure_future(changed.wait())
    await asyncio.wait({gone, waiting}, timeout=STREAM_PAUSE_S, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
