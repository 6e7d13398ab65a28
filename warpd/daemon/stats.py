"""What the daemon counts, and what of its last look it keeps for whoever asks for figures. Pure.

No more is kept than is shown: with a hundred thousand endpoints, a look weighs a hundred MiB.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from warpd import naming
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import ROOT, Observed, PeerTraffic
from warpd.reconcile.engine import ApplyResult, PlannedRun, Target
from warpd.reconcile.plan import Step
from warpd.service.conditions import Condition

ENDPOINTS_MAX: Final = 10_000  # above it, endpoints are counted and not shown one by one
NEVER: Final = PeerTraffic(0, 0, 0, "")


@dataclass(frozen=True, slots=True)
class NetworkStats:
    """One network, as a look found it."""

    name: str
    vcid: int
    in_sync: bool
    drops: Mapping[str, int]  # reason -> packets
    size: int  # endpoints in the YAML
    endpoints: Mapping[str, PeerTraffic]  # empty above `ENDPOINTS_MAX`


@dataclass(frozen=True, slots=True)
class GitStatus:
    """How it stands with the git repository, where there is one."""

    url: str = ""  # "": the YAML is a file of this machine
    revision: str = ""  # the commit that is laid out
    asked_s: float = (
        0.0  # when the repository last gave a good answer, seconds since the epoch; 0: never
    )
    error: str = ""  # why not, the last time

    def as_json(self) -> dict[str, Any] | None:
        if not self.url:
            return None
        return {
            "git": self.url,
            "revision": self.revision or None,
            "asked": self.asked_s or None,
            "error": self.error or None,
        }


@dataclass(frozen=True, slots=True)
class Stats:
    """What is counted since the start.

    Keys of mappings are network names; "" is the gateway's own part.
    """

    passes: Mapping[str, int] = field(
        default_factory=dict
    )  # result (done, partial, failed, invalid, waits, busy) -> count
    pass_seconds: float = 0.0  # in all passes together
    repairs: Mapping[str, int] = field(
        default_factory=dict
    )  # steps that drift, not a change of the YAML, made necessary
    changes: Mapping[str, int] = field(default_factory=dict)  # steps done, of both sorts
    errors: Mapping[str, int] = field(default_factory=dict)
    pending: Mapping[str, int] = field(
        default_factory=dict
    )  # steps that the last look found and that are not done
    fights: Mapping[str, str] = field(
        default_factory=dict
    )  # object -> network, undone by others again and again
    intent_at_s: float = (
        0.0  # when the intent in force was first applied, seconds since the epoch; 0: none yet
    )
    intent_valid: bool = True  # whether the YAML as it is now is in force
    source: GitStatus = GitStatus()
    overruns: int = 0  # times that events were lost and everything was looked at
    networks: Sequence[NetworkStats] = ()  # as the last look at everything found them
    drops: Mapping[str, int] = field(
        default_factory=dict
    )  # by the gateway's own rules: reason -> packets
    problems: Sequence[
        tuple[str, str]
    ] = ()  # network and code, of what this machine keeps networks from
    confirm_pending: bool = False
    conditions: Sequence[Condition] = ()  # what is wrong, or waits


@dataclass(frozen=True, slots=True)
class SocketStats:
    """What the control socket counts; replaced whole by its own thread."""

    refused: Mapping[str, int] = field(
        default_factory=dict
    )  # connections by what was missing: right or place
    closed: bool = False  # whether users without a right are kept out by the socket's file


def with_pass(
    stats: Stats, result: str, seconds: float, intent_at_s: float, intent_valid: bool
) -> Stats:
    """One more pass, with the word for what came of it, and how long it took."""
    passes = Counter(stats.passes)
    passes[result] += 1
    return dataclasses.replace(
        stats,
        passes=passes,
        pass_seconds=stats.pass_seconds + seconds,
        intent_at_s=intent_at_s,
        intent_valid=intent_valid,
    )


def with_apply(stats: Stats, outcome: ApplyResult, is_repair: bool) -> Stats:
    """What an apply has done and left; `is_repair` says that drift made it necessary."""
    failed = [step for step, _fault in outcome.failed]
    left = [*outcome.skipped, *outcome.unverified, *failed]
    done = Counter(network_of(step) for step in outcome.done)
    repairs = Counter(stats.repairs) + done if is_repair else stats.repairs
    return dataclasses.replace(
        stats,
        changes=Counter(stats.changes) + done,
        repairs=repairs,
        errors=Counter(stats.errors) + Counter(network_of(step) for step in failed),
        pending=Counter(network_of(step) for step in left),
    )


def with_look(stats: Stats, target: Target, found: PlannedRun, confirm_pending: bool) -> Stats:
    """What a look at everything has found."""
    return dataclasses.replace(
        stats,
        networks=seen(target, found),
        drops=dropped(found.observed),
        confirm_pending=confirm_pending,
    )


def network_of(step: Step) -> str:
    """The name of the network that a step belongs to; "" for the gateway's own part."""
    return step.network if step.group != ROOT else ""


def seen(target: Target, found: PlannedRun) -> tuple[NetworkStats, ...]:
    """What is kept of a look at everything, network by network."""
    out_of_sync = {step.group for step in found.plan.steps}
    out_of_sync |= {conflict.group for conflict in found.plan.blocked}
    out_of_sync |= found.compiled.stopped
    networks = sorted(target.intent.networks.items())
    are_shown = sum(len(network.endpoints) for _name, network in networks) <= ENDPOINTS_MAX
    rows = []
    for name, network in networks:
        vcid = target.allocations.networks[name].vcid
        group = naming.namespace(vcid)
        row = NetworkStats(
            name,
            vcid,
            group not in out_of_sync,
            dropped(found.observed, group),
            len(network.endpoints),
            _traffic(found, group, network.endpoints) if are_shown else {},
        )
        rows.append(row)
    return tuple(rows)


def _traffic(found: PlannedRun, group: str, endpoints: Iterable[str]) -> dict[str, PeerTraffic]:
    """Endpoint -> what the kernel has counted for it; NEVER for one that is not in the kernel."""
    counted = found.observed.traffic
    part = found.compiled.parts.get(group)
    peers: dict[str, PeerTraffic] = {}
    for item in part.state if part is not None else ():
        if isinstance(item, WireguardPeer):
            peers[item.label] = counted.get(item.key, NEVER)
    return {name: peers.get(name, NEVER) for name in sorted(endpoints)}


def dropped(observed: Observed, group: str = ROOT) -> dict[str, int]:
    """Reason -> packets that this network's rules have dropped; by default the gateway's own."""
    drops = observed.drops.get(group, {})
    return {reason: packets for reason, (packets, _bytes) in sorted(drops.items())}
