"""Facts about a gateway as its files and one look at the kernel show them, for `conditions`:
without a daemon to ask.

Lives here: what is read for that. Does not: what is told of it (`conditions`), what only a daemon
knows (`daemon.health`).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable

from warpd import naming
from warpd.errors import Finding, WarpError, render_headline
from warpd.intent.model import Intent
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import Host
from warpd.networks.compiler import Problem
from warpd.reconcile.engine import PlannedRun, Target
from warpd.reconcile.plan import Plan
from warpd.service.commitment import IN_KERNEL, LOST_ALLOCATIONS
from warpd.service.conditions import Facts
from warpd.service.history import NOTHING, History, Pending, files_digest, files_of
from warpd.service.workspace import LoadedIntent, Session


def facts_on_disk(
    session: Session,
    read: LoadedIntent | None,
    findings: tuple[Finding, ...],
    host: Host | None,
    running: bool,
    problems: Iterable[Problem] = (),
    devices: bool = False,
) -> Facts:
    """`read` is the YAML as it is now, None where it is invalid for `findings`; `host` is what a
    look showed, if any did.

    `devices` is whether the kernel has WireGuard devices of ours.
    """
    intent = read.intent if read is not None else None
    link, state = uplink_state(intent, host)
    pending, back_to, last_good = _waiting(session, read)
    return Facts(
        last_good=last_good,
        running=running,
        lost_master=lost_master(session, intent, devices),
        lost_allocations=lost_allocations(session, read, devices),
        obstacle=_obstacle(session),
        state_dir=str(session.store.folder),
        findings=headlines(findings),
        pending=pending,
        rolled_back_to=back_to,
        uplink=link,
        uplink_state=state,
        problems=problems_of(problems),
    )


def _obstacle(session: Session) -> str:
    """As `Store.obstacle`; nothing of a folder that is not there yet, or that this user may not
    see.
    """
    try:
        return session.store.obstacle() if session.store.folder.exists() else ""
    except PermissionError:
        return ""


def lost_master(session: Session, intent: Intent | None, devices: bool) -> str:
    """Why there must have been a master secret, where there is none any more; "" for what is well,
    or cannot be known.
    """
    with contextlib.suppress(WarpError, OSError):
        if intent is not None and session.master(intent) is None:
            if session.store.read_allocations().networks:
                return "allocations were given with it"
            return f"this gateway {IN_KERNEL}" if devices else ""
    return ""


def lost_allocations(session: Session, read: LoadedIntent | None, devices: bool) -> str:
    """Why there must have been allocations, where there are none any more; "" for what is well, or
    cannot be known.
    """
    with contextlib.suppress(WarpError, OSError):
        lost = (
            devices
            and read is not None
            and read.lock is None
            and not session.store.read_allocations().networks
        )
        return LOST_ALLOCATIONS if lost else ""
    return ""


def headlines(findings: tuple[Finding, ...]) -> tuple[str, ...]:
    """The errors among them, a line each."""
    return tuple(render_headline(item) for item in findings if item.is_error)


def problems_of(found: Iterable[Problem]) -> dict[str, str]:
    """By network, what this machine lacks for it, but for the uplink, which is told as one."""
    return {
        item.network: item.finding.message
        for item in found
        if item.finding.code != "uplink-missing"
    }


def uplink_state(intent: Intent | None, host: Host | None) -> tuple[str, str]:
    """The uplink's name, as far as one is known, and what is wrong with it: missing, down, no
    route, or "".
    """
    if host is None:
        return "", ""
    named = intent.gateway.uplink if intent is not None and intent.gateway.uplink != "auto" else ""
    if not host.uplink:
        return named, "missing"
    if host.uplink_down:
        return host.uplink, "down"
    return host.uplink, "" if host.hops else "no route"


def _waiting(
    session: Session, read: LoadedIntent | None
) -> tuple[dict[str, object] | None, int | None, bool]:
    """The apply that waits to be confirmed; the number that a rollback went back to, while the
    files are what it left; and whether anything was applied before.
    """
    history = History(session)
    try:
        waits, refused = history.pending(), history.refused
        number = history.in_force_number()
    except (WarpError, OSError):
        return None, None, False
    back = read is not None and bool(refused) and files_digest(files_of(read)) == refused
    return pending_facts(waits), number if back else None, number != NOTHING


def pending_facts(waits: Pending | None) -> dict[str, object] | None:
    """What is told of an apply that waits to be confirmed."""
    if waits is None:
        return None
    return {"number": waits.number, "by": waits.by, "until": waits.until, "left_s": waits.left_s()}


def keyed_by_kernel(goal: Target, found: PlannedRun) -> tuple[Target, PlannedRun]:
    """The goal with the public keys that the kernel has for its endpoints, and the look without any
    plan.

    For whoever only shows: without the master secret no key of an endpoint is known, and every step
    would be a wrong one.
    """
    peers = [item for item in found.observed.state if isinstance(item, WireguardPeer)]
    holders = {
        (peer.device, prefix): peer.public_key for peer in peers for prefix in peer.allowed_ips
    }
    networks = {}
    for name, network in goal.intent.networks.items():
        allocation = goal.allocations.networks[name]
        endpoints = {}
        for each, endpoint in network.endpoints.items():
            key = holders.get(
                (naming.tunnel(allocation.vcid), f"{allocation.endpoints[each].address}/32")
            )
            endpoints[each] = endpoint.model_copy(update={"public_key": endpoint.public_key or key})
        networks[name] = network.model_copy(update={"endpoints": endpoints})
    shown = dataclasses.replace(goal, intent=goal.intent.model_copy(update={"networks": networks}))
    return shown, dataclasses.replace(found, plan=Plan((), found.plan.blocked, found.plan.networks))
