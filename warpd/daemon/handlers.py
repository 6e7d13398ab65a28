"""Answers to the requests of the mailbox: the same data as the commands print.

They run on the loop's own thread, between two passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from warpd.clients import FORMATS
from warpd.daemon import suspending
from warpd.daemon.desired_state import ActiveConfig
from warpd.daemon.reconciler import Reconciler
from warpd.errors import Busy, InvalidIntent, WarpError
from warpd.kernel.state import Host
from warpd.reconcile.engine import PlannedRun, converge
from warpd.reconcile.incremental import planned_run, replan
from warpd.service import exports
from warpd.service.candidates import (
    Candidate,
    YamlSnapshot,
    consent_needed,
    draw_up,
    refuse_disagreed,
    still_reviewed,
    write_all,
)
from warpd.service.commitment import commit, withdrawn_on_failure
from warpd.service.conditions import NO_PLAN, Condition, from_json
from warpd.service.edits import Draft, name_of
from warpd.service.exports import ExportRequest
from warpd.service.history import History
from warpd.service.queries import (
    applied_before,
    applied_between,
    await_confirmation,
    examined,
    explained,
    not_valid,
    planned,
    refuse_stale,
    rollback_target,
    split_name,
    validated,
)
from warpd.service.restored_files import undone_with_files
from warpd.service.rollback import undo, within
from warpd.service.views.render import VERSION
from warpd.service.views.report import (
    history_json,
    intent_in_force,
    outcome_json,
    status_data,
    undone_json,
    unwritten_json,
    with_rollback,
    with_waiting,
    without_steps,
)
from warpd.service.workspace import LoadedIntent, Workspace

Answerer = Callable[[Reconciler, Mapping[str, Any]], Any]
# What an apply of a change says of its files.
FILES_STAY: Final = (
    "the files keep the new text if this is undone; warpd does not apply them by itself then, and"
    ' `warpctl rollback --files`, or {"files": true}, puts the earlier ones back'
)


def status(reconciler: Reconciler, _arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Of the intent in force.

    Raises:
        WarpError: there has been no valid intent yet. DumpError: the kernel could not be read.
    """
    return status_of(reconciler, planned_run(reconciler.kernel, _in_force(reconciler).wanted))


def status_of(reconciler: Reconciler, found: PlannedRun) -> dict[str, Any]:
    """What a look at everything says of the intent in force.

    Raises: WarpError when there is none.
    """
    force = _in_force(reconciler)
    data = status_data(reconciler.workspace, force.read, force.wanted, found)
    codes = {item.code for item in reconciler.mailbox.stats.conditions}
    data = with_waiting(data, codes, force.waiting)
    waits = reconciler.desired.unwritten is not None and reconciler.desired.findings
    return {**data, "in_sync": data["in_sync"] and not waits and NO_PLAN.isdisjoint(codes)}


def _in_force(reconciler: Reconciler) -> ActiveConfig:
    if reconciler.desired.active is None:
        raise WarpError(
            "there has been no valid intent yet",
            code="no-intent",
            who="operator",
            hint="warpctl validate",
        )
    return reconciler.desired.active


def _watched(reconciler: Reconciler) -> tuple[Condition, ...]:
    """The conditions that the daemon tells of itself."""
    return from_json(reconciler.mailbox.daemon[0].get("conditions", ()))


def plan(reconciler: Reconciler, _arguments: Mapping[str, Any]) -> dict[str, Any]:
    """From the kernel as it is to the YAML as it is. Raises: as `warpctl plan`."""
    allocations = reconciler.allocations()[0]
    return planned(reconciler.workspace, reconciler.kernel, True, _watched(reconciler), allocations)


