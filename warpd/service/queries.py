"""The questions that can be asked about a gateway, answered as data: the same for the commands of
root and for the socket.

Lives here: what is put together of a reading and a look. Does not: who may ask, text, the kernel's
opening and closing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
from warpd.networks.compiler import isolation_of, public_key_of, targets, tunnel_mtu
from warpd.reconcile.engine import PlannedRun, Target, planned_run
from warpd.reconcile.plan import digest
from warpd.service.commitment import has_devices, last_read, refuse_lost_state
from warpd.service.conditions import Condition, conditions, merged
from warpd.service.doctor import examine
from warpd.service.endpoint_session import EndpointSession as Arrived
from warpd.service.endpoint_session import absence, not_seen, session_of, session_text
from warpd.service.explain import PacketQuery, Protocol, Stage, explain, passes, question_of
from warpd.service.health import facts_on_disk
from warpd.service.history import NOTHING, History, HistoryEntry
from warpd.service.rollback import start_timer
from warpd.service.views.advice import host_warnings, ways_warnings
from warpd.service.views.render import VERSION, finding_json
from warpd.service.views.report import described, entry_json, overview_of, with_rollback
from warpd.service.workspace import LoadedIntent, Session

NEEDS_PORT: Final = ("tcp", "udp")
PROTOCOLS: Final[tuple[Protocol, ...]] = get_args(Protocol)


@dataclass(frozen=True, slots=True)
class ExplainRequest:
    """What `explain` is asked: an endpoint (NETWORK/NAME), an address or another endpoint, and what
    is sent there.
    """

    endpoint: str
    target: str
    protocol: Protocol = "icmp"
    port: int = 0


def planned(session: Session, kernel: Kernel, read: LoadedIntent) -> dict[str, Any]:
    """The whole plan. Raises: as a look; WarpError when the master secret is gone."""
    read = with_rollback(session, read)
    refuse_lost_state(session, read, kernel)
    goal = session.goal(read, create=False)
    return described(session, goal, planned_run(kernel, goal), read)


def validated(session: Session, read: LoadedIntent) -> dict[str, Any]:
    """What `validate` says of a sound YAML."""
    endpoints = sum(len(network.endpoints) for network in read.intent.networks.values())
    return {
        "version": VERSION,
        "valid": True,
        "findings": [finding_json(item) for item in read.warnings],
        "file": str(session.config),
        "networks": len(read.intent.networks),
        "endpoints": endpoints,
    }


def not_valid(failure: InvalidIntent) -> dict[str, Any]:
    """What `validate` says of a YAML with problems."""
    return {
        "version": VERSION,
        "valid": False,
        "findings": [finding_json(item) for item in failure.findings],
    }


def examined(
    session: Session, allocations: Allocations, running: bool, watched: Iterable[Condition]
) -> dict[str, Any]:
    """Every check of this machine.

    `allocator` are what is allocated, `running` whether a daemon keeps this gateway, `watched` the
    conditions that it tells.
    """
    read: LoadedIntent | None = None
    findings: tuple[Finding, ...] = ()
    with contextlib.suppress(WarpError, OSError):
        try:
            read = session.read(previous=allocations)
        except InvalidIntent as failure:
            findings = failure.findings

    def told(host: Host | None, devices: bool) -> tuple[Condition, ...]:
        facts = facts_on_disk(session, read, findings, host, running, devices=devices)
        return merged(conditions(facts), tuple(watched))

    # While the YAML is invalid, what is checked is what is in force.
    checked = read
    with contextlib.suppress(WarpError, OSError):
        checked = read or last_read(session)
    intent = checked.intent if checked is not None else None
    checks = examine(intent, checked.allocations if checked is not None else allocations, told)
    return {"version": VERSION, "checks": [check.as_json() for check in checks]}


def applied_before(session: Session, number: int, kernel: Kernel | None = None) -> dict[str, Any]:
    """One entry of the history with its files, how they differ from what is in force, and what
    going back to it would do.

    `overview` and `risks` are as in a plan; null where nobody can look at the kernel, or the entry
    cannot be applied.

    Raises:
        WarpError: it is not kept.
    """
    kept = History(session)
    entry = kept.entry(number)
    head = {"version": VERSION, **entry_json(entry, kept.in_force_number())}
    return {
        **head,
        "files": dict(entry.files),
        "diff": difference(kept, number),
        **_way_back_to(session, kernel, entry),
    }


def _way_back_to(session: Session, kernel: Kernel | None, entry: HistoryEntry) -> dict[str, Any]:
    """What going back to an entry would do to networks and endpoints."""
    unknown = {"overview": None, "risks": None}
    if kernel is None:
        return unknown
    try:
        read = History(session).read(entry)
        goal = session.goal_again(read)
        found = planned_run(kernel, goal)
        seen = overview_of(
            session,
            goal,
            found,
            dataclasses.replace(read, previous=session.store.read_allocations()),
        )
    except (WarpError, DumpError, OSError):
        return unknown
    return {
        "overview": [row.as_json() for row in seen.rows],
        "risks": [risk.as_json() for risk in seen.risks],
    }


def difference(history: History, number: int) -> str:
    """From what is in force to an entry, as a unified difference of its files.

    Raises: WarpError when it is not kept.
    """
    now = history.in_force()
    return files_diff(now.files if now is not None else {}, history.entry(number).files)


def files_diff(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """A unified difference of files by path; "" where they are the same."""
    import difflib  # a daemon that nobody asks for differences does without it

    lines: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        before, after = (files.get(name, "").splitlines() for files in (old, new))
        lines += difflib.unified_diff(before, after, name, name, lineterm="")
    return "\n".join(lines)


def explained(
    kernel: Kernel, goal: Target, found: PlannedRun, way: ExplainRequest
) -> dict[str, Any]:
    """Would it pass, and what decides.

    Raises:
        WarpError: there is no such endpoint, the target is no address, or our table holds a rule
        that is not ours.
    """
    network, endpoint = split_name(goal, way.endpoint)
    target = _address(goal, way.target)
    port = way.port
    if not port and way.protocol in NEEDS_PORT:
        port = 443
    absent = absence(goal, network, endpoint)
    if absent:
        stages: tuple[Stage, ...] = (Stage("wireguard", absent, False),)
    else:
        stages = _stages(
            kernel, goal, found, question_of(goal, network, endpoint, target, way.protocol, port)
        )
    name = f"{network}/{endpoint}"
    session = session_of(_traffic(goal, found, network, endpoint), int(time.time()))
    dialled = dialled_address(goal, found.observed.host, network)
    passing = passes(stages)
    mtu = tunnel_mtu(goal.intent.networks[network], found.observed.host)
    return {
        "version": VERSION,
        "network": network,
        "endpoint": endpoint,
        "target": target,
        "protocol": way.protocol,
        "port": port or None,
        "passes": passing,
        "in_sync": found.plan.empty,
        "decided_by": _stage_json(stages[-1]),
        "path": [_stage_json(stage) for stage in stages],
        "session": {
            **session.as_json(),
            "text": "" if absent else session_text(session, name, dialled),
        },
        "warnings": _warnings_about(goal, found, network, session),
        "not_seen": list(not_seen(target, way.protocol, port, mtu)) if passing else [],
    }


def _stages(
    kernel: Kernel, goal: Target, found: PlannedRun, question: PacketQuery
) -> tuple[Stage, ...]:
    """Raises: WarpError when our table holds a rule that is not ours."""
    try:
        return explain(found.observed.state, _host_towards(kernel, goal, question.target), question)
    except UnsupportedRule as failure:
        text = f"our table holds a rule that is not ours: {failure}"
        raise WarpError(
            text, code="foreign-rule", who="operator", hint="warpctl plan; warpctl apply"
        ) from None


def _traffic(goal: Target, found: PlannedRun, network: str, name: str) -> PeerTraffic | None:
    """What the kernel counted for an endpoint; None where it is not there."""
    allocation, body = goal.allocations.networks[network], goal.intent.networks[network]
    addresses = allocation.endpoints[name]
    public = public_key_of(
        addresses.key_name or name, body.endpoints[name], allocation.vcid, goal.master
    )
    netns = (
        naming.namespace(allocation.vcid)
        if isolation_of(body, goal.intent.gateway) == "namespace"
        else ROOT
    )
    return found.observed.traffic.get(peer_key(netns, naming.tunnel(allocation.vcid), public))


def _warnings_about(
    goal: Target, found: PlannedRun, network: str, session: Arrived
) -> list[dict[str, str]]:
    """What of the host stands in the way of this one network.

    A chain that seems to drop what arrives at its port is not told of while packets do arrive.
    """
    alone = goal.intent.model_copy(update={"networks": {network: goal.intent.networks[network]}})
    allocations = Allocations({network: goal.allocations.networks[network]})
    host = found.observed.host
    arriving = host_warnings(host, allocations, alone)
    if session.presence == "online":
        arriving = ways_warnings(host, allocations, alone)
    problems = [item.finding for item in found.compiled.problems if item.network == network]
    return [*({"message": item.message, "hint": item.hint} for item in problems), *arriving]


def _host_towards(kernel: Kernel, goal: Target, target: str) -> Host:
    """The machine, and how it reaches this address.

    Raises: DumpError when the kernel could not be read.
    """
    prefix = str(ip_network(target))
    return (
        kernel.dump(ROOT, goal.intent.gateway.uplink, (*targets(goal.intent), prefix)).host
        or Host()
    )


def _stage_json(stage: Stage) -> dict[str, Any]:
    return {"where": stage.where, "what": stage.what, "goes_on": stage.goes_on}


def _address(goal: Target, target: str) -> str:
    """Of an endpoint, or as it was given."""
    if "/" in target:
        network, endpoint = split_name(goal, target)
        return str(goal.allocations.networks[network].endpoints[endpoint].address)
    try:
        return str(ip_address(target.strip("[]")))
    except ValueError:
        hint = "write an IPv4 or IPv6 address, or NETWORK/NAME; host names are not looked up"
        raise WarpError(
            f"{target} is not an address", code="bad-target", who="operator", hint=hint
        ) from None


# -- applying


def refuse_stale(kernel: Kernel, goal: Target, promised: str) -> None:
    """Raises: Busy when the plan is not the one of this digest any more."""
    if digest(planned_run(kernel, goal).plan.steps) != promised:
        raise Busy(
            "the plan is stale: the YAML, the grants or the kernel have changed since it was made",
            code="plan-stale",
            hint="look at a new one with `warpctl plan --out FILE`",
        )


def way_back(session: Session, kernel: Kernel, within_s: int) -> int:
    """The number in the history that an unconfirmed apply goes back to; NOTHING where nothing was
    applied before.

    Raises:
        WarpError: what is in force now is not kept, so that nothing could be gone back to.
    """
    before = History(session).in_force() if within_s else None
    if within_s and before is None and has_devices(kernel):
        text = "there is no record of what is in force now, so that it could not be gone back to"
        raise WarpError(
            text, code="nothing-kept", who="operator", hint="apply once without --confirm-within"
        )
    return before.number if before is not None else NOTHING


def await_confirmation(
    session: Session, number: int, back_to: int, within_s: int, by: str
) -> str | None:
    """With a time to confirm, see to it that what was recorded is undone. Until when, for people.

    Raises:
        WarpError: no timer could be started.
    """
    if not within_s:
        return None
    history = History(session)
    pending = history.await_yes(number, back_to, within_s, by)
    try:
        start_timer(session, pending)
    except WarpError:
        history.settled()
        raise
    return pending.until


# -- names


def split_name(goal: Target, text: str) -> tuple[str, str]:
    """NETWORK/NAME -> both. Raises: WarpError that lists what there is."""
    names = {network: tuple(body.endpoints) for network, body in goal.intent.networks.items()}
    return known_endpoint(names, text)


def known_network(names: Mapping[str, Any], name: str) -> None:
    """Raises: WarpError that lists what there is."""
    if name not in names:
        known = ", ".join(sorted(names)) or "none"
        raise WarpError(
            f"there is no network {name}",
            code="unknown-network",
            who="operator",
            hint=f"networks: {known}",
        )


def known_endpoint(names: Mapping[str, tuple[str, ...]], text: str) -> tuple[str, str]:
    """NETWORK/NAME -> both; `names` are those of the endpoints, by network.

    Raises: WarpError that lists what there is.
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
