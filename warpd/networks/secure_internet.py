"""secure-internet: endpoints reach the internet by NAT; each other only where `peer_communication` says so.

Internet egress never reaches inside: private, local and special ranges are dropped unless `allow_private`
lists them; a DNS server in one of them is let through on port 53 only.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from warpd.intent import Network
from warpd.isolation.gateway import UNTRACKED, drops, merged, plain
from warpd.isolation.room import Room, Site, Wants
from warpd.networks import tunnel
from warpd.objects.nft import ACCEPT, ANSWERS, NftSet, NftTable, jump, match, members, meta, payload, rule

TYPE = "secure-internet"
REASONS = ("ipv6-off", "peer-to-peer", "private", "spoofed", "unsolicited", "untracked")

INSIDE4 = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
)  # fmt: skip
INSIDE6 = (
    "::/127", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "fc00::/7", "fe80::/10", "ff00::/8",
)  # fmt: skip
INSIDE: tuple[IPv4Network | IPv6Network, ...] = tuple(ip_network(text) for text in (*INSIDE4, *INSIDE6))


def wants(network: Network) -> Wants:
    return Wants(egress=True, nat4=network.nat, nat6=network.nat6)


def guard(site: Site, place: Room, network: Network, dns: Sequence[IPv4Address | IPv6Address]) -> NftTable:
    chains = {
        "forward": _forward(site, place),
        "out": _out(site),
        "back": _back(site),
        "peers": _peers(site, bool(network.peer_communication)),
        "postrouting": _postrouting(place, network),
    }
    return tunnel.guard(site, place, chains, _sets(network, dns), REASONS)


def _sets(network: Network, dns: Sequence[IPv4Address | IPv6Address]) -> list[NftSet]:
    opened = network.allow_private
    servers = [server for server in dns if any(server in item for item in INSIDE)]
    out: list[NftSet] = []
    for version, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        out.append(NftSet(f"private{version}", kind, True, merged(INSIDE, version)))
        out.append(NftSet(f"opened{version}", kind, True, merged(opened, version)))
        own = sorted(plain(ip_network(server)) for server in servers if server.version == version)
        out.append(NftSet(f"dns{version}", kind, False, tuple(dict.fromkeys(own))))
    return out


def _forward(site: Site, place: Room) -> list[str]:
    inside, outside = place.tunnel, place.exit
    off = drops(str(site.vcid), "ipv6-off", match(meta("nfproto"), "ipv6")) if site.subnet6 is None else ()
    return [
        *off,
        rule("out", match(meta("iifname"), inside), match(meta("oifname"), outside), jump("out")),
        rule("back", match(meta("iifname"), outside), match(meta("oifname"), inside), jump("back")),
        rule("peers", match(meta("iifname"), inside), match(meta("oifname"), inside), jump("peers")),
    ]


def _spoofed(site: Site) -> list[str]:
    label = str(site.vcid)
    return [
        *drops(label, "spoofed", match(payload("ip", "saddr"), "@endpoints4", op="!=")),
        *drops(label, "spoofed", match(payload("ip6", "saddr"), "@endpoints6", op="!=")),
    ]


def _out(site: Site) -> list[str]:
    label = str(site.vcid)
    port53 = (match(meta("l4proto"), members("tcp", "udp")), match(payload("th", "dport"), 53))
    out = [*drops(label, "untracked", UNTRACKED), *_spoofed(site)]
    for family, version in (("ip", 4), ("ip6", 6)):
        target = payload(family, "daddr")
        out.append(rule("opened", match(target, f"@opened{version}"), ACCEPT))
        out.append(rule("name server", match(target, f"@dns{version}"), *port53, ACCEPT))
        out += drops(label, "private", match(target, f"@private{version}"))
    return [*out, rule("the internet", ACCEPT)]


def _back(site: Site) -> list[str]:
    return [
        rule("answers", match(payload("ip", "daddr"), "@endpoints4"), ANSWERS, ACCEPT),
        rule("answers", match(payload("ip6", "daddr"), "@endpoints6"), ANSWERS, ACCEPT),
        *drops(str(site.vcid), "unsolicited"),
    ]


def _peers(site: Site, open_: bool) -> list[str]:
    granted = [
        rule("mesh", match(payload(family, "daddr"), f"@endpoints{version}"), ACCEPT)
        for family, version in (("ip", 4), ("ip6", 6))
    ]
    return [*_spoofed(site), *(granted if open_ else ()), *drops(str(site.vcid), "peer-to-peer")]


def _postrouting(place: Room, network: Network) -> list[str]:
    leaving = match(meta("oifname"), place.exit)
    kept = (("ipv4", network.nat), ("ipv6", network.nat6))
    return [
        rule("onto the transit link", leaving, match(meta("nfproto"), family), {"masquerade": None})
        for family, nat in kept
        if nat
    ]
