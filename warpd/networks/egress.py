"""What types with a way to the uplink share: what goes out is tracked, unspoofed and of a protocol
that NAT can keep apart; what comes back belongs to a connection that could be opened now.
"""

from __future__ import annotations

from collections.abc import Sequence

from warpd.kernel.nftables.rules import (
    ANSWERS,
    UNTRANSLATED,
    connection,
    match,
    members,
    meta,
    payload,
)
from warpd.networks import policy, tunnel
from warpd.networks.firewall.rules import BY_PORT, UNTRACKED, drops, portless
from warpd.networks.placement import EgressRequirements
from warpd.networks.policy import PolicyEntry, Version
from warpd.networks.resolved import ResolvedNetwork

REASONS = ("protocol", policy.REVOKED, "spoofed", "unsolicited", "untracked", "untranslated")
VERSIONS: tuple[Version, ...] = (4, 6)


def egress_requirements(network: ResolvedNetwork) -> EgressRequirements:
    return EgressRequirements(egress=True, nat4=network.intent.nat, nat6=network.intent.nat6)


def out(network: ResolvedNetwork, entries: Sequence[PolicyEntry]) -> list[str]:
    """From an endpoint to the uplink; what no entry decides falls through."""
    label = str(network.vcid)
    carried = {version: _protocols(network, version) for version in VERSIONS}
    return [
        *drops(label, "untracked", UNTRACKED),
        *tunnel.spoofed(network),
        *_untranslated(label, network),
        *portless(label, carried),
        *policy.errors(label, entries),
        *_echo_only(label),
        *policy.requests(label, entries, carried),
    ]


def back(network: ResolvedNetwork, entries: Sequence[PolicyEntry]) -> list[str]:
    """From the uplink to an endpoint."""
    label = str(network.vcid)
    foreign: list[str] = []
    for version in VERSIONS:
        to_endpoint = match(payload(policy.FAMILY[version], "daddr"), f"@endpoints{version}")
        other = match(connection("protocol"), members(*_protocols(network, version)), op="!=")
        foreign += drops(label, "protocol", to_endpoint, ANSWERS, other)
    return [
        *foreign,
        *policy.replies(label, entries, translated(network)),
        *drops(label, policy.REVOKED, ANSWERS),
        *drops(label, "unsolicited"),
    ]


def translated(network: ResolvedNetwork) -> tuple[Version, ...]:
    """The families in which the network is behind the gateway's own address."""
    versions: list[Version] = []
    if network.intent.nat:
        versions.append(4)
    if network.intent.nat6:
        versions.append(6)
    return tuple(versions)


def _protocols(network: ResolvedNetwork, version: Version) -> tuple[int, ...]:
    """What may leave, by IANA number: `protocols` only where the network keeps addresses of its
    own.
    """
    listed = () if version in translated(network) else network.intent.protocols
    return tuple(sorted({*BY_PORT[version], *listed}))


def _untranslated(label: str, network: ResolvedNetwork) -> list[str]:
    """A connection opened under `nat: false` would go on with its inner source: NAT looks at a
    connection's first packet only.
    """
    return [
        text
        for version in translated(network)
        for text in drops(
            label, "untranslated", match(meta("nfproto"), f"ipv{version}"), ANSWERS, UNTRANSLATED
        )
    ]


def _echo_only(label: str) -> list[str]:
    return [
        text
        for protocol in ("icmp", "icmpv6")
        for text in drops(
            label, "protocol", match(payload(protocol, "type"), "echo-request", op="!=")
        )
    ]
