"""remote-resource-gateway: endpoints reach what `resources` lists, by subnet, protocol and port,
and nothing else.

A resource is behind the uplink (by NAT) or, with `via`, behind an endpoint of the network: there
packets keep their source, so that the site knows its visitors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from warpd.intent.model import Network, Resource
from warpd.intent.types import Range
from warpd.kernel.nftables.rules import ANSWERS, PROTOCOLS
from warpd.kernel.state import KernelObject
from warpd.networks import egress, policy, tunnel
from warpd.networks.firewall.rules import drops
from warpd.networks.placement import EgressRequirements, FirewallPolicy, Placement
from warpd.networks.policy import PolicyEntry
from warpd.networks.resolved import ResolvedNetwork
from warpd.networks.tunnel import TunnelPeer

TYPE = "remote-resource-gateway"
REASONS = (*egress.REASONS, "unlisted")
Servers = Sequence[IPv4Address | IPv6Address]


def egress_requirements(network: ResolvedNetwork) -> EgressRequirements:
    return egress.egress_requirements(network)


def firewall_policy(network: ResolvedNetwork) -> FirewallPolicy:
    label = str(network.vcid)
    unlisted = drops(label, "unlisted")
    beyond = [_entry(item) for item in network.intent.resources if item.via is None]
    within = [_entry(item) for item in network.intent.resources if item.via is not None]
    chains = {
        "out": [*egress.out(network, beyond), *unlisted],
        "back": egress.back(network, beyond),
        "peers": [*tunnel.spoofed(network), *_within(label, within), *unlisted],
    }
    return tunnel.firewall_policy(network, chains, reasons=REASONS)


def _within(label: str, entries: Sequence[PolicyEntry]) -> list[str]:
    """From endpoint to endpoint, in both directions."""
    return [
        *policy.replies(label, entries),
        *policy.errors(label, entries),
        *policy.requests(label, entries),
        *drops(label, policy.REVOKED, ANSWERS),
    ]


def objects(
    _network: ResolvedNetwork, _place: Placement, _peers: Sequence[TunnelPeer]
) -> list[KernelObject]:
    """Return no objects beside the tunnel."""
    return []


def egress_destinations(network: Network, _dns: Servers) -> list[IPv4Network | IPv6Network]:
    """Return the ranges of the resources that are reached through the gateway's links."""
    return [item.subnet for item in network.resources if item.via is None]


def _entry(resource: Resource) -> PolicyEntry:
    return PolicyEntry(
        "resource",
        resource.subnet.version,
        _target(resource),
        _protocols(resource),
        _ports(resource.ports or ()),
    )


def _target(resource: Resource) -> Any:
    subnet = resource.subnet
    if not subnet.prefixlen:  # a match on everything is none
        return None
    single = subnet.prefixlen == subnet.max_prefixlen
    return (
        str(subnet.network_address)
        if single
        else {"prefix": {"addr": str(subnet.network_address), "len": subnet.prefixlen}}
    )


def _protocols(resource: Resource) -> tuple[int, ...]:
    if resource.protocol is None:
        return ()
    six = resource.protocol == "icmp" and resource.subnet.version == 6
    return (PROTOCOLS["ipv6-icmp" if six else resource.protocol],)


def _ports(ports: Iterable[Range]) -> tuple[tuple[int, int], ...]:
    """Ranges in the kernel's spelling: those that touch are one."""
    out: list[tuple[int, int]] = []
    for item in sorted(ports, key=lambda item: item.first):
        if out and item.first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], item.last))
        else:
            out.append((item.first, item.last))
    return tuple(out)
