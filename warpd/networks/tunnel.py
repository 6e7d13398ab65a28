"""What every network type has: the WireGuard device, its peers, its addresses, and a guard that ends in a drop.

Lives here: objects and rules that all types share. Does not: what a type lets through (its own file).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from warpd.isolation.gateway import drops
from warpd.isolation.room import Room, Site
from warpd.keys import Secret
from warpd.objects.address import Address
from warpd.objects.link import LinkUp, WireguardLink, alias
from warpd.objects.nft import ACCEPT, ANSWERS, NftChain, NftElements, NftSet, NftTable, match, members, meta, payload, rule
from warpd.objects.route import Route, default_metric
from warpd.objects.wireguard import WireguardDevice, WireguardPeer
from warpd.state import Object


@dataclass(frozen=True, slots=True)
class Peer:
    """One endpoint that is in force, with everything assigned."""

    name: str
    public_key: str
    preshared_key: Secret | None
    address: IPv4Address
    address6: IPv6Address | None
    keepalive: int = 0
    endpoint: str | None = None

    @property
    def allowed_ips(self) -> tuple[str, ...]:
        six = (f"{self.address6}/128",) if self.address6 else ()
        return tuple(sorted((f"{self.address}/32", *six)))


def objects(site: Site, place: Room, driver: str, private_key: Secret, port: int, peers: Sequence[Peer]) -> list[Object]:
    """The device and everything on it, and the grants."""
    mark = alias(site.vcid, site.name)
    out: list[Object] = [
        WireguardLink(place.netns, place.tunnel, mark, site.mtu, driver),
        LinkUp(place.netns, place.tunnel, place.link),
        WireguardDevice(place.netns, place.tunnel, private_key, port),
        *_inner(place, str(site.gateway_address), str(site.subnet), 32),
    ]
    if site.subnet6 is not None:
        out += _inner(place, str(site.gateway_address6), str(site.subnet6), 128)
    out += [
        WireguardPeer(place.netns, place.tunnel, p.public_key, p.preshared_key, p.keepalive, p.allowed_ips, p.endpoint, p.name)
        for p in peers
    ]
    return [*out, *_grants(place, peers)]


def _inner(place: Room, gateway: str, subnet: str, bits: int) -> list[Object]:
    return [
        Address(place.netns, place.tunnel, f"{gateway}/{bits}", place.link),
        Route(place.netns, subnet, place.tunnel, place.link, metric=default_metric(subnet)),
    ]


def _grants(place: Room, peers: Sequence[Peer]) -> list[Object]:
    four = frozenset(str(peer.address) for peer in peers)
    six = frozenset(str(peer.address6) for peer in peers if peer.address6)
    pairs = (("endpoints4", four), ("endpoints6", six))
    return [NftElements(place.netns, name, addresses) for name, addresses in pairs if addresses]


def guard(
    site: Site, place: Room, chains: Mapping[str, Sequence[str]], sets: Iterable[NftSet], reasons: Iterable[str]
) -> NftTable:
    """The network's table: input for all types alike, `chains` from the type (`forward` is hooked, with a drop at its end)."""
    label = str(site.vcid)
    forward = (*_clamp(site), *chains["forward"], *drops(label, "not-granted"))
    built = [
        NftChain("forward", forward, "forward", policy="drop"),
        NftChain("input", tuple(_input(site, place)), "input", policy="drop"),
    ]
    for name, rules in chains.items():
        if name == "postrouting":
            built.append(NftChain(name, tuple(rules), "postrouting", "nat", 100))
        elif name != "forward":
            built.append(NftChain(name, tuple(rules)))
    every = [NftSet("endpoints4", "ipv4_addr"), NftSet("endpoints6", "ipv6_addr"), *sets]
    return NftTable(
        place.netns,
        tuple(sorted(every, key=lambda item: item.name)),
        tuple(sorted({"host-service", "not-granted", *reasons})),
        tuple(sorted(built, key=lambda chain: chain.name)),
    )


def _input(site: Site, place: Room) -> list[str]:
    """The gateway's own address answers ping, to endpoints that are granted; nothing else of it answers."""
    inside = match(meta("iifname"), place.tunnel)
    neighbours = members("nd-neighbor-solicit", "nd-neighbor-advert")
    out = [
        rule("own traffic", match(meta("iifname"), "lo"), ACCEPT),
        rule("answers to the gateway", ANSWERS, ACCEPT),
        rule(
            "ping",
            inside,
            match(payload("ip", "saddr"), "@endpoints4"),
            match(payload("ip", "daddr"), str(site.gateway_address)),
            match(payload("icmp", "type"), "echo-request"),
            ACCEPT,
        ),
        rule("neighbour discovery", match(meta("iifname"), place.exit), match(payload("icmpv6", "type"), neighbours), ACCEPT),
    ]
    if site.gateway_address6 is not None:
        out.append(
            rule(
                "ping",
                inside,
                match(payload("ip6", "saddr"), "@endpoints6"),
                match(payload("ip6", "daddr"), str(site.gateway_address6)),
                match(payload("icmpv6", "type"), "echo-request"),
                ACCEPT,
            )
        )
    return [*out, *drops(str(site.vcid), "host-service")]


def _clamp(site: Site) -> list[str]:
    """TCP's segment size down to what the tunnel carries, in both directions."""
    headers = (("ipv4", 40), ("ipv6", 60))  # IP and TCP without options, bytes
    size = {"tcp option": {"name": "maxseg", "field": "size"}}
    syn = match(payload("tcp", "flags"), "syn", op="in")
    return [
        rule(
            "segment size",
            match(meta("nfproto"), family),
            syn,
            match(size, site.mtu - cost, op=">"),
            {"mangle": {"key": size, "value": site.mtu - cost}},
        )
        for family, cost in headers
    ]
