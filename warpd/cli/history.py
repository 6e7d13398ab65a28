"""confirm, rollback, history: what was applied, kept or undone."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from typing import Annotated

import typer

from warpd.cli import output
from warpd.cli.app import Output, app
from warpd.cli.change import Yes, agree, signals
from warpd.cli.output import Format
from warpd.errors import EXIT_FAILED, EXIT_PARTIAL, WarpError
from warpd.history import NOTHING, History
from warpd.plan import Step
from warpd.reconcile import Outcome
from warpd.render import VERSION, step_json, step_text
from warpd.report import entry_json, history_json, undone_json
from warpd.rollback import LOCK_PATIENCE_S, target, undo, undo_when_due
from warpd.session import Session, live_kernel, require_root


@app.command()
def confirm(context: typer.Context, form: Output = Format.text) -> None:
    """Keep what was applied with --confirm-within."""
    session: Session = context.obj
    require_root("confirm")
    with session.store.writer(command="warpctl confirm", patience_s=LOCK_PATIENCE_S):
        number = History(session).confirm()
    output.emit({"version": VERSION, "confirmed": number}, f"Kept: number {number} of the history.", form)


@app.command()
def rollback(
    context: typer.Context,
    to: Annotated[int | None, typer.Option("--to", min=1, help="a number of `warpctl history`")] = None,
    yes: Yes = False,
    expired: Annotated[bool, typer.Option("--expired", hidden=True)] = False,
    form: Output = Format.text,
) -> None:
    """Undo the apply that waits to be confirmed, or go back to an earlier intent. The YAML on disk stays as it is."""
    session: Session = context.obj
    require_root("rollback")
    if expired:
        from warpd.kernel.live import LiveKernel

        raise typer.Exit(0 if undo_when_due(session, LiveKernel) else EXIT_FAILED)
    target(session, to)  # before anything is asked
    if to is not None and not yes:
        output.note(f"This goes back to number {to} of the history. It differs from what is in force by:")
        output.note(_difference(History(session), to) or "(nothing in its files)")
        agree("Go back?", form)
    paint = output.paint(sys.stderr)
    live = output.colour(sys.stderr)

    def progress(step: Step) -> None:
        if live:
            output.note(step_text(step_json(step, 0), paint))

    with session.store.writer_if_possible("warpctl rollback", LOCK_PATIENCE_S, make=False), live_kernel() as kernel, signals():
        undone, number = undo(session, kernel, to, progress)
    outcome = undone.outcome
    output.emit(undone_json(outcome, number, undone.unwritten), _outcome_text(outcome, number, undone.unwritten), form)
    partial = outcome.done or undone.unwritten is not None
    raise typer.Exit(0 if undone.complete else EXIT_PARTIAL if partial else EXIT_FAILED)


def _difference(history: History, number: int) -> str:
    """From what is in force to an entry, as a unified difference of its files."""
    now = history.in_force()
    return files_diff(now.files if now is not None else {}, history.entry(number).files)


def files_diff(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """A unified difference of files by path; "" where they are the same."""
    lines: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        before, after = (files.get(name, "").splitlines() for files in (old, new))
        lines += difflib.unified_diff(before, after, name, name, lineterm="")
    return "\n".join(lines)


def _outcome_text(outcome: Outcome, number: int, unwritten: WarpError | None) -> str:
    before = "nothing is in force, as before the first apply"
    what = f"number {number} of the history is in force" if number != NOTHING else before
    lines = [f"failed  {step.network}: {fault}" for step, fault in outcome.failed]
    lines += [f"not written: {unwritten.message}; roll back again when the folder takes writes"] if unwritten is not None else []
    verdict = "Rolled back" if outcome.complete else "Rolled back in part"
    kept = "The YAML on disk is unchanged; it is not applied again until it changes or `warpctl apply` says so."
    return "\n".join([*lines, f"{verdict}: {len(outcome.done)} steps; {what}.", kept])


@app.command()
def history(
    context: typer.Context,
    show: Annotated[
        int | None, typer.Option("--show", min=1, help="the files of this number, and how they differ from now")
    ] = None,
    form: Output = Format.text,
) -> None:
    """What was applied, when and by whom; the last fifty."""
    session: Session = context.obj
    kept = History(session)
    if show is not None:
        entry = kept.entry(show)
        difference = _difference(kept, show)
        head = {"version": VERSION, **entry_json(entry, kept.in_force_number())}
        data = {**head, "files": dict(entry.files), "diff": difference}
        text = "\n".join(f"# {name}\n{text}" for name, text in entry.files.items())
        output.emit(data, f"{text}\n# from what is in force to this\n{difference}" if difference else text, form)
        return
    data = history_json(kept)
    rows = [
        (str(e["number"]), e["time"], e["by"], str(e["networks"]), "in force" if e["in_force"] else "") for e in data["history"]
    ]
    text = output.table(rows, ("NUMBER", "TIME", "BY", "NETWORKS", "")) if rows else "Nothing has been applied yet."
    waits = data["pending_confirm"]
    if waits is not None:
        text += f"\nNumber {waits['number']} waits to be confirmed until {waits['until']}."
    output.emit(data, text, form)
