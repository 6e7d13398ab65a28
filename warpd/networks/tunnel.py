"""What every network type has: the WireGuard device, its peers, its addresses and routes, and what
endpoints may always do.

Lives here: objects and rules that all types share. Does not: what a type lets through (its own
file), where it all lives (`isolation`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from warpd import naming
from warpd.kernel.kinds.address import Address
from warpd.kernel.kinds.link import LinkUp, WireguardLink
from warpd.kernel.kinds.nft_table import NftElements, NftSet
from warpd.kernel.kinds.route import Route, default_metric
from warpd.kernel.kinds.wireguard import WireguardDevice, WireguardPeer
from warpd.kernel.nftables.rules import ACCEPT, NOTRACK, RETURN, match, payload, rule
from warpd.kernel.state import KernelObject
from warpd.keys.derivation import Secret
from warpd.networks.firewall import connection_limits, icmp_errors
from warpd.networks.firewall.connection_limits import LEAST, Share
from warpd.networks.firewall.root import socket_mark
from warpd.networks.firewall.rules import SourceRange, drops, source_of
from warpd.networks.placement import FirewallPolicy, Placement
from warpd.networks.resolved import ResolvedNetwork


@dataclass(frozen=True, slots=True)
class TunnelPeer:
    """One endpoint that is in force, with everything assigned."""

    name: str
    public_key: str
    preshared_key: Secret | None
    address: IPv4Address
    address6: IPv6Address | None
    routes: tuple[IPv4Network | IPv6Network, ...] = ()
    leg: int = 0  # the number of its leg in an Ethernet segment
    vni: int = 0
    keepalive: int = 0
    endpoint: str | None = None
    share: Share = LEAST  # of the connection table
    # Everything that may stand as source in what comes from it: follows from the rest, and is asked
    # for several times.
    sources: tuple[SourceRange, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        six = (self.address6,) if self.address6 else ()
        routes = (item for item in self.routes if item.version == 4 or self.address6)
        own = tuple(source_of(item) for item in (self.address, *six, *routes))
        object.__setattr__(self, "sources", own)

    @property
    def allowed_ips(self) -> tuple[str, ...]:
        return tuple(sorted(source.prefix for source in self.sources))


def objects(
    network: ResolvedNetwork,
    placement: Placement,
    driver: str,
    private_key: Secret,
    peers: Sequence[TunnelPeer],
) -> list[KernelObject]:
    """The device and everything on it, and the permits."""
    mark = naming.alias(network.vcid, network.name)
    out: list[KernelObject] = [
        WireguardLink(
            placement.netns, placement.tunnel, mark, network.mtu, driver, master=placement.master
        ),
        LinkUp(placement.netns, placement.tunnel, placement.link),
        WireguardDevice(
            placement.netns,
            placement.tunnel,
            private_key,
            network.allocation.port,
            socket_mark(network.host),
        ),
        Address(placement.netns, placement.tunnel, f"{network.gateway_address}/32", placement.link),
    ]
    if network.gateway_address6 is not None:
        out.append(
            Address(
                placement.netns, placement.tunnel, f"{network.gateway_address6}/128", placement.link
            )
        )
    out += [_route(placement, str(item)) for item in network.inside]
    out += [
        WireguardPeer(
            placement.netns,
            placement.tunnel,
            p.public_key,
            p.preshared_key,
            p.keepalive,
            p.allowed_ips,
            p.endpoint,
            p.name,
        )
        for p in peers
    ]
    owned = [
        (int(p.address) - int(network.subnet.network_address), p.share, p.sources) for p in peers
    ]
    numbers = (placement.netns, placement.suffix, network.shares, owned)
    return [
        *out,
        *connection_limits.elements(*numbers),
        *icmp_errors.elements(*numbers),
        *_allocations(placement, peers),
    ]


def _route(placement: Placement, prefix: str) -> Route:
    return Route(
        placement.netns,
        prefix,
        placement.tunnel,
        placement.link,
        table=placement.table,
        metric=default_metric(prefix),
    )


def _allocations(placement: Placement, peers: Sequence[TunnelPeer]) -> list[KernelObject]:
    sources = [source for peer in peers for source in peer.sources]
    pairs = (
        (name, frozenset(source.element for source in sources if source.version == version))
        for name, version in ENDPOINTS
    )
    return [NftElements(placement.netns, placement.named(name), own) for name, own in pairs if own]


ENDPOINTS = (("endpoints4", 4), ("endpoints6", 6))
EVERY_COUNTER = ("host-service", "not-permitted")


def firewall_policy(
    network: ResolvedNetwork,
    chains: Mapping[str, Sequence[str]],
    sets: Iterable[NftSet] = (),
    reasons: Iterable[str] = (),
    leg: Sequence[Mapping[str, Any]] = (),
    tracked: bool = True,
) -> FirewallPolicy:
    """What a type lets through, with what all have: the sets of endpoints, and ping on the
    gateway's own address.

    `leg` matches the tunnel that carries the frames of a segment, between an endpoint's address and
    the gateway's. `tracked` is whether conntrack sees this tunnel, and so judges ICMP errors about
    it: not where each flow of frames has a port of its own, and would be a connection.
    """
    untracked = () if tracked else leg
    off = ("ipv6-off",) if network.subnet6 is None else ()
    own = (NftSet("endpoints4", "ipv4_addr", True), NftSet("endpoints6", "ipv6_addr", True))
    return FirewallPolicy(
        (*own, *sets),
        tuple(sorted({*EVERY_COUNTER, *off, *reasons})),
        {
            **{name: tuple(rules) for name, rules in chains.items()},
            "local": (*_local(network), *_of_leg(network, leg, ACCEPT), *_nothing_else(network)),
        },
        _of_leg(network, untracked, NOTRACK, RETURN),
        _to_leg(network, untracked, NOTRACK, RETURN),
    )


def _of_leg(
    network: ResolvedNetwork, leg: Sequence[Mapping[str, Any]], *statements: Mapping[str, Any]
) -> tuple[str, ...]:
    """What an endpoint sends by its leg."""
    ends = to_gateway("ip", 4, str(network.gateway_address))
    return (rule("its leg", *ends, *leg, *statements),) if leg else ()


def _to_leg(
    network: ResolvedNetwork, leg: Sequence[Mapping[str, Any]], *statements: Mapping[str, Any]
) -> tuple[str, ...]:
    """What the gateway sends by the leg of an endpoint."""
    own = match(payload("ip", "saddr"), str(network.gateway_address))
    endpoint = match(payload("ip", "daddr"), "@endpoints4")
    return (rule("to a leg", own, endpoint, *leg, *statements),) if leg else ()


def _nothing_else(network: ResolvedNetwork) -> tuple[str, str]:
    return drops(str(network.vcid), "host-service")


def _local(network: ResolvedNetwork) -> list[str]:
    """The gateway's own address answers ping, to endpoints that are permitted."""
    out = [_ping("ip", "icmp", 4, str(network.gateway_address))]
    return (
        [*out, _ping("ip6", "icmpv6", 6, str(network.gateway_address6))]
        if network.gateway_address6
        else out
    )


def _ping(family: str, protocol: str, version: int, address: str) -> str:
    return rule(
        "ping",
        *to_gateway(family, version, address),
        match(payload(protocol, "type"), "echo-request"),
        ACCEPT,
    )


def to_gateway(family: str, version: int, address: str) -> tuple[dict[str, object], ...]:
    """From an endpoint that is permitted, to the gateway's own address."""
    return match(payload(family, "saddr"), f"@endpoints{version}"), match(
        payload(family, "daddr"), address
    )


def spoofed(network: ResolvedNetwork) -> list[str]:
    """An endpoint sends only from its own addresses and routes.

    WireGuard checks this, too; these rules do not rely on it.
    """
    label = str(network.vcid)
    return [
        *drops(label, "spoofed", match(payload("ip", "saddr"), "@endpoints4", op="!=")),
        *drops(label, "spoofed", match(payload("ip6", "saddr"), "@endpoints6", op="!=")),
    ]
