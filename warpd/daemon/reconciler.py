"""One pass after another: from files and kernel to what the log, the events and the figures say.

Lives here: what the daemon holds between passes (the goal in force, the last look) and what one
pass does with it. Does not: when a pass is due (`scheduler`), who asks for it (`loop`). What is
held only saves work: each pass looks at the kernel, and a full one at everything.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import structlog

from warpd import naming
from warpd.allocation.model import Allocations
from warpd.daemon.mailbox import Mailbox
from warpd.daemon.resolver import EndpointResolver
from warpd.daemon.scheduler import PassRequest, PassResult
from warpd.daemon.stats import GitStatus, dropped, seen
from warpd.daemon.watcher import Mark, being_written, files_of, mark
from warpd.errors import Busy, Finding, InvalidIntent, WarpError, render_headline
from warpd.intent.model import Intent
from warpd.kernel.api import DumpError, Kernel
from warpd.kernel.state import ROOT, Action, Host, State
from warpd.keys.files import key_files_named
from warpd.networks.problems import Problem
from warpd.reconcile.engine import (
    ApplyResult,
    PlannedRun,
    Target,
    converge,
)
from warpd.reconcile.incremental import IncrementalPlanner
from warpd.reconcile.observe import EVERYTHING, Scope
from warpd.reconcile.plan import Step
from warpd.service.commitment import Applied, Commitment, as_error, commit, goal_again, has_devices
from warpd.service.history import NOTHING, PENDING, History, Pending, files_digest
from warpd.service.history import files_of as intent_files
from warpd.service.recovery import unnamed
from warpd.service.rollback import undo_pending
from warpd.service.workspace import LoadedIntent, Session
from warpd.store.state_folder import ALLOCATIONS, IN_FORCE, MASTER

COMMAND: Final = "warpd"
ROLLED_BACK: Final = "these files were rolled back from"
TOLD_STEPS_MAX: Final = 200  # changes of one pass that are told one by one


@dataclass(frozen=True, slots=True)
class ActiveConfig:
    """The last intent that was written down, and what the kernel is kept as."""

    read: LoadedIntent
    goal: Target
    since_s: float
    reduced: Target | None = None  # while a newer intent cannot be written down: what both permit

    @property
    def wanted(self) -> Target:
        """What the kernel is kept as."""
        return self.reduced if self.reduced is not None else self.goal


class Reconciler:
    """Holds the goal in force and makes the passes. For one thread."""

    def __init__(
        self,
        session: Session,
        kernel: Kernel,
        mailbox: Mailbox,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self.session = session
        self.kernel = kernel
        self.mailbox = mailbox
        self.events_unwritten = ""  # why the latest events are not on disk
        self.log = log
        self.drain: Callable[[Collection[str] | None], None] = lambda _covered: None
        self.in_force: ActiveConfig | None = None
        self.findings: tuple[Finding, ...] = ()  # why the files as they are now are not in force
        self.waits = ""  # for whose consent
        self.planner = IncrementalPlanner(kernel)
        self._full: PlannedRun | None = None
        self.seen_whole: PlannedRun | None = (
            None  # by the last pass, when it looked at everything and had nothing to do
        )
        self._mark: tuple[Mark, Mark] | None = (
            None  # of what is in force, refused or awaiting consent
        )
        self._tried: tuple[Mark, Mark] | None = None  # of what could not be written down
        self.unwritten: WarpError | None = (
            None  # why the state folder does not take what the files ask for
        )
        self._obstacle: WarpError | None = (
            None  # of this pass: why the folder takes no writes at all
        )
        self._shown_for: Intent | None = (
            None  # the YAML by which what is in force was found in the kernel
        )
        self._looked_s = 0.0
        self.problems: tuple[Problem, ...] = ()
        self._dialer = EndpointResolver()
        self.last_pass: dict[str, Any] = {}
        self.why_failing: dict[str, str] = {}  # by network, the last fault
        self.pending: Pending | None = None
        self._undone = NOTHING  # of the history: undone in the kernel, but not yet on the disk
        self.unread = False  # files have changed, but were being written
        self._held = NOTHING
        self._number = NOTHING  # of the history, of what is in force here
        self._history = History(session)

    # -- a pass

    def run(self, work: PassRequest) -> PassResult:
        """Never raises for what the operator or another program must mend."""
        if (
            work == PassRequest(files=True)
            and self._fingerprint() in (self._mark, self._tried)
            and not self.undo_due
        ):
            return self._nothing()  # something else happened in the folder
        began = time.monotonic()
        result, kind = PassResult(), "done"
        try:
            with self.session.store.writer_if_possible(
                COMMAND, make=self._may_make_folder()
            ) as obstacle:
                self._obstacle = obstacle
                result = self._pass(work)
                kind = "failed" if result.failed else "done"
        except Busy as failure:
            self.log.info("busy", error=failure.message)
            return PassResult(busy=True)
        except _Writing:
            return PassResult(writing=True)
        except InvalidIntent as failure:
            self._refused(failure.findings)
            result, kind = PassResult(failed=frozenset([ROOT])), "invalid"
        except (WarpError, DumpError, OSError) as failure:
            self.log.error("pass failed", error=str(failure))
            self.mailbox.tell(_now(), "failed", error=str(failure))
            self.why_failing[self._name(ROOT)] = str(failure)
            self._tried = (
                self._fingerprint()
            )  # what else happens in the folder is no reason to try again
            result, kind = PassResult(all_failed=True), "failed"
        except Exception as failure:  # a mistake of ours must not end the guard of every network
            self.log.exception("pass failed", error=repr(failure))
            self.mailbox.tell(_now(), "failed", error=repr(failure))
            result, kind = PassResult(all_failed=True), "failed"
        if kind == "done":
            kind = self._why_not_done() or kind
        seconds = time.monotonic() - began
        self._count(kind, seconds)
        if result.changed:
            took = {"seconds": round(seconds, 4), "look_seconds": round(result.seconds, 4)}
            self.log.info("pass", result=kind, steps=result.changed, **took)
        return result

    def _may_make_folder(self) -> bool:
        """A folder that was there, or that must have been, is somewhere: a new one would stand in
        its way.
        """
        if self.in_force is not None:
            return False
        return self.session.store.folder.exists() or not has_devices(self.kernel)

    def _nothing(self) -> PassResult:
        return PassResult(unwritten=self.unwritten is not None)

    def _why_not_done(self) -> str:
        if self.unwritten is not None:
            return "unwritten"
        return ("waits" if self.waits else "invalid") if self.findings else ""

    def _pass(self, work: PassRequest) -> PassResult:
        fresh = self._read_if_possible(work)
        force = self.in_force
        if force is None or not (fresh or work.groups is None or work.groups):
            return self._nothing()
        compiled = self.planner.compiled
        wanted_before = compiled.state if compiled is not None else State()
        found = self._look(force.wanted, work, fresh)
        self._tell_problems(found.compiled.problems)
        self._tell_forwarding(found.observed.host)
        outcome = self._converge(force.wanted, found)
        if work.groups is None:
            self._dial(found)
        reverted = {} if fresh else _reverted(outcome, wanted_before, found.compiled.state)
        return self._told(found, outcome, fresh, reverted)

    def _dial(self, found: PlannedRun) -> None:
        """Peers that are silent and have a host name are dialled where that is now."""
        for peer, address in list(
            self._dialer.due(found.compiled.state, found.observed.traffic, time.time())
        ):
            fault = self.kernel.dial(peer, address)
            about = {
                "network": self._name(peer.group),
                "endpoint": peer.label,
                "name": peer.endpoint,
                "address": address,
            }
            self.log.info("dials", **about, **({"error": str(fault)} if fault is not None else {}))

    def _tell_forwarding(self, host: Host) -> None:
        """Somebody has turned on for the whole host what warpd had turned on for its links: from
        now on it is theirs.
        """
        if host.forwarding4 and host.fence4:
            text = (
                "somebody has turned on IPv4 forwarding for the whole host: it is not fenced off"
                " now, and destroy leaves it on"
            )
            self.log.warning("forwarding", text=text)
            self.mailbox.tell(_now(), "forwarding", text=text)

    def _tell_problems(self, now: tuple[Problem, ...]) -> None:
        """What this machine keeps networks from: told when it comes, and when it is over."""
        before, self.problems = self.problems, now
        codes = tuple((problem.network, problem.finding.code) for problem in now)
        self.mailbox.stats = dataclasses.replace(self.mailbox.stats, problems=codes)
        for problem in now:
            if problem not in before:
                about = {
                    "network": problem.network,
                    "code": problem.finding.code,
                    "error": problem.finding.message,
                }
                self.log.error("problem of this machine", **about, hint=problem.finding.hint)
                self.mailbox.tell(_now(), "problem", **about)
        for problem in before:
            if problem not in now:
                about = {"network": problem.network, "code": problem.finding.code}
                self.log.info("problem over", **about)
                self.mailbox.tell(_now(), "problem_over", **about)

    # -- files

    def _read_if_possible(self, work: PassRequest) -> bool:
        """As `_read_if_whole`; a state folder that cannot be read keeps nobody from repairing what
        drifts.
        """
        try:
            return self._read_if_whole(work)
        except (Busy, InvalidIntent):
            raise
        except (WarpError, OSError) as failure:
            if self.in_force is None:
                raise
            self._mark, self._tried = None, self._fingerprint()
            self._not_written(as_error(failure))
            return self._turn_of_day()

    def _read_if_whole(self, work: PassRequest) -> bool:
        """As `_read`; a file that is being written keeps nobody from repairing what drifts.

        Raises:
            _Writing: there is nothing else to do.
        """
        self.unread = False
        try:
            return self._read(work)
        except _Writing:
            if self.in_force is None or work.groups == frozenset():
                raise
            self.unread = True
            return False

    def _read(self, work: PassRequest) -> bool:
        """Read the files if they are not the same as before; whether there is a new goal.

        Raises:
            _Writing: somebody is writing them.
            WarpError: the state folder cannot be read or written, and nothing is in force that
            could be kept.
        """
        now = self._fingerprint()
        same = now == self._mark or (now == self._tried and not work.writes)
        if same and not work.asked and not self.undo_due:
            return self._turn_of_day()
        self.pending = self._history.pending()
        if self.pending is not None:
            return self._while_pending(self.pending)
        if being_written(files_of(self.session.config), time.time()):
            raise _Writing
        try:
            previous, lost = self.allocations()
            self._obstacle = lost or self._obstacle
            read = self.session.read(previous=previous)
            if self._files_mark() != now[0]:
                raise _Writing
            waits = self._why_not(read, previous)
            if not waits:
                return self._take(read, now)
            self._mark = now
            self._wait(waits)
        except InvalidIntent as failure:
            if self._files_mark() != now[0]:
                raise _Writing from None
            self._mark = now
            self._refused(failure.findings)
        return self._fall_back()

    def allocations(self) -> tuple[Allocations, WarpError | None]:
        """Those on the disk; or those in memory, and how the disk has lost them.

        Raises:
            WarpError: they cannot be read, and nothing is in force.
        """
        force, store = self.in_force, self.session.store
        try:
            found = store.read_allocations()
        except WarpError as failure:
            if force is None:
                raise
            return force.goal.allocations, failure
        if force is None or found.networks or not force.goal.allocations.networks:
            return found, None
        text, hint = (
            f"{store.folder} has lost its allocations ({ALLOCATIONS})",
            "restore the folder from a backup",
        )
        return force.goal.allocations, WarpError(text, code="state-lost", who="operator", hint=hint)

    def _why_not(self, read: LoadedIntent, previous: Allocations) -> str:
        """Whose yes these files need; "" for nobody's."""
        refused = self._history.refused
        if refused and files_digest(intent_files(read)) == refused:
            return ROLLED_BACK
        return why_wait(read, previous)

    def _while_pending(self, pending: Pending) -> bool:
        """What is applied, and waits for a yes, stays in force whatever the files say; what nobody
        said yes to is undone.
        """
        self._mark = None  # when it waits no more, the files count again, the same as before or not
        if pending.left_s() <= 0:
            self.log.warning(
                "nobody confirmed in time: going back", number=pending.number, to=pending.back_to
            )
            undone = undo_pending(self.session, self.kernel)
            self.mailbox.tell(
                _now(),
                "rollback",
                number=pending.back_to,
                complete=undone is None or undone.complete,
            )
            self.pending = self._history.pending()
            self.planner = IncrementalPlanner(self.kernel)
            self.in_force, self.unwritten = None, None
            if undone is not None and undone.unwritten is not None:
                return self._undone_in_memory(pending, undone.unwritten)
        elif self._held != pending.number:
            self._held = pending.number
            self._wait(f"an apply waits to be confirmed until {pending.until}")
        else:
            return False
        return self._fall_back()

    def _undone_in_memory(self, pending: Pending, why: WarpError) -> bool:
        """The kernel is as it was before; the state folder is told when it takes writes."""
        self._undone, self._tried = pending.number, self._fingerprint()
        self._not_written(why)
        if pending.back_to == NOTHING:
            return False
        read = self._history.read(self._history.entry(pending.back_to))
        self.in_force = ActiveConfig(read, self.session.goal_again(read), time.time())
        self._number = pending.back_to
        return True

    def _fall_back(self) -> bool:
        """To what was applied or gone back to last, by whomever, also before this process was
        started.
        """
        entry = self._history.in_force()
        if entry is None or (self.in_force is not None and entry.number == self._number):
            return False
        read = self._history.read(entry)
        goal, lost = goal_again(self.session, read, self.kernel)
        self.in_force, self._number = ActiveConfig(read, goal, time.time()), entry.number
        self.log.warning(
            "the last good intent stays in force", number=entry.number, time=entry.time
        )
        if lost is not None:
            self._not_written(lost)
        return True

    @property
    def rolled_back_to(self) -> int | None:
        """The number in the history that a rollback went back to, while the files are what it left."""
        return self._number if self.waits == ROLLED_BACK else None

    @property
    def undo_due(self) -> bool:
        """Whether an apply that nobody confirmed is to be undone in the kernel now."""
        return (
            self.pending is not None
            and self.pending.left_s() <= 0
            and self.pending.number != self._undone
        )

    def _fingerprint(self) -> tuple[Mark, Mark]:
        """Of everything that decides what should exist, but for the kernel and the day: the
        operator's files, and ours.
        """
        return self._files_mark(), self._store_mark()

    def _files_mark(self) -> Mark:
        return mark([*files_of(self.session.config), self.session.lock_file, *self._key_files()])

    def _store_mark(self) -> Mark:
        return mark(
            self.session.store.folder / name for name in (ALLOCATIONS, MASTER, IN_FORCE, PENDING)
        )

    def _key_files(self) -> tuple[Path, ...]:
        named = key_files_named(self.in_force.read.intent) if self.in_force is not None else ()
        return tuple(Path(file) for file in named)

    def _turn_of_day(self) -> bool:
        """An endpoint may expire while no file changes."""
        force, today = self.in_force, datetime.now(UTC).date()
        if force is None or force.goal.today == today:
            return False
        self.in_force = _on(force, today)
        return True

    def _take(self, read: LoadedIntent, now: tuple[Mark, Mark]) -> bool:
        """Put a new intent in force, if it can be written down; whether there is a new goal.

        `now` is the fingerprint of before it was read: what is edited meanwhile is seen as a
        change.
        """
        in_force = self.applied if not self._to_be_told_again(read) else lambda: None
        done = commit(self.session, read, COMMAND, self.kernel, in_force, self._obstacle)
        if done.unwritten is not None:
            return self._withhold(read, done, done.unwritten, now)
        goal, self._number, self._shown_for = done.goal, done.number, None
        self._mark, self._tried = (
            (
                now[0],
                self._store_mark(),
            ),
            None,
        )  # what the folder holds is of our own writing
        force = self.in_force
        same = force is not None and (force.read.intent, force.goal) == (read.intent, goal)
        since = force.since_s if force is not None and same else time.time()
        self.in_force = ActiveConfig(read, goal, since)
        self.findings, self.waits, self._held = (), "", NOTHING
        if self.unwritten is not None:
            self.unwritten = None
            self.log.info("the state folder takes writes again")
            self.mailbox.tell(_now(), "written")
        if not same:
            self.log.info("intent", networks=len(read.intent.networks))
            self.mailbox.tell(_now(), "intent", networks=len(read.intent.networks))
        for warning in read.warnings:
            self.log.warning("the YAML", finding=render_headline(warning), hint=warning.hint)
        return True

    def applied(self) -> Applied | None:
        """What was in force before, from memory or from the history."""
        if self.in_force is None:
            self._fall_back()
        return (
            Applied(self.in_force.read, self.in_force.goal) if self.in_force is not None else None
        )

    def _withhold(
        self, read: LoadedIntent, done: Commitment, why: WarpError, now: tuple[Mark, Mark]
    ) -> bool:
        """Take away what the new intent takes away; what it gives waits until it can be written
        down.
        """
        before = self.in_force.wanted if self.in_force is not None else None
        force = self._force_of(read, done)
        reduced = done.goal if done.goal.intent != force.read.intent else None
        self.in_force = _on(dataclasses.replace(force, reduced=reduced), datetime.now(UTC).date())
        self._mark, self._tried = None, (now[0], self._store_mark())
        if (read.intent, read.allocations) != (force.read.intent, force.goal.allocations):
            text = f"what it adds waits: {why.message}"
            self.findings, self.waits = (
                (
                    Finding(
                        "state-unwritable", "", text, why.hint or "make room; it is tried again"
                    ),
                ),
                "",
            )
        self._not_written(why)
        return self.in_force.wanted != before

    def _to_be_told_again(self, read: LoadedIntent) -> bool:
        """Another YAML may tell of endpoints that nobody could name by the one before."""
        return (
            self._shown_for not in (None, read.intent)
            and self.in_force is not None
            and bool(unnamed(self.in_force.goal.intent))
        )

    def _force_of(self, read: LoadedIntent, done: Commitment) -> ActiveConfig:
        """What was in force: as it is known here, or as `commit` has found it in the kernel, where
        nothing else tells of it.
        """
        previous, force = done.previous, self.in_force
        assert previous is not None  # noqa: S101  # `commit` raises where nothing was in force
        if force is not None and previous.goal is force.goal:
            return force
        self._shown_for = read.intent
        about = {
            "networks": len(previous.goal.intent.networks),
            "unnamed": sum(unnamed(previous.goal.intent).values()),
        }
        self.log.error("what was applied is known from the kernel alone", **about)
        self.mailbox.tell(_now(), "from_kernel", **about)
        return ActiveConfig(previous.read, previous.goal, time.time())

    def _not_written(self, why: WarpError) -> None:
        if self.unwritten is None or self.unwritten.message != why.message:
            self.log.error(
                "the state folder takes no writes: what gives access waits",
                error=why.message,
                hint=why.hint,
            )
            self.mailbox.tell(_now(), "unwritten", error=why.message)
        self.unwritten = why

    def _refused(self, findings: tuple[Finding, ...]) -> None:
        self.findings, self.waits, self.unwritten = findings, "", None
        for finding in findings:
            about = {"finding": render_headline(finding), "hint": finding.hint}
            self.log.error("the YAML is not valid; the kernel is left as it is", **about)
        self.mailbox.tell(
            _now(), "invalid", findings=[render_headline(finding) for finding in findings[:20]]
        )

    def _wait(self, why: str) -> None:
        self.findings, self.waits = (
            (Finding("waits", "", why, "agree to it with `warpctl apply --yes`"),),
            why,
        )
        self.unwritten = None
        self.log.error("waits for `warpctl apply --yes`; the kernel is left as it is", why=why)
        self.mailbox.tell(_now(), "waits", why=why)

    # -- kernel

    def _look(self, goal: Target, work: PassRequest, fresh: bool) -> PlannedRun:
        scope = EVERYTHING if work.groups is None else Scope.of(work.groups)
        return self._timed(scope, lambda: self.planner.plan(goal, scope, follow_root=not fresh))

    def _timed(self, scope: Scope, look: Callable[[], PlannedRun]) -> PlannedRun:
        self.drain(scope.groups)
        counters = nullcontext() if scope.is_everything else self.kernel.keeping_counters()
        began = time.monotonic()
        with counters:
            found = look()
        self._looked_s = time.monotonic() - began
        if scope.is_everything:
            self._full = found
        return found

    def _converge(self, goal: Target, found: PlannedRun) -> ApplyResult:
        def progress(step: Step) -> None:
            self.log.info(step.change.action.value, **_named(step), why=step.reason)

        def look_again() -> PlannedRun:
            scope = Scope.of(step.group for step in found.plan.steps)
            return self._timed(scope, lambda: self.planner.plan(goal, scope))

        return converge(self.kernel, look_again, found, progress)

    # -- in words

    def named(self, fights: Mapping[str, str]) -> list[dict[str, str]]:
        return [
            {"object": item, "network": self._name(group)} for item, group in sorted(fights.items())
        ]

    def named_failing(
        self, failing: Mapping[str, tuple[int, float]]
    ) -> dict[str, tuple[int, float]]:
        return {self._name(group): value for group, value in failing.items()}

    def _name(self, group: str) -> str:
        return self.planner.names.get(group, group) if group != ROOT else "gateway"

    def fight(self, item: str, group: str) -> None:
        network = self._name(group)
        self.log.error(
            "undone by another program again and again; repaired more slowly now",
            object=item,
            network=network,
        )
        self.mailbox.tell(_now(), "fight", object=item, network=network)

    # -- what came of it

    def _told(
        self, found: PlannedRun, outcome: ApplyResult, fresh: bool, reverted: Mapping[str, str]
    ) -> PassResult:
        for step in outcome.done[:TOLD_STEPS_MAX]:
            self.mailbox.tell(_now(), "change", **_described(step), repair=not fresh)
        for step, fault in outcome.failed:
            self.log.error("step failed", **_named(step), error=str(fault))
            self.mailbox.tell(_now(), "failed", **_described(step), error=str(fault))
        for blocked in found.plan.blocked:
            about = {
                "network": self._name(blocked.group),
                "object": str(blocked.key),
                "foreign": blocked.foreign,
            }
            self.log.error("blocked", vcid=naming.vcid_of_namespace(blocked.group), **about)
            self.mailbox.tell(_now(), "blocked", **about)
        for step in outcome.unverified:
            self.log.error("not as promised", **_named(step))
        failed = {step.group for step, _ in outcome.failed} | {
            step.group for step in outcome.unverified
        }
        failed |= {blocked.group for blocked in found.plan.blocked}
        self.why_failing |= {
            self._name(step.group): "the kernel is not as promised" for step in outcome.unverified
        }
        self.why_failing |= {
            self._name(item.group): f"{item.key} is not ours: {item.foreign}"
            for item in found.plan.blocked
        }
        self.why_failing |= {self._name(step.group): str(fault) for step, fault in outcome.failed}
        self._figure(found, outcome, fresh)
        changed, unwritten = len(outcome.done), self.unwritten is not None
        return PassResult(
            failed=frozenset(failed),
            unwritten=unwritten,
            mended=reverted,
            changed=changed,
            seconds=self._looked_s,
        )

    def _figure(self, found: PlannedRun, outcome: ApplyResult, fresh: bool) -> None:
        stats = self.mailbox.stats
        done = Counter(_network(step) for step in outcome.done)
        left = Counter(
            _network(step)
            for step in (
                *outcome.skipped,
                *outcome.unverified,
                *(step for step, _ in outcome.failed),
            )
        )
        errors = Counter(_network(step) for step, _ in outcome.failed)
        self.mailbox.stats = dataclasses.replace(
            stats,
            changes=Counter(stats.changes) + done,
            repairs=stats.repairs if fresh else Counter(stats.repairs) + done,
            errors=Counter(stats.errors) + errors,
            pending=dict(left),
        )

    def pulled(self, source: GitStatus) -> None:
        """What came of asking the repository; told when it is not what it was."""
        before = self.mailbox.stats.source
        self.mailbox.stats = dataclasses.replace(self.mailbox.stats, source=source)
        if source.revision != before.revision:
            self.log.info("pulled", revision=source.revision)
            self.mailbox.tell(_now(), "source", revision=source.revision)
        if source.error and source.error != before.error:
            self.log.error("not pulled; what was applied stays", error=source.error)
            self.mailbox.tell(_now(), "source", error=source.error)

    def _count(self, kind: str, seconds: float) -> None:
        stats, force = self.mailbox.stats, self.in_force
        passes = Counter(stats.passes)
        passes[kind] += 1
        self.last_pass = {"result": kind, "time": _now(), "seconds": round(seconds, 3)}
        full, self._full = self._full, None
        self.seen_whole = full if full is not None and not full.plan.steps else None
        if full is not None and force is not None and (not full.plan.steps or not stats.networks):
            stats = dataclasses.replace(
                stats,
                networks=seen(force.wanted, full),
                drops=dropped(full.observed),
                confirm_pending=self.pending is not None,
            )
        self.mailbox.stats = dataclasses.replace(
            stats,
            passes=passes,
            pass_seconds=stats.pass_seconds + seconds,
            intent_at_s=force.since_s if force is not None else 0.0,
            intent_valid=not self.findings,
        )


