"""One pass after another: from files and kernel to what the log, the events and the figures say.

Lives here: what one pass does, in which order, and what came of it. Does not: which intent should
be in force (`desired_state`), how the kernel is looked at (`observer`), the words (`reporter`),
when a pass is due (`scheduler`), who asks for it (`loop`). What is held only saves work: each pass
that has something to do looks at the kernel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import structlog

from warpd.allocation.model import Allocations
from warpd.daemon.clock import Clock
from warpd.daemon.desired_state import COMMAND, ActiveConfig, DesiredState, FilesBeingWritten
from warpd.daemon.mailbox import Mailbox
from warpd.daemon.observer import BeforeLook, Observer, take_no_events
from warpd.daemon.reporter import Reporter
from warpd.daemon.resolver import EndpointResolver
from warpd.daemon.scheduler import PassRequest, PassResult
from warpd.daemon.stats import SourceStatus, with_apply, with_look, with_pass
from warpd.errors import Busy, InvalidIntent, WarpError
from warpd.kernel.api import DumpError, Kernel
from warpd.kernel.linux.resolver import host_of
from warpd.kernel.state import ROOT, Action, Host, State
from warpd.networks.problems import Problem
from warpd.reconcile.engine import ApplyResult, PlannedRun, converge
from warpd.service.commitment import Applied, has_devices
from warpd.service.workspace import Workspace

REAL_CLOCK: Final = Clock()


class Reconciler:
    """Holds what is in force and makes the passes. For the loop's thread.

    Attributes:
        desired: which intent is in force, and why the files as they are may not be.
        problems: what this machine lacks, by the last look.
        last_pass: `result`, `time` and `seconds` of the last pass, as `status` shows them.
        last_faults: network -> the last fault in it; "" is the gateway's own part.
        events_unwritten: why the latest events are not on disk; "" when they are.
    """

    def __init__(
        self,
        workspace: Workspace,
        kernel: Kernel,
        mailbox: Mailbox,
        log: structlog.stdlib.BoundLogger,
        clock: Clock = REAL_CLOCK,
        resolver: EndpointResolver | None = None,
        before_look: BeforeLook = take_no_events,
    ) -> None:
        """`before_look` takes in the kernel's events that a look covers; `resolver` says where the
        host names of endpoints are now.
        """
        self.workspace, self.kernel, self.mailbox = workspace, kernel, mailbox
        self.report = Reporter(mailbox, log, clock)
        self.desired = DesiredState(workspace, kernel, self.report, clock)
        self._clock = clock
        self._observer = Observer(kernel, clock, before_look)
        self._resolver = resolver or EndpointResolver()
        self._failed: frozenset[str] = frozenset()  # groups whose steps were not all done
        self._look_in_sync: PlannedRun | None = None
        self.problems: tuple[Problem, ...] = ()
        self.last_pass: dict[str, Any] = {}
        self.last_faults: dict[str, str] = {}
        self.events_unwritten = ""

    # -- a pass

    def run(self, request: PassRequest) -> PassResult:
        """Make one pass. Never raises for what the operator or another program must fix."""
        if request == PassRequest(files=True) and self._nothing_to_read():
            return self._nothing_done()  # something else happened in the folder
        began = self._clock.monotonic()
        try:
            result, kind = self._attempt(request)
        except Busy as failure:
            self.report.busy(failure)
            return PassResult(busy=True)
        except FilesBeingWritten:
            return PassResult(writing=True)
        seconds = self._clock.monotonic() - began
        self._count(kind, seconds)
        if result.changed:
            self.report.pass_done(kind, result.changed, seconds, result.seconds)
        return result

    def _nothing_to_read(self) -> bool:
        return self.desired.is_untouched() and not self.desired.undo_due

    def _attempt(self, request: PassRequest) -> tuple[PassResult, str]:
        """A pass, and the word for what came of it.

        Raises:
            Busy: another command holds the lock of the state folder.
            FilesBeingWritten: and there is nothing else to do.
        """
        store = self.workspace.store
        try:
            with store.writer_if_possible(COMMAND, make=self.may_make_folder()) as obstacle:
                result = self._pass(request, obstacle)
        except (Busy, FilesBeingWritten):
            raise
        except InvalidIntent as failure:
            self.desired.refuse(failure.findings)
            return PassResult(failed=frozenset([ROOT])), "invalid"
        except (WarpError, DumpError, OSError) as failure:
            self.report.pass_failed(failure)
            self.last_faults[""] = str(failure)
            self.desired.try_later()
            return PassResult(all_failed=True), "failed"
        except Exception as failure:  # a mistake of ours must not end the guard of every network
            self.report.pass_crashed(failure)
            return PassResult(all_failed=True), "failed"
        return result, self._word_for(result)

    def _word_for(self, result: PassResult) -> str:
        if result.failed:
            return "failed"
        if self.desired.unwritten is not None:
            return "unwritten"
        if self.desired.findings:
            return "awaiting_consent" if self.desired.awaiting_consent else "invalid"
        return "done"

    def may_make_folder(self) -> bool:
        """Whether a missing state folder may be created. If one existed before, it may be
        unmounted, and a new one would hide it.
        """
        if self.desired.active is not None:
            return False
        return self.workspace.store.folder.exists() or not has_devices(self.kernel)

    def _nothing_done(self) -> PassResult:
        return PassResult(unwritten=self.desired.unwritten is not None)

    def _pass(self, request: PassRequest, obstacle: WarpError | None) -> PassResult:
        try:
            is_new = self.desired.refresh(request, obstacle)
        finally:
            self._take_in_undone()
        active = self.desired.active
        if active is None or not (is_new or request.groups is None or request.groups):
            return self._nothing_done()
        wanted_before = self._observer.wanted
        found = self._observer.look(active.wanted, request)
        self._report_machine(found)
        outcome = self._converge(active, found, request)
        if request.groups is None:
            self._dial_silent_peers(found)
        wanted_now = found.compiled.state
        reverted = {} if is_new else reverted_by_others(outcome, wanted_before, wanted_now)
        return self._conclude(found, outcome, is_new, reverted)

    def _take_in_undone(self) -> None:
        for outcome in self.desired.take_undone():
            self._observer.forget()
            self.tell_apply(outcome)

    def _converge(
        self, active: ActiveConfig, found: PlannedRun, request: PassRequest
    ) -> ApplyResult:
        def verify() -> PlannedRun:
            return self._observer.verify(active.wanted, found, request)

        return converge(self.kernel, verify, found, self.report.step_done)

    def _dial_silent_peers(self, found: PlannedRun) -> None:
        """Peers that are silent and have a host name are dialled where that is now."""
        wanted, traffic = found.compiled.state, found.observed.traffic
        due = list(self._resolver.due(wanted, traffic, self._clock))
        for peer, address in due:
            fault = self.kernel.dial(peer, address)
            about = {
                "network": self.network_name(peer.group),
                "endpoint": peer.label,
                "name": peer.endpoint,
                "address": address,
            }
            self.report.peer_address_set(about, "" if fault is None else str(fault))

    def _report_machine(self, found: PlannedRun) -> None:
        """What the look showed of this machine."""
        before, self.problems = self.problems, found.compiled.problems
        codes = tuple((problem.network, problem.finding.code) for problem in self.problems)
        self.mailbox.stats = dataclasses.replace(self.mailbox.stats, problems=codes)
        for problem in self.problems:
            if problem not in before:
                self.report.problem_begins(problem)
        for problem in before:
            if problem not in self.problems:
                self.report.problem_over(problem)

    # -- what came of it

    def _conclude(
        self,
        found: PlannedRun,
        outcome: ApplyResult,
        is_new: bool,
        reverted: Mapping[str, str],
    ) -> PassResult:
        self.tell_apply(outcome, not is_new, found.scope.is_everything)
        for conflict in found.plan.blocked:
            network = self.network_name(conflict.group)
            self.report.conflict(network, conflict)
        faults = faults_by_group(found, outcome)
        self.last_faults |= {self.network_name(group): text for group, text in faults.items()}
        self._failed = frozenset(faults)
        return PassResult(
            failed=self._failed,
            disturbed=self._failed - refused_groups(found, outcome),
            unwritten=self.desired.unwritten is not None,
            reverted=reverted,
            changed=len(outcome.done),
            seconds=self._observer.seconds,
        )

    def tell_apply(
        self, outcome: ApplyResult, is_repair: bool = False, is_everything: bool = True
    ) -> None:
        """Tell and count what was done to the kernel: by a pass, or for whoever asked.

        By default it is a change of what is wanted, in all networks.
        """
        self.report.steps_applied(outcome, is_repair)
        stats = self.mailbox.stats
        self.mailbox.stats = with_apply(stats, outcome, is_repair, is_everything)

    def _count(self, kind: str, seconds: float) -> None:
        """Keep what `status` and the metrics show of this pass."""
        active, full = self.desired.active, self._observer.take_full()
        in_sync = full is not None and not full.plan.steps
        self.last_pass = {
            "result": kind,
            "time": self._clock.timestamp(),
            "seconds": round(seconds, 3),
        }
        self._look_in_sync = full if in_sync else None
        stats = self.mailbox.stats
        if full is not None and active is not None:
            waits = self.desired.pending is not None
            stats = with_look(stats, active.wanted, full, self._failed, waits)
        since_s = active.since_s if active is not None else 0.0
        is_valid = not self.desired.findings
        ended_s = self._clock.since_epoch()
        waiting = active.waiting if active is not None else frozenset()
        stats = dataclasses.replace(stats, waiting=waiting)
        self.mailbox.stats = with_pass(stats, kind, seconds, ended_s, since_s, is_valid)

    def take_look_in_sync(self) -> PlannedRun | None:
        """What the last pass saw, when it made a full observation and had nothing to do; handed
        out once.
        """
        look, self._look_in_sync = self._look_in_sync, None
        return look

    def source_polled(self, source: SourceStatus) -> None:
        """What came of asking the source of the YAML."""
        before = self.mailbox.stats.source
        self.mailbox.stats = dataclasses.replace(self.mailbox.stats, source=source)
        self.report.source_polled(before, source)

    # -- for others

    def allocations(self) -> tuple[Allocations, WarpError | None]:
        """As `DesiredState.allocations`."""
        return self.desired.allocations()

    def applied(self) -> Applied | None:
        """As `DesiredState.applied`."""
        return self.desired.applied()

    @property
    def has_looked(self) -> bool:
        """Whether there is a look that later ones start from."""
        return self._observer.has_looked

    @property
    def host(self) -> Host | None:
        """The host as the last look showed it; None before any."""
        return self._observer.host

    @property
    def unresolved(self) -> dict[str, str]:
        """NETWORK/NAME of an endpoint that is silent -> its host name, which does not resolve."""
        return {
            f"{self.network_name(peer.group)}/{peer.label}": host_of(peer.endpoint)
            for peer in self._resolver.unresolved
            if peer.endpoint
        }

    def network_name(self, group: str) -> str:
        """The name of a group's network; "" is the gateway's own part."""
        return "" if group == ROOT else self._observer.network_name(group)


def faults_by_group(found: PlannedRun, outcome: ApplyResult) -> dict[str, str]:
    """Group -> why it is not as it should be; of several reasons, a fault of the kernel."""
    faults = {step.group: "the kernel differs from the plan" for step in outcome.unverified}
    for conflict in found.plan.blocked:
        faults[conflict.group] = conflict.text
    for step, fault in outcome.failed:
        faults[step.group] = str(fault)
    return faults


def refused_groups(found: PlannedRun, outcome: ApplyResult) -> set[str]:
    """Groups that fail the same way again whatever other programs do: the kernel refused a step, or
    something is in the way.
    """
    return {conflict.group for conflict in found.plan.blocked} | {
        step.group for step, fault in outcome.failed if not fault.is_transient
    }


def reverted_by_others(outcome: ApplyResult, before: State, now: State) -> dict[str, str]:
    """Return the objects that were right until another program changed or removed them, by group.

    `before` and `now` are what was wanted. If what is wanted changed (because the uplink is gone,
    say), the host caused the difference.
    """
    reverted = {}
    for step in outcome.done:
        wanted = before.get(step.key)
        is_remade = wanted is not None and step.change.action is Action.CREATE
        if is_remade or wanted == now.get(step.key):
            reverted[str(step.key)] = step.group
    return reverted
