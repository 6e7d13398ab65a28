"""Answer questions about a gateway as data, the same for root's commands and for the socket.

Each answer is made of the files that were read and of what was observed in the kernel. The callers
check who may ask, open the kernel, and make text of the data.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any, Final, get_args

from warpd import naming
from warpd.allocation.model import Allocations
from warpd.clients.current import dialled_address
from warpd.errors import Busy, Finding, InvalidIntent, WarpError
from warpd.kernel.api import DumpError, Kernel
from warpd.kernel.kinds.wireguard import peer_key
from warpd.kernel.nftables.simulator import UnsupportedRule
from warpd.kernel.state import ROOT, Host, PeerTraffic
from warpd.networks.compiler import egress_destinations
from warpd.networks.isolation import placement_of
from warpd.networks.peer_keys import public_key_of
from warpd.networks.resolved import tunnel_mtu
from warpd.reconcile.engine import PlannedRun, Target
from warpd.reconcile.incremental import planned_run
from warpd.reconcile.plan import digest
from warpd.service.commitment import has_devices, last_read, refuse_lost_state
from warpd.service.conditions import Condition, conditions, merged
from warpd.service.doctor import examine, exports_log
from warpd.service.endpoint_session import (
    EndpointSession,
    absence,
    not_observable,
    session_of,
    session_text,
)
from warpd.service.explain import PacketQuery, Protocol, Stage, explain, passes, question_of
from warpd.service.health import facts_on_disk, unresolved_names
from warpd.service.history import NOTHING, History, HistoryEntry
from warpd.service.rollback import start_timer
from warpd.service.views.advice import forwarding_warnings, host_warnings
from warpd.service.views.render import VERSION, finding_json
from warpd.service.views.report import described, overview_of, row_of, with_rollback
from warpd.service.workspace import LoadedIntent, Workspace

NEEDS_PORT: Final = ("tcp", "udp")
PROTOCOLS: Final[tuple[Protocol, ...]] = get_args(Protocol)


@dataclass(frozen=True, slots=True)
class ExplainRequest:
    """What `explain` is asked.

    - `endpoint`: the sender, as NETWORK/NAME.
    - `target`: an address, or another endpoint as NETWORK/NAME.
    - `protocol`, `port`: what is sent there; port 0 stands for 443 with tcp and udp.
    """

    endpoint: str
    target: str
    protocol: Protocol = "icmp"
    port: int = 0


def planned(
    workspace: Workspace,
    kernel: Kernel,
    running: bool,
    watched: Iterable[Condition],
    previous: Allocations | None = None,
) -> dict[str, Any]:
    """Return the whole plan, as `described`, with `findings` and `conditions`.

    It leads to the YAML; while that is invalid, for its `findings`, to the last good intent.

    Args:
        running: whether a daemon keeps this gateway.
        watched: the conditions that the daemon tells.
        previous: the allocations; None for those of the state folder.

    Raises:
        DumpError: the kernel could not be read.
        InvalidIntent: the YAML is invalid, and nothing was applied before; or a key file that it
            names cannot be used.
        WarpError: the master secret or the allocations are gone.
    """
    read, findings = _read_or_last(workspace, previous)
    refuse_lost_state(workspace, read, kernel)
    wanted = workspace.target(read, create=False)
    found = planned_run(kernel, wanted)
    valid = None if findings else read
    host, problems = found.observed.host, found.compiled.problems
    facts = facts_on_disk(workspace, valid, findings, host, running, problems)
    return {
        **described(workspace, wanted, found, read),
        "findings": [finding_json(item) for item in findings],
        "conditions": [item.as_json() for item in merged(conditions(facts), watched)],
    }


def _read_or_last(
    workspace: Workspace, previous: Allocations | None
) -> tuple[LoadedIntent, tuple[Finding, ...]]:
    """Return the YAML as it is; while it is invalid, the last good intent, and the findings."""
    try:
        return with_rollback(workspace, workspace.read(previous=previous)), ()
    except InvalidIntent as failure:
        kept = last_read(workspace)
        if kept is None:
            raise
        return kept, failure.findings


def validated(workspace: Workspace, read: LoadedIntent) -> dict[str, Any]:
    """Return what `validate` prints of a YAML without errors."""
    endpoints = sum(len(network.endpoints) for network in read.intent.networks.values())
    return {
        "version": VERSION,
        "valid": True,
        "findings": [finding_json(item) for item in read.warnings],
        "file": str(workspace.config),
        "networks": len(read.intent.networks),
        "endpoints": endpoints,
    }


def not_valid(failure: InvalidIntent) -> dict[str, Any]:
    """Return what `validate` prints of a YAML with errors."""
    return {
        "version": VERSION,
        "valid": False,
        "findings": [finding_json(item) for item in failure.findings],
    }


def examined(
    workspace: Workspace, allocations: Allocations, running: bool, watched: Iterable[Condition]
) -> dict[str, Any]:
    """Return every check of `doctor`.

    Args:
        workspace: the files.
        allocations: the allocations on the disk.
        running: whether a daemon keeps this gateway.
        watched: the conditions that the daemon knows of.
    """
    read: LoadedIntent | None = None
    findings: tuple[Finding, ...] = ()
    with contextlib.suppress(WarpError, OSError):
        try:
            read = workspace.read(previous=allocations)
        except InvalidIntent as failure:
            findings = failure.findings

    # While the YAML is invalid, the intent in force is checked.
    checked = read
    with contextlib.suppress(WarpError, OSError):
        checked = read or last_read(workspace)
    intent = checked.intent if checked is not None else None
    # A running daemon looks up host names itself.
    unresolved = {} if running else unresolved_names(intent, datetime.now(UTC).date())

    def current(host: Host | None, devices: bool) -> tuple[Condition, ...]:
        facts = facts_on_disk(workspace, read, findings, host, running, devices=devices)
        facts = dataclasses.replace(facts, unresolved=unresolved)
        return merged(conditions(facts), tuple(watched))

    checks = examine(intent, checked.allocations if checked is not None else allocations, current)
    checks += exports_log(workspace.store)
    return {"version": VERSION, "checks": [check.as_json() for check in checks]}


def applied_before(
    workspace: Workspace, number: int, kernel: Kernel | None = None
) -> dict[str, Any]:
    """Return one entry of the history.

    Beside the entry, it contains its files, their difference from the files in force, and the
    `overview` and `risks` of a rollback to it. These two are as in a plan; they are null if no
    kernel is given, or the entry cannot be applied.

    Raises:
        WarpError: the entry is not kept.
    """
    kept = History(workspace)
    entry = kept.entry(number)
    head = {"version": VERSION, **row_of(kept)(entry)}
    return {
        **head,
        "files": dict(entry.files),
        "diff": difference(kept, number),
        **_rollback_preview(workspace, kernel, entry),
    }


def applied_between(workspace: Workspace, older: int, newer: int) -> dict[str, Any]:
    """Return how the files of one entry of the history differ from those of another one.

    Raises:
        WarpError: one of them is not kept.
    """
    kept = History(workspace)
    row, entries = row_of(kept), (kept.entry(older), kept.entry(newer))
    diff = files_diff(entries[0].files, entries[1].files)
    return {"version": VERSION, "from": row(entries[0]), "to": row(entries[1]), "diff": diff}


def _rollback_preview(
    workspace: Workspace, kernel: Kernel | None, entry: HistoryEntry
) -> dict[str, Any]:
    """Return what a rollback to an entry would do to networks and endpoints."""
    unknown = {"overview": None, "risks": None}
    if kernel is None:
        return unknown
    try:
        read = History(workspace).read(entry)
        wanted = workspace.target_again(read)
        found = planned_run(kernel, wanted)
        read = dataclasses.replace(read, previous=workspace.store.read_allocations())
        seen = overview_of(workspace, wanted, found, read)
    except (WarpError, DumpError, OSError):
        return unknown
    return {
        "overview": [row.as_json() for row in seen.rows],
        "risks": [risk.as_json() for risk in seen.risks],
    }


def difference(history: History, number: int) -> str:
    """Return the unified difference from the files in force to those of an entry.

    Raises:
        WarpError: the entry is not kept.
    """
    now = history.in_force()
    return files_diff(now.files if now is not None else {}, history.entry(number).files)


def files_diff(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """Return the unified difference of files by path; "" where they are the same."""
    import difflib  # imported late: the daemon hardly ever needs it, and it costs memory

    lines: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        before, after = (files.get(name, "").splitlines() for files in (old, new))
        lines += difflib.unified_diff(before, after, name, name, lineterm="")
    return "\n".join(lines)


def explained(
    kernel: Kernel, wanted: Target, found: PlannedRun, request: ExplainRequest
) -> dict[str, Any]:
    """Return whether a packet would pass, and what decides that.

    Raises:
        DumpError: the kernel, or this network's namespace, could not be read.
        WarpError: there is no such endpoint, the target is not an address, or our table contains a
            rule that warpd does not make.
    """
    network, endpoint = split_name(wanted, request.endpoint)
    unread = found.observed.unread.get(naming.namespace(wanted.allocations.networks[network].vcid))
    if unread is not None:
        raise DumpError(unread)
    target = _address(wanted, request.target)
    port = request.port
    if not port and request.protocol in NEEDS_PORT:
        port = 443
    absent = absence(wanted, network, endpoint)
    if absent:
        stages: tuple[Stage, ...] = (Stage("wireguard", absent, False),)
    else:
        question = question_of(wanted, network, endpoint, target, request.protocol, port)
        stages = _stages(kernel, wanted, found, question)
    name = f"{network}/{endpoint}"
    workspace = session_of(_traffic(wanted, found, network, endpoint), int(time.time()))
    dialled = dialled_address(wanted, found.observed.host, network)
    passing = passes(stages)
    mtu = tunnel_mtu(wanted.intent.networks[network], found.observed.host)
    return {
        "version": VERSION,
        "network": network,
        "endpoint": endpoint,
        "target": target,
        "protocol": request.protocol,
        "port": port or None,
        "passes": passing,
        "in_sync": found.plan.empty,
        "decided_by": _stage_json(stages[-1]),
        "path": [_stage_json(stage) for stage in stages],
        "session": {
            **workspace.as_json(),
            "text": "" if absent else session_text(workspace, name, dialled),
        },
        "warnings": _warnings_about(wanted, found, network, workspace),
        "not_observable": list(not_observable(target, request.protocol, port, mtu))
        if passing
        else [],
    }


def _stages(
    kernel: Kernel, wanted: Target, found: PlannedRun, question: PacketQuery
) -> tuple[Stage, ...]:
    """Return the way of a packet.

    Raises:
        DumpError: the kernel could not be read.
        WarpError: our table contains a rule that warpd does not make.
    """
    try:
        return explain(
            found.observed.state, _host_towards(kernel, wanted, question.target), question
        )
    except UnsupportedRule as failure:
        text = f"our table contains a rule that is not ours: {failure}"
        raise WarpError(
            text, code="foreign-rule", who="operator", hint="warpctl plan; warpctl apply"
        ) from None


def _traffic(wanted: Target, found: PlannedRun, network: str, name: str) -> PeerTraffic | None:
    """Return what the kernel has counted for an endpoint; None where it is not in the kernel."""
    resolved = wanted.resolved(network, found.observed.host)
    endpoint = resolved.endpoint(name)
    public = public_key_of(endpoint.key_name, endpoint.intent, resolved.vcid, wanted.master)
    place = placement_of(resolved)
    return found.observed.traffic.get(peer_key(place.netns, place.tunnel, public))


def _warnings_about(
    wanted: Target, found: PlannedRun, network: str, workspace: EndpointSession
) -> list[dict[str, str]]:
    """Return the warnings about the host and the problems that concern this network.

    A chain that seems to drop what arrives at the network's port is left out while packets arrive.
    """
    alone = wanted.intent.model_copy(
        update={"networks": {network: wanted.intent.networks[network]}}
    )
    allocations = Allocations({network: wanted.allocations.networks[network]})
    host = found.observed.host
    arriving = host_warnings(host, allocations, alone)
    if workspace.presence == "online":
        arriving = forwarding_warnings(host, allocations, alone)
    problems = [item.finding for item in found.compiled.problems if item.network == network]
    return [*({"message": item.message, "hint": item.hint} for item in problems), *arriving]


def _host_towards(kernel: Kernel, wanted: Target, target: str) -> Host:
    """Read the host, and how it reaches this address.

    Raises:
        DumpError: the kernel could not be read.
    """
    destinations = (*egress_destinations(wanted.intent), str(ip_network(target)))
    return kernel.dump(ROOT, wanted.intent.gateway.uplink, destinations).host or Host()


def _stage_json(stage: Stage) -> dict[str, Any]:
    return {"where": stage.where, "what": stage.what, "passes": stage.passes}


def _address(wanted: Target, target: str) -> str:
    """Return the address of an endpoint, or the given address.

    Raises:
        WarpError: there is no such endpoint, or the text is not an address.
    """
    if "/" in target:
        network, endpoint = split_name(wanted, target)
        return str(wanted.allocations.networks[network].endpoints[endpoint].address)
    try:
        return str(ip_address(target.strip("[]")))
    except ValueError:
        hint = "write an IPv4 or IPv6 address, or NETWORK/NAME; host names are not looked up"
        raise WarpError(
            f"{target} is not an address", code="bad-target", who="operator", hint=hint
        ) from None


# -- applying


def refuse_stale(kernel: Kernel, wanted: Target, promised: str) -> None:
    """Refuse to apply a plan that is not the reviewed one any more.

    Args:
        promised: the digest of the reviewed plan.

    Raises:
        Busy: the plan has another digest now.
    """
    if digest(planned_run(kernel, wanted).plan.steps) != promised:
        raise Busy(
            "the plan is stale: the YAML, the allocations or the kernel have changed since it was"
            " made",
            code="plan-stale",
            hint="make a new one with `warpctl plan --out FILE`",
        )


def rollback_target(workspace: Workspace, kernel: Kernel, within_s: int) -> int:
    """Return the number in the history that an unconfirmed apply is undone to.

    Args:
        within_s: the time to confirm, in seconds; 0 for an apply that needs no confirm.

    Returns:
        NOTHING if nothing was applied before.

    Raises:
        WarpError: what is in force now is not kept, so that the apply could not be undone.
    """
    before = History(workspace).in_force() if within_s else None
    if within_s and before is None and has_devices(kernel):
        text = "there is no record of what is in force now, so that it could not be restored"
        raise WarpError(
            text, code="nothing-kept", who="operator", hint="apply once without --confirm-within"
        )
    return before.number if before is not None else NOTHING


def await_confirmation(
    workspace: Workspace, number: int, back_to: int, within_s: int, by: str
) -> str | None:
    """Start the timer that undoes an apply unless it is confirmed.

    Args:
        workspace: the files.
        number: the entry of the apply in the history.
        back_to: the entry that is restored.
        within_s: the time to confirm, in seconds; 0 starts no timer.
        by: who applies.

    Returns:
        The deadline, ISO 8601 in UTC; None without a time to confirm.

    Raises:
        WarpError: no timer could be started.
    """
    if not within_s:
        return None
    history = History(workspace)
    pending = history.record_pending(number, back_to, within_s, by)
    try:
        start_timer(workspace, pending)
    except WarpError:
        history.clear_pending()
        raise
    return pending.until


# -- names


def split_name(wanted: Target, text: str) -> tuple[str, str]:
    """Split NETWORK/NAME, which the target has to contain.

    Raises:
        WarpError: there is no such endpoint; the hint lists those that exist.
    """
    names = {network: tuple(body.endpoints) for network, body in wanted.intent.networks.items()}
    return known_endpoint(names, text)


def known_network(names: Mapping[str, Any], name: str) -> None:
    """Refuse the name of a network that does not exist.

    Raises:
        WarpError: it is not among `names`; the hint lists these.
    """
    if name not in names:
        known = ", ".join(sorted(names)) or "none"
        raise WarpError(
            f"there is no network {name}",
            code="unknown-network",
            who="operator",
            hint=f"networks: {known}",
        )


def known_endpoint(names: Mapping[str, Collection[str]], text: str) -> tuple[str, str]:
    """Split NETWORK/NAME.

    Args:
        names: the names of the endpoints, by network.
        text: NETWORK/NAME.

    Raises:
        WarpError: there is no such endpoint; the hint lists those that exist.
    """
    network, slash, name = text.partition("/")
    if not slash:
        raise WarpError(
            f"{text} is not NETWORK/NAME",
            code="bad-name",
            who="operator",
            hint="for example privacy/phone-1",
        )
    known_network(names, network)
    if name not in names[network]:
        known = ", ".join(sorted(names[network])) or "none"
        text, hint = f"network {network} has no endpoint {name}", f"endpoints: {known}"
        raise WarpError(text, code="unknown-endpoint", who="operator", hint=hint)
    return network, name
