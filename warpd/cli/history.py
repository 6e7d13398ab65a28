"""confirm, rollback, history: what was applied, kept or undone."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from warpd.cli import asking, output
from warpd.cli.app import Output, app
from warpd.cli.change import Verbose, Yes, agree, signals
from warpd.cli.names import numbers
from warpd.cli.output import Format
from warpd.errors import EXIT_FAILED, EXIT_PARTIAL
from warpd.kernel.linux import bindings
from warpd.reconcile.plan import Step
from warpd.service.history import NOTHING, History
from warpd.service.queries import applied_before
from warpd.service.rollback import LOCK_PATIENCE_S, target, undo, undo_when_due
from warpd.service.views.render import (
    VERSION,
    Paint,
    outlook_lines,
    row_lines,
    step_json,
    step_text,
)
from warpd.service.views.report import history_json, undone_json
from warpd.service.workspace import Session, live_kernel, require_root


@app.command()
def confirm(context: typer.Context, form: Output = Format.text) -> None:
    """Keep what was applied with --confirm-within."""
    session: Session = context.obj
    if asking.through_daemon():
        data = asking.DaemonGateway(session).ask("POST", "/v1/confirm")
    else:
        with session.store.writer(command="warpctl confirm", patience_s=LOCK_PATIENCE_S):
            data = {"version": VERSION, "confirmed": History(session).confirm()}
    output.emit(data, f"Kept: number {data['confirmed']} of the history.", form)


@app.command()
def rollback(
    context: typer.Context,
    to: Annotated[
        int | None,
        typer.Option("--to", min=1, help="a number of `warpctl history`", autocompletion=numbers),
    ] = None,
    yes: Yes = False,
    verbose: Verbose = False,
    expired: Annotated[bool, typer.Option("--expired", hidden=True)] = False,
    form: Output = Format.text,
) -> None:
    """Undo the apply that waits to be confirmed, or go back to an earlier intent.

    The YAML on disk stays as it is.
    """
    session: Session = context.obj
    if expired:
        from warpd.kernel.linux.live_kernel import LiveKernel

        require_root("rollback --expired")
        raise typer.Exit(0 if undo_when_due(session, LiveKernel) else EXIT_FAILED)
    number = to if asking.through_daemon() else target(session, to)  # before anything is asked
    if number and form is Format.text:
        output.note(_back_text(_entry(session, number), output.paint(sys.stderr)))
    if to is not None and not yes:
        agree("Go back?", form)
    if asking.through_daemon():
        data = asking.DaemonGateway(session).ask(
            "POST", "/v1/rollback", {"to": to} if to is not None else {}
        )
    else:
        data = _undone(session, to, verbose)
    output.emit(data, _undone_text(data), form)
    partial = EXIT_PARTIAL if data["done"] or data.get("unwritten") else EXIT_FAILED
    raise typer.Exit(0 if data["complete"] else partial)


def _entry(session: Session, number: int) -> dict[str, Any]:
    """An entry of the history, with what going back to it would do where somebody can look at the
    kernel.
    """
    if asking.through_daemon():
        return asking.DaemonGateway(session).entry(number)
    if not bindings.are_here():
        return applied_before(session, number)
    with live_kernel() as kernel:
        return applied_before(session, number, kernel)


def _back_text(entry: Mapping[str, Any], paint: Paint) -> str:
    """What going back does, as a plan says it: risks first, then a line per network and endpoint."""
    lines = [
        f"Going back to number {entry['number']}, applied at {entry['time']} by {entry['by']}:"
    ]
    if entry.get("overview") is None:
        return "\n".join([*lines, entry["diff"] or "(nothing in its files)"])
    lines += outlook_lines({"risks": entry["risks"]}, paint)
    return "\n".join([*lines, *(row_lines(entry["overview"], paint) or ["(nothing changes)"])])


def _undone(session: Session, to: int | None, verbose: bool) -> dict[str, Any]:
    paint = output.paint(sys.stderr)

    def progress(step: Step) -> None:
        if verbose:
            output.note(step_text(step_json(step, 0), paint))

    with (
        session.store.writer_if_possible("warpctl rollback", LOCK_PATIENCE_S, make=False),
        live_kernel() as kernel,
        signals(),
    ):
        undone, number = undo(session, kernel, to, progress)
    return undone_json(undone.outcome, number, undone.unwritten)


def _undone_text(data: Mapping[str, Any]) -> str:
    before = "nothing is in force, as before the first apply"
    what = (
        f"number {data['in_force']} of the history is in force"
        if data["in_force"] != NOTHING
        else before
    )
    lines = [f"failed  {step['network']}: {step['error']}" for step in data["failed"]]
    if data.get("unwritten"):
        lines.append(
            f"not written: {data['unwritten']['error']}; roll back again when the folder takes"
            " writes"
        )
    whole = data["complete"] or (data.get("unwritten") and not data["failed"])
    verdict = "Rolled back" if whole else "Rolled back in part"
    kept = (
        "The YAML on disk is unchanged; it is not applied again until it changes or `warpctl apply`"
        " says so."
    )
    return "\n".join([*lines, f"{verdict}: {len(data['done'])} steps; {what}.", kept])


@app.command()
def history(
    context: typer.Context,
    show: Annotated[
        int | None,
        typer.Option(
            "--show",
            min=1,
            help="the files of this number, and what going back to it would do",
            autocompletion=numbers,
        ),
    ] = None,
    form: Output = Format.text,
) -> None:
    """What was applied, when and by whom; the last fifty."""
    session: Session = context.obj
    if show is not None:
        data = _entry(session, show)
        text = "\n".join(f"# {name}\n{text}" for name, text in data["files"].items())
        difference = data["diff"]
        if difference:
            text += f"\n# from what is in force to this\n{difference}"
        output.emit(data, f"{text}\n\n{_back_text(data, output.paint())}", form)
        return
    data = (
        asking.DaemonGateway(session).history()
        if asking.through_daemon()
        else history_json(History(session))
    )
    rows = [
        (
            str(e["number"]),
            e["time"],
            e["by"],
            str(e["networks"]),
            "in force" if e["in_force"] else "",
        )
        for e in data["history"]
    ]
    text = (
        output.table(rows, ("NUMBER", "TIME", "BY", "NETWORKS", ""))
        if rows
        else "Nothing has been applied yet."
    )
    waits = data["pending_confirm"]
    if waits is not None:
        text += f"\nNumber {waits['number']} waits to be confirmed until {waits['until']}."
    output.emit(data, text, form)
