"""The loop: wait, hear, decide, make a pass, answer.

One thread; only here do clock, sockets and files meet.

Nothing wakes it but a trigger and the periodic look (and the watchdog of systemd, where it is set
shorter).
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import gc
import os
import random
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from types import FrameType
from typing import Any, Final

from warpd import __version__
from warpd.daemon.git_poller import GitPoller
from warpd.daemon.handlers import CHANGING, status_of
from warpd.daemon.health import facts_of
from warpd.daemon.http.view import View
from warpd.daemon.mailbox import Mailbox, Request, SelfPipe
from warpd.daemon.reconciler import Reconciler
from warpd.daemon.scheduler import PassRequest, Scheduler
from warpd.daemon.stats import Stats
from warpd.daemon.systemd import Notifier
from warpd.daemon.watcher import Watcher
from warpd.errors import WarpError, render_finding
from warpd.kernel.api import DumpError
from warpd.service.conditions import Watched, conditions
from warpd.store.event_log import EventLog

OVERRUN_TOLD_S: Final = 3600.0
SIGNALS: Final = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)

_libc = ctypes.CDLL(None)

Answerer = Callable[[Reconciler, Mapping[str, Any]], dict[str, Any]]


class Loop:
    """Everything of one daemon, until it is told to stop."""

    def __init__(
        self,
        reconciler: Reconciler,
        mailbox: Mailbox,
        self_pipe: SelfPipe,
        interval_s: float,
        answers: Mapping[str, Answerer],
    ) -> None:
        self._reconciler, self._mailbox, self._self_pipe = reconciler, mailbox, self_pipe
        self._answers = answers
        self._scheduler = Scheduler(interval_s, random.random, time.monotonic())
        self._notifier = Notifier()
        self._flags: deque[str] = deque()  # added to by other threads
        self._descriptors: tuple[int, ...] = ()
        self._watch = Watcher(
            reconciler.session.config, lambda: self._flag("files"), lambda: self._flag("rooms")
        )
        self._watched = Watched()
        self._overrun_s = -OVERRUN_TOLD_S  # when events were lost last
        self._signal = 0
        self._ready = False
        self._failed: frozenset[str] = frozenset()  # groups of which the last pass failed
        checkout = reconciler.session.checkout
        self._event_log = EventLog(reconciler.session.store.folder, self._remembered)
        self._written = mailbox.last_number  # the event up to which they are on disk
        self._git_poller = (
            GitPoller(checkout, lambda: self._flag("pulled")) if checkout is not None else None
        )
        reconciler.drain = self._drain

    def run(self) -> int:
        """Until SIGTERM or SIGINT; the signal's number."""
        before = {number: signal.signal(number, self._signalled) for number in SIGNALS}
        # Python's handlers run between two of its instructions: one that comes after the last of
        # them and before poll(2) sleeps would wait for the clock. What the C part of the handler
        # writes ends the sleep.
        signal.set_wakeup_fd(self._self_pipe.written, warn_on_full_buffer=False)
        self._watch.start()
        if self._git_poller is not None:
            self._git_poller.start()
        self._mailbox.tell(_iso(time.time()), "started", version=__version__)
        try:
            self._listen()
            while not self._signal:
                self._turn()
            self._notifier.say("STOPPING=1")
            self._mailbox.tell(
                _iso(time.time()), "stopping", signal=signal.Signals(self._signal).name
            )
            return self._signal
        finally:
            self._write_events()
            signal.set_wakeup_fd(-1)
            self._watch.stop()
            if self._git_poller is not None:
                self._git_poller.stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _turn(self) -> None:
        self._take_flags()
        self._drain(())
        if self._reconciler.undo_due:
            self._scheduler.ask()
        work = self._scheduler.due(time.monotonic())
        if work is not None:
            self._pass(work)
        question = next(
            self._mailbox.questions(), None
        )  # one between two passes: repairs come first
        if question is not None:
            self._answer(question)
        self._write_events()
        self._notifier.alive()
        if not self._signal:
            self._wait()

    def _remembered(self) -> list[Mapping[str, Any]]:
        return [event.as_json() for event in self._mailbox.events()]

    def _write_events(self) -> None:
        """After all that was done: a slow disk keeps no repair waiting."""
        if self._mailbox.last_number == self._written and not self._event_log.is_behind:
            return
        new = self._mailbox.events(self._written)
        self._written = self._mailbox.last_number
        self._event_log.append((event.as_json() for event in new), time.monotonic())
        self._reconciler.events_unwritten = self._event_log.failure

    def _wait(self) -> None:
        wait_s = min(self._scheduler.wait_s(time.monotonic()), self._notifier.interval_s)
        if self._reconciler.pending is not None and (
            self._reconciler.undo_due or self._reconciler.pending.left_s() > 0
        ):
            wait_s = max(0.1, min(wait_s, self._reconciler.pending.left_s()))
        poll = select.poll()
        for descriptor in (self._self_pipe.fileno(), *self._descriptors):
            poll.register(descriptor, select.POLLIN)
        poll.poll(0 if self._mailbox.waiting else wait_s * 1000 + 1)
        self._self_pipe.clear()

    # -- triggers

    def _flag(self, what: str) -> None:
        """From any thread, and from signal handlers."""
        self._flags.append(what)
        self._self_pipe()

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._flag("reload")
        else:
            self._signal = number
            self._self_pipe()

    def _take_flags(self) -> None:
        now = time.monotonic()
        flags = {self._flags.popleft() for _ in range(len(self._flags))}
        if "files" in flags:
            self._watch.follow()
            self._scheduler.files_touched(now)
        if "pulled" in flags and self._git_poller is not None:
            self._reconciler.pulled(self._git_poller.state)
            self._scheduler.files_touched(now)
        if "rooms" in flags:
            self._scheduler.hear(
                None if self._reconciler.planner.compiled is None else self._rooms(), now
            )
        if "reload" in flags:
            self._notifier.say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
            self._scheduler.ask()
            if self._git_poller is not None:
                self._git_poller.ask()

    def _rooms(self) -> set[str]:
        """Networks whose namespace is not what it was."""
        return self._reconciler.kernel.stale_namespaces() | {""}

    def _drain(self, covered: Collection[str] | None) -> None:
        """Take in the events so far.

        Those of groups that are about to be looked at need no look of their own.
        """
        now = time.monotonic()
        try:
            events = list(self._reconciler.kernel.events(0.0))
        except OSError:
            self._reconciler.kernel.stop_listening()
            self._listen()
            self._scheduler.hear(None, now)
            return
        if any(event.overrun for event in events):
            self._mailbox.stats = _overrun(self._mailbox.stats)
            self._overrun_s = now
            if covered is not None:
                self._scheduler.hear(None, now)
        elif covered is not None:
            heard = {event.netns for event in events} - set(covered) - ({""} if covered else set())
            if heard:
                self._scheduler.hear(heard, now)

    def _listen(self) -> None:
        try:
            self._descriptors = self._reconciler.kernel.listen()
        except OSError as failure:
            self._reconciler.log.error(
                "hears no events of the kernel; the periodic look remains", error=str(failure)
            )
            self._descriptors = ()

    # -- work

    def _pass(self, work: PassRequest) -> None:
        told = self._told_of()
        result = self._reconciler.run(work)
        self._reconciler.session.store.hold()
        if result.changed or result.failed != self._failed or self._told_of() != told:
            self._mailbox.moment += 1
        self._failed = result.failed
        self._listen()
        if work.groups is None:
            self._watch.follow()
        if result.changed or work.asked:
            trim_heap()
        if self._reconciler.unread:
            self._scheduler.files_touched(time.monotonic())
        before = self._scheduler.fights
        self._scheduler.took(work, result, time.monotonic())
        for item in self._scheduler.fights.keys() - before.keys():
            self._reconciler.fight(item, self._scheduler.fights[item])
        self._mailbox.stats = _fights(self._mailbox.stats, self._scheduler.fights)
        self._tell_conditions()
        self._mailbox.daemon = self.daemon_json(), time.monotonic()
        self._publish_if_watched()
        if not (result.busy or result.writing):
            if not self._ready:
                self._ready = True
                self._reconciler.log.info("ready", status=self._headline())
            self._notifier.say(f"READY=1\nSTATUS={self._headline()}")

    def _told_of(self) -> tuple[object, ...]:
        """What makes a view outdated when it is another one."""
        reconciler = self._reconciler
        return reconciler.in_force, reconciler.findings, reconciler.waits, reconciler.pending

    def _publish_if_watched(self) -> None:
        """A look at everything that a pass has made serves readers too, while there are any."""
        found, self._reconciler.seen_whole = self._reconciler.seen_whole, None
        if found is None or time.monotonic() > self._mailbox.watched_until_s:
            return
        try:
            self._publish(status_of(self._reconciler, found))
        except (WarpError, OSError) as failure:
            self._reconciler.log.warning("status not published", error=str(failure))

    def _publish(self, data: Mapping[str, Any]) -> View:
        before = self._mailbox.view
        number = before.generation + 1 if before is not None else 1
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._mailbox.daemon = self.daemon_json(), time.monotonic()
        self._mailbox.view = View.of(data, number, self._mailbox.moment, now, time.monotonic())
        return self._mailbox.view

    def _tell_conditions(self) -> None:
        """What is wrong, or waits: for events, log, figures and status the same."""
        now, time_ = time.monotonic(), _iso(time.time())
        overruns = self._mailbox.stats.overruns if now - self._overrun_s < OVERRUN_TOLD_S else 0
        begun, over = self._watched.update(
            conditions(facts_of(self._reconciler, self._scheduler, self._mailbox, now, overruns)),
            time_,
        )
        for state, items in (("begins", begun), ("over", over)):
            for item in items:
                self._mailbox.tell(
                    time_,
                    "condition",
                    code=item.code,
                    state=state,
                    severity=item.severity,
                    text=item.text,
                )
                log = self._reconciler.log.info if state == "over" else self._reconciler.log.warning
                log("condition", code=item.code, state=state, text=item.text)
        self._mailbox.stats = dataclasses.replace(self._mailbox.stats, conditions=self._watched.now)

    def _headline(self) -> str:
        reconciler = self._reconciler
        if reconciler.in_force is None:
            return "no valid intent yet: " + (
                reconciler.findings[0].message if reconciler.findings else "waiting"
            )
        text = (
            f"{len(reconciler.in_force.read.intent.networks)} networks; last pass"
            f" {reconciler.last_pass.get('result')}"
        )
        return (
            f"{text}; the YAML is not in force: {reconciler.findings[0].message}"
            if reconciler.findings
            else text
        )

    def _answer(self, question: Request) -> None:
        try:
            answer = self._answers[question.verb](self._reconciler, question.arguments)
            if question.verb in CHANGING:
                self._mailbox.moment += 1
                self._scheduler.hear(None, time.monotonic())
            question.answer.set_result(
                self._publish(answer) if question.verb == "status" else answer
            )
        except (WarpError, DumpError, OSError) as failure:
            question.answer.set_exception(_as_error(failure))
        except Exception as failure:
            self._reconciler.log.exception(
                "a question that could not be answered", verb=question.verb
            )
            question.answer.set_exception(
                WarpError(f"{type(failure).__name__}: {failure}", code="bug", who="bug")
            )

    def daemon_json(self) -> dict[str, Any]:
        reconciler, now = self._reconciler, time.monotonic()
        force = reconciler.in_force
        return {
            "pid": os.getpid(),
            "version": __version__,
            "config": str(reconciler.session.named),
            "source": self._mailbox.stats.source.as_json(),
            "state_dir": str(reconciler.session.store.folder),
            "last_pass": reconciler.last_pass,
            "next_look_s": round(self._scheduler.next_look_s(now), 1),
            "intent": {
                "in_force": not reconciler.findings and force is not None,
                "since": _iso(force.since_s) if force is not None else None,
                "waits_for": reconciler.waits or None,
                "findings": [render_finding(item) for item in reconciler.findings],
            },
            "fights": reconciler.named(self._scheduler.fights),
            "failing": [
                {"network": name, "times": times, "next_try_s": round(wait, 1)}
                for name, (times, wait) in reconciler.named_failing(
                    self._scheduler.failing(now)
                ).items()
            ],
            "event_overruns": self._mailbox.stats.overruns,
            "conditions": [item.as_json() for item in self._watched.now],
        }


def trim_heap() -> None:
    """Give back what a large pass took: without this, glibc keeps the freed parts of its heap for
    ever (malloc_trim(3)).
    """
    gc.collect()
    with contextlib.suppress(AttributeError):  # another C library
        _libc.malloc_trim(0)


def _as_error(failure: Exception) -> WarpError:
    if isinstance(failure, WarpError):
        return failure
    return WarpError(
        str(failure), code="look-failed", who="kernel", hint="nothing was changed; try again"
    )


def _overrun(stats: Stats) -> Stats:
    return dataclasses.replace(stats, overruns=stats.overruns + 1)


def _fights(stats: Stats, fights: Mapping[str, str]) -> Stats:
    return stats if stats.fights == fights else dataclasses.replace(stats, fights=dict(fights))


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
