"""From the files to the intent that the kernel is kept at.

Lives here: when the files are read again, and what becomes of what they say: put in force, refused,
held back for consent, or held back because the state folder takes no writes. Does not: the kernel,
but where an apply that nobody confirmed is undone; and the words for people (`reporter`).
"""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from warpd.allocation.model import Allocations
from warpd.allocation.suspensions import Suspension, by_name
from warpd.daemon.clock import Clock
from warpd.daemon.fingerprint import Fingerprint, being_written, fingerprint, intent_files
from warpd.daemon.reporter import Reporter
from warpd.daemon.scheduler import PassRequest
from warpd.errors import Busy, Finding, InvalidIntent, WarpError
from warpd.intent.model import Intent
from warpd.kernel.api import Kernel
from warpd.keys.files import key_files_named
from warpd.reconcile.engine import ApplyResult, Target
from warpd.service.candidates import consent_needed, undo_partial_write
from warpd.service.commitment import Applied, Commitment, as_error, commit, target_again
from warpd.service.history import (
    NOTHING,
    PENDING,
    History,
    HistoryEntry,
    Pending,
    files_digest,
)
from warpd.service.recovery import unnamed
from warpd.service.rollback import undo_pending
from warpd.service.workspace import LoadedIntent, Workspace
from warpd.store.state_folder import ALLOCATIONS, IN_FORCE, MASTER

COMMAND: Final = "warpd"  # who writes, in the history
APPLY: Final = "warpctl apply --yes"
CONFIRM: Final = "warpctl confirm"
ROLLED_BACK: Final = "these files were rolled back from"

Fingerprints = tuple[Fingerprint, Fingerprint]  # of the operator's files; of the state folder's


class FilesBeingWritten(Exception):
    """Somebody is writing the files; nothing is read from them now."""


@dataclass(frozen=True, slots=True)
class ActiveConfig:
    """The intent that was written down last, and the targets that it leads to.

    Attributes:
        read: the intent as it was read, with its allocations.
        target: everything that it asks for.
        since_s: since when this process has kept it in force, in seconds since the epoch.
        reduced: while a newer intent cannot be written down, what both of them permit.
        waiting: the networks of which that newer intent asks for more than `wanted` has.
    """

    read: LoadedIntent
    target: Target
    since_s: float
    reduced: Target | None = None
    waiting: frozenset[str] = frozenset()

    @property
    def wanted(self) -> Target:
        """What the kernel is kept at."""
        return self.reduced if self.reduced is not None else self.target

    def at(self, today: date, suspensions: tuple[Suspension, ...]) -> ActiveConfig:
        """The same, for the endpoints that are neither expired on this day nor suspended."""
        reduced = self.reduced
        if reduced is not None:
            reduced = dataclasses.replace(reduced, today=today, suspensions=suspensions)
        target = dataclasses.replace(self.target, today=today, suspensions=suspensions)
        return dataclasses.replace(self, target=target, reduced=reduced)


