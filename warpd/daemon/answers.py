"""What the loop answers: the same data as the commands print. On the loop's own thread, between two passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from warpd.daemon.keeper import Keeper
from warpd.errors import WarpError
from warpd.reconcile import converge, prospect
from warpd.render import headline
from warpd.report import described, look, outcome_json, outlook, status_data, warnings_of

Answerer = Callable[[Keeper, Mapping[str, Any]], dict[str, Any]]


def status(keeper: Keeper, _arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Of the intent in force.

    Raises:
        WarpError: there has been no valid intent yet. LookFailed: the kernel could not be read.
    """
    force = keeper.in_force
    if force is None:
        raise WarpError("there has been no valid intent yet", code="no-intent", who="operator", hint="warpctl validate")
    return status_data(keeper.session, force.read, force.goal, prospect(keeper.kernel, force.goal))


def plan(keeper: Keeper, _arguments: Mapping[str, Any]) -> dict[str, Any]:
    """From the kernel as it is to the YAML as it is. Raises: as `warpctl plan`."""
    read = keeper.session.read()
    goal = keeper.session.goal(read, create=False)
    return described(keeper.session, goal, look(keeper.kernel, read, goal), read)


def apply(keeper: Keeper, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What `warpctl apply --yes` does. Raises: as that."""
    with keeper.session.store.writer(command="warpd (asked)"):
        read = keeper.session.read()
        if read.risks and not arguments.get("yes"):
            raise WarpError(read.risks[0].message, code="declined", who="operator", hint="say yes to go on all the same")
        goal = keeper.session.commit(read)
        found = look(keeper.kernel, read, goal)
        outcome = converge(keeper.kernel, lambda: look(keeper.kernel, read, goal, found), found)
        data = {**headline(found.plan, warnings_of(found, read)), **outlook(keeper.session, goal, found, read)}
        return outcome_json(outcome, data)


ANSWERS: Mapping[str, Answerer] = {"status": status, "plan": plan, "apply": apply}
