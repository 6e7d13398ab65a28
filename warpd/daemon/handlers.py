"""What the loop answers: the same data as the commands print. On the loop's own thread, between two passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from warpd.daemon.reconciler import InForce, Keeper
from warpd.errors import InvalidIntent, WarpError
from warpd.reconcile.engine import Prospect, converge, prospect
from warpd.service.commitment import commit
from warpd.service.conditions import from_json
from warpd.service.history import History
from warpd.service.queries import (
    applied_before,
    await_confirmation,
    examined,
    explained,
    not_valid,
    planned,
    refuse_stale,
    validated,
    way_back,
)
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
    without_steps,
)

Answerer = Callable[[Keeper, Mapping[str, Any]], dict[str, Any]]


def status(keeper: Keeper, _arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Of the intent in force.

    Raises:
        WarpError: there has been no valid intent yet. LookFailed: the kernel could not be read.
    """
    return status_of(keeper, prospect(keeper.kernel, _in_force(keeper).wanted))


def status_of(keeper: Keeper, found: Prospect) -> dict[str, Any]:
    """What a look at everything says of the intent in force. Raises: WarpError when there is none."""
    force = _in_force(keeper)
    data = status_data(keeper.session, force.read, force.wanted, found)
    return data if keeper.unwritten is None or not keeper.findings else {**data, "in_sync": False}


def _in_force(keeper: Keeper) -> InForce:
    if keeper.in_force is None:
        raise WarpError("there has been no valid intent yet", code="no-intent", who="operator", hint="warpctl validate")
    return keeper.in_force


def plan(keeper: Keeper, _arguments: Mapping[str, Any]) -> dict[str, Any]:
    """From the kernel as it is to the YAML as it is. Raises: as `warpctl plan`."""
    return planned(keeper.session, keeper.kernel, keeper.session.read(previous=keeper.allocations()[0]))


def validate(keeper: Keeper, _arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The YAML as it is. Raises: WarpError when the state folder cannot be read."""
    try:
        return validated(keeper.session, keeper.session.read(previous=keeper.allocations()[0]))
    except InvalidIntent as failure:
        return not_valid(failure)


def explain(keeper: Keeper, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """By the intent in force. Raises: as `warpctl explain`."""
    wanted = _in_force(keeper).wanted
    return explained(keeper.kernel, wanted, prospect(keeper.kernel, wanted), arguments["way"])


def doctor(keeper: Keeper, _arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What `warpctl doctor` checks. Raises: WarpError when the state folder cannot be read."""
    watched = from_json(keeper.desk.daemon[0].get("conditions", ()))
    return examined(keeper.session, keeper.allocations()[0], True, watched)


def entry(keeper: Keeper, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """One number of the history. Raises: WarpError when it is not kept."""
    return applied_before(keeper.session, arguments["number"], keeper.kernel)


def apply(keeper: Keeper, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What `warpctl apply --yes` does. Raises: as that."""
    session, kernel = keeper.session, keeper.kernel
    with session.store.writer_if_possible("warpd (asked)", make=keeper.in_force is None) as obstacle:
        History(session).refuse_pending()
        previous, lost = keeper.allocations()
        read = with_rollback(session, session.read(previous=previous))
        if read.risks and not arguments.get("yes"):
            raise WarpError(read.risks[0].message, code="declined", who="operator", hint="say yes to go on all the same")
        if "digest" in arguments:
            refuse_stale(kernel, session.goal(read, create=False), arguments["digest"])
        before, by = intent_in_force(session), str(arguments.get("by", "warpd (asked)"))
        within_s = within(arguments["confirm_within_s"]) if "confirm_within_s" in arguments else 0
        back_to = way_back(session, kernel, within_s)
        done = commit(session, read, by, kernel, keeper.applied, lost or obstacle)
        found = prospect(kernel, done.goal)
        data = without_steps(session, done.goal, found, read, before)
        if done.unwritten is not None:
            data["unwritten"] = unwritten_json(done.unwritten, within_s)
        data["confirm_until"] = await_confirmation(session, done.number, back_to, within_s if done.unwritten is None else 0, by)
        outcome = converge(kernel, lambda: prospect(kernel, done.goal, found), found)
        return outcome_json(outcome, data)


def confirm(keeper: Keeper, _arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What `warpctl confirm` does. Raises: as that."""
    with keeper.session.store.writer(command="warpd (asked)"):
        return {"version": VERSION, "confirmed": History(keeper.session).confirm()}


def rollback(keeper: Keeper, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What `warpctl rollback` does, with `to` a number of the history or None. Raises: as that."""
    with keeper.session.store.writer_if_possible("warpd (asked)", make=False):
        undone, number = undo(keeper.session, keeper.kernel, arguments.get("to"))
        return undone_json(undone.outcome, number, undone.unwritten)


def history(keeper: Keeper, _arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What `warpctl history -o json` shows."""
    return history_json(History(keeper.session))


CHANGING: Final = frozenset({"apply", "confirm", "rollback"})
ANSWERS: Mapping[str, Answerer] = {
    "status": status,
    "plan": plan,
    "apply": apply,
    "confirm": confirm,
    "rollback": rollback,
    "history": history,
    "entry": entry,
    "explain": explain,
    "doctor": doctor,
    "validate": validate,
}
