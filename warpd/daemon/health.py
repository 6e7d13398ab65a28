"""What the daemon knows about itself, as facts for `conditions`.

No kernel, no file but the state folder's own health.
"""

from __future__ import annotations

from warpd.daemon.mailbox import Mailbox
from warpd.daemon.reconciler import Reconciler
from warpd.daemon.scheduler import Scheduler
from warpd.service.conditions import Facts, Retry
from warpd.service.health import headlines, pending_facts, problems_of, uplink_state
from warpd.service.recovery import unnamed


def facts_of(
    reconciler: Reconciler, scheduler: Scheduler, mailbox: Mailbox, now: float, overruns: int
) -> Facts:
    """`now` is the clock that the pacer goes by; `overruns` counts losses of events that are worth
    telling still.
    """
    why = reconciler.unwritten
    lost = why is not None and why.code in ("master-lost", "state-lost")
    intent = reconciler.in_force.read.intent if reconciler.in_force is not None else None
    host = reconciler.planner.host
    link, state = uplink_state(intent, host)
    whys = reconciler.why_failing
    held = reconciler.named_failing(scheduler.failing(now))
    failing = {name: Retry(times, wait, whys.get(name, "")) for name, (times, wait) in held.items()}
    return Facts(
        lost_master=why.message if why is not None and why.code == "master-lost" else "",
        lost_allocations=why.message if why is not None and why.code == "state-lost" else "",
        unnamed=(
            unnamed(reconciler.in_force.wanted.intent)
            if reconciler.in_force is not None and lost
            else {}
        ),
        obstacle=reconciler.session.store.obstacle(),
        unwritten=why.message if why is not None and not lost else "",
        state_dir=str(reconciler.session.store.folder),
        findings=headlines(reconciler.findings) if not reconciler.waits else (),
        awaiting=(
            reconciler.waits
            if reconciler.pending is None and reconciler.rolled_back_to is None
            else ""
        ),
        pending=pending_facts(reconciler.pending),
        rolled_back_to=reconciler.rolled_back_to,
        uplink=link,
        uplink_state=state,
        failing=failing,
        problems=problems_of(reconciler.problems),
        contested={row["object"]: row["network"] for row in reconciler.named(scheduler.fights)},
        event_overruns=overruns,
        events_unwritten=reconciler.events_unwritten,
        last_good=reconciler.in_force is not None,
        source_error=mailbox.stats.source.error,
    )
