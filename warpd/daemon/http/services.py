"""What the handlers of the control socket's routes use: the mailbox, looks that readers share, and
streams of events.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from warpd.daemon.http.lookups import Lookups
from warpd.daemon.http.messages import HttpRequest, json_line
from warpd.daemon.mailbox import Mailbox

# An empty line in a stream of events, so that a reader who has gone is noticed.
STREAM_PAUSE_S: Final = 15.0


class Services:
    """One of each, for all requests. For the socket's thread."""

    def __init__(self, mailbox: Mailbox, interval_s: float) -> None:
        """`interval_s` is the time between two looks of the loop at everything."""
        self.mailbox = mailbox
        self.lookups = Lookups(mailbox, interval_s)
        self._streams: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        mailbox.subscribe(self._event_added)

    def started(self) -> None:
        """Take the running event loop as the one that streams are on."""
        self._loop = asyncio.get_running_loop()

    def daemon(self) -> dict[str, Any]:
        """What the daemon has last said of itself, as of now."""
        status, since_s = self.mailbox.daemon
        return aged(status, time.monotonic() - since_s)

    # -- streams

    def _event_added(self) -> None:
        """On the thread of the daemon's loop: something has happened."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the server is stopping
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for event in self._streams:
            event.set()

    async def stream(self, request: HttpRequest, after: int) -> AsyncGenerator[bytes, None]:
        """Events with a number above `after`, and those to come, until the peer has gone."""
        changed = asyncio.Event()
        self._streams.add(changed)
        gone = asyncio.ensure_future(request.gone())
        try:
            while not gone.done():
                changed.clear()
                events = self.mailbox.events(after)
                after = events[-1].number if events else after
                yield b"".join(json_line(event.as_json()) for event in events) or b"\n"
                await _first_of(gone, changed)
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
    next_look_s = _nearer(daemon.get("next_look_s", 0.0), seconds)
    pending = daemon.get("pending_confirm")
    if pending is not None:
        pending = {**pending, "left_s": _nearer(pending["left_s"], seconds)}
    counted = {"next_look_s": next_look_s, "failing": failing, "pending_confirm": pending}
    return {**daemon, **counted}


def _nearer(left_s: float, seconds: float) -> float:
    return round(max(0.0, left_s - seconds), 1)


async def _first_of(gone: asyncio.Future[Any], changed: asyncio.Event) -> None:
    """Until the peer has gone, something has happened, or it is time for an empty line."""
    waiting = asyncio.ensure_future(changed.wait())
    await asyncio.wait({gone, waiting}, timeout=STREAM_PAUSE_S, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
