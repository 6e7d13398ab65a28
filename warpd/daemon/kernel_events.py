"""The kernel's events, as triggers for the scheduler.

An event says where to look, never what to believe.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Final

import structlog

from warpd.daemon.clock import Clock
from warpd.daemon.mailbox import Mailbox
from warpd.daemon.scheduler import Scheduler
from warpd.kernel.api import Kernel
from warpd.kernel.state import ROOT

OVERRUN_SHOWN_S: Final = 3600.0  # how long a loss of events counts as recent


class KernelEvents:
    """Takes in events between two looks. For the loop's thread."""

    def __init__(
        self,
        kernel: Kernel,
        scheduler: Scheduler,
        mailbox: Mailbox,
        log: structlog.stdlib.BoundLogger,
        clock: Clock,
    ) -> None:
        self._kernel, self._scheduler, self._mailbox = kernel, scheduler, mailbox
        self._log, self._clock = log, clock
        self._overrun_s = float("-inf")  # when events were lost last

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What becomes readable when there are events; none while nobody can listen."""
        return self._kernel.event_descriptors

    def listen(self) -> None:
        """Hear what happens in every namespace that was looked at; called again after each look.

        A namespace to which the kernel allows no subscription is left to the periodic resync.
        """
        try:
            self._kernel.listen()
        except OSError as failure:
            text = "kernel event subscription failed; falling back to periodic resync"
            self._log.error(text, error=str(failure))

    def take_in(self, covered: Collection[str] | None) -> None:
        """Tell the scheduler of the events so far.

        `covered` are the groups that are about to be observed (None: all of them): their events
        are covered by this observation.
        """
        now = self._clock.monotonic()
        try:
            events = list(self._kernel.events(0.0))
        except OSError:
            self._kernel.stop_listening()
            self.listen()
            self._scheduler.on_events(None, now)
            return
        if any(event.overrun for event in events):
            stats = self._mailbox.stats
            self._mailbox.stats = dataclasses.replace(stats, overruns=stats.overruns + 1)
            self._overrun_s = now
            if covered is not None:
                self._scheduler.on_events(None, now)
        elif covered is not None:
            self._hear({event.netns for event in events} - set(covered), bool(covered))

    def _hear(self, groups: set[str], root_is_covered: bool) -> None:
        """If any group is about to be observed, root events are covered too: every observation
        reads the root.
        """
        if root_is_covered:
            groups -= {ROOT}
        if groups:
            self._scheduler.on_events(groups, self._clock.monotonic())

    def namespaces_changed(self, has_looked: bool) -> None:
        """Namespaces have come or gone; before the first look (`has_looked` false) it is not known
        which.
        """
        stale = self._kernel.stale_namespaces() | {ROOT} if has_looked else None
        self._scheduler.on_events(stale, self._clock.monotonic())

    @property
    def recent_overruns(self) -> int:
        """How many times events were lost since the start; 0 when the last loss is long ago."""
        is_recent = self._clock.monotonic() - self._overrun_s < OVERRUN_SHOWN_S
        return self._mailbox.stats.overruns if is_recent else 0
