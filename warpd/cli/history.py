"""The commands confirm, rollback and history."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any, Final, NoReturn

import typer

from warpd.cli import asking, output
from warpd.cli.app import Output, app
from warpd.cli.change import Verbose, Yes, require_consent, signals
from warpd.cli.conditions import conditions_now, intent_lines
from warpd.cli.names import numbers
from warpd.cli.output import Format
from warpd.errors import EXIT_FAILED, EXIT_PARTIAL
from warpd.kernel.linux import bindings
from warpd.reconcile.plan import Step
from warpd.service.edits import given
from warpd.service.history import NOTHING, History
from warpd.service.queries import applied_before
from warpd.service.restored_files import number_with_files, undone_with_files
from warpd.service.rollback import LOCK_PATIENCE_S, rollback_number, undo, undo_when_due
from warpd.service.views.render import (
    VERSION,
    Paint,
    client_impact_lines,
    row_lines,
    step_json,
    step_text,
)
from warpd.service.views.report import history_json, undone_json
from warpd.service.workspace import Workspace, live_kernel, require_root

MINUTE_S: Final = 60
HOUR_S: Final = 3600
DAY_H: Final = 24


@app.command()
def confirm(context: typer.Context, output_format: Output = Format.text) -> None:
    """Keep what was applied with --confirm-within."""
    workspace: Workspace = context.obj
    if asking.through_daemon():
        data = asking.DaemonGateway(workspace).ask("POST", "/v1/confirm")
    else:
        with workspace.store.writer(command="warpctl confirm", patience_s=LOCK_PATIENCE_S):
            data = {"version": VERSION, "confirmed": History(workspace).confirm()}
    output.emit(data, f"Kept: number {data['confirmed']} of the history.", output_format)


@app.command()
def rollback(
    context: typer.Context,
    to: Annotated[
        int | None,
        typer.Option("--to", min=1, help="a number of `warpctl history`", autocompletion=numbers),
    ] = None,
    files: Annotated[
        bool, typer.Option("--files", help="put the files of the YAML back too, if nobody edited")
    ] = False,
    yes: Yes = False,
    verbose: Verbose = False,
    expired: Annotated[bool, typer.Option("--expired", hidden=True)] = False,
    output_format: Output = Format.text,
) -> None:
    """Undo the apply that waits to be confirmed, or go back to an earlier intent.

    The YAML on disk stays as it is, unless --files puts the earlier one back; after an apply that
    nobody confirmed was undone, --files alone does that.
    """
    workspace: Workspace = context.obj
    if expired:
        _undo_when_due(workspace)
    # The number is checked before the operator is asked.
    number = to
    if not asking.through_daemon():
        number = (number_with_files if files else rollback_number)(workspace, to)
    if number and output_format is Format.text:
        output.note(_rollback_text(_entry(workspace, number), output.paint(sys.stderr)))
    if to is not None and not yes:
        require_consent("Go back?", output_format)
    data = _rolled_back(workspace, to, files, verbose)
    output.emit(data, _undone_text(data), output_format)
    raise typer.Exit(_exit_code(data))


def _undo_when_due(workspace: Workspace) -> NoReturn:
    """Run as the timer of an apply that is not confirmed."""
    from warpd.kernel.linux.live_kernel import LiveKernel

    require_root("rollback --expired")
    raise typer.Exit(0 if undo_when_due(workspace, LiveKernel) else EXIT_FAILED)


def _rolled_back(
    workspace: Workspace, to: int | None, files: bool, verbose: bool
) -> dict[str, Any]:
    """Roll back, or ask the daemon for it."""
    if asking.through_daemon():
        asked = {"to": to, "files": files or None}
        return asking.DaemonGateway(workspace).ask("POST", "/v1/rollback", given(asked))
    return _undone(workspace, to, files, verbose)


def _exit_code(data: Mapping[str, Any]) -> int:
    if data["complete"]:
        return 0
    return EXIT_PARTIAL if data["done"] or data.get("unwritten") else EXIT_FAILED


def _entry(workspace: Workspace, number: int) -> dict[str, Any]:
    """Return an entry of the history; if the kernel can be read, with what a rollback would do."""
    if asking.through_daemon():
        return asking.DaemonGateway(workspace).entry(number)
    if not bindings.are_here():
        return applied_before(workspace, number)
    with live_kernel() as kernel:
        return applied_before(workspace, number, kernel)


def _rollback_text(entry: Mapping[str, Any], paint: Paint) -> str:
    """Return what a rollback to an entry does: risks, then a line for each network and endpoint.

    Where none of them changes (a rename back), or that is not known: what changes in the YAML.
    """
    lines = [
        f"Going back to number {entry['number']}, applied at {entry['time']} by {entry['by']}:"
    ]
    lines += client_impact_lines({"risks": entry.get("risks") or []}, paint)
    rows = row_lines(entry.get("overview") or [], paint)
    return "\n".join([*lines, *(rows or [entry["diff"] or "(nothing changes)"])])


def _undone(workspace: Workspace, to: int | None, files: bool, verbose: bool) -> dict[str, Any]:
    paint = output.paint(sys.stderr)

    def progress(step: Step) -> None:
        if verbose:
            output.note(step_text(step_json(step, 0), paint))

    with (
        workspace.store.writer_if_possible("warpctl rollback", LOCK_PATIENCE_S, make=False),
        live_kernel() as kernel,
        signals(),
    ):
        if files:
            return undone_with_files(workspace, kernel, to, progress)
        undone, number = undo(workspace, kernel, to, progress)
    return undone_json(undone.outcome, number, undone.unwritten)


def _undone_text(data: Mapping[str, Any]) -> str:
    what = "nothing is in force, as before the first apply"
    if data["in_force"] != NOTHING:
        what = f"number {data['in_force']} of the history is in force"
    lines = [f"failed  {step['network']}: {step['error']}" for step in data["failed"]]
    unwritten = data.get("unwritten") or {}
    lacks_master = str(unwritten.get("code", "")).startswith("master-")
    if lacks_master:
        lines.append(f"only removals of access were applied: {unwritten['error']}")
        lines.append(f"hint: {unwritten['hint']}")
    elif unwritten:
        lines.append(
            f"not recorded: {unwritten['error']}; roll back again when the state folder"
            " can be written"
        )
    restored = unwritten and not lacks_master and not data["failed"]
    whole = data["complete"] or restored
    verdict = "Rolled back" if whole else "Rolled back in part"
    kept = _files_text(data.get("files"))
    return "\n".join([*lines, f"{verdict}: {len(data['done'])} steps; {what}.", kept])


def _files_text(files: Mapping[str, list[str]] | None) -> str:
    """Return what has become of the YAML; None where nobody asked for it to go back."""
    if files is None:
        again = "it is applied again when it changes or by `warpctl apply`"
        return f"The YAML on disk is unchanged; {again}."
    parts = [f"{word} {', '.join(names)}" for word, names in files.items() if names]
    return f"The YAML on disk is the earlier one again: {'; '.join(parts) or 'it was already'}."


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
    output_format: Output = Format.text,
) -> None:
    """Show what was applied, when and by whom; the last fifty entries."""
    workspace: Workspace = context.obj
    conditions = conditions_now(workspace)
    if show is not None:
        data = {**_entry(workspace, show), "conditions": conditions}
        text = "\n".join(f"# {name}\n{text}" for name, text in data["files"].items())
        difference = data["diff"]
        if difference:
            text += f"\n# from what is in force to this\n{difference}"
        lines = [*intent_lines(conditions), text, "", _rollback_text(data, output.paint())]
        output.emit(data, "\n".join(lines), output_format)
        return
    data = _history(workspace) | {"conditions": conditions}
    output.emit(data, "\n".join([*intent_lines(conditions), _history_text(data)]), output_format)


def _history(workspace: Workspace) -> dict[str, Any]:
    if asking.through_daemon():
        return asking.DaemonGateway(workspace).history()
    return history_json(History(workspace))


def _history_text(data: Mapping[str, Any]) -> str:
    rows = [_cells(entry) for entry in data["history"]]
    text = "Nothing has been applied yet."
    if rows:
        text = output.table(rows, ("NUMBER", "TIME", "BY", "NETWORKS", "ACTIVE FOR", ""))
    pending = data["pending_confirm"]
    if pending is not None:
        text += f"\nNumber {pending['number']} waits to be confirmed until {pending['until']}."
    return text


def _cells(entry: Mapping[str, Any]) -> tuple[str, ...]:
    number, networks = str(entry["number"]), str(entry["networks"])
    since = entry.get("active_since")
    state = "in force" if entry["in_force"] else ""
    state += f" since {since}" if since else ""
    return number, entry["time"], entry["by"], networks, active_for(entry.get("active_s")), state


def active_for(seconds: int | None) -> str:
    """Return `3 d 4 h`, `12 min` or `40 s`; "-" where it is not known."""
    if seconds is None:
        return "-"
    if seconds < MINUTE_S:
        return f"{seconds} s"
    if seconds < HOUR_S:
        return f"{seconds // MINUTE_S} min"
    hours = seconds // HOUR_S
    return f"{hours} h" if hours < DAY_H else f"{hours // DAY_H} d {hours % DAY_H} h"
