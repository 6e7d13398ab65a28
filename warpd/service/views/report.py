"""The data that plan, apply and status print, the same for the command line and for the socket.

It is put together from an observation of the kernel, the files and the state folder.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from warpd.clients.current import current_digest, identity, stale_configs
from warpd.errors import EXIT_FAILED, EXIT_PARTIAL, Finding, WarpError
from warpd.intent.model import Intent
from warpd.kernel.kinds.ethernet import VXLAN_PORT
from warpd.kernel.kinds.wireguard import WireguardDevice
from warpd.kernel.linux import udp_ports
from warpd.kernel.state import Host
from warpd.reconcile.engine import ApplyResult, PlannedRun, Target
from warpd.service.conditions import NO_PLAN
from warpd.service.history import History, HistoryEntry, files_digest
from warpd.service.views.advice import (
    host_warnings,
    networks_with_vxlan,
    port_warning,
    vxlan_port_warning,
)
from warpd.service.views.overview import Overview, Side, overview
from warpd.service.views.render import VERSION, headline, plan_json, problems_json, step_json
from warpd.service.views.status import quarantine_json, status_json
from warpd.service.workspace import LoadedIntent, Workspace
from warpd.store.state_folder import Versions

# Parts of an outcome that say what an apply has not done.
NOT_DONE: Final = ("failed", "skipped", "remaining", "unverified", "blocked")
# Parts of a plan that its outcome repeats.
CLIENT_IMPACT: Final = (
    "overview",
    "risks",
    "stale_configs",
    "quarantine",
    "confirm_until",
    "unwritten",
)


def with_rollback(workspace: Workspace, read: LoadedIntent) -> LoadedIntent:
    """Add the risk that an apply undoes a rollback, if these files were rolled back.

    Raises:
        WarpError: the history cannot be read.
    """
    history = History(workspace)
    if history.refused != files_digest(read.loaded.contents):
        return read
    number = history.in_force_number()
    text = (
        f"a rollback is in force, to number {number} of the history: to apply these files, which"
        " were rolled back, undoes it"
    )
    risk = Finding("rolled-back", "", text, "edit the YAML, or agree to apply it again", "warning")
    return dataclasses.replace(read, warnings=(*read.warnings, risk))


def _keys_to_come(workspace: Workspace, read: LoadedIntent) -> list[dict[str, str]]:
    """Warn while there is no master secret yet to derive keys from."""
    if workspace.master(read.intent) is not None:
        return []
    text = (
        "there is no master secret yet: the first apply, or `endpoint config` before it, makes it,"
        " and the keys of all networks and endpoints with it"
    )
    hint = "the keys that this plan shows are in no device, and will not be"
    return [{"message": text, "hint": hint}]


def described(
    workspace: Workspace, target: Target, found: PlannedRun, read: LoadedIntent
) -> dict[str, Any]:
    """Return the whole plan: its steps, its rows, risks, problems and warnings.

    Args:
        workspace: the files.
        target: the target.
        found: the observation and the plan.
        read: the intent and its allocations.
    """
    seen = overview_of(workspace, target, found, read)
    rows = [row.as_json() for row in seen.rows]
    taken = [*taken_ports(found), *taken_vxlan_port(found.observed.host, read.intent)]
    warnings = [*warnings_of(found, read), *taken, *_keys_to_come(workspace, read)]
    more = {
        "problems": problems_json(found.compiled.problems),
        **client_impact(workspace, target, found, read, seen),
    }
    return {**plan_json(found.plan, warnings, rows), **more}


def described_between(
    before: Intent | None,
    target: Target,
    found: PlannedRun,
    read: LoadedIntent,
    delivered: Mapping[str, str],
) -> dict[str, Any]:
    """Return the same as `described` between two intents, without a state folder or a machine.

    Args:
        before: the intent in force; None for a new gateway.
        target, found, read: as for `described`.
        delivered: by `NETWORK/NAME` (first names), the digest of the config that a device has.
    """
    seen = _overview(before, target, found, read)
    rows = [row.as_json() for row in seen.rows]
    more = {
        "problems": problems_json(found.compiled.problems),
        "risks": _risks(read, seen),
        "stale_configs": stale_configs(target, found.observed.host, delivered),
        "quarantine": [],
    }
    return {**plan_json(found.plan, warnings_of(found, read), rows), **more}


def without_steps(
    workspace: Workspace,
    target: Target,
    found: PlannedRun,
    read: LoadedIntent,
    before: Intent | None,
) -> dict[str, Any]:
    """Return the same as `described` without the steps, for a plan that is about to be applied.

    Args:
        before: the intent that was applied before; None where it is not known.
    """
    seen = _overview(before, target, found, read)
    rows = [row.as_json() for row in seen.rows]
    taken = [*taken_ports(found), *taken_vxlan_port(found.observed.host, read.intent)]
    warnings = [*warnings_of(found, read), *taken]
    more = {
        "problems": problems_json(found.compiled.problems),
        **client_impact(workspace, target, found, read, seen),
    }
    return {**headline(found.plan, warnings, rows), **more}


def overview_of(
    workspace: Workspace, target: Target, found: PlannedRun, read: LoadedIntent
) -> Overview:
    """Return what a plan changes in comparison with the intent in force.

    It has to be called before the plan is recorded in the history.
    """
    return _overview(intent_in_force(workspace) if found.plan.steps else None, target, found, read)


def _overview(
    before: Intent | None, target: Target, found: PlannedRun, read: LoadedIntent
) -> Overview:
    after = Side(target.intent, target.allocations, target.suspended)
    return overview(
        found.plan,
        Side(before, read.previous),
        after,
        found.observed.traffic,
        int(time.time()),
        target.today,
    )


def intent_in_force(workspace: Workspace) -> Intent | None:
    """Return the intent in force; None where the history has none, or cannot be read."""
    history = History(workspace)
    try:
        entry = history.in_force()
        return history.read(entry).intent if entry is not None else None
    except (WarpError, OSError):
        return None


def client_impact(
    workspace: Workspace, target: Target, found: PlannedRun, read: LoadedIntent, seen: Overview
) -> dict[str, Any]:
    """Return what a plan means for clients that are in use: `risks`, `stale_configs`, and the
    `quarantine` of released allocations.
    """
    return {
        "risks": _risks(read, seen),
        "stale_configs": stale_configs(target, found.observed.host, workspace.store.delivered()),
        "quarantine": quarantine_json(read.quarantine),
    }


def _risks(read: LoadedIntent, seen: Overview) -> list[dict[str, str]]:
    own = [
        {"code": item.code, "path": item.path, "message": item.message, "hint": item.hint}
        for item in read.risks
    ]
    return [*own, *(risk.as_json() for risk in seen.risks)]


def warnings_of(found: PlannedRun, read: LoadedIntent) -> list[dict[str, str]]:
    """Return the warnings about the YAML and about the host."""
    own = [{"message": item.message, "hint": item.hint} for item in read.warnings]
    return [*own, *host_warnings(found.observed.host, read.allocations, read.intent)]


def ports_to_open(found: PlannedRun) -> dict[int, str]:
    """Return the UDP ports that this plan binds and that no device of ours has now, each with its
    network.
    """
    bound = {item.port for item in found.observed.state if isinstance(item, WireguardDevice)}
    return {
        step.change.after.port: step.network
        for step in found.plan.steps
        if isinstance(step.change.after, WireguardDevice)
        and step.change.after.port not in bound | {0}
    }


def taken_ports(found: PlannedRun) -> list[dict[str, str]]:
    """Warn of each port that the plan binds and another program has; the kernel will refuse it."""
    wanted = ports_to_open(found)
    taken = udp_ports.taken(wanted)
    return [port_warning(port, who, wanted[port]) for port, who in taken.items()]


def taken_vxlan_port(host: Host, intent: Intent) -> list[dict[str, str]]:
    """Warn of networks whose VXLAN legs need a UDP port of the host that something else has."""
    networks = networks_with_vxlan(intent)
    if not networks:
        return []
    process = udp_ports.taken([VXLAN_PORT]).get(VXLAN_PORT, "")
    who = ", ".join(host.foreign_vxlans) or process
    return [vxlan_port_warning(VXLAN_PORT, who, networks)] if who else []


def exit_code_of(result: dict[str, Any]) -> int:
    """Return the exit code for an outcome (`outcome_json`)."""
    if result["complete"]:
        return 0
    stopped = any(result[part] for part in NOT_DONE if part != "blocked")
    if "unwritten" in result or not stopped:
        return EXIT_PARTIAL  # everything was done that this machine permits
    return EXIT_PARTIAL if result["done"] else EXIT_FAILED


def unwritten_json(
    why: WarpError, waiting: Iterable[str] = (), within_s: int = 0
) -> dict[str, Any]:
    """Return why an intent could not be recorded, so that only removals of access were applied.

    Args:
        why: the failure.
        waiting: the networks that are not in force as the intent says.
        within_s: the time to confirm that was asked for, in seconds. What was applied is not undone
            then, because the deadline could not be recorded.
    """
    return {
        "error": why.message,
        "code": why.code,
        "hint": why.hint,
        "networks": sorted(waiting),
        "unconfirmable": within_s > 0,
    }


def outcome_json(outcome: ApplyResult, data: dict[str, Any]) -> dict[str, Any]:
    """Return what an apply has done; `data` is its plan, as `without_steps`."""
    hindered = any(data.get(key) for key in ("blocked", "problems", "unwritten"))
    return {
        "version": VERSION,
        "complete": outcome.complete and not hindered,
        "done": [step_json(step, n) for n, step in enumerate(outcome.done, 1)],
        "failed": [{**step_json(step, 0), "error": str(fault)} for step, fault in outcome.failed],
        "skipped": [step_json(step, 0) for step in outcome.skipped],
        "remaining": [step_json(step, 0) for step in outcome.remaining],
        "unverified": [step_json(step, 0) for step in outcome.unverified],
        "blocked": data["blocked"],
        "problems": data.get("problems", []),
        "warnings": data["warnings"],
        **{key: data[key] for key in CLIENT_IMPACT if key in data},
    }


def status_data(
    workspace: Workspace, read: LoadedIntent, target: Target, found: PlannedRun
) -> dict[str, Any]:
    """Return what `warpctl status -o json` prints; the observation covers the whole kernel."""
    data = status_json(target, found, int(time.time()))
    host = host_warnings(found.observed.host, read.allocations, read.intent)
    taken = [*taken_ports(found), *taken_vxlan_port(found.observed.host, read.intent)]
    data["warnings"] = [*host, *taken]
    data["quarantine"] = quarantine_json(read.quarantine)
    data["pending_confirm"] = pending_json(History(workspace))
    versions = workspace.store.versions()
    for network in data["networks"]:
        for endpoint in network["endpoints"]:
            endpoint |= version_of(versions, target, found, endpoint["network"], endpoint["name"])
    return data


def with_waiting(
    data: dict[str, Any], codes: Collection[str], waiting: Collection[str]
) -> dict[str, Any]:
    """Return the status in which networks of which an edit waits are not in sync.

    Args:
        data: the status.
        codes: of the conditions. While no plan can be made, no network is known to be in sync.
        waiting: the networks of which an edit waits.
    """
    unplanned = not NO_PLAN.isdisjoint(codes)
    networks = [
        {**row, "in_sync": row["in_sync"] and not unplanned and row["name"] not in waiting}
        for row in data["networks"]
    ]
    return {**data, "networks": networks}


def version_of(
    versions: Versions, target: Target, found: PlannedRun, network: str, name: str
) -> dict[str, Any]:
    """Return the version of an endpoint's current config, and whether it was ever exported."""
    digest = current_digest(target, found.observed.host, network, name)
    return versions.of(*identity(target, network, name), digest)


