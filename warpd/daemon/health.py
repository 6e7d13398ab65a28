"""What the daemon knows about itself, as facts for `conditions`.

No kernel, no file but the state folder's own health.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from warpd.daemon.desired_state import DesiredState
from warpd.daemon.mailbox import Mailbox
from warpd.daemon.reconciler import Reconciler
from warpd.daemon.scheduler import Scheduler
from warpd.errors import WarpError
from warpd.service.conditions import Facts, Retry
from warpd.service.health import (
    DAMAGED,
    damaged,
    damaged_pending,
    headlines,
    pending_facts,
    problems_of,
    suspended_facts,
    taken_forwarding,
    unrouted,
    uplink_state,
)
from warpd.service.recovery import unnamed
from warpd.store.state_folder import MasterUnusable

MASTER_LOST: Final = "master-lost"
STATE_LOST: Final = "state-lost"


def facts_of(
    reconciler: Reconciler, scheduler: Scheduler, mailbox: Mailbox, now: float, overruns: int
) -> Facts:
    """What is known at `now`, by the clock that the scheduler goes by.

    `overruns` counts losses of kernel events; 0 when the last one is long ago.
    """
    desired = reconciler.desired
    active, is_rolled_back = desired.active, desired.rolled_back_to is not None
    intent = active.read.intent if active is not None else None
    link, state = uplink_state(intent, reconciler.host)
    awaits_consent = desired.pending is None and not is_rolled_back
    name = reconciler.network_name
    facts = Facts(
        damaged=_damaged(reconciler),
        damaged_pending=damaged_pending(reconciler.workspace),
        obstacle=reconciler.workspace.store.obstacle(),
        state_dir=str(reconciler.workspace.store.folder),
        findings=() if desired.awaiting_consent else headlines(desired.findings),
        awaiting=desired.awaiting_consent if awaits_consent else "",
        pending=pending_facts(desired.pending),
        rolled_back_to=desired.rolled_back_to,
        uplink=link,
        uplink_state=state,
        unrouted=unrouted(intent, reconciler.host),
        taken_forwarding=taken_forwarding(reconciler.host),
        failing=_failing(reconciler, scheduler, now),
        problems=problems_of(reconciler.problems),
        contested={item: name(group) for item, group in sorted(scheduler.contested.items())},
        event_overruns=overruns,
        events_unwritten=reconciler.events_unwritten,
        last_good=active is not None,
        source_error=mailbox.stats.source.error,
        unresolved=reconciler.unresolved,
        suspended=_suspended(desired),
        suspensions_unwritten=desired.suspensions.is_unwritten,
        suspensions_unreadable=desired.suspensions.unreadable,
    )
    return _with_state_folder(facts, desired)


def _damaged(reconciler: Reconciler) -> WarpError | None:
    """The damaged file of the state folder: as it is seen now, or as the last pass met it."""
    why = reconciler.desired.unwritten
    met = why if why is not None and why.code in DAMAGED else None
    return damaged(reconciler.workspace) or met


def _with_state_folder(facts: Facts, desired: DesiredState) -> Facts:
    """What the state folder has lost, or does not take."""
    why = desired.unwritten
    if why is None or (why.code in DAMAGED and not desired.findings):
        return facts  # no edit waits; that a file is damaged is a condition of its own
    if isinstance(why, MasterUnusable):
        return dataclasses.replace(facts, unusable_master=why)
    if why.code not in (MASTER_LOST, STATE_LOST):
        waiting = sorted(desired.active.waiting) if desired.active is not None else ()
        return dataclasses.replace(facts, unwritten=why.message, waiting=tuple(waiting))
    active = desired.active
    return dataclasses.replace(
        facts,
        lost_master=why.message if why.code == MASTER_LOST else "",
        lost_allocations=why.message if why.code == STATE_LOST else "",
        unnamed=unnamed(active.wanted.intent) if active is not None else {},
    )


def _suspended(desired: DesiredState) -> dict[str, str]:
    if desired.active is None:
        return {}
    return suspended_facts(desired.active.target.allocations, desired.suspensions.active())


def _failing(reconciler: Reconciler, scheduler: Scheduler, now: float) -> dict[str, Retry]:
    """Network -> how often it was tried, when it is tried again, and the last fault."""
    failing = {}
    for group, (times, wait_s) in scheduler.failing(now).items():
        name = reconciler.network_name(group)
        failing[name] = Retry(times, wait_s, reconciler.last_faults.get(name, ""))
    return failing
