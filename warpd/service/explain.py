"""Would a packet of an endpoint pass, and what decides: its way through AllowedIPs, routes and
rules as the kernel has them.

Pure: of a look that was taken. Lives here: the way. Does not: the language of rules (`simulator`),
who asks (`cli`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network
from typing import Final, Literal

from warpd import naming
from warpd.clients.current import own_config
from warpd.kernel.kinds.address import Address
from warpd.kernel.kinds.link import WireguardLink
from warpd.kernel.kinds.route import RTN_UNICAST, TABLE_MAIN, Route
from warpd.kernel.kinds.rule import Rule
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.nftables.foreign_rules import Probe, judge
from warpd.kernel.nftables.simulator import ACCEPT, MASQUERADE, Packet, Ruleset, Verdict
from warpd.kernel.state import ROOT, EgressLink, Host, KernelObject, State
from warpd.networks.compiler import public_key_of
from warpd.reconcile.engine import Target

Protocol = Literal["tcp", "udp", "icmp"]
UNSAID: Final = ("policy", "")


@dataclass(frozen=True, slots=True)
class PacketQuery:
    """An endpoint, as it is known to the gateway and by its own config, and what it sends.

    Addresses without length.
    """

    vcid: int
    public_key: str
    addresses: tuple[str, ...]  # the endpoint's own
    allowed_ips: tuple[str, ...]  # of its config: what it sends into the tunnel
    target: str
    protocol: Protocol = "icmp"
    port: int = 0
    names: dict[str, str] = field(default_factory=dict)  # public key -> endpoint of this network
    segment: bool = False  # an L2 network


def question_of(
    goal: Target,
    network: str,
    endpoint: str,
    target: str,
    protocol: Protocol = "icmp",
    port: int = 0,
) -> PacketQuery:
    """Raises: WarpError when this endpoint has no config (expired)."""
    allocation, about = goal.allocations.networks[network], goal.intent.networks[network]
    config = own_config(goal, network, endpoint)
    names = {
        public_key_of(
            allocation.endpoints[each].key_name or each, body, allocation.vcid, goal.master
        ): each
        for each, body in about.endpoints.items()
    }
    mine = next(key for key, each in names.items() if each == endpoint)
    own = tuple(str(ip_interface(address).ip) for address in config.addresses)
    return PacketQuery(
        allocation.vcid,
        mine,
        own,
        config.allowed_ips,
        target,
        protocol,
        port,
        names,
        about.traits.ethernet,
    )


@dataclass(frozen=True, slots=True)
class Stage:
    """One thing on the way: where, what is found there, and whether the packet goes on."""

    where: str  # client, wireguard, route, rule, nat, host
    what: str
    goes_on: bool = True


def explain(state: State, host: Host, question: PacketQuery) -> tuple[Stage, ...]:
    """The way, as far as it leads: the last stage decides.

    `host` was asked for the way to the target (`Host.ways`).

    Raises:
        Unreadable: somebody's rule stands in our table.
    """
    return tuple(_until_the_end(_way(state, host, question)))


def passes(way: Sequence[Stage]) -> bool:
    return all(stage.goes_on for stage in way)


def _until_the_end(stages: Iterator[Stage]) -> Iterator[Stage]:
    for stage in stages:
        yield stage
        if not stage.goes_on:
            return


def _way(state: State, host: Host, question: PacketQuery) -> Iterator[Stage]:
    yield from _client(question)
    source = _own(question.addresses, question.target)
    if source is None:
        text = f"has no IPv{ip_address(question.target).version} address in this network"
        yield Stage("client", text, False)
        return
    tunnel = naming.tunnel(question.vcid)
    peers = [item for item in state if isinstance(item, WireguardPeer) and item.device == tunnel]
    mine = next((peer for peer in peers if peer.public_key == question.public_key), None)
    if mine is None:
        text = f"{tunnel} has no such peer: disabled, expired, or not applied yet (`warpctl plan`)"
        yield Stage("wireguard", text, False)
        return
    prefix = _longest(mine.allowed_ips, source)
    yield Stage(
        "wireguard",
        f"{tunnel} takes {source} from it: AllowedIPs {prefix or 'lack it'}",
        prefix is not None,
    )
    packet = Packet(source, question.target, question.protocol, question.port, tunnel)
    link = next(
        (item for item in state if isinstance(item, WireguardLink) and item.name == tunnel), None
    )
    if link is None:
        yield Stage("wireguard", f"there is no {tunnel}", False)
    elif link.netns == ROOT:
        yield from _in_vrf(state, host, question, packet, link, peers)
    else:
        yield from _in_namespace(state, host, question, packet, peers)


def _client(question: PacketQuery) -> Iterator[Stage]:
    prefix = _longest(question.allowed_ips, question.target)
    if prefix is not None:
        yield Stage("client", f"sends {question.target} into the tunnel: AllowedIPs {prefix}")
    elif question.segment:
        text = (
            f"does not route {question.target} into the tunnel; Ethernet goes by its own leg,"
            " whatever its IP addresses"
        )
        yield Stage("client", text, False)
    else:
        yield Stage(
            "client", f"does not send {question.target} into the tunnel: AllowedIPs lack it", False
        )


def _in_namespace(
    state: State, host: Host, question: PacketQuery, packet: Packet, peers: Sequence[WireguardPeer]
) -> Iterator[Stage]:
    netns = naming.namespace(question.vcid)
    inside = _of(state, netns)
    book = Ruleset(inside)
    if packet.target in _addresses(inside):
        yield _judged(book.judge("input", packet), "its own address")
        return
    route = _route(inside, TABLE_MAIN, packet.target)
    yield _routed(route)
    if route is None:
        return
    packet = dataclasses.replace(packet, oif=route.device)
    yield _judged(book.judge("forward", packet), f"in {netns}")
    if route.device == packet.iif:
        yield _delivered(peers, question, packet)
        return
    packet = yield from _translated(
        book, packet, _transit(inside, route.device, packet), f"in {netns}"
    )
    packet = dataclasses.replace(packet, iif=naming.transit_outer(question.vcid), oif="")
    yield from _in_root(state, host, packet)


def _in_vrf(
    state: State,
    host: Host,
    question: PacketQuery,
    packet: Packet,
    link: WireguardLink,
    peers: Sequence[WireguardPeer],
) -> Iterator[Stage]:
    root = _of(state, ROOT)
    book = Ruleset(root)
    vrf, tunnel = naming.vrf(question.vcid), packet.iif
    packet = dataclasses.replace(book.judge("steer", packet).packet, iif=vrf)
    if packet.target in _addresses(root) or packet.target in host.uplink_addresses:
        yield _judged(book.judge("input", packet), "an address of this host")
        return
    tables = [item.table for item in root if isinstance(item, Route) and item.device == tunnel]
    route = _route(root, tables[0] if tables else -1, packet.target)
    if _goes_on(root, packet, route):
        yield from _in_root(state, host, packet)
        return
    yield _routed(route)
    if route is not None:
        packet = dataclasses.replace(packet, oif=route.device)
        yield _judged(book.judge("forward", packet), "in the root")
        yield _delivered(peers, question, packet)


def _goes_on(root: Iterable[KernelObject], packet: Packet, route: Route | None) -> bool:
    """Whether the lookup in the network's table, which passes over its default routes, leads on to
    the host's rules.
    """
    rules = (
        item
        for item in root
        if isinstance(item, Rule) and item.mark == packet.mark and not item.mask
    )
    return any(item.suppress == 0 for item in rules) and (
        route is None or route.prefix.endswith("/0")
    )


def _in_root(state: State, host: Host, packet: Packet) -> Iterator[Stage]:
    root = _of(state, ROOT)
    book = Ruleset(root)
    if packet.target in _addresses(root) or packet.target in host.uplink_addresses:
        yield _judged(book.judge("input", packet), "an address of this host")
        return
    link, by_default = _leaves_by(host, packet)
    if not link:
        yield Stage("route", "no route of the host leads there", False)
        return
    yield Stage(
        "route", f"the host's own routes lead there by {link}{', by default' if by_default else ''}"
    )
    packet = dataclasses.replace(packet, oif=link)
    yield _judged(book.judge("forward", packet), "in the root")
    if packet.version == 4 and EgressLink(link, forwarding4=True) not in host.exits:
        yield Stage("host", f"{link} does not forward IPv4: answers cannot come back by it", False)
    own = _own(host.uplink_addresses, packet.target) if link == host.uplink else None
    yield from _translated(book, packet, own or f"that of {link}", "in the root")
    yield from _foreign(host, packet)


def _leaves_by(host: Host, packet: Packet) -> tuple[str, bool]:
    """The link by which the host sends what a network lets out ("" for none), and whether only for
    want of a better route.
    """
    way = next(
        (each for each in host.ways if ip_network(each.target) == ip_network(packet.target)), None
    )
    if way is None or (way.by_default and packet.version in host.steered):
        return host.uplink, True
    return way.first, way.by_default


def _foreign(host: Host, packet: Packet) -> Iterator[Stage]:
    """Chains of others that drop it for certain, or that nobody here can tell about."""
    protocol = "ipv6-icmp" if packet.protocol == "icmp" and packet.version == 6 else packet.protocol
    probe = Probe("forward", packet.version, packet.iif, packet.oif, protocol, packet.port or None)
    for found in judge(host.foreign_rules, probe):
        name = f"{found.chain.family} {found.chain.table} {found.chain.name}"
        if found.end == "dropped":
            yield Stage("host", f"chain {name} (not ours) drops it (see `warpctl doctor`)", False)
        elif found.end == "unknown":
            yield Stage(
                "host",
                f"chain {name} (not ours) has rules that are not understood here: it may drop it",
            )


def _translated(
    book: Ruleset, packet: Packet, source: str, where: str
) -> Generator[Stage, None, Packet]:
    """Whether its source stays; the packet as it leaves."""
    if "postrouting" not in book.chains:
        return packet
    found = book.judge("postrouting", packet)
    if found.what == MASQUERADE:
        yield Stage("nat", f"{where} its source becomes {source} ({found.rule})")
        return dataclasses.replace(packet, source=source)
    yield Stage("nat", f"{where} it keeps its source {packet.source}")
    return packet


def _judged(found: Verdict, where: str) -> Stage:
    rule = (
        f"chain {found.chain}: {found.rule}"
        if found.rule not in UNSAID
        else f"policy of chain {found.chain}"
    )
    return Stage("rule", f"{where}: {rule} -> {found.what}", found.what == ACCEPT)


def _routed(route: Route | None) -> Stage:
    if route is None:
        return Stage("route", "no route leads there", False)
    if route.kind != RTN_UNICAST or not route.device:
        return Stage("route", f"{route.prefix} is unreachable in table {route.table}", False)
    return Stage(
        "route",
        f"{route.prefix} dev"
        f" {route.device}{'' if route.table == TABLE_MAIN else f' table {route.table}'}",
    )


def _delivered(peers: Sequence[WireguardPeer], question: PacketQuery, packet: Packet) -> Stage:
    holders = [
        (peer, prefix)
        for peer in peers
        if (prefix := _longest(peer.allowed_ips, packet.target)) is not None
    ]
    if not holders:
        return Stage(
            "wireguard", f"no endpoint of {packet.oif} has {packet.target} in its AllowedIPs", False
        )
    peer, prefix = max(holders, key=lambda found: ip_network(found[1]).prefixlen)
    return Stage(
        "wireguard",
        f"to {question.names.get(peer.public_key, peer.public_key)}: AllowedIPs {prefix}",
    )


def _route(objects: Iterable[KernelObject], table: int, target: str) -> Route | None:
    found = [
        item
        for item in objects
        if isinstance(item, Route) and item.table == table and _holds(item.prefix, target)
    ]
    return min(
        found, key=lambda item: (-ip_network(item.prefix).prefixlen, item.metric), default=None
    )


def _transit(inside: Iterable[KernelObject], device: str, packet: Packet) -> str:
    own = [item.address for item in inside if isinstance(item, Address) and item.device == device]
    return _own([str(ip_interface(each).ip) for each in own], packet.target) or packet.source


def _of(state: State, netns: str) -> list[KernelObject]:
    return [item for item in state if getattr(item, "netns", None) == netns]


def _addresses(objects: Iterable[KernelObject]) -> set[str]:
    return {str(ip_interface(item.address).ip) for item in objects if isinstance(item, Address)}


def _own(addresses: Iterable[str], target: str) -> str | None:
    version = ip_address(target).version
    return next((each for each in addresses if ip_address(each).version == version), None)


def _longest(prefixes: Iterable[str], target: str) -> str | None:
    held = [prefix for prefix in prefixes if _holds(prefix, target)]
    return max(held, key=lambda prefix: ip_network(prefix, strict=False).prefixlen, default=None)


def _holds(prefix: str, target: str) -> bool:
    block, own = ip_network(prefix, strict=False), ip_address(target)
    return block.version == own.version and own in block