class DesiredState:
    """What the kernel should be kept at. For the loop's thread, inside `store.writer_if_possible`.

    Attributes:
        active: what is in force; None before the first valid intent.
        suspensions: the endpoints that are taken out whatever is in force.
        findings: why the files as they are now are not in force.
        awaiting_consent: what the files wait for, where an operator has to agree; "" otherwise.
        unwritten: why the state folder does not take what the files ask for.
        pending: an apply of somebody that waits to be confirmed.
        unread: the files have changed, but were being written.
    """

    def __init__(
        self, workspace: Workspace, kernel: Kernel, report: Reporter, clock: Clock
    ) -> None:
        self._workspace, self._kernel = workspace, kernel
        self._report, self._clock = report, clock
        self.history = History(workspace)
        self.suspensions = workspace.suspensions
        self.suspensions.use_clocks(clock.since_epoch, clock.monotonic)
        self.active: ActiveConfig | None = None
        self.findings: tuple[Finding, ...] = ()
        self.awaiting_consent = ""
        self.unwritten: WarpError | None = None
        self.pending: Pending | None = None
        self.unread = False
        self._undone_applies: list[ApplyResult] = []  # what undoing has done to the kernel
        self.files_seen: Fingerprint | None = None  # the operator's, by the last pass
        # Of files that were accepted, refused or held for consent. Unchanged ones are not read
        # again.
        self._handled: Fingerprints | None = None
        self._unwritable: Fingerprints | None = None  # of files that could not be written down
        self._obstacle: WarpError | None = None  # of this pass: why the folder takes no writes
        self._number = NOTHING  # in the history, of what is in force
        self._reported_pending = NOTHING  # the apply to be confirmed that was told of
        self._files_while_pending: Fingerprint | None = None  # compared with those it has applied
        self._undone = NOTHING  # the apply that is undone in the kernel, but not yet on the disk
        self._recovered_for: Intent | None = None  # the YAML by which the kernel's own was named

    # -- one pass

    def is_untouched(self) -> bool:
        """Whether the files are those that were handled, or tried, already."""
        return self._fingerprints() in (self._handled, self._unwritable)

    def refresh(self, request: PassRequest, obstacle: WarpError | None) -> bool:
        """Read the files if they may have changed; return whether the target of `active` changed.

        A state folder that cannot be read keeps nobody from repairing what drifts. `obstacle` is
        why the state folder takes no writes, as far as it is known.

        Raises:
            Busy: another command is at work.
            InvalidIntent: what was in force before is not valid for this warpd.
            FilesBeingWritten: and there is nothing else to do.
            WarpError, OSError: the state folder cannot be used, and nothing is in force.
        """
        self._obstacle = obstacle
        self.suspensions.refresh()
        try:
            is_new = self._unless_being_written(request)
        except FilesBeingWritten:
            if not self._follow_time():
                raise
            self.unread = is_new = True
        except (Busy, InvalidIntent):
            raise
        except (WarpError, OSError) as failure:
            if self.active is None:
                raise
            self._handled, self._unwritable = None, self._fingerprints()
            self._hold_back(as_error(failure))
            is_new = False
        return self._follow_time() or is_new

    def _unless_being_written(self, request: PassRequest) -> bool:
        """Read the files if they have changed. While they are being written, only repair drift.

        Raises: FilesBeingWritten when there is nothing else to do.
        """
        self.unread = False
        try:
            return self._read_if_changed(request)
        except FilesBeingWritten:
            if self.active is None or request.groups == frozenset():
                raise
            self.unread = True
            return False

    def _read_if_changed(self, request: PassRequest) -> bool:
        undo_partial_write(self._workspace)
        now = self._fingerprints()
        self.files_seen = now[0]
        if not self._must_read(request, now):
            return False
        with contextlib.suppress(WarpError, OSError):
            self.history.set_damaged_pending_aside()
        self.pending = self.history.pending()
        if self.pending is not None:
            return self._while_pending(self.pending, now[0])
        files = [*intent_files(self._workspace.config), self._workspace.lock_file]
        if being_written(files, self._clock.since_epoch()):
            raise FilesBeingWritten
        return self._read(now)

    def _must_read(self, request: PassRequest, now: Fingerprints) -> bool:
        if request.asked or self.undo_due:
            return True
        if now == self._unwritable and not request.writes:
            return False
        return now != self._handled or (request.groups is None and self._lacks_key_file)

    @property
    def _lacks_key_file(self) -> bool:
        """Whether the files are refused for a key file, which may stand in any folder and is not
        watched: each full observation tries again.
        """
        return any(finding.code == "key-file" for finding in self.findings)

    def _read(self, now: Fingerprints) -> bool:
        """Read the files, and put them in force where nothing speaks against it.

        `now` is their fingerprint of before: a change meanwhile is seen as one.

        Raises:
            FilesBeingWritten: they have changed meanwhile.
        """
        try:
            previous, lost = self._allocations_or_on_record()
            self._obstacle = lost or self._obstacle
            read = self._workspace.read(previous=previous)
            self._refuse_changed(now)
            why = self._consent_needed(read, previous)
            if not why:
                return self._put_in_force(read, now)
            self._handled = now
            self._await_consent(why)
        except InvalidIntent as failure:
            self._refuse_changed(now)
            is_known = now == self._handled and failure.findings == self.findings
            self._handled = now
            if not is_known:
                self.refuse(failure.findings)
        return self._fall_back()

    def _refuse_changed(self, before: Fingerprints) -> None:
        if self._operators_files() != before[0]:
            raise FilesBeingWritten

    def allocations(self) -> tuple[Allocations, WarpError | None]:
        """Those on the disk; or those in memory, and how the disk has lost them.

        Raises:
            WarpError: they cannot be read, and nothing is in force.
        """
        active, store = self.active, self._workspace.store
        try:
            found = store.read_allocations()
        except WarpError as failure:
            if active is None:
                raise
            return active.target.allocations, failure
        if active is None or found.networks or not active.target.allocations.networks:
            return found, None
        if store.stamp(ALLOCATIONS) is not None:
            return found, None  # they are there, and none: somebody has applied an empty YAML
        lost = WarpError(
            f"{store.folder} has lost its allocations ({ALLOCATIONS})",
            code="state-lost",
            who="operator",
            hint="restore the folder from a backup",
        )
        return active.target.allocations, lost

    def _allocations_or_on_record(self) -> tuple[Allocations, WarpError | None]:
        """As `allocations`, also where they are damaged and nothing is in force yet: then the
        history tells them. Where it does not, `commit` goes by what the kernel shows.
        """
        try:
            return self.allocations()
        except WarpError as failure:
            with contextlib.suppress(WarpError, OSError):
                self._fall_back()
            active = self.active
            return (active.target.allocations if active else Allocations({})), failure

    def _consent_needed(self, read: LoadedIntent, previous: Allocations) -> str:
        """What an operator has to agree to before these files count; "" for nothing."""
        refused = ""
        # A damaged history is told by `commit`, which only takes away then.
        with contextlib.suppress(WarpError):
            refused = self.history.refused
        if refused and files_digest(read.loaded.contents) == refused:
            return ROLLED_BACK
        return consent_needed(read, previous)

    # -- in force

    def _put_in_force(self, read: LoadedIntent, now: Fingerprints) -> bool:
        """Write a new intent down and put it in force; whether there is another target."""
        known = self.applied if not self._names_more(read) else lambda: None
        done = commit(self.history, read, COMMAND, self._kernel, known, self._obstacle)
        if done.unwritten is not None:
            return self._restrict(read, done, done.unwritten, now)
        target = self._of_now(done.target)
        since_s = self._in_force_since(read, target)
        self._number, self._recovered_for = done.number, None
        # What the state folder holds now is of our own writing.
        self._handled, self._unwritable = (now[0], self._state_files()), None
        started_s = self._clock.since_epoch() if since_s is None else since_s
        self.active = ActiveConfig(read, target, started_s)
        self.findings, self.awaiting_consent, self._reported_pending = (), "", NOTHING
        self._note_written()
        if since_s is None:
            self._report.intent_applied(len(read.intent.networks))
        for warning in read.warnings:
            self._report.intent_warning(warning)
        return True

    def _note_written(self) -> None:
        """The state folder has taken what is in force."""
        if self.unwritten is not None:
            self.unwritten = None
            self._report.state_writable_again()

    def _in_force_since(self, read: LoadedIntent, target: Target) -> float | None:
        """When exactly this was put in force, in seconds since the epoch; None: it is new."""
        active = self.active
        if active is None or active.read.intent != read.intent:
            return None
        if self._of_now(active.target) != target:
            return None
        return active.since_s

    def applied(self) -> Applied | None:
        """What was in force before, from memory or from the history."""
        if self.active is None:
            self._fall_back()
        if self.active is None:
            return None
        return Applied(self.active.read, self.active.target)

    def _fall_back(self) -> bool:
        """To what was applied or rolled back to last, by whomever, also before this process was
        started; whether that is another target.
        """
        entry = self._take_in_force()
        if entry is not None:
            self._report.intent_kept(entry.number, entry.time)
        return entry is not None

    def _take_in_force(self) -> HistoryEntry | None:
        """Take over what the history has in force; return its entry if that is another target."""
        entry = self.history.in_force()
        if entry is None or (self.active is not None and entry.number == self._number):
            return None
        read = self.history.read(entry)
        target, lost = target_again(self._workspace, read, self._kernel)
        self.active = ActiveConfig(read, self._of_now(target), self._clock.since_epoch())
        self._number = entry.number
        if lost is not None:
            self._hold_back(lost)
        return entry

    def _of_now(self, target: Target) -> Target:
        today, suspensions = self._clock.today(), self.suspensions.active()
        if (target.today, target.suspensions) == (today, suspensions):
            return target
        return dataclasses.replace(target, today=today, suspensions=suspensions)

    def _follow_time(self) -> bool:
        """An endpoint may expire, or its suspension begin or end, while no file changes."""
        for ended in self.suspensions.pop_expired():
            self._report.suspension_over(ended, self._name_of(ended))
        if self._obstacle is None:
            self.suspensions.settle()
        if self.active is None or self._of_now(self.active.target) is self.active.target:
            return False
        self.active = self.active.at(self._clock.today(), self.suspensions.active())
        return True

    def _name_of(self, suspension: Suspension) -> tuple[str, str]:
        """Network and endpoint as they are called now; as they were first called where they are
        gone.
        """
        names = {} if self.active is None else by_name(self.active.target.allocations, [suspension])
        return next(iter(names), suspension.first_names)

    @property
    def suspension_due(self) -> bool:
        """Whether the time of a suspension is over, and the kernel not yet as it is then."""
        return self.suspensions.next_end <= self._clock.monotonic()

    # -- not in force

    def refuse(self, findings: tuple[Finding, ...]) -> None:
        """The files are not valid."""
        self.findings, self.awaiting_consent, self.unwritten = findings, "", None
        self._report.intent_invalid(findings)

    def _note_consent(self, why: str, command: str = APPLY) -> None:
        hint = f"agree to it with `{command}`"
        self.findings, self.awaiting_consent = (Finding("awaiting-consent", "", why, hint),), why

    def _await_consent(self, why: str, command: str = APPLY) -> None:
        self._note_consent(why, command)
        self.unwritten = None
        self._report.consent_required(why, command)

    def _restrict(
        self, read: LoadedIntent, done: Commitment, why: WarpError, now: Fingerprints
    ) -> bool:
        """Take away what the new intent takes away; what it gives waits until it can be written
        down. Whether there is another target.
        """
        before = self.active.wanted if self.active is not None else None
        active = self._previous_of(read, done)
        reduced = done.target if done.target.intent != active.read.intent else None
        self.active = dataclasses.replace(active, reduced=reduced, waiting=done.waiting).at(
            self._clock.today(), self.suspensions.active()
        )
        self._handled, self._unwritable = None, (now[0], self._state_files())
        if (read.intent, read.allocations) != (active.read.intent, active.target.allocations):
            text = f"what it adds waits: {why.message}"
            hint = why.hint or "make room; it is tried again"
            self.findings = (Finding("state-unwritable", "", text, hint),)
            self.awaiting_consent = ""
        self._hold_back(why)
        return self.active.wanted != before

    def _names_more(self, read: LoadedIntent) -> bool:
        """Whether another YAML than before may name endpoints that only the kernel knows."""
        if self.active is None or self._recovered_for in (None, read.intent):
            return False
        return bool(unnamed(self.active.target.intent))

    def _previous_of(self, read: LoadedIntent, done: Commitment) -> ActiveConfig:
        """What was in force: as it is known here, or as `commit` has found it in the kernel, where
        nothing else tells of it.
        """
        previous, active = done.previous, self.active
        assert previous is not None  # noqa: S101  # `commit` raises where nothing was in force
        if active is not None and previous.target is active.target:
            return active
        self._recovered_for = read.intent
        intent = previous.target.intent
        self._report.recovered_from_kernel(len(intent.networks), sum(unnamed(intent).values()))
        return ActiveConfig(previous.read, previous.target, self._clock.since_epoch())

    def _hold_back(self, why: WarpError) -> None:
        """What gives access waits for the state folder."""
        if self.unwritten is None or self.unwritten.message != why.message:
            self._report.state_unwritable(why)
        self.unwritten = why

    # -- an apply to be confirmed

    @property
    def rolled_back_to(self) -> int | None:
        """The number in the history that a rollback went back to; None once the files are others
        than it left.
        """
        return self._number if self.awaiting_consent == ROLLED_BACK else None

    @property
    def undo_due(self) -> bool:
        """Whether an apply that nobody confirmed is to be undone in the kernel now."""
        pending = self.pending
        return pending is not None and pending.left_s() <= 0 and pending.number != self._undone

    def look_at_pending(self) -> None:
        """Take over from the history what waits to be confirmed.

        Where it cannot be read, the next pass says so.
        """
        with contextlib.suppress(WarpError, OSError):
            self.pending = self.history.pending()

    def _while_pending(self, pending: Pending, files: Fingerprint) -> bool:
        """What is applied, and waits to be confirmed, stays in force whatever the files say; what
        nobody confirmed is undone. Whether there is another target.
        """
        self._handled = None  # once it is settled the files count again, changed or not
        if pending.left_s() <= 0:
            return self._undo(pending)
        is_first = self._reported_pending != pending.number
        if is_first:
            self._note_written()
        if is_first or self._files_while_pending != files:
            self._reported_pending, self._files_while_pending = pending.number, files
            self._compare_with_pending(pending)
        if not is_first:
            return False
        entry = self._take_in_force()
        if entry is None:
            return False
        self._report.intent_applied(entry.networks)
        return True

    def _compare_with_pending(self, pending: Pending) -> None:
        """Files that are others than those of the apply that waits are not in force."""
        with contextlib.suppress(WarpError, OSError):
            entry = self.history.entry(pending.number)
            if files_digest(self._workspace.files().contents) == entry.digest:
                self.findings, self.awaiting_consent = (), ""
                return
        why = f"an apply waits to be confirmed until {pending.until}"
        if why != self.awaiting_consent:
            self._await_consent(why, CONFIRM)

    def _undo(self, pending: Pending) -> bool:
        self._report.confirm_expired(pending.number, pending.back_to)
        undone = undo_pending(self._workspace, self._kernel, self._report.step_done)
        self._report.rolled_back(pending.back_to, undone is None or undone.complete)
        self.pending = self.history.pending()
        outcome = ApplyResult(()) if undone is None else undone.outcome
        self._undone_applies.append(outcome)
        self.active, self.unwritten = None, None
        self._take_over_undone()
        if undone is not None and undone.unwritten is not None:
            return self._undone_in_memory(pending, undone.unwritten)
        return self._fall_back()

    def take_undone(self) -> list[ApplyResult]:
        """What was done to the kernel to undo applies that nobody confirmed; handed out once."""
        taken, self._undone_applies = self._undone_applies, []
        return taken

    def _take_over_undone(self) -> None:
        """Nothing waits to be confirmed any more. What the next pass reports of files that were
        rolled back from holds from now on.
        """
        self.findings, self.awaiting_consent, self._reported_pending = (), "", NOTHING
        with contextlib.suppress(WarpError, OSError):
            if files_digest(self._workspace.files().contents) == self.history.refused:
                self._note_consent(ROLLED_BACK)

    def _undone_in_memory(self, pending: Pending, why: WarpError) -> bool:
        """The kernel is as it was before; the state folder is told when it takes writes."""
        self._undone, self._unwritable = pending.number, self._fingerprints()
        self._hold_back(why)
        if pending.back_to == NOTHING:
            return False
        read = self.history.read(self.history.entry(pending.back_to))
        target, _lost = target_again(self._workspace, read, self._kernel)
        self.active = ActiveConfig(read, self._of_now(target), self._clock.since_epoch())
        self._number = pending.back_to
        return True

    # -- files

    def try_later(self) -> None:
        """Do not retry a failed pass because of unrelated events in the folder."""
        self._unwritable = self._fingerprints()

    def _fingerprints(self) -> Fingerprints:
        """Of everything that decides what should exist, but for the kernel and the day."""
        return self._operators_files(), self._state_files()

    def _operators_files(self) -> Fingerprint:
        workspace = self._workspace
        return fingerprint(
            [*intent_files(workspace.config), workspace.lock_file, *self._key_files()]
        )

    def _state_files(self) -> Fingerprint:
        folder = self._workspace.store.folder
        return fingerprint(folder / name for name in (ALLOCATIONS, MASTER, IN_FORCE, PENDING))

    def _key_files(self) -> list[Path]:
        if self.active is None:
            return []
        return [Path(file) for file in key_files_named(self.active.read.intent)]