def validate(reconciler: Reconciler, _arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The YAML as it is. Raises: WarpError when the state folder cannot be read."""
    try:
        return validated(
            reconciler.workspace, reconciler.workspace.read(previous=reconciler.allocations()[0])
        )
    except InvalidIntent as failure:
        return not_valid(failure)


def explain(reconciler: Reconciler, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """By the intent in force. Raises: as `warpctl explain`."""
    wanted = _in_force(reconciler).wanted
    return explained(
        reconciler.kernel, wanted, planned_run(reconciler.kernel, wanted), arguments["request"]
    )


def doctor(reconciler: Reconciler, _arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What `warpctl doctor` checks. Raises: WarpError when the state folder cannot be read."""
    return examined(reconciler.workspace, reconciler.allocations()[0], True, _watched(reconciler))


def entry(reconciler: Reconciler, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """One number of the history. Raises: WarpError when it is not kept."""
    return applied_before(reconciler.workspace, arguments["number"], reconciler.kernel)


def between(reconciler: Reconciler, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Two numbers of the history. Raises: WarpError when one is not kept."""
    return applied_between(reconciler.workspace, arguments["older"], arguments["newer"])


def apply(reconciler: Reconciler, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What `warpctl apply --yes` does. Raises: as that."""
    workspace, kernel = reconciler.workspace, reconciler.kernel
    with _writer(reconciler) as obstacle:
        History(workspace).refuse_pending()
        previous, lost = reconciler.allocations()
        read = with_rollback(workspace, workspace.read(previous=previous))
        why = consent_needed(read, previous)
        if why and not arguments.get("yes"):
            raise WarpError(
                why,
                code="declined",
                who="operator",
                hint="say yes to go on all the same",
            )
        if "digest" in arguments:
            refuse_stale(kernel, workspace.target(read, create=False), arguments["digest"])
        return _applied(reconciler, read, arguments, lost or obstacle)


def _writer(reconciler: Reconciler) -> AbstractContextManager[WarpError | None]:
    store = reconciler.workspace.store
    return store.writer_if_possible("warpd (asked)", make=reconciler.may_make_folder())


def _applied(
    reconciler: Reconciler,
    read: LoadedIntent,
    arguments: Mapping[str, Any],
    obstacle: WarpError | None,
    drafts: Sequence[Draft] = (),
) -> dict[str, Any]:
    """Apply an intent, and write the files that say so.

    What undoes it is on the disk before the files are, and they are before the first change of the
    kernel: a kill at any moment leaves nothing in force that nobody has confirmed.

    Raises:
        WarpError: as `warpctl apply`; or a file could not be written, or no timer started, and
            nothing was applied.
    """
    workspace, kernel = reconciler.workspace, reconciler.kernel
    before, by = intent_in_force(workspace), str(arguments.get("by", "warpd (asked)"))
    within_s = within(arguments["confirm_within_s"]) if "confirm_within_s" in arguments else 0
    back_to = rollback_target(workspace, kernel, within_s)
    history = reconciler.desired.history
    mark = history.mark() if drafts or within_s else None
    done = commit(history, read, by, kernel, reconciler.applied, obstacle)
    found = planned_run(kernel, done.target)
    data = without_steps(workspace, done.target, found, read, before)
    if done.unwritten is not None:
        data["unwritten"] = unwritten_json(done.unwritten, done.waiting, within_s)
    with withdrawn_on_failure(history, mark, read, done):
        data["confirm_until"] = await_confirmation(
            workspace, done.number, back_to, within_s if done.unwritten is None else 0, by
        )
        write_all(workspace, drafts)
    outcome = converge(
        kernel,
        lambda: replan(kernel, done.target, found),
        found,
        reconciler.report.step_done,
    )
    reconciler.tell_apply(outcome)
    return outcome_json(outcome, data)


# -- changes of the YAML


def yaml(reconciler: Reconciler, _arguments: Mapping[str, Any]) -> YamlSnapshot:
    """The files as they are. Raises: WarpError when the allocations cannot be read."""
    workspace = reconciler.workspace
    origin = workspace.checkout.origin if workspace.checkout is not None else ""
    folder = workspace.checkout.folder_in_origin if workspace.checkout is not None else "."
    allocations, active = reconciler.allocations()[0], reconciler.desired.active
    section: dict[str, Any] = {}
    if active is not None:
        section = active.read.intent.gateway.model_dump(mode="json", exclude_unset=True)
    return YamlSnapshot(workspace.files(), allocations, origin, folder, section)


def candidate(reconciler: Reconciler, arguments: Mapping[str, Any]) -> Candidate:
    """A change that is looked at: nothing is written. Raises: as `candidates.draw_up`."""
    active = reconciler.desired.active
    return draw_up(
        reconciler.workspace,
        reconciler.kernel,
        arguments["base"],
        arguments["drafts"],
        reconciler.allocations()[0],
        active.read if active is not None else None,
    )


def apply_change(reconciler: Reconciler, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Write the files of a reviewed change, and apply them.

    Raises:
        Busy: files or plan are others than reviewed.
        WarpError: as `apply`.
    """
    workspace, kernel, change = reconciler.workspace, reconciler.kernel, arguments["candidate"]
    with _writer(reconciler) as obstacle:
        History(workspace).refuse_pending()
        previous, lost = reconciler.allocations()
        digest, active = arguments["digest"], reconciler.desired.active
        in_force = active.read if active is not None else None
        read = still_reviewed(workspace, kernel, change, digest, previous, in_force)
        refuse_disagreed(read, previous, arguments["agree"])
        data = _applied(reconciler, read, arguments, lost or obstacle, change.drafts)
    names = [name_of(draft.file, workspace.main_file) for draft in change.drafts]
    return {**data, "files": {"written": names, "if_rolled_back": FILES_STAY}}


def export(reconciler: Reconciler, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """As `warpctl endpoint config`, but of the intent in force and not of the YAML on the disk.

    The answer has the keys of a device; nothing of it is kept.

    Raises:
        WarpError: there is no such endpoint or config, or it cannot be written down.
    """
    request: ExportRequest = arguments["request"]
    target, by = _in_force(reconciler).wanted, str(arguments["by"])
    split_name(target, f"{request.network}/{request.endpoint}")
    store = reconciler.workspace.store
    with store.writer(command="warpd (asked)"):
        made = exports.export(store, target, reconciler.host or Host(), request, by)
    reconciler.report.exported(request, made.config.version, by, made.chain)
    return {
        "version": VERSION,
        "network": request.network,
        "endpoint": request.endpoint,
        "format": request.style,
        "file": f"{request.endpoint}.{FORMATS[request.style].suffix}",
        "config": made.text,
        "config_version": made.config.version,
    }


def confirm(reconciler: Reconciler, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What `warpctl confirm` does; `applied_by`: only what this user has applied.

    Raises: as that; Busy: somebody else has applied it.
    """
    workspace = reconciler.workspace
    with workspace.store.writer(command="warpd (asked)"):
        _refuse_of_others(workspace, arguments)
        return {"version": VERSION, "confirmed": History(workspace).confirm()}


def rollback(reconciler: Reconciler, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What `warpctl rollback` does, with `to` a number of the history or None, and `files` whether
    the YAML goes back too; `applied_by`: only of what this user has applied.

    Raises: as that; Busy: somebody else has applied it.
    """
    workspace, kernel, to = reconciler.workspace, reconciler.kernel, arguments.get("to")
    progress = reconciler.report.step_done
    with workspace.store.writer_if_possible("warpd (asked)", make=False):
        _refuse_of_others(workspace, arguments)
        if arguments.get("files"):
            return undone_with_files(workspace, kernel, to, progress, reconciler.tell_apply)
        undone, number = undo(workspace, kernel, to, progress)
        reconciler.tell_apply(undone.outcome)
        return undone_json(undone.outcome, number, undone.unwritten)


def _refuse_of_others(workspace: Workspace, arguments: Mapping[str, Any]) -> None:
    """Hold a user to what they have applied themselves, where `applied_by` names one.

    Raises:
        Busy: it is another one's by now, or nothing waits to be confirmed.
    """
    user = arguments.get("applied_by")
    if user is None:
        return
    pending = History(workspace).pending()
    if pending is None or pending.by != user:
        text = f"nothing that {user} has applied waits to be confirmed"
        raise Busy(text, code="not-yours", hint="see /v1/status: pending_confirm")


def history(reconciler: Reconciler, _arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What `warpctl history -o json` shows."""
    return history_json(History(reconciler.workspace))


CHANGING: Final = frozenset({"apply", "apply_change", "confirm", "rollback", "suspend", "resume"})
ANSWERS: Mapping[str, Answerer] = {
    "status": status,
    "plan": plan,
    "apply": apply,
    "confirm": confirm,
    "rollback": rollback,
    "history": history,
    "entry": entry,
    "between": between,
    "explain": explain,
    "export": export,
    "doctor": doctor,
    "validate": validate,
    "yaml": yaml,
    "candidate": candidate,
    "apply_change": apply_change,
    "suspensions": suspending.suspensions,
    "suspend": suspending.suspend,
    "resume": suspending.resume,
}
