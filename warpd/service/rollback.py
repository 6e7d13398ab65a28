"""Going back: an ordinary pass to an intent that was in force before.

And the timer that does it when nobody says yes.

The timer is a process of its own, or systemd's: it outlives the command, its terminal and the
daemon, and tries until it is done. What it finds is on disk from before the first change of the
apply it watches over, so that a kill at any moment leaves either nothing to undo or everything that
undoing needs.
"""

from __future__ import annotations

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
from warpd.reconcile.engine import ApplyResult, PlannedRun, Progress, converge, planned_run, removal
from warpd.reconcile.plan import Step
from warpd.service.commitment import as_error
from warpd.service.history import NOTHING, History, Pending
from warpd.service.workspace import Session

WITHIN_MIN_S: Final = 5
WITHIN_MAX_S: Final = 86400
TRY_AGAIN_S: Final = 1.0
TRY_AGAIN_MAX_S: Final = 30.0
LOCK_PATIENCE_S: Final = 30.0
UNITS: Final = {"s": 1, "m": 60, "h": 3600}


def seconds_of(text: str) -> int:
    """`90`, `90s`, `5m` or `1h`.

    Raises:
        WarpError: it is none of these, or not between 5 s and 24 h.
    """
    unit = UNITS.get(text[-1:], 1)
    digits = text[:-1] if text[-1:] in UNITS else text
    seconds = int(digits) * unit if digits.isascii() and digits.isdigit() and len(digits) < 7 else 0
    return within(seconds, text)


def within(seconds: int, text: str = "") -> int:
    """The seconds to confirm within.

    Raises: WarpError when they are not between 5 s and 24 h; `text` is what was written.
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
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Undone:
    """What came of going back; `unwritten` is why the state folder does not say so yet."""

    outcome: ApplyResult
    unwritten: WarpError | None = None

    @property
    def complete(self) -> bool:
        """Whether kernel and state folder are both as they were."""
        return self.outcome.complete and self.unwritten is None


def go_back(
    session: Session,
    kernel: Kernel,
    number: int,
    progress: Progress = quiet,
    refused: str | None = None,
) -> Undone:
    """Make the kernel and the allocations as they were with this entry.

    Inside `store.writer_if_possible`.

    The files on disk stay as they are; while they are what was rolled back from (`refused`, by
    default what is in force now), the daemon does not apply them. What is gone back to is on the
    disk already: the kernel is brought there also when nothing can be written.

    Raises:
        WarpError: the entry is not kept. InvalidIntent, DumpError: as for any pass.
    """
    history = History(session)
    leaving = history.in_force()
    if refused is None:
        refused = leaving.digest if leaving is not None else ""
    unwritten: WarpError | None = None
    replan: Callable[[], PlannedRun]
    if number == NOTHING:
        first = removal(kernel)
        replan = lambda: removal(kernel)  # noqa: E731  # one of two ways to look again
    else:
        read = history.read(history.entry(number))
        goal = session.goal_again(read)
        unwritten = _written(lambda: session.store.write_allocations(read.allocations))
        first = planned_run(kernel, goal)
        replan = lambda: planned_run(kernel, goal, first)  # noqa: E731  # the other
    unwritten = unwritten or _written(lambda: history.went_back(number, refused))
    return Undone(converge(kernel, replan, first, progress), unwritten)


def _written(write: Callable[[], None]) -> WarpError | None:
    """Why it could not be written."""
    try:
        write()
    except (WarpError, OSError) as failure:
        return as_error(failure)
    return None


def undo_pending(session: Session, kernel: Kernel, progress: Progress = quiet) -> Undone | None:
    """Undo what waits for a yes, inside `store.writer_if_possible`; None when nothing does.

    It waits no more only when all is undone, and the state folder says so.
    """
    history = History(session)
    waits = history.pending()
    if waits is None:
        return None
    # A rollback that was killed goes on with what it had refused.
    refused = history.refused if history.in_force_number() == waits.back_to else None
    undone = go_back(session, kernel, waits.back_to, progress, refused)
    if undone.complete:
        return Undone(undone.outcome, _written(history.settled))
    return undone


def target(session: Session, to: int | None) -> int:
    """The number that a rollback goes back to: `to`, or what was in force before the apply that
    waits for a yes.

    Raises:
        WarpError: there is no such number, or nothing waits.
    """
    history = History(session)
    if to is not None:
        return history.entry(to).number
    waits = history.pending()
    if waits is None:
        hint = "`warpctl rollback --to N` goes back to a number of `warpctl history`"
        raise WarpError(
            "no apply waits to be confirmed", code="nothing-pending", who="operator", hint=hint
        )
    return waits.back_to


def undo(
    session: Session, kernel: Kernel, to: int | None, progress: Progress = quiet
) -> tuple[Undone, int]:
    """Go back, inside `store.writer_if_possible`: what came of it, and the number that is in force
    now.

    Raises:
        as `target` and a pass.
    """
    number = target(session, to)
    if to is None:
        return undo_pending(session, kernel, progress) or Undone(ApplyResult(())), number
    undone = go_back(session, kernel, number, progress)
    if undone.complete:
        return Undone(undone.outcome, _written(History(session).settled)), number
    return undone, number


def start_timer(session: Session, pending: Pending) -> None:
    """See to it that `undo_when_due` runs at the deadline, whatever becomes of this process.

    Raises:
        WarpError: no process could be started, so that nothing may be applied.
    """
    words = [sys.executable, "-m", "warpd.cli", "-c", os.path.abspath(session.named)]
    words += ["--state-dir", os.path.abspath(session.store.folder), "rollback", "--expired"]
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


def undo_when_due(session: Session, open_kernel: Callable[[], Kernel]) -> bool:
    """Wait for the deadline of what waits now, then undo it; whether anything was undone.

    Tries until it is done.
    """
    mine, pause_s = History(session).pending(), TRY_AGAIN_S
    while (
        mine is not None
        and (now := History(session).pending()) is not None
        and now.number == mine.number
    ):
        left = now.left_s()
        if left > 0:
            time.sleep(min(left, 5.0))  # confirmed meanwhile: nothing more to wait for
            continue
        try:
            with session.store.writer_if_possible(
                "warpctl rollback --expired", LOCK_PATIENCE_S, make=False
            ):
                kernel = open_kernel()
                try:
                    undone = undo_pending(session, kernel)
                finally:
                    kernel.close()
            if undone is not None and undone.complete:
                return True
        except (Busy, WarpError, DumpError, OSError):
            pass  # the next try may find what this one lacked
        time.sleep(pause_s)
        pause_s = min(TRY_AGAIN_MAX_S, pause_s * 2)
    return False
