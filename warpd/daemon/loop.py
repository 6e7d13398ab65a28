"""The loop: wait, take in triggers, make the pass that is due, answer one request.

One thread; only here do clock, sockets and files meet. It wakes for a trigger, and at the next time
at which something is due: the periodic resync, the end of a pause, of a suspension or of the time
to confirm, or the watchdog of systemd.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import select
import signal
import time
from collections import deque
from collections.abc import Mapping
from types import FrameType
from typing import Any, Final

from warpd import __version__
from warpd.daemon.clock import iso_seconds
from warpd.daemon.handlers import CHANGING, Answerer
from warpd.daemon.kernel_events import KernelEvents
from warpd.daemon.mailbox import Mailbox, Request, SelfPipe
from warpd.daemon.publisher import Publisher
from warpd.daemon.reconciler import Reconciler
from warpd.daemon.scheduler import PassRequest, PassResult, Scheduler
from warpd.daemon.source_poller import SourcePoller
from warpd.daemon.systemd import Notifier
from warpd.daemon.watcher import Watcher
from warpd.errors import WarpError
from warpd.kernel.api import DumpError
from warpd.kernel.state import ROOT
from warpd.store.event_log import EventLog

SIGNALS: Final = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
CONFIRM_POLL_MIN_S: Final = 0.1  # the shortest wait for the time to confirm

# Triggers of other threads and of signal handlers.
FILES, PULLED, NAMESPACES, RELOAD = "files", "pulled", "namespaces", "reload"

_libc = ctypes.CDLL(None)


class Loop:
    """Everything of one daemon, until it is told to stop."""

    def __init__(
        self,
        reconciler: Reconciler,
        scheduler: Scheduler,
        events: KernelEvents,
        publisher: Publisher,
        mailbox: Mailbox,
        self_pipe: SelfPipe,
        answers: Mapping[str, Answerer],
    ) -> None:
        """`answers` are the requests that the mailbox may bring, by verb."""
        self._reconciler, self._scheduler = reconciler, scheduler
        self._events, self._publisher = events, publisher
        self._mailbox, self._self_pipe, self._answers = mailbox, self_pipe, answers
        self._log = reconciler.report.log
        self._notifier = Notifier()
        self._flags: deque[str] = deque()  # added to by other threads
        workspace = reconciler.workspace
        self._watcher = Watcher(
            workspace.config, lambda: self._flag(FILES), lambda: self._flag(NAMESPACES)
        )
        self._source_poller: SourcePoller | None = None
        if workspace.checkout is not None:
            self._source_poller = SourcePoller(workspace.checkout, lambda: self._flag(PULLED))
        self._event_log = EventLog(workspace.store.folder, self._events_in_memory)
        self._written = mailbox.last_number  # the event up to which they are on disk
        self._signal = 0
        self._ready = False

    def run(self) -> int:
        """Until SIGTERM or SIGINT; the signal's number."""
        before = {number: signal.signal(number, self._signalled) for number in SIGNALS}
        # Python's handlers run between two of its instructions: one that comes after the last of
        # them and before poll(2) sleeps would wait for the clock. What the C part of the handler
        # writes ends the sleep.
        signal.set_wakeup_fd(self._self_pipe.written, warn_on_full_buffer=False)
        self._watcher.start()
        if self._source_poller is not None:
            self._source_poller.start()
        self._tell("started", version=__version__)
        try:
            self._events.listen()
            while not self._signal:
                self._turn()
            self._notifier.say("STOPPING=1")
            self._tell("stopping", signal=signal.Signals(self._signal).name)
            return self._signal
        finally:
            self._write_events()
            signal.set_wakeup_fd(-1)
            self._watcher.stop()
            if self._source_poller is not None:
                self._source_poller.stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _tell(self, kind: str, **fields: Any) -> None:
        self._mailbox.tell(iso_seconds(time.time()), kind, **fields)

    def _turn(self) -> None:
        self._take_flags()
        self._events.take_in(())
        if self._reconciler.desired.undo_due:
            self._scheduler.request_resync()
        if self._reconciler.desired.suspension_due:
            self._scheduler.on_events([ROOT], time.monotonic())
        request = self._scheduler.due(time.monotonic())
        if request is not None:
            self._pass(request)
        # One request between two passes: repairs come first.
        asked = next(self._mailbox.requests(), None)
        if asked is not None:
            self._answer(asked)
        self._write_events()
        self._notifier.alive()
        if not self._signal:
            self._wait()

    def _wait(self) -> None:
        poll = select.poll()
        for descriptor in (self._self_pipe.fileno(), *self._events.descriptors):
            poll.register(descriptor, select.POLLIN)
        poll.poll(0 if self._mailbox.has_requests else self._wait_s() * 1000 + 1)
        self._self_pipe.clear()

    def _wait_s(self) -> float:
        """Seconds until there is something to do without a trigger."""
        wait_s = min(self._scheduler.wait_s(time.monotonic()), self._notifier.interval_s)
        desired = self._reconciler.desired
        if not desired.suspension_due:  # the next pass handles one that is due
            wait_s = min(wait_s, max(0.0, desired.suspensions.next_end - time.monotonic()))
        if desired.pending is None:
            return wait_s
        left_s = desired.pending.left_s()
        if left_s > 0 or desired.undo_due:
            return max(CONFIRM_POLL_MIN_S, min(wait_s, left_s))
        return wait_s

    # -- events on disk

    def _events_in_memory(self) -> list[Mapping[str, Any]]:
        return [event.as_json() for event in self._mailbox.events()]

    def _write_events(self) -> None:
        """After all that was done: a slow disk keeps no repair waiting."""
        if self._mailbox.last_number == self._written and not self._event_log.is_behind:
            return
        new = self._mailbox.events(self._written)
        self._written = self._mailbox.last_number
        self._event_log.append((event.as_json() for event in new), time.monotonic())
        self._reconciler.events_unwritten = self._event_log.failure

    # -- triggers

    def _flag(self, what: str) -> None:
        """From any thread, and from signal handlers."""
        self._flags.append(what)
        self._self_pipe()

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._flag(RELOAD)
        else:
            self._signal = number
            self._self_pipe()

    def _take_flags(self) -> None:
        flags = {self._flags.popleft() for _ in range(len(self._flags))}
        if FILES in flags:
            self._watcher.follow()
            self._scheduler.files_touched(time.monotonic())
        if PULLED in flags and self._source_poller is not None:
            self._reconciler.source_polled(self._source_poller.state)
            self._scheduler.files_touched(time.monotonic())
        if NAMESPACES in flags:
            self._events.namespaces_changed(self._reconciler.has_looked)
        if RELOAD in flags:
            self._reload()

    def _reload(self) -> None:
        self._notifier.say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        self._scheduler.request_resync()
        if self._source_poller is not None:
            self._source_poller.ask()

    # -- work

    def _pass(self, request: PassRequest) -> None:
        result = self._reconciler.run(request)
        self._reconciler.workspace.store.announce_daemon()
        self._events.listen()
        if request.groups is None:
            self._watcher.follow()
        if result.changed or request.asked:
            trim_heap()
        if self._reconciler.desired.unread:
            self._scheduler.files_touched(time.monotonic())
        self._schedule(request, result)
        self._publisher.pass_ended(result)
        if not (result.busy or result.writing):
            self._say_ready()

    def _schedule(self, request: PassRequest, result: PassResult) -> None:
        """Decide what comes next, and tell of objects that are contested from now on."""
        before = self._scheduler.contested
        self._scheduler.on_result(request, result, time.monotonic())
        name, now = self._reconciler.network_name, self._scheduler.contested
        new = {item: name(group) for item, group in now.items() if item not in before}
        self._reconciler.report.objects_contested(new)

    def _say_ready(self) -> None:
        headline = self._publisher.headline()
        if not self._ready:
            self._ready = True
            self._log.info("ready", status=headline)
        self._notifier.say(f"READY=1\nSTATUS={headline}")

    def _answer(self, request: Request) -> None:
        try:
            request.answer.set_result(self._answer_of(request))
        except (WarpError, DumpError, OSError) as failure:
            request.answer.set_exception(as_error(failure))
        except Exception as failure:
            self._log.exception("a request could not be answered", verb=request.verb)
            text = f"{type(failure).__name__}: {failure}"
            request.answer.set_exception(WarpError(text, code="bug", who="bug"))

    def _answer_of(self, request: Request) -> Any:
        parts = self._reconciler, self._scheduler, self._publisher
        return answer_of(request, self._answers, *parts, time.monotonic())


