"""What the daemon counts, and what of its last look it keeps for whoever asks for figures. Pure.

No more is kept than is shown: with a hundred thousand endpoints, a look weighs a hundred MiB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from warpd import naming
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import ROOT, Observed, PeerTraffic
from warpd.reconcile.engine import PlannedRun, Target
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


def seen(goal: Target, found: PlannedRun) -> tuple[NetworkStats, ...]:
    """What is shown of a look at everything."""
    open_ = (
        {step.group for step in found.plan.steps}
        | {item.group for item in found.plan.blocked}
        | found.compiled.stopped
    )
    single = (
        sum(len(network.endpoints) for network in goal.intent.networks.values()) <= ENDPOINTS_MAX
    )
    traffic: dict[str, dict[str, PeerTraffic]] = {}
    for group, part in found.compiled.parts.items() if single else ():
        peers = [item for item in part.state if isinstance(item, WireguardPeer)]
        traffic[group] = {peer.label: found.observed.traffic.get(peer.key, NEVER) for peer in peers}
    out = []
    for name, network in sorted(goal.intent.networks.items()):
        vcid = goal.allocations.networks[name].vcid
        group = naming.namespace(vcid)
        own = (
            {each: traffic.get(group, {}).get(each, NEVER) for each in sorted(network.endpoints)}
            if single
            else {}
        )
        out.append(
            NetworkStats(
                name,
                vcid,
                group not in open_,
                dropped(found.observed, group),
                len(network.endpoints),
                own,
            )
        )
    return tuple(out)


def dropped(observed: Observed, group: str = ROOT) -> dict[str, int]:
    """Packets by reason."""
    return {
        reason: packets for reason, (packets, _) in sorted(observed.drops.get(group, {}).items())
    }
