"""secure-internet: endpoints reach the internet by NAT; each other only where `peer_communication`
says so.

Internet egress never reaches inside: private, local and special ranges are dropped unless
`allow_private` lists them; a DNS server in one of them is let through on port 53 only.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from warpd.intent.model import Network
from warpd.kernel.kinds.nft_table import NftSet
from warpd.kernel.nftables.rules import ACCEPT, match, payload, rule
from warpd.kernel.state import KernelObject
from warpd.networks import egress, tunnel
from warpd.networks.firewall.rules import drops, merged, plain
from warpd.networks.placement import EgressRequirements, FirewallPolicy, Placement
from warpd.networks.policy import PolicyEntry
from warpd.networks.resolved import ResolvedNetwork
from warpd.networks.special_ranges import INSIDE, REACHABLE_INSIDE
from warpd.networks.tunnel import TunnelPeer

TYPE = "secure-internet"
REASONS = (*egress.REASONS, "peer-to-peer", "private")

Servers = Sequence[IPv4Address | IPv6Address]
DNS_PROTOCOLS, DNS_PORTS = (6, 17), ((53, 53),)
POLICY: tuple[PolicyEntry, ...] = tuple(
    entry
    for version in egress.VERSIONS
    for entry in (
        PolicyEntry("opened", version, f"@allowed_private{version}"),
        PolicyEntry("name server", version, f"@dns{version}", DNS_PROTOCOLS, DNS_PORTS),
        PolicyEntry("private", version, f"@private{version}", denied="private"),
        PolicyEntry("the internet", version),
    )
)


def egress_requirements(network: ResolvedNetwork) -> EgressRequirements:
    return egress.egress_requirements(network)


def firewall_policy(network: ResolvedNetwork) -> FirewallPolicy:
    chains = {
        "out": egress.out(network, POLICY),
        "back": egress.back(network, POLICY),
        "peers": _peers(network, bool(network.intent.peer_communication)),
    }
    return tunnel.firewall_policy(network, chains, _sets(network), REASONS)


def objects(
    _network: ResolvedNetwork, _place: Placement, _peers: Sequence[TunnelPeer]
) -> list[KernelObject]:
    """Return no objects beside the tunnel."""
    return []


def egress_destinations(network: Network, dns: Servers) -> list[IPv4Network | IPv6Network]:
    """Return what may be reached by another link than the uplink. That includes the name servers:
    one may be on a link of its own.
    """
    return [*network.allow_private, *(ip_network(server) for server in dns)]


def _servers_inside(dns: Servers) -> list[IPv4Address | IPv6Address]:
    return [server for server in dns if any(server in item for item in INSIDE)]


def _sets(network: ResolvedNetwork) -> list[NftSet]:
    opened = (*network.intent.allow_private, *REACHABLE_INSIDE)
    servers = _servers_inside(network.dns)
    out: list[NftSet] = []
    for version, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        out.append(NftSet(f"private{version}", kind, True, merged(INSIDE, version)))
        out.append(NftSet(f"allowed_private{version}", kind, True, merged(opened, version)))
        own = sorted(plain(ip_network(server)) for server in servers if server.version == version)
        out.append(NftSet(f"dns{version}", kind, False, tuple(dict.fromkeys(own))))
    return out


def _peers(network: ResolvedNetwork, open_: bool) -> list[str]:
    permitted = [
        rule("mesh", match(payload(family, "daddr"), f"@endpoints{version}"), ACCEPT)
        for family, version in (("ip", 4), ("ip6", 6))
    ]
    return [
        *tunnel.spoofed(network),
        *(permitted if open_ else ()),
        *drops(str(network.vcid), "peer-to-peer"),
    ]
