"""What the daemon counts, and what of its last look it keeps for whoever asks for figures. Pure.

No more is kept than is shown: with a hundred thousand endpoints, a look weighs a hundred MiB.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any, Final

from warpd import naming
from warpd.intent.model import Network
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import ROOT, Observed, PeerTraffic
from warpd.reconcile.engine import ApplyResult, PlannedRun, Target
from warpd.service.conditions import Condition

ENDPOINTS_MAX: Final = 10_000  # above it, endpoints are counted and not shown one by one
# What may come of a pass.
RESULTS: Final = ("done", "failed", "invalid", "awaiting_consent", "unwritten")
NEVER: Final = PeerTraffic(0, 0, 0, "")
# Upper bounds of the histogram of passes: a pass with nothing to do takes some ms, a cold apply of
# a large gateway a minute.
DURATION_BOUNDS_S: Final = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)


@dataclass(frozen=True, slots=True)
class NetworkStats:
    """One network, as a look found it.

    Attributes:
        in_sync: whether nothing was left to do.
        drops: reason -> packets.
        size: endpoints in the YAML.
        endpoints: traffic by endpoint; empty above `ENDPOINTS_MAX`.
        expires_s: when an endpoint that expires does, in seconds since the epoch; empty likewise.
        suspended: how many endpoints are suspended.
        peers: endpoints that are in the kernel, where these are wanted (`Stats.keeps_peers`); empty
            likewise.
    """

    name: str
    vcid: int
    in_sync: bool
    drops: Mapping[str, int]
    size: int
    endpoints: Mapping[str, PeerTraffic]
    expires_s: Mapping[str, float] = field(default_factory=dict)
    peers: Mapping[str, WireguardPeer] = field(default_factory=dict)
    suspended: int = 0


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How it stands with the source of the YAML, where there is one.

    Attributes:
        kind: the key of the source, such as git; "" where the YAML is a file of this machine.
        origin: what it is pulled from, such as the URL of the repository.
        revision: what is laid out, such as a commit.
        last_success_s: when the source last gave a good answer, in seconds since the epoch; 0: it
            never did.
        error: why not, the last time.
    """

    kind: str = ""
    origin: str = ""
    revision: str = ""
    last_success_s: float = 0.0
    error: str = ""

    def as_json(self) -> dict[str, Any] | None:
        """`daemon.source` of the status; None where there is no source."""
        if not self.kind:
            return None
        return {
            "kind": self.kind,
            "origin": self.origin,
            "revision": self.revision or None,
            "last_success": self.last_success_s or None,
            "error": self.error or None,
        }


@dataclass(frozen=True, slots=True)
class Durations:
    """How long passes took.

    Attributes:
        counts: passes that took at most as long as the bound of DURATION_BOUNDS_S in the same
            place, and longer than the bound before; the last count is of all that took longer.
        total_s: seconds of all of them together.
    """

    counts: tuple[int, ...] = (0,) * (len(DURATION_BOUNDS_S) + 1)
    total_s: float = 0.0

    def with_one(self, seconds: float) -> Durations:
        """One more pass."""
        place = bisect.bisect_left(DURATION_BOUNDS_S, seconds)
        counts = list(self.counts)
        counts[place] += 1
        return Durations(tuple(counts), self.total_s + seconds)


@dataclass(frozen=True, slots=True)
class Stats:
    """What is counted since the start, and what the last full observation has found.

    Keys of mappings are network names; "" is the gateway's own part.

    Attributes:
        passes: result (done, failed, invalid, awaiting_consent, unwritten) -> count.
        durations: of passes.
        repairs: steps that drift made necessary, not a change of the YAML.
        changes: steps that passes and requests have done, for either reason.
        errors: steps that failed.
        pending: steps that the last look found and that are not done.
        contested: object -> group, of what another program changes again and again.
        intent_at_s: since when this process has kept the intent in force, in seconds since the
            epoch; 0: none yet.
        intent_valid: whether the YAML as it is now is in force.
        source: how it stands with the source of the YAML.
        overruns: how many times events were lost, so that everything was observed.
        networks: as the last full observation found them.
        drops: reason -> packets, by the gateway's own rules.
        problems: network and code, of what this machine lacks.
        waiting: networks of which an edit waits for the state folder; such a one is not in sync,
            whatever the last observation says.
        confirm_pending: whether an apply waits to be confirmed.
        conditions: what is wrong, or waits.
        last_pass_s: when the last pass ended, in seconds since the epoch; 0: none yet.
        failing: network -> how many passes in a row have failed for it.
        uplink: its name, "" where none is known; None before the first look.
        uplink_state: what is wrong with it; "" for nothing.
        keeps_peers: whether `NetworkStats.peers` is filled.
    """

    passes: Mapping[str, int] = field(default_factory=dict)
    durations: Durations = Durations()
    repairs: Mapping[str, int] = field(default_factory=dict)
    changes: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    pending: Mapping[str, int] = field(default_factory=dict)
    contested: Mapping[str, str] = field(default_factory=dict)
    intent_at_s: float = 0.0
    intent_valid: bool = True
    source: SourceStatus = SourceStatus()
    overruns: int = 0
    networks: Sequence[NetworkStats] = ()
    drops: Mapping[str, int] = field(default_factory=dict)
    problems: Sequence[tuple[str, str]] = ()
    waiting: frozenset[str] = frozenset()
    confirm_pending: bool = False
    conditions: Sequence[Condition] = ()
    last_pass_s: float = 0.0
    failing: Mapping[str, int] = field(default_factory=dict)
    uplink: str | None = None
    uplink_state: str = ""
    keeps_peers: bool = False