def answer_of(
    request: Request,
    answers: Mapping[str, Answerer],
    reconciler: Reconciler,
    scheduler: Scheduler,
    publisher: Publisher,
    now_s: float,
) -> Any:
    """What a request is answered; after a change, readers and the next pass know of it.

    Raises: WarpError, DumpError, OSError, as the answerer.
    """
    answer = answers[request.verb](reconciler, request.arguments)
    if request.verb in CHANGING:
        reconciler.mailbox.moment += 1
        scheduler.on_events(None, now_s)
        reconciler.report.requested(request.verb, str(request.arguments.get("by", "")))
        publisher.changed()
    if request.verb == "status":
        return publisher.view(answer)
    if request.verb == "plan":
        publisher.shown(in_sync=not answer["steps"])
    return answer


def trim_heap() -> None:
    """Give back what a large pass took: without this, glibc keeps the freed parts of its heap for
    ever (malloc_trim(3)).
    """
    gc.collect()
    with contextlib.suppress(AttributeError):  # another C library
        _libc.malloc_trim(0)


def as_error(failure: Exception) -> WarpError:
    """A failure of a look, or of the system, as an error for whoever asked."""
    if isinstance(failure, WarpError):
        return failure
    return WarpError(
        str(failure), code="look-failed", who="kernel", hint="nothing was changed; try again"
    )
