"""Suspend an endpoint, and resume it: what daemon and command line share.

A suspension is written down and then carried out by an ordinary pass: the target says which
endpoints are suspended (`reconcile.engine.Target`), and nothing else knows of them. To suspend only
takes away, so that it is done whether or not it can be written down; to resume gives access, so
that it is written down first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from warpd import naming
from warpd.allocation.suspensions import (
    BY_MAX,
    FOR_MAX_S,
    REASON_MAX,
    Suspension,
    by_name,
    first_names,
)
from warpd.errors import WarpError
from warpd.kernel.api import Kernel
from warpd.reconcile.engine import ApplyResult, Target, converge
from warpd.reconcile.incremental import IncrementalPlanner
from warpd.reconcile.observe import Scope
from warpd.service.commitment import shows_devices, target_again
from warpd.service.history import History
from warpd.service.queries import split_name
from warpd.service.views.render import VERSION
from warpd.service.views.suspension import suspended_json
from warpd.service.workspace import Workspace

PATIENCE_S: Final = 10.0  # how long a command waits for another one that is at work
UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class SuspendRequest:
    """What somebody asks for.

    - `name`: the endpoint, as NETWORK/NAME.
    - `for_s`: for how many seconds; None: until it is resumed.
    - `by`: who asks.
    - `reason`: why.
    """

    name: str
    for_s: int | None
    by: str
    reason: str = ""


def for_seconds(text: str) -> int:
    """Return the seconds of `90`, `90s`, `30m`, `2h` or `7d`.

    Raises:
        WarpError: it is none of these, or too long.
    """
    unit = UNITS.get(text[-1:], 1)
    digits = text[:-1] if text[-1:] in UNITS else text
    is_number = digits.isascii() and digits.isdigit() and len(digits) < 9
    return checked_time(int(digits) * unit if is_number else 0)


def checked_time(seconds: int) -> int:
    """Return a time that may be given.

    Raises:
        WarpError: it is too short or too long.
    """
    if 1 <= seconds <= FOR_MAX_S:
        return seconds
    text, hint = "invalid duration", "such as 30m, 2h or 7d; at most 366d"
    raise WarpError(text, code="bad-duration", who="operator", hint=hint)


def suspension(target: Target, request: SuspendRequest, now_s: float) -> Suspension:
    """Return what to keep of a request.

    Raises:
        WarpError: the target has no such endpoint, or the time is none.
    """
    network, endpoint = split_name(target, request.name)
    since_s = int(now_s)
    until_s = None if request.for_s is None else since_s + checked_time(request.for_s)
    return Suspension(
        *first_names(target.allocations, network, endpoint),
        since_s,
        until_s,
        _plain(request.by)[:BY_MAX],
        _plain(request.reason)[:REASON_MAX],
    )


def _plain(text: str) -> str:
    """The text on one line, without what a terminal takes for a command."""
    return "".join(char if char.isprintable() else " " for char in text).strip()


def not_suspended(name: str) -> WarpError:
    """Return the error that there is nothing to resume."""
    hint = "`warpctl endpoint list` shows the state of each"
    text = f"endpoint {name} is not suspended"
    return WarpError(text, code="not-suspended", who="operator", hint=hint)


def group_of(target: Target, name: str) -> str:
    """Return the group of an endpoint's network, by NETWORK/NAME."""
    return naming.namespace(target.allocations.networks[name.partition("/")[0]].vcid)


def answer(name: str, item: Suspension | None, done: bool, unwritten: str) -> dict[str, Any]:
    """Return what was done to an endpoint.

    Args:
        name: as NETWORK/NAME.
        item: its suspension; None for an endpoint that was resumed.
        done: whether the kernel has it.
        unwritten: why a restart would lose it; "" where it was written down.
    """
    network, _slash, endpoint = name.partition("/")
    return {
        "version": VERSION,
        "network": network,
        "endpoint": endpoint,
        "suspended": suspended_json(item),
        "done": done,
        "unwritten": unwritten or None,
    }


def suspensions_json(workspace: Workspace, target: Target) -> dict[str, Any]:
    """Return all suspended endpoints."""
    found = by_name(target.allocations, workspace.suspensions.active())
    rows = [
        {"network": network, "endpoint": endpoint, **(suspended_json(item) or {})}
        for (network, endpoint), item in sorted(found.items())
    ]
    return {"version": VERSION, "suspensions": rows}


# -- without a daemon


def suspend_alone(workspace: Workspace, kernel: Kernel, request: SuspendRequest) -> dict[str, Any]:
    """Suspend an endpoint where no daemon keeps the gateway.

    Raises:
        WarpError: nothing was applied yet, there is no such endpoint, or a request is refused.
        Busy: somebody else is at work. DumpError: the kernel could not be read.
    """
    lock = workspace.store.writer_if_possible("warpctl endpoint suspend", PATIENCE_S, make=False)
    with lock as obstacle:
        target = _target(workspace, kernel)
        item = suspension(target, request, workspace.suspensions.now_s)
        why = workspace.suspensions.add(item, obstacle)
        outcome = _carry_out(workspace, kernel, group_of(target, request.name))
        unwritten = "" if why is None else why.message
        return answer(request.name, item, outcome is None or outcome.complete, unwritten)


def resume_alone(workspace: Workspace, kernel: Kernel, name: str) -> dict[str, Any]:
    """Resume an endpoint where no daemon keeps the gateway.

    Raises:
        WarpError: it is not suspended, or that could not be written down.
        Busy: somebody else is at work. DumpError: the kernel could not be read.
    """
    with workspace.store.writer("warpctl endpoint resume", PATIENCE_S):
        target = _target(workspace, kernel)
        network, endpoint = split_name(target, name)
        if workspace.suspensions.remove(first_names(target.allocations, network, endpoint)) is None:
            raise not_suspended(name)
        outcome = _carry_out(workspace, kernel, group_of(target, name))
        return answer(name, None, outcome is None or outcome.complete, "")


def _target(workspace: Workspace, kernel: Kernel) -> Target:
    """Return what was applied last, without the suspended endpoints.

    Raises:
        WarpError: nothing was applied yet.
    """
    history = History(workspace)
    entry = history.in_force()
    if entry is None:
        hint = "`warpctl apply` first; or leave the endpoint out of the YAML"
        raise WarpError("nothing was applied yet", code="no-intent", who="operator", hint=hint)
    return target_again(workspace, history.read(entry), kernel)[0]


def _carry_out(workspace: Workspace, kernel: Kernel, group: str) -> ApplyResult | None:
    """Bring one network to its target; None where the kernel has nothing of warpd: it is not the
    business of this command to bring networks up.
    """
    target = _target(workspace, kernel)
    planner = IncrementalPlanner(kernel)
    found = planner.plan(target)
    if not shows_devices(found.observed):
        return None
    scope = Scope.of([group])
    return converge(kernel, lambda: planner.plan(target, scope), planner.plan(target, scope))