@dataclass(frozen=True, slots=True)
class SocketStats:
    """What the control socket counts; replaced whole by its own thread.

    Attributes:
        refused: connections by what was missing, a right or a place.
        closed: whether users without a right are kept out by the socket's file.
    """

    refused: Mapping[str, int] = field(default_factory=dict)
    closed: bool = False


def with_pass(
    stats: Stats,
    result: str,
    seconds: float,
    ended_s: float,
    intent_at_s: float,
    intent_valid: bool,
) -> Stats:
    """One more pass.

    Args:
        result: one of RESULTS.
        seconds: how long it took.
        ended_s: when it ended, in seconds since the epoch.
        intent_at_s, intent_valid: as in `Stats`.
    """
    passes = Counter(stats.passes)
    passes[result] += 1
    return dataclasses.replace(
        stats,
        passes=passes,
        durations=stats.durations.with_one(seconds),
        last_pass_s=ended_s,
        intent_at_s=intent_at_s,
        intent_valid=intent_valid,
    )


def with_apply(
    stats: Stats, outcome: ApplyResult, is_repair: bool, is_everything: bool = False
) -> Stats:
    """What an apply has done and left.

    Args:
        is_repair: whether drift made it necessary.
        is_everything: whether it was about all networks. If not, the earlier counts of networks
            that it did not touch are kept.
    """
    failed = [step for step, _fault in outcome.failed]
    left = Counter(step.network for step in (*outcome.skipped, *outcome.unverified, *failed))
    done = Counter(step.network for step in outcome.done)
    if not is_everything:
        left += Counter(
            {
                network: count
                for network, count in stats.pending.items()
                if network not in left and network not in done
            }
        )
    repairs = Counter(stats.repairs) + done if is_repair else stats.repairs
    return dataclasses.replace(
        stats,
        changes=Counter(stats.changes) + done,
        repairs=repairs,
        errors=Counter(stats.errors) + Counter(step.network for step in failed),
        pending=left,
    )


def with_look(
    stats: Stats,
    target: Target,
    found: PlannedRun,
    failed: Collection[str],
    confirm_pending: bool,
) -> Stats:
    """What a full observation has found; `failed` are groups whose steps were not all done."""
    return dataclasses.replace(
        stats,
        networks=seen(target, found, failed, stats.keeps_peers),
        drops=dropped(found.observed),
        confirm_pending=confirm_pending,
    )


def seen(
    target: Target, found: PlannedRun, failed: Collection[str], keeps_peers: bool = False
) -> tuple[NetworkStats, ...]:
    """What is kept of a full observation, network by network."""
    out_of_sync = set(failed)
    out_of_sync |= {conflict.group for conflict in found.plan.blocked}
    out_of_sync |= found.compiled.stopped
    networks = sorted(target.intent.networks.items())
    are_shown = sum(len(network.endpoints) for _name, network in networks) <= ENDPOINTS_MAX
    suspended = Counter(network for network, _endpoint in target.suspended)
    rows = []
    for name, network in networks:
        vcid = target.allocations.networks[name].vcid
        group = naming.namespace(vcid)
        peers = _peers(found, group) if are_shown else {}
        row = NetworkStats(
            name,
            vcid,
            group not in out_of_sync,
            dropped(found.observed, group),
            len(network.endpoints),
            _traffic(found, peers, network.endpoints) if are_shown else {},
            _expiries(network) if are_shown else {},
            peers if keeps_peers else {},
            suspended[name],
        )
        rows.append(row)
    return tuple(rows)


def _peers(found: PlannedRun, group: str) -> dict[str, WireguardPeer]:
    """Endpoint -> its peer, of those that should be in the kernel."""
    part = found.compiled.parts.get(group)
    items = part.state if part is not None else ()
    return {item.label: item for item in items if isinstance(item, WireguardPeer)}


def _traffic(
    found: PlannedRun, peers: Mapping[str, WireguardPeer], endpoints: Iterable[str]
) -> dict[str, PeerTraffic]:
    """Endpoint -> what the kernel has counted for it; NEVER for one that is not in the kernel."""
    counted = found.observed.traffic
    traffic = {name: counted.get(peer.key, NEVER) for name, peer in peers.items()}
    return {name: traffic.get(name, NEVER) for name in sorted(endpoints)}


def _expiries(network: Network) -> dict[str, float]:
    """Endpoint -> the midnight (UTC) from which it is out."""
    dated = sorted(network.expiring_endpoints.items())
    return {name: _midnight_s(one.expires) for name, one in dated if one.expires is not None}


def _midnight_s(day: date) -> float:
    return datetime.combine(day, time.min, UTC).timestamp()


def dropped(observed: Observed, group: str = ROOT) -> dict[str, int]:
    """Reason -> packets that this network's rules have dropped; by default the gateway's own."""
    drops = observed.drops.get(group, {})
    return {reason: packets for reason, (packets, _bytes) in sorted(drops.items())}
