"""remote-resource-gateway: endpoints reach what `resources` lists, by subnet, protocol and port, and nothing else.

A resource is behind the uplink (by NAT) or, with `via`, behind an endpoint of the network: there packets keep
their source, so that the site knows its visitors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from warpd.intent import Network, Range, Resource
from warpd.isolation.room import Fragment, Room, Site, Wants
from warpd.isolation.rules import drops
from warpd.networks import egress, tunnel
from warpd.networks.tunnel import Peer
from warpd.objects.nft_rules import ACCEPT, ANSWERS, between, match, members, meta, payload, rule, transport
from warpd.state import Object

TYPE = "remote-resource-gateway"
REASONS = (*egress.REASONS, "unlisted")
Servers = Sequence[IPv4Address | IPv6Address]


def wants(network: Network) -> Wants:
    return egress.wants(network)


def fragment(site: Site, network: Network, _dns: Servers) -> Fragment:
    unlisted = drops(str(site.vcid), "unlisted")
    beyond = [_accept(item) for item in network.resources if item.via is None]
    within = [_accept(item) for item in network.resources if item.via is not None]
    chains = {
        "out": egress.out(site, [*beyond, *unlisted]),
        "back": egress.back(site),
        "peers": [*tunnel.spoofed(site), rule("answers", ANSWERS, ACCEPT), *within, *unlisted],
    }
    return tunnel.fragment(site, chains, reasons=REASONS)


def objects(_site: Site, _place: Room, _network: Network, _peers: Sequence[Peer]) -> list[Object]:
    """Nothing but the tunnel."""
    return []


def targets(network: Network, _dns: Servers) -> list[IPv4Network | IPv6Network]:
    """Where it may go."""
    return [item.subnet for item in network.resources if item.via is None]


def _accept(resource: Resource) -> str:
    return rule("resource", *_target(resource), *_service(resource), ACCEPT)


def _target(resource: Resource) -> list[dict[str, Any]]:
    subnet = resource.subnet
    if not subnet.prefixlen:  # a match on everything is none: only the family says something
        return [match(meta("nfproto"), f"ipv{subnet.version}")]
    whole = {"prefix": {"addr": str(subnet.network_address), "len": subnet.prefixlen}}
    family = "ip" if subnet.version == 4 else "ip6"
    single = subnet.prefixlen == subnet.max_prefixlen
    return [match(payload(family, "daddr"), str(subnet.network_address) if single else whole)]


def _service(resource: Resource) -> list[dict[str, Any]]:
    if resource.protocol is None:
        return []
    if resource.ports is not None:
        return [match(payload(resource.protocol, "dport"), _ports(resource.ports))]
    six = resource.protocol == "icmp" and resource.subnet.version == 6
    return [transport("ipv6-icmp" if six else resource.protocol)]


def _ports(ports: Iterable[Range]) -> Any:
    """Ranges in the kernel's spelling: those that touch are one."""
    out: list[tuple[int, int]] = []
    for item in sorted(ports, key=lambda item: item.first):
        if out and item.first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], item.last))
        else:
            out.append((item.first, item.last))
    listed = [between(first, last) for first, last in out]
    return listed[0] if len(listed) == 1 else members(*listed)
