"""secure-internet: endpoints reach the internet by NAT; each other only where `peer_communication` says so.

Internet egress never reaches inside: private, local and special ranges are dropped unless `allow_private`
lists them; a DNS server in one of them is let through on port 53 only.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from warpd.intent import Network
from warpd.isolation.room import Fragment, Room, Site, Wants
from warpd.isolation.rules import drops, merged, plain
from warpd.networks import egress, tunnel
from warpd.networks.tunnel import Peer
from warpd.objects.nft import NftSet
from warpd.objects.nft_rules import ACCEPT, match, payload, rule, transport
from warpd.state import Object

TYPE = "secure-internet"
REASONS = (*egress.REASONS, "peer-to-peer", "private")

INSIDE4 = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
)  # fmt: skip
INSIDE6 = (
    "::/127", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "fc00::/7", "fe80::/10", "ff00::/8",
)  # fmt: skip
INSIDE: tuple[IPv4Network | IPv6Network, ...] = tuple(ip_network(text) for text in (*INSIDE4, *INSIDE6))
Servers = Sequence[IPv4Address | IPv6Address]


def wants(network: Network) -> Wants:
    return egress.wants(network)


def fragment(site: Site, network: Network, dns: Servers) -> Fragment:
    chains = {
        "out": egress.out(site, _granted(site)),
        "back": egress.back(site),
        "peers": _peers(site, bool(network.peer_communication)),
    }
    return tunnel.fragment(site, chains, _sets(network, dns), REASONS)


def objects(_site: Site, _place: Room, _network: Network, _peers: Sequence[Peer]) -> list[Object]:
    """Nothing but the tunnel."""
    return []


def targets(network: Network, dns: Servers) -> list[IPv4Network | IPv6Network]:
    """Where it may go by another link than the uplink: a name server may stand on a link of its own."""
    return [*network.allow_private, *(ip_network(server) for server in dns)]


def _sets(network: Network, dns: Servers) -> list[NftSet]:
    opened = network.allow_private
    servers = [server for server in dns if any(server in item for item in INSIDE)]
    out: list[NftSet] = []
    for version, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        out.append(NftSet(f"private{version}", kind, True, merged(INSIDE, version)))
        out.append(NftSet(f"opened{version}", kind, True, merged(opened, version)))
        own = sorted(plain(ip_network(server)) for server in servers if server.version == version)
        out.append(NftSet(f"dns{version}", kind, False, tuple(dict.fromkeys(own))))
    return out


def _granted(site: Site) -> list[str]:
    port53 = (transport("tcp", "udp"), match(payload("th", "dport"), 53))
    out = []
    for family, version in (("ip", 4), ("ip6", 6)):
        target = payload(family, "daddr")
        out.append(rule("opened", match(target, f"@opened{version}"), ACCEPT))
        out.append(rule("name server", match(target, f"@dns{version}"), *port53, ACCEPT))
        out += drops(str(site.vcid), "private", match(target, f"@private{version}"))
    return [*out, rule("the internet", ACCEPT)]


def _peers(site: Site, open_: bool) -> list[str]:
    granted = [
        rule("mesh", match(payload(family, "daddr"), f"@endpoints{version}"), ACCEPT)
        for family, version in (("ip", 4), ("ip6", 6))
    ]
    return [*tunnel.spoofed(site), *(granted if open_ else ()), *drops(str(site.vcid), "peer-to-peer")]
