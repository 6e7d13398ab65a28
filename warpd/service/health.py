"""Collect facts about a gateway from its files and one observation of the kernel.

They are for `conditions`, where no daemon can be asked. `daemon.health` adds what only a daemon
knows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from typing import Final

from warpd import naming
from warpd.allocation.model import Allocations
from warpd.allocation.suspensions import Suspension, by_name
from warpd.errors import Finding, WarpError, render_headline
from warpd.intent.model import Intent
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.linux.resolver import AT_ONCE, host_of, is_name, look_up
from warpd.kernel.state import Host
from warpd.networks.problems import Problem
from warpd.networks.resolved import permitted_on
from warpd.reconcile.engine import PlannedRun, Target
from warpd.reconcile.plan import Plan
from warpd.service.commitment import IN_KERNEL, LOST_ALLOCATIONS
from warpd.service.conditions import Facts, Unrouted
from warpd.service.history import BROKEN, NOTHING, History, Pending, files_digest
from warpd.service.views.suspension import suspension_text
from warpd.service.workspace import LoadedIntent, Workspace
from warpd.store.state_folder import MasterUnusable

LookUps = Callable[[Iterable[str]], Mapping[str, str]]

DAMAGED: Final = BROKEN


def facts_on_disk(
    workspace: Workspace,
    read: LoadedIntent | None,
    findings: tuple[Finding, ...],
    host: Host | None,
    running: bool,
    problems: Iterable[Problem] = (),
    devices: bool = False,
) -> Facts:
    """Return the facts.

    Args:
        workspace: the files.
        read: the YAML as it is now; None where it is invalid.
        findings: why it is invalid.
        host: the observed host; None where the kernel could not be read.
        running: whether a daemon keeps this gateway.
        problems: what this machine lacks for networks.
        devices: whether the kernel has WireGuard devices that warpd has made.
    """
    intent = read.intent if read is not None else None
    link, state = uplink_state(intent, host)
    pending, back_to, last_good = _history_facts(workspace, read)
    return Facts(
        last_good=last_good,
        running=running,
        lost_master=lost_master(workspace, intent, devices),
        unusable_master=unusable_master(workspace, intent),
        lost_allocations=lost_allocations(workspace, read, devices),
        damaged=damaged(workspace),
        damaged_pending=damaged_pending(workspace),
        obstacle=_obstacle(workspace),
        state_dir=str(workspace.store.folder),
        findings=headlines(findings),
        pending=pending,
        rolled_back_to=back_to,
        uplink=link,
        uplink_state=state,
        unrouted=unrouted(intent, host),
        taken_forwarding=taken_forwarding(host),
        problems=problems_of(problems),
        suspended=suspended_facts(_allocations(workspace, read), workspace.suspensions.current()),
        suspensions_unreadable=_unreadable(workspace),
    )


def _allocations(workspace: Workspace, read: LoadedIntent | None) -> Allocations:
    """Return those of the YAML, or else those on the disk, as far as they can be read."""
    if read is not None:
        return read.allocations
    with contextlib.suppress(WarpError, OSError):
        return workspace.store.read_allocations()
    return Allocations()


def _unreadable(workspace: Workspace) -> str:
    """Return why the file of suspensions cannot be read; "" also where this user may not."""
    return workspace.suspensions.unreadable if os.geteuid() == 0 else ""


def suspended_facts(allocations: Allocations, suspensions: Iterable[Suspension]) -> dict[str, str]:
    """Return endpoint -> by whom it is suspended, and until when."""
    found = by_name(allocations, suspensions)
    return {"/".join(name): suspension_text(item) for name, item in found.items()}


def _obstacle(workspace: Workspace) -> str:
    """Return why the state folder takes no writes, as `Store.obstacle`.

    Returns:
        "" also for a folder that does not exist yet, or that this user may not see.
    """
    try:
        return workspace.store.obstacle() if workspace.store.folder.exists() else ""
    except PermissionError:
        return ""


def damaged(workspace: Workspace) -> WarpError | None:
    """Return which of the files that decide what may be applied are damaged, and how to fix it.

    What was applied last is read only where the allocations are damaged, since it tells them, too:
    it may be large.
    """
    history = History(workspace)
    first = _damage(workspace.store.read_allocations)
    second = _damage(history.in_force if first else history.in_force_number)
    if first is None or second is None:
        return first or second
    text = f"{first.message}; {second.message}"
    hint = "restore both from a backup: none of them tells what the other held"
    return WarpError(text, code=first.code, who="operator", hint=hint)


def _damage(look: Callable[[], object]) -> WarpError | None:
    """Return how the file is damaged that a function reads; None for any other failure, too."""
    try:
        look()
    except WarpError as failure:
        return failure if failure.code in DAMAGED else None
    return None


def damaged_pending(workspace: Workspace) -> str:
    """Return the path of a damaged file of an apply to be confirmed; "" for none."""
    with contextlib.suppress(WarpError, OSError):
        name = History(workspace).damaged_pending()
        return str(workspace.store.folder / name) if name else ""
    return ""


def lost_master(workspace: Workspace, intent: Intent | None, devices: bool) -> str:
    """Return what shows that there was a master secret, where it is gone.

    Returns:
        "" where it is there, and where that cannot be known.
    """
    with contextlib.suppress(WarpError, OSError):
        if intent is not None and workspace.master(intent) is None:
            if workspace.store.read_allocations().networks:
                return "allocations were given with it"
            return f"this gateway {IN_KERNEL}" if devices else ""
    return ""


def unusable_master(workspace: Workspace, intent: Intent | None) -> MasterUnusable | None:
    """Return why the master secret cannot be used; None where it can, and where that is unknown."""
    try:
        if intent is not None:
            workspace.master(intent)
    except MasterUnusable as failure:
        return failure
    except (WarpError, OSError):
        pass
    return None


def lost_allocations(workspace: Workspace, read: LoadedIntent | None, devices: bool) -> str:
    """Return what shows that there were allocations, where they are gone.

    Returns:
        "" where they are there, and where that cannot be known.
    """
    if not devices or read is None or read.lockfile is not None:
        return ""
    with contextlib.suppress(WarpError, OSError):
        if not workspace.store.read_allocations().networks:
            return LOST_ALLOCATIONS
    return ""


def headlines(findings: tuple[Finding, ...]) -> tuple[str, ...]:
    """Return the errors among the findings, one line for each."""
    return tuple(render_headline(item) for item in findings if item.is_error)


def problems_of(found: Iterable[Problem]) -> dict[str, str]:
    """Return network -> what this machine lacks for it.

    A missing uplink is left out: it is a condition of its own.
    """
    lacking = (item for item in found if item.finding.code != "uplink-missing")
    return {item.network: item.finding.message for item in lacking}


def uplink_state(intent: Intent | None, host: Host | None) -> tuple[str, str]:
    """Return the uplink's name, and what is wrong with it: missing, down, no route or "".

    The name is "" where none is known.
    """
    if host is None:
        return "", ""
    if not host.uplink:
        named = intent.gateway.uplink if intent is not None else "auto"
        return ("" if named == "auto" else named), "missing"
    if host.uplink_down:
        return host.uplink, "down"
    return host.uplink, "" if host.hops else "no route"


def unrouted(intent: Intent | None, host: Host | None) -> Unrouted | None:
    """Return the IP version in which nothing leaves to the internet, while the other one works.

    An `unreachable default` counts as no route. A default route over another link than the named
    uplink is left out: `advice.uplink_warnings` has it.
    """
    if intent is None or host is None:
        return None
    routed = {version for version in (4, 6) if _has_way_out(intent, host, version)}
    lacking = {4, 6} - routed
    if len(lacking) != 1:
        return None
    (version,) = lacking
    networks = tuple(sorted(_sending(intent, version)))
    own = {6 if ":" in address else 4 for address in host.uplink_addresses}
    return Unrouted(version, networks, version in own) if networks else None


def _has_way_out(intent: Intent, host: Host, version: int) -> bool:
    """Whether what is meant for the internet has a route in this IP version."""
    if version in host.elsewhere or any(hop.version == version for hop in host.hops):
        return True
    links = host.uplinks4 if version == 4 else host.uplinks6
    return intent.gateway.uplink == "auto" and bool(links)


def _sending(intent: Intent, version: int) -> Iterator[str]:
    """Yield the networks whose clients send to the internet in this IP version."""
    for name, network in intent.networks.items():
        if network.enabled and network.traits.internet and (version == 4 or network.ipv6):
            yield name


def unresolved_names(intent: Intent | None, today: date, by: LookUps = look_up) -> dict[str, str]:
    """Return NETWORK/NAME -> the host name in `endpoint:` that does not resolve now.

    Args:
        intent: the intent; None for none.
        today: the day; endpoints that may not connect on it are left out.
        by: returns the addresses of the names that resolve. It may take `PATIENCE_S` seconds.
    """
    named = dict(_named_endpoints(intent, today)) if intent is not None else {}
    asked = sorted(set(named.values()))[:AT_ONCE]
    found = by(asked) if asked else {}
    missing = set(asked) - found.keys()
    return {name: host_of(endpoint) for name, endpoint in named.items() if endpoint in missing}


def _named_endpoints(intent: Intent, today: date) -> Iterator[tuple[str, str]]:
    """Yield NETWORK/NAME and `endpoint:` of those that the gateway dials by a host name."""
    for name, network in intent.networks.items():
        for label, endpoint in network.endpoints.items():
            dialled = endpoint.endpoint
            if network.enabled and dialled and is_name(dialled) and permitted_on(endpoint, today):
                yield f"{name}/{label}", dialled


def taken_forwarding(host: Host | None) -> tuple[int, ...]:
    """Return the IP versions that others have turned on for the whole host after warpd did."""
    if host is None:
        return ()
    return tuple(version for version, it in ((4, host.taken4), (6, host.taken6)) if it)


def _history_facts(
    workspace: Workspace, read: LoadedIntent | None
) -> tuple[dict[str, object] | None, int | None, bool]:
    """Return what the history knows.

    Returns:
        The apply that is not confirmed; the number that was rolled back to, while the files are
        still those that were rolled back; and whether anything was applied before.
    """
    history = History(workspace)
    try:
        pending, refused = history.pending(), history.refused
        number = history.in_force_number()
    except (WarpError, OSError):
        return None, None, False
    rolled_back = (
        read is not None and bool(refused) and files_digest(read.loaded.contents) == refused
    )
    return pending_facts(pending), number if rolled_back else None, number != NOTHING


def pending_facts(pending: Pending | None) -> dict[str, object] | None:
    """Return what `Facts.pending` has of an apply that is not confirmed."""
    if pending is None:
        return None
    return {
        "number": pending.number,
        "by": pending.by,
        "until": pending.until,
        "left_s": pending.left_s(),
    }


def keyed_by_kernel(target: Target, found: PlannedRun) -> tuple[Target, PlannedRun]:
    """Return the target with the public keys that the kernel has, and the run without steps.

    It is for commands that only show. Without the master secret the keys of endpoints are not
    known, so that every step would be wrong.
    """
    keys: dict[tuple[str, str], str] = {}
    for peer in found.observed.state:
        if isinstance(peer, WireguardPeer):
            keys |= {(peer.device, prefix): peer.public_key for prefix in peer.allowed_ips}
    networks = {}
    for name, network in target.intent.networks.items():
        allocation = target.allocations.networks[name]
        device = naming.tunnel(allocation.vcid)
        endpoints = {}
        for label, endpoint in network.endpoints.items():
            key = keys.get((device, f"{allocation.endpoints[label].address}/32"))
            changed = {"public_key": endpoint.public_key or key}
            endpoints[label] = endpoint.model_copy(update=changed)
        networks[name] = network.model_copy(update={"endpoints": endpoints})
    shown = dataclasses.replace(
        target, intent=target.intent.model_copy(update={"networks": networks})
    )
    return shown, dataclasses.replace(found, plan=Plan((), found.plan.blocked, found.plan.networks))
