"""What plan, apply and status say, as data: the same for the command line and for the daemon's
socket.

Lives here: what is put together from a look, the files and the state folder. Does not: text,
arguments, the pass itself.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any, Final

from warpd.clients.current import current_digest, known_as, stale_configs
from warpd.errors import EXIT_FAILED, EXIT_PARTIAL, Finding, WarpError
from warpd.intent.model import Intent
from warpd.kernel.kinds.wireguard import WireguardDevice
from warpd.kernel.linux import udp_ports
from warpd.reconcile.engine import ApplyResult, PlannedRun, Target
from warpd.service.history import History, HistoryEntry, files_digest, files_of
from warpd.service.views.advice import host_warnings, port_warning
from warpd.service.views.overview import Overview, Side, overview
from warpd.service.views.render import VERSION, headline, plan_json, problems_json, step_json
from warpd.service.views.status import quarantine_json, status_json
from warpd.service.workspace import LoadedIntent, Session
from warpd.store.state_folder import Versions

NOT_DONE: Final = ("failed", "skipped", "remaining", "unverified", "blocked")  # parts of an outcome
OUTLOOK: Final = ("overview", "risks", "stale_configs", "quarantine", "confirm_until", "unwritten")


def with_rollback(session: Session, read: LoadedIntent) -> LoadedIntent:
    """With the risk that these files were rolled back from, where they were: to apply them undoes
    the rollback.

    Raises:
        WarpError: the history cannot be read.
    """
    history = History(session)
    if history.refused != files_digest(files_of(read)):
        return read
    number = history.in_force_number()
    text = (
        f"a rollback is in force: these files were rolled back from, to number {number} of the"
        " history; this undoes that"
    )
    risk = Finding("rolled-back", "", text, "edit the YAML, or agree to apply it again", "warning")
    return dataclasses.replace(read, warnings=(*read.warnings, risk))


def _keys_to_come(session: Session, read: LoadedIntent) -> list[dict[str, str]]:
    """Before the first apply there is no secret yet that keys could come from."""
    if session.master(read.intent) is not None:
        return []
    text = (
        "there is no master secret yet: the first apply makes it, and the keys of all networks and"
        " endpoints with it"
    )
    return [
        {
            "message": text,
            "hint": (
                "no key that this plan shows is in any device; client configs can be had after the"
                " apply"
            ),
        }
    ]


def described(
    session: Session, goal: Target, found: PlannedRun, read: LoadedIntent
) -> dict[str, Any]:
    """The whole plan as JSON: its steps, what they mean for networks and endpoints, risks and
    warnings.
    """
    seen = overview_of(session, goal, found, read)
    rows = [row.as_json() for row in seen.rows]
    warnings = [*warnings_of(found, read), *taken_ports(found), *_keys_to_come(session, read)]
    more = {
        "problems": problems_json(found.compiled.problems),
        **outlook(session, goal, found, read, seen),
    }
    return {**plan_json(found.plan, warnings, rows), **more}


def without_steps(
    session: Session, goal: Target, found: PlannedRun, read: LoadedIntent, before: Intent | None
) -> dict[str, Any]:
    """As `described`, but without the steps: for whoever is about to apply them.

    `before` is the intent applied before.
    """
    seen = _overview(before, goal, found, read)
    rows = [row.as_json() for row in seen.rows]
    warnings = [*warnings_of(found, read), *taken_ports(found)]
    more = {
        "problems": problems_json(found.compiled.problems),
        **outlook(session, goal, found, read, seen),
    }
    return {**headline(found.plan, warnings, rows), **more}


def overview_of(session: Session, goal: Target, found: PlannedRun, read: LoadedIntent) -> Overview:
    """What the plan does to networks and endpoints, beside what was in force.

    Before anything of it is recorded.
    """
    return _overview(intent_in_force(session) if found.plan.steps else None, goal, found, read)


def _overview(
    before: Intent | None, goal: Target, found: PlannedRun, read: LoadedIntent
) -> Overview:
    after = Side(goal.intent, goal.allocations)
    return overview(
        found.plan,
        Side(before, read.previous),
        after,
        found.observed.traffic,
        int(time.time()),
        goal.today,
    )


def intent_in_force(session: Session) -> Intent | None:
    """The intent that was applied last; None where nothing says so, or what says so cannot be read."""
    history = History(session)
    try:
        entry = history.in_force()
        return history.read(entry).intent if entry is not None else None
    except (WarpError, OSError):
        return None


def outlook(
    session: Session, goal: Target, found: PlannedRun, read: LoadedIntent, seen: Overview
) -> dict[str, Any]:
    """What a plan means for clients in the field: `risks`, `stale_configs`; and what rests,
    `quarantine`.
    """
    own = [
        {"code": item.code, "path": item.path, "message": item.message, "hint": item.hint}
        for item in read.risks
    ]
    return {
        "risks": [*own, *(risk.as_json() for risk in seen.risks)],
        "stale_configs": stale_configs(goal, found.observed.host, session.store.delivered()),
        "quarantine": quarantine_json(read.resting),
    }


def warnings_of(found: PlannedRun, read: LoadedIntent) -> list[dict[str, str]]:
    own = [{"message": item.message, "hint": item.hint} for item in read.warnings]
    return [*own, *host_warnings(found.observed.host, read.allocations, read.intent)]


def ports_to_open(found: PlannedRun) -> list[int]:
    """UDP ports that this plan binds and that no device of ours holds now."""
    held = {item.port for item in found.observed.state if isinstance(item, WireguardDevice)}
    subjects = (step.change.after for step in found.plan.steps)
    return sorted(
        {item.port for item in subjects if isinstance(item, WireguardDevice) and item.port} - held
    )


def taken_ports(found: PlannedRun) -> list[dict[str, str]]:
    """A warning for each port that the plan binds and somebody else has: the kernel will refuse it."""
    taken = udp_ports.taken(ports_to_open(found))
    return [port_warning(port, who) for port, who in taken.items()]


def exit_code_of(result: dict[str, Any]) -> int:
    """Of an outcome's JSON."""
    if result["complete"]:
        return 0
    if "unwritten" in result or not any(result[part] for part in NOT_DONE):
        return EXIT_PARTIAL  # what this machine lets us do was done
    return EXIT_PARTIAL if result["done"] else EXIT_FAILED


