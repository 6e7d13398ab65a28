"""Rollback: an ordinary pass to an intent that was in force before, and the timer that starts it.

The timer undoes an apply that nobody confirms. It is a process of its own, or a timer of systemd,
so that it survives the command, its terminal and the daemon; it tries until it is done. What it
needs is on the disk before the first change of the apply. So a kill at any moment leaves either
nothing to undo, or everything that is needed to undo it.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from warpd.errors import Busy, WarpError
from warpd.kernel.api import DumpError, Kernel
from warpd.reconcile.engine import ApplyResult, Progress, converge, removal
from warpd.reconcile.incremental import planned_run, replan
from warpd.reconcile.plan import Step
from warpd.service.commitment import as_error, target_before
from warpd.service.history import NOTHING, History, Pending
from warpd.service.workspace import Workspace

WITHIN_MIN_S: Final = 5
WITHIN_MAX_S: Final = 86400
TRY_AGAIN_S: Final = 1.0
TRY_AGAIN_MAX_S: Final = 30.0
LOCK_PATIENCE_S: Final = 30.0
CONFIRM_CHECK_S: Final = 5.0  # how often the timer looks whether the apply was confirmed
UNITS: Final = {"s": 1, "m": 60, "h": 3600}


def seconds_of(text: str) -> int:
    """Return the seconds of `90`, `90s`, `5m` or `1h`.

    Raises:
        WarpError: it is none of these, or not between 5 s and 24 h.
    """
    unit = UNITS.get(text[-1:], 1)
    digits = text[:-1] if text[-1:] in UNITS else text
    seconds = 0
    if digits.isascii() and digits.isdigit() and len(digits) < 7:
        seconds = int(digits) * unit
    return within(seconds, text)


def within(seconds: int, text: str = "") -> int:
    """Return the seconds to confirm within; `text` is what the operator wrote.

    Raises:
        WarpError: they are not between 5 s and 24 h.
    """
    if not WITHIN_MIN_S <= seconds <= WITHIN_MAX_S:
        hint = "a time between 5s and 24h, such as 60s, 5m or 1h"
        raise WarpError(
            f"{text or seconds} is no time to confirm within",
            code="bad-duration",
            who="operator",
            hint=hint,
        )
    return seconds


def quiet(_step: Step) -> None:
    """Report no progress."""


@dataclass(frozen=True, slots=True)
class Undone:
    """The result of a rollback.

    - `outcome`: of its pass.
    - `unwritten`: why it could not be recorded in the state folder; None if it was.
    """

    outcome: ApplyResult
    unwritten: WarpError | None = None

    @property
    def complete(self) -> bool:
        """Whether kernel and state folder are both as they were before."""
        return self.outcome.complete and self.unwritten is None

    @property
    def lacks_keys(self) -> bool:
        """Whether only what takes access away was done, because the master secret is gone."""
        return self.unwritten is not None and self.unwritten.code == "master-lost"


def go_back(
    workspace: Workspace,
    kernel: Kernel,
    number: int,
    progress: Progress = quiet,
    refused: str | None = None,
) -> Undone:
    """Restore the kernel and the allocations of an entry, inside `store.writer_if_possible`.

    The files of the YAML stay as they are. While they are the ones that were rolled back, the
    daemon does not apply them. The entry is on the disk already, so that the kernel is restored
    also when nothing can be written. Without the master secret, what the entry does not permit is
    taken away, nothing is given, and the secret is what `unwritten` tells.

    Args:
        workspace: the files.
        kernel: the kernel.
        number: the entry; NOTHING removes everything that warpd has made.
        progress: called for each step.
        refused: the digest of the files that are rolled back; by default those in force.

    Raises:
        DumpError: the kernel could not be read.
        InvalidIntent: this version of warpd refuses the entry, or a key file cannot be used.
        WarpError: the entry is not kept; or the master secret is gone, and the kernel has nothing
            that warpd has made.
    """
    history = History(workspace)
    leaving = history.in_force()
    if refused is None:
        refused = leaving.digest if leaving is not None else ""
    unwritten: WarpError | None = None
    if number == NOTHING:
        first = removal(kernel)
        look_again = functools.partial(removal, kernel)
    else:
        read = history.read(history.entry(number))
        target, unwritten = target_before(workspace, read, kernel)
        if unwritten is None:
            unwritten = _written(lambda: workspace.store.write_allocations(read.allocations))
        first = planned_run(kernel, target)
        look_again = functools.partial(replan, kernel, target, first)
    if unwritten is None:
        unwritten = _written(lambda: history.mark_restored(number, refused))
    return Undone(converge(kernel, look_again, first, progress), unwritten)


def _written(write: Callable[[], None]) -> WarpError | None:
    """Write, and return why that failed; None if it did not."""
    try:
        write()
    except (WarpError, OSError) as failure:
        return as_error(failure)
    return None


def undo_pending(workspace: Workspace, kernel: Kernel, progress: Progress = quiet) -> Undone | None:
    """Undo the apply that is not confirmed, inside `store.writer_if_possible`.

    It stays pending until everything is undone and the state folder says so.

    Returns:
        None if there is no such apply.

    Raises:
        DumpError, InvalidIntent, WarpError: as `go_back`.
    """
    history = History(workspace)
    pending = history.pending()
    if pending is None:
        return None
    # After a rollback that was killed, the same files stay refused.
    refused = history.refused if history.in_force_number() == pending.back_to else None
    undone = go_back(workspace, kernel, pending.back_to, progress, refused)
    if undone.complete:
        return Undone(undone.outcome, _written(history.clear_pending))
    return undone


def rollback_number(workspace: Workspace, to: int | None) -> int:
    """Return the number of the entry that a rollback restores.

    Args:
        workspace: the files.
        to: the number that the operator named; None for what was in force before the apply that is
            not confirmed.

    Raises:
        WarpError: there is no such number, or no such apply.
    """
    history = History(workspace)
    if to is not None:
        return history.entry(to).number
    pending = history.pending()
    if pending is None:
        hint = "`warpctl rollback --to N` goes back to a number of `warpctl history`"
        raise WarpError(
            "no apply waits to be confirmed", code="nothing-pending", who="operator", hint=hint
        )
    return pending.back_to


def undo(
    workspace: Workspace, kernel: Kernel, to: int | None, progress: Progress = quiet
) -> tuple[Undone, int]:
    """Roll back, inside `store.writer_if_possible`.

    Args:
        workspace: the files.
        kernel: the kernel.
        to: as in `rollback_number`.
        progress: called for each step.

    Returns:
        The result, and the number of the entry that is in force now.

    Raises:
        DumpError, InvalidIntent, WarpError: as `rollback_number` and `go_back`.
    """
    number = rollback_number(workspace, to)
    if to is None:
        undone = undo_pending(workspace, kernel, progress) or Undone(ApplyResult(()))
    else:
        undone = go_back(workspace, kernel, number, progress)
        if undone.complete:
            undone = Undone(undone.outcome, _written(History(workspace).clear_pending))
    if undone.lacks_keys:
        number = History(workspace).in_force_number()
    return undone, number


def start_timer(workspace: Workspace, pending: Pending) -> None:
    """Start the process that runs `undo_when_due`; it does not end with this process.

    Raises:
        WarpError: it could not be started, so that nothing may be applied.
    """
    words = [sys.executable, "-m", "warpd.cli", "-c", os.path.abspath(workspace.named)]
    words += ["--state-dir", os.path.abspath(workspace.store.folder), "rollback", "--expired"]
    try:
        if Path("/run/systemd/system").is_dir() and shutil.which("systemd-run"):
            unit = [
                "systemd-run",
                "--quiet",
                "--collect",
                f"--unit=warpd-rollback-{pending.number}-{int(pending.until_s)}",
            ]
            subprocess.run([*unit, *words], check=True, capture_output=True, timeout=20)
        else:
            nowhere = subprocess.DEVNULL
            subprocess.Popen(
                words,
                stdin=nowhere,
                stdout=nowhere,
                stderr=nowhere,
                start_new_session=True,
                cwd="/",
            )
    except (OSError, subprocess.SubprocessError) as failure:
        text = f"no timer could be started that would undo this: {failure}"
        raise WarpError(
            text, code="timer", who="operator", hint="apply without --confirm-within"
        ) from failure


def undo_when_due(workspace: Workspace, open_kernel: Callable[[], Kernel]) -> bool:
    """Wait for the deadline of the apply that is not confirmed now, then undo it.

    It tries until everything is undone, or the apply is confirmed.

    Returns:
        Whether it was undone here.
    """
    mine, pause_s = History(workspace).pending(), TRY_AGAIN_S
    while True:
        now = History(workspace).pending()
        if mine is None or now is None or now.number != mine.number:
            return False
        left_s = now.left_s()
        if left_s > 0:
            time.sleep(min(left_s, CONFIRM_CHECK_S))
            continue
        if _try_undo(workspace, open_kernel):
            return True
        time.sleep(pause_s)
        pause_s = min(TRY_AGAIN_MAX_S, pause_s * 2)


def _try_undo(workspace: Workspace, open_kernel: Callable[[], Kernel]) -> bool:
    """Try once to undo the apply that is not confirmed; whether everything is undone."""
    try:
        with workspace.store.writer_if_possible(
            "warpctl rollback --expired", LOCK_PATIENCE_S, make=False
        ):
            kernel = open_kernel()
            try:
                undone = undo_pending(workspace, kernel)
            finally:
                kernel.close()
    except (Busy, WarpError, DumpError, OSError):
        return False  # the cause may be gone at the next try
    return undone is not None and undone.complete
