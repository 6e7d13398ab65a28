"""What the loop publishes for readers: the status view, the daemon's own state, conditions.

Readers on other threads take what is published here without waiting for the loop.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Final

from warpd import __version__
from warpd.daemon.clock import Clock, iso_seconds
from warpd.daemon.handlers import status_of
from warpd.daemon.health import facts_of
from warpd.daemon.http.view import View
from warpd.daemon.kernel_events import KernelEvents
from warpd.daemon.mailbox import Mailbox
from warpd.daemon.reconciler import Reconciler
from warpd.daemon.samples import Sampler
from warpd.daemon.scheduler import PassResult, Scheduler
from warpd.daemon.stale_configs import StaleConfigs
from warpd.errors import WarpError, render_finding
from warpd.kernel.state import Host
from warpd.service.conditions import Condition, Watched, conditions

BEGINS: Final = "begins"
OVER: Final = "over"


class Publisher:
    """Writes what readers see into the mailbox. For the loop's thread.

    Attributes:
        sampler: makes the samples.
    """

    def __init__(
        self,
        reconciler: Reconciler,
        scheduler: Scheduler,
        mailbox: Mailbox,
        events: KernelEvents,
        clock: Clock,
        stale_configs: StaleConfigs,
    ) -> None:
        self._reconciler, self._scheduler = reconciler, scheduler
        self._stale_configs = stale_configs
        self._mailbox, self._events, self._clock = mailbox, events, clock
        self._watched = Watched()
        self.sampler = Sampler(clock)
        self._previous: tuple[object, ...] = ()  # what the view depends on, at the last pass
        self._shown_in_sync: bool | None = None  # to readers; None: nothing that still holds
        self._host_before: Host | None = None  # at the last change of the kernel

    def pass_ended(self, result: PassResult) -> None:
        """After each pass: tell what is new, and mark the view as outdated where it is.

        A repair does not outdate the view, unless a reader was shown what it repairs or the host
        has changed.
        """
        now = self._view_inputs(result)
        differs = self._differs_from_shown(result)
        if differs or now != self._previous:
            self._outdate()
        self._previous = now
        self._publish_contested()
        if self._reconciler.desired.active is not None:
            self._mailbox.allocations = self._reconciler.desired.active.wanted.allocations
        self._report_conditions()
        self._publish_daemon()
        self._publish_samples()
        self._publish_if_watched()
        active, host = self._reconciler.desired.active, self._reconciler.host
        if active is not None and host is not None:
            self._stale_configs.refresh(active.wanted, host)

    def _view_inputs(self, result: PassResult) -> tuple[object, ...]:
        """What makes a view outdated when it is another one."""
        desired = self._reconciler.desired
        why = desired.findings, desired.awaiting_consent, desired.pending
        return desired.active, desired.files_seen, *why, result.failed

    def _differs_from_shown(self, result: PassResult) -> bool:
        """Whether a pass has changed what readers may have seen."""
        if not result.changed:
            return False
        before, self._host_before = self._host_before, self._reconciler.host
        return self._shown_in_sync is False or before != self._host_before

    def _outdate(self) -> None:
        """What readers were shown holds no more."""
        self._mailbox.moment += 1
        self._shown_in_sync = None

    def changed(self) -> None:
        """After a change that somebody has asked for, and before the answer to it: what waits to
        be confirmed is told to readers at once.
        """
        self._reconciler.desired.look_at_pending()
        self._publish_daemon()

    def shown(self, in_sync: bool) -> None:
        """Readers are shown a look at the kernel: whether all was as it should be.

        What is kept for them of other looks is outdated where it says something else.
        """
        if self._shown_in_sync is (not in_sync):
            self._outdate()
        self._shown_in_sync = in_sync

    def view(self, data: Mapping[str, Any]) -> View:
        """Publish a view of this status; `data` is as `warpctl status -o json` shows it."""
        self.shown(bool(data["in_sync"]))
        previous = self._mailbox.view
        number = previous.generation + 1 if previous is not None else 1
        self._publish_daemon()
        moment, timestamp = self._mailbox.moment, self._clock.timestamp()
        made = View.of(data, number, moment, timestamp, self._clock.monotonic())
        self._mailbox.view = made
        return made

    def _publish_if_watched(self) -> None:
        """A full observation that a pass has made serves readers too, while there are any."""
        look = self._reconciler.take_look_in_sync()
        if look is None or self._clock.monotonic() > self._mailbox.watched_until_s:
            return
        try:
            self.view(status_of(self._reconciler, look))
        except (WarpError, OSError) as failure:
            self._reconciler.report.log.warning("status not published", error=str(failure))

    def _publish_samples(self) -> None:
        """What a full observation has counted becomes part of the samples."""
        samples = self.sampler.take(self._mailbox.stats.networks)
        if samples is not None:
            self._mailbox.samples = samples

    def _publish_contested(self) -> None:
        contested = self._scheduler.contested
        stats = self._mailbox.stats
        if stats.contested != contested:
            self._mailbox.stats = dataclasses.replace(stats, contested=contested)

    def _publish_daemon(self) -> None:
        self._mailbox.daemon = self.daemon_json(), self._clock.monotonic()

    def _report_conditions(self) -> None:
        """Tell what is wrong, or waits: for events, log, figures and status the same."""
        now, overruns = self._clock.monotonic(), self._events.recent_overruns
        facts = facts_of(self._reconciler, self._scheduler, self._mailbox, now, overruns)
        time = iso_seconds(self._clock.since_epoch())
        begun, over = self._watched.update(conditions(facts), time)
        if begun or over:
            self._outdate()  # checks show them
        for item in begun:
            self._report_condition(item, BEGINS, time)
        for item in over:
            self._report_condition(item, OVER, time)
        self._mailbox.stats = dataclasses.replace(
            self._mailbox.stats,
            conditions=self._watched.now,
            failing=self._failing_times(now),
            uplink=facts.uplink if self._reconciler.host is not None else None,
            uplink_state=facts.uplink_state,
        )

    def _failing_times(self, now: float) -> dict[str, int]:
        """Network -> passes in a row that failed for it; "" is the gateway's own part."""
        rows = self._scheduler.failing(now).items()
        name = self._reconciler.network_name
        return {name(group): times for group, (times, _) in rows}

    def _report_condition(self, item: Condition, state: str, time: str) -> None:
        about = {"code": item.code, "state": state, "text": item.text}
        self._mailbox.tell(time, "condition", **about, severity=item.severity)
        log = self._reconciler.report.log
        write = log.info if state == OVER else log.warning
        write("condition", **about)

    def headline(self) -> str:
        """One line for systemd and the log."""
        desired = self._reconciler.desired
        findings = desired.findings
        if desired.active is None:
            return "no valid intent yet: " + (findings[0].message if findings else "waiting")
        count = len(desired.active.read.intent.networks)
        text = f"{count} networks; last pass {self._reconciler.last_pass.get('result')}"
        if not findings:
            return text
        return f"{text}; the YAML is not in force: {findings[0].message}"

    def daemon_json(self) -> dict[str, Any]:
        """`daemon` of the status."""
        reconciler, stats = self._reconciler, self._mailbox.stats
        now = self._clock.monotonic()
        return {
            "pid": os.getpid(),
            "version": __version__,
            "config": str(reconciler.workspace.named),
            "source": stats.source.as_json(),
            "state_dir": str(reconciler.workspace.store.folder),
            "last_pass": reconciler.last_pass,
            "next_resync_s": round(self._scheduler.next_resync_s(now), 1),
            "gateway": self._gateway_name(),
            "intent": self._intent_json(),
            "pending_confirm": self._pending_json(),
            "contested_objects": self._contested_json(),
            "failing": self._failing_json(now),
            "event_overruns": stats.overruns,
            "conditions": [item.as_json() for item in self._watched.now],
        }

    def _intent_json(self) -> dict[str, Any]:
        desired = self._reconciler.desired
        active, findings = desired.active, desired.findings
        return {
            "in_force": not findings and active is not None,
            "since": iso_seconds(active.since_s) if active is not None else None,
            "awaiting_consent": desired.awaiting_consent or None,
            "findings": [render_finding(item) for item in findings],
        }

    def _gateway_name(self) -> str:
        active = self._reconciler.desired.active
        named = active.read.intent.gateway.name if active is not None else None
        return named or os.uname().nodename

    def _pending_json(self) -> dict[str, Any] | None:
        """The apply that is undone unless it is confirmed, and the seconds that are left."""
        pending = self._reconciler.desired.pending
        if pending is None:
            return None
        return {
            "number": pending.number,
            "by": pending.by,
            "until": pending.until,
            "left_s": round(max(0.0, pending.left_s()), 1),
            "rollback_to": pending.back_to,
        }

    def _contested_json(self) -> list[dict[str, str]]:
        rows = sorted(self._scheduler.contested.items())
        name = self._reconciler.network_name
        return [{"object": item, "network": name(group)} for item, group in rows]

    def _failing_json(self, now: float) -> list[dict[str, Any]]:
        rows = self._scheduler.failing(now).items()
        name = self._reconciler.network_name
        return [
            {"network": name(group), "times": times, "next_try_s": round(wait_s, 1)}
            for group, (times, wait_s) in rows
        ]