def pending_json(history: History) -> dict[str, Any] | None:
    """Return the apply that is undone unless it is confirmed; None when there is none.

    `rollback_to` is the number of the history that is restored; 0 removes everything.

    Raises:
        WarpError: the state folder cannot be read.
    """
    pending = history.pending()
    if pending is None:
        return None
    return {
        "number": pending.number,
        "by": pending.by,
        "until": pending.until,
        "rollback_to": pending.back_to,
    }


def history_json(history: History) -> dict[str, Any]:
    """Return the history, the oldest entry first, and the apply that is not confirmed.

    Raises:
        WarpError: an entry cannot be read.
    """
    row = row_of(history)
    entries = [row(entry) for entry in history.entries()]
    return {"version": VERSION, "history": entries, "pending_confirm": pending_json(history)}


def row_of(history: History) -> Callable[[HistoryEntry], dict[str, Any]]:
    """Return what makes the row of an entry, without its files.

    `active_s` are the seconds for which it was in force before, null where that was not recorded,
    and `active_since` the time since when it is.

    Raises:
        WarpError: what is in force cannot be read.
    """
    in_force, since, active_s = (
        history.in_force_number(),
        history.active_since(),
        history.active_s(),
    )

    def row(entry: HistoryEntry) -> dict[str, Any]:
        names = ("number", "time", "by", "networks", "digest")
        is_in_force = entry.number == in_force
        return {
            **{name: getattr(entry, name) for name in names},
            "in_force": is_in_force,
            "active_s": active_s.get(entry.number),
            "active_since": since if is_in_force else None,
        }

    return row


def undone_json(
    outcome: ApplyResult, number: int, unwritten: WarpError | None = None
) -> dict[str, Any]:
    """Return what a rollback has done; `number` is the entry in force now, 0 for none."""
    more = {"unwritten": unwritten_json(unwritten)} if unwritten is not None else {}
    return {
        "version": VERSION,
        "complete": outcome.complete and unwritten is None,
        **more,
        "in_force": number,
        "done": [step_json(step, n) for n, step in enumerate(outcome.done, 1)],
        "failed": [{**step_json(step, 0), "error": str(fault)} for step, fault in outcome.failed],
    }
