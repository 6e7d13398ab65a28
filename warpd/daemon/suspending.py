"""Answers of the mailbox about suspensions: at once, by a pass that looks at one network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from warpd.allocation.suspensions import Suspension, first_names
from warpd.daemon.reconciler import Reconciler
from warpd.daemon.scheduler import PassRequest
from warpd.errors import Busy, WarpError
from warpd.reconcile.engine import Target
from warpd.service.queries import split_name
from warpd.service.suspending import (
    SuspendRequest,
    answer,
    group_of,
    not_suspended,
    suspension,
    suspensions_json,
)

ASKED: Final = "warpd (asked)"


def suspensions(reconciler: Reconciler, _arguments: Mapping[str, Any]) -> dict[str, Any]:
    """All suspended endpoints. Raises: WarpError when nothing is in force."""
    return suspensions_json(reconciler.workspace, _target(reconciler))


def suspend(reconciler: Reconciler, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Take an endpoint out: `endpoint`, `by`, `for_s`, `reason`.

    It is done also where it cannot be written down, or while another command is at work.

    Raises:
        WarpError: there is no such endpoint, or it cannot be shortened now.
    """
    target, name = _target(reconciler), str(arguments["endpoint"])
    request = SuspendRequest(
        name, arguments.get("for_s"), str(arguments["by"]), str(arguments.get("reason", ""))
    )
    item = suspension(target, request, reconciler.workspace.suspensions.now_s)
    why = _add(reconciler, item)
    network, _slash, endpoint = name.partition("/")
    reconciler.report.suspended(item, (network, endpoint))
    return answer(name, item, _carry_out(reconciler, name), "" if why is None else why.message)


def _add(reconciler: Reconciler, item: Suspension) -> WarpError | None:
    """Why it is in memory only; None where it was written down."""
    workspace = reconciler.workspace
    try:
        with workspace.store.writer_if_possible(ASKED, make=False) as obstacle:
            return workspace.suspensions.add(item, obstacle)
    except Busy as failure:  # the next pass writes it down
        return workspace.suspensions.add(item, failure)


def resume(reconciler: Reconciler, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Give an endpoint back what the YAML gives it: `endpoint`, `by`.

    Raises:
        WarpError: it is not suspended, or that could not be written down.
        Busy: another command is at work.
    """
    target, name = _target(reconciler), str(arguments["endpoint"])
    network, endpoint = split_name(target, name)
    workspace = reconciler.workspace
    with workspace.store.writer(ASKED):
        if workspace.suspensions.remove(first_names(target.allocations, network, endpoint)) is None:
            raise not_suspended(name)
    reconciler.report.resumed((network, endpoint), str(arguments["by"]))
    return answer(name, None, _carry_out(reconciler, name), "")


def _target(reconciler: Reconciler) -> Target:
    """Everything that the intent in force asks for."""
    active = reconciler.desired.active
    if active is None:
        raise WarpError(
            "there has been no valid intent yet",
            code="no-intent",
            who="operator",
            hint="warpctl validate",
        )
    return active.target


def _carry_out(reconciler: Reconciler, name: str) -> bool:
    """Make a pass for the endpoint's network now; whether the kernel has it as it should be."""
    group = group_of(_target(reconciler), name)
    result = reconciler.run(PassRequest(groups=frozenset([group])))
    return not (result.busy or result.all_failed or group in result.failed)
