"""What the daemon knows about itself, as facts for `conditions`. No kernel, no file but the state folder's own health."""

from __future__ import annotations

from warpd.daemon.mailbox import Desk
from warpd.daemon.reconciler import Keeper
from warpd.daemon.scheduler import Pacer
from warpd.service.conditions import Facts, Retry
from warpd.service.health import headlines, pending_facts, problems_of, uplink_state
from warpd.service.recovery import unnamed


def facts_of(keeper: Keeper, pacer: Pacer, desk: Desk, now: float, overruns: int) -> Facts:
    """`now` is the clock that the pacer goes by; `overruns` counts losses of events that are worth telling still."""
    why = keeper.unwritten
    lost = why is not None and why.code in ("master-lost", "state-lost")
    intent = keeper.in_force.read.intent if keeper.in_force is not None else None
    host = keeper.last.observed.host if keeper.last is not None else None
    link, state = uplink_state(intent, host)
    whys = keeper.why_failing
    held = keeper.named_failing(pacer.failing(now))
    failing = {name: Retry(times, wait, whys.get(name, "")) for name, (times, wait) in held.items()}
    return Facts(
        lost_master=why.message if why is not None and why.code == "master-lost" else "",
        lost_allocations=why.message if why is not None and why.code == "state-lost" else "",
        unnamed=unnamed(keeper.in_force.wanted.intent) if keeper.in_force is not None and lost else {},
        obstacle=keeper.session.store.obstacle(),
        unwritten=why.message if why is not None and not lost else "",
        state_dir=str(keeper.session.store.folder),
        findings=headlines(keeper.findings) if not keeper.waits else (),
        awaiting=keeper.waits if keeper.pending is None and keeper.rolled_back_to is None else "",
        pending=pending_facts(keeper.pending),
        rolled_back_to=keeper.rolled_back_to,
        uplink=link,
        uplink_state=state,
        failing=failing,
        problems=problems_of(keeper.problems),
        contested={row["object"]: row["network"] for row in keeper.named(pacer.fights)},
        event_overruns=overruns,
        events_unwritten=keeper.events_unwritten,
        last_good=keeper.in_force is not None,
        source_error=desk.figures.source.error,
    )