def unwritten_json(why: WarpError, within_s: int = 0) -> dict[str, Any]:
    """Why the state folder takes no writes, so that only what takes access away was done.

    `within_s` is the time to confirm that was asked for: what was done is not undone then, for
    nothing could be noted.
    """
    return {"error": why.message, "code": why.code, "hint": why.hint, "unconfirmable": within_s > 0}


def outcome_json(outcome: ApplyResult, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": VERSION,
        "complete": (
            outcome.complete
            and not any(data.get(key) for key in ("blocked", "problems", "unwritten"))
        ),
        "done": [step_json(step, n) for n, step in enumerate(outcome.done, 1)],
        "failed": [{**step_json(step, 0), "error": str(fault)} for step, fault in outcome.failed],
        "skipped": [step_json(step, 0) for step in outcome.skipped],
        "remaining": [step_json(step, 0) for step in outcome.remaining],
        "unverified": [step_json(step, 0) for step in outcome.unverified],
        "blocked": data["blocked"],
        "problems": data.get("problems", []),
        "warnings": data["warnings"],
        **{key: data[key] for key in OUTLOOK if key in data},
    }


def status_data(
    session: Session, read: LoadedIntent, goal: Target, found: PlannedRun
) -> dict[str, Any]:
    """What `warpctl status -o json` shows, of a look at everything."""
    data = status_json(goal, found, int(time.time()))
    data["warnings"] = list(host_warnings(found.observed.host, read.allocations, read.intent))
    data["quarantine"] = quarantine_json(read.resting)
    data["pending_confirm"] = pending_json(History(session))
    versions = session.store.versions()
    for network in data["networks"]:
        for endpoint in network["endpoints"]:
            endpoint |= version_of(versions, goal, found, endpoint["network"], endpoint["name"])
    return data


def version_of(
    versions: Versions, goal: Target, found: PlannedRun, network: str, name: str
) -> dict[str, Any]:
    """The version of the config that the endpoint should have, and whether it was ever exported."""
    digest = current_digest(goal, found.observed.host, network, name)
    return versions.of(*known_as(goal, network, name), digest)


def pending_json(history: History) -> dict[str, Any] | None:
    """The apply that is undone unless it is confirmed; None when there is none."""
    waits = history.pending()
    if waits is None:
        return None
    return {
        "number": waits.number,
        "by": waits.by,
        "until": waits.until,
        "goes_back_to": waits.back_to,
    }


def history_json(history: History) -> dict[str, Any]:
    """What was applied, oldest first, and what waits for a yes."""
    in_force = history.in_force_number()
    entries = [entry_json(entry, in_force) for entry in history.entries()]
    return {"version": VERSION, "history": entries, "pending_confirm": pending_json(history)}


def entry_json(entry: HistoryEntry, in_force: int) -> dict[str, Any]:
    fields = {name: getattr(entry, name) for name in ("number", "time", "by", "networks", "digest")}
    return {**fields, "in_force": entry.number == in_force}


def undone_json(
    outcome: ApplyResult, number: int, unwritten: WarpError | None = None
) -> dict[str, Any]:
    """What a rollback did; `in_force` is a number of the history, 0 for nothing."""
    more = {"unwritten": unwritten_json(unwritten)} if unwritten is not None else {}
    return {
        "version": VERSION,
        "complete": outcome.complete and unwritten is None,
        **more,
        "in_force": number,
        "done": [step_json(step, n) for n, step in enumerate(outcome.done, 1)],
        "failed": [{**step_json(step, 0), "error": str(fault)} for step, fault in outcome.failed],
    }