def _on(force: ActiveConfig, today: date) -> ActiveConfig:
    """The same, of this day."""
    reduced = dataclasses.replace(force.reduced, today=today) if force.reduced is not None else None
    return dataclasses.replace(
        force, goal=dataclasses.replace(force.goal, today=today), reduced=reduced
    )


class _Writing(Exception):
    """A file is being written: nothing is read from it now."""


def why_wait(read: LoadedIntent, before: Allocations) -> str:
    """What nobody should do unasked: move what clients depend on, or remove more than half of the
    networks. "" for neither.

    `gateway.removal_guard: false` agrees to the latter beforehand, in the same YAML.
    """
    if read.risks:
        return read.risks[0].message
    gone = sorted(before.networks.keys() - read.allocations.networks.keys())
    if read.intent.gateway.removal_guard and len(gone) * 2 > len(before.networks):
        return (
            f"the YAML lacks {len(gone)} of {len(before.networks)} networks, {', '.join(gone[:3])}"
            " among them"
        )
    return ""


def _named(step: Step) -> dict[str, Any]:
    """What a line of the log says of a step."""
    endpoint = getattr(step.change.subject, "label", "")
    return {
        "network": step.network,
        "vcid": naming.vcid_of_namespace(step.group),
        **({"endpoint": endpoint} if endpoint else {}),
        "step": str(step.key),
    }


def _reverted(outcome: ApplyResult, before: State, now: State) -> dict[str, str]:
    """Object -> group, of what was as it should be and somebody has changed or removed.

    What should be something else than before, because the uplink has gone, say, is nobody's doing
    but the host's.
    """
    out = {}
    for step in outcome.done:
        wanted = before.get(step.key)
        if wanted == now.get(step.key) or (
            wanted is not None and step.change.action is Action.CREATE
        ):
            out[str(step.key)] = step.group
    return out


def _described(step: Step) -> dict[str, Any]:
    """What an event says of a step."""
    endpoint = getattr(step.change.subject, "label", "")
    return {
        "network": _network(step),
        "vcid": naming.vcid_of_namespace(step.group),
        **({"endpoint": endpoint} if endpoint else {}),
        "action": step.change.action.value,
        "object": str(step.key),
        "why": step.reason,
    }


def _network(step: Step) -> str:
    return step.network if step.group != ROOT else ""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
