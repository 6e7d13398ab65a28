"""Explain whether a packet of an endpoint would pass, and what decides that.

The packet is followed through AllowedIPs, routes and rules as they were observed in the kernel.
Pure. `kernel.nftables.simulator` evaluates the rules of nftables.
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
from warpd.kernel.nftables.foreign_rules import Probe
from warpd.kernel.nftables.simulator import ACCEPT, MASQUERADE, Packet, Ruleset, Verdict
from warpd.kernel.state import ROOT, EgressLink, Host, KernelObject, State
from warpd.networks.peer_keys import public_key_of
from warpd.reconcile.engine import Target
from warpd.service.views import packet_paths

Protocol = Literal["tcp", "udp", "icmp"]
NO_RULE: Final = ("policy", "")  # verdicts that no rule but the policy of a chain has given


@dataclass(frozen=True, slots=True)
class PacketQuery:
    """A packet of an endpoint.

    - `vcid`: the network.
    - `public_key`: the endpoint's key.
    - `addresses`: the endpoint's own addresses, without prefix length.
    - `allowed_ips`: of its client config: what it sends into the tunnel.
    - `target`: an address without prefix length.
    - `protocol`, `port`: the port is 0 for icmp.
    - `names`: public key -> name, for the endpoints of this network.
    - `segment`: whether the network carries Ethernet.
    """

    vcid: int
    public_key: str
    addresses: tuple[str, ...]
    allowed_ips: tuple[str, ...]
    target: str
    protocol: Protocol = "icmp"
    port: int = 0
    names: dict[str, str] = field(default_factory=dict)
    segment: bool = False


def question_of(
    wanted: Target,
    network: str,
    endpoint: str,
    target: str,
    protocol: Protocol = "icmp",
    port: int = 0,
) -> PacketQuery:
    """Make the question for a packet from an endpoint of the target.

    Raises:
        WarpError: the endpoint has no client config, since it has expired or is suspended.
    """
    allocation = wanted.allocations.networks[network]
    body = wanted.intent.networks[network]
    config = own_config(wanted, network, endpoint)
    names = {}
    for name, described in body.endpoints.items():
        key_name = allocation.endpoints[name].key_name or name
        names[public_key_of(key_name, described, allocation.vcid, wanted.master)] = name
    return PacketQuery(
        vcid=allocation.vcid,
        public_key=next(key for key, name in names.items() if name == endpoint),
        addresses=tuple(str(ip_interface(address).ip) for address in config.addresses),
        allowed_ips=config.allowed_ips,
        target=target,
        protocol=protocol,
        port=port,
        names=names,
        segment=body.traits.ethernet,
    )


@dataclass(frozen=True, slots=True)
class Stage:
    """One thing on the packet's way.

    - `where`: client, wireguard, route, rule, nat or host.
    - `what`: what is found there.
    - `passes`: whether the packet goes on from there.
    """

    where: str
    what: str
    passes: bool = True


def explain(state: State, host: Host, question: PacketQuery) -> tuple[Stage, ...]:
    """Return the packet's way as far as it leads; the last stage decides.

    Args:
        state: the observed objects.
        host: the host, read with the route to the target (`Host.range_routes`).
        question: the packet.

    Raises:
        UnsupportedRule: our table contains a rule that warpd does not make.
    """
    return tuple(_until_the_end(_way(state, host, question)))


def passes(way: Sequence[Stage]) -> bool:
    """Whether the packet goes on from every stage."""
    return all(stage.passes for stage in way)


def _until_the_end(stages: Iterator[Stage]) -> Iterator[Stage]:
    for stage in stages:
        yield stage
        if not stage.passes:
            return


def _way(state: State, host: Host, question: PacketQuery) -> Iterator[Stage]:
    """Yield all stages of the way, also after one at which the packet is lost."""
    yield from _client(question)
    source = _own(question.addresses, question.target)
    if source is None:
        text = f"has no IPv{ip_address(question.target).version} address in this network"
        yield Stage("client", text, False)
        return
    tunnel = naming.tunnel(question.vcid)
    peers = [item for item in state if isinstance(item, WireguardPeer) and item.device == tunnel]
    yield _received(tunnel, peers, question.public_key, source)
    packet = Packet(source, question.target, question.protocol, question.port, tunnel)
    link = _wireguard_link(state, tunnel)
    if link is None:
        yield Stage("wireguard", f"there is no {tunnel}", False)
    elif link.netns == ROOT:
        yield from _in_vrf(state, host, question, packet, link, peers)
    else:
        yield from _in_namespace(state, host, question, packet, peers)


def _received(tunnel: str, peers: Iterable[WireguardPeer], public_key: str, source: str) -> Stage:
    """Whether the WireGuard device accepts packets with this source from the endpoint."""
    mine = next((peer for peer in peers if peer.public_key == public_key), None)
    if mine is None:
        text = f"{tunnel} has no such peer: not in force, or not applied yet (`warpctl plan`)"
        return Stage("wireguard", text, False)
    prefix = _longest(mine.allowed_ips, source)
    text = f"{tunnel} takes {source} from it: AllowedIPs {prefix or 'lack it'}"
    return Stage("wireguard", text, prefix is not None)


def _wireguard_link(state: State, name: str) -> WireguardLink | None:
    links = (item for item in state if isinstance(item, WireguardLink) and item.name == name)
    return next(links, None)


def _client(question: PacketQuery) -> Iterator[Stage]:
    """Whether the device sends the packet into the tunnel."""
    prefix = _longest(question.allowed_ips, question.target)
    if prefix is not None:
        yield Stage("client", f"sends {question.target} into the tunnel: AllowedIPs {prefix}")
    elif question.segment:
        text = (
            f"does not route {question.target} into the tunnel; Ethernet frames pass by the"
            " endpoint's own leg, whatever their IP addresses"
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
    ruleset = Ruleset(inside)
    if packet.target in _addresses(inside):
        yield _rule_stage(ruleset.evaluate("input", packet), "its own address")
        return
    route = _route(inside, TABLE_MAIN, packet.target)
    yield _routed(route)
    if route is None:
        return
    packet = dataclasses.replace(packet, oif=route.device)
    yield _rule_stage(ruleset.evaluate("forward", packet), f"in {netns}")
    if route.device == packet.iif:
        yield _delivered(peers, question, packet)
        return
    packet = yield from _translated(
        ruleset, packet, _transit(inside, route.device, packet), f"in {netns}"
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
    ruleset = Ruleset(root)
    vrf, tunnel = naming.vrf(question.vcid), packet.iif
    packet = dataclasses.replace(ruleset.evaluate("steer", packet).packet, iif=vrf)
    if packet.target in _addresses(root) or packet.target in host.uplink_addresses:
        yield _rule_stage(ruleset.evaluate("input", packet), "an address of this host")
        return
    tables = [item.table for item in root if isinstance(item, Route) and item.device == tunnel]
    route = _route(root, tables[0] if tables else -1, packet.target)
    if _passes(root, packet, route):
        yield from _in_root(state, host, packet)
        return
    yield _routed(route)
    if route is not None:
        packet = dataclasses.replace(packet, oif=route.device)
        yield _rule_stage(ruleset.evaluate("forward", packet), "in the root")
        yield _delivered(peers, question, packet)


def _passes(root: Iterable[KernelObject], packet: Packet, route: Route | None) -> bool:
    """Whether the lookup in the network's table leads on to the host's own rules.

    The rule of such a network ignores default routes in its table (suppress_prefixlength 0).
    """
    if route is not None and not route.prefix.endswith("/0"):
        return False
    rules = (item for item in root if isinstance(item, Rule))
    return any(rule.mark == packet.mark and not rule.mask and rule.suppress == 0 for rule in rules)


def _in_root(state: State, host: Host, packet: Packet) -> Iterator[Stage]:
    root = _of(state, ROOT)
    ruleset = Ruleset(root)
    if packet.target in _addresses(root) or packet.target in host.uplink_addresses:
        yield _rule_stage(ruleset.evaluate("input", packet), "an address of this host")
        return
    link, by_default = _leaves_by(host, packet)
    if not link:
        yield Stage("route", "no route of the host leads there", False)
        return
    text = f"the host's own routes lead there by {link}"
    if by_default:
        text += ", by default"
    yield Stage("route", text)
    packet = dataclasses.replace(packet, oif=link)
    yield _rule_stage(ruleset.evaluate("forward", packet), "in the root")
    if packet.version == 4 and EgressLink(link, forwarding4=True) not in host.exits:
        yield Stage("host", f"{link} does not forward IPv4: answers cannot come back by it", False)
    own = _own(host.uplink_addresses, packet.target) if link == host.uplink else None
    yield from _translated(ruleset, packet, own or f"that of {link}", "in the root")
    yield from _foreign(host, packet)


def _leaves_by(host: Host, packet: Packet) -> tuple[str, bool]:
    """Return the link by which the host sends what a network lets out, and whether by a default
    route.

    The link is "" where no route leads there.
    """
    target = ip_network(packet.target)
    way = next((one for one in host.range_routes if ip_network(one.target) == target), None)
    if way is None or (way.by_default and packet.version in host.steered):
        return host.uplink, True
    return way.first, way.by_default


def _foreign(host: Host, packet: Packet) -> Iterator[Stage]:
    """Yield the foreign chains that certainly drop the packet, and those that may drop it."""
    protocol: str = packet.protocol
    if packet.protocol == "icmp" and packet.version == 6:
        protocol = "ipv6-icmp"
    probe = Probe(
        "forward",
        packet.version,
        packet.iif,
        packet.oif,
        protocol,
        packet.port or None,
        source=ip_network(packet.source),
        target=ip_network(packet.target),
    )
    for found in packet_paths.verdicts(host, packet_paths.of_sent([probe], [packet.iif])):
        name = f"{found.chain.family} {found.chain.table} {found.chain.name}"
        if found.end == "dropped":
            yield Stage("host", f"chain {name} (not ours) drops it (see `warpctl doctor`)", False)
        elif found.by_default:
            text = f"chain {name} (not ours) has rules that warpd cannot evaluate: it may drop it"
            yield Stage("host", text)


def _translated(
    ruleset: Ruleset, packet: Packet, source: str, where: str
) -> Generator[Stage, None, Packet]:
    """Yield whether NAT changes the source; return the packet as it leaves."""
    if "postrouting" not in ruleset.chains:
        return packet
    found = ruleset.evaluate("postrouting", packet)
    if found.what == MASQUERADE:
        yield Stage("nat", f"{where} its source becomes {source} ({found.rule})")
        return dataclasses.replace(packet, source=source)
    yield Stage("nat", f"{where} it keeps its source {packet.source}")
    return packet


def _rule_stage(found: Verdict, where: str) -> Stage:
    rule = f"chain {found.chain}: {found.rule}"
    if found.rule in NO_RULE:
        rule = f"policy of chain {found.chain}"
    return Stage("rule", f"{where}: {rule} -> {found.what}", found.what == ACCEPT)


def _routed(route: Route | None) -> Stage:
    if route is None:
        return Stage("route", "no route leads there", False)
    if route.kind != RTN_UNICAST or not route.device:
        return Stage("route", f"{route.prefix} is unreachable in table {route.table}", False)
    text = f"{route.prefix} dev {route.device}"
    if route.table != TABLE_MAIN:
        text += f" table {route.table}"
    return Stage("route", text)


def _delivered(peers: Sequence[WireguardPeer], question: PacketQuery, packet: Packet) -> Stage:
    """Which endpoint gets the packet: that of the longest AllowedIPs prefix."""
    holders = []
    for peer in peers:
        prefix = _longest(peer.allowed_ips, packet.target)
        if prefix is not None:
            holders.append((peer, prefix))
    if not holders:
        text = f"no endpoint of {packet.oif} has {packet.target} in its AllowedIPs"
        return Stage("wireguard", text, False)
    peer, prefix = max(holders, key=lambda found: ip_network(found[1]).prefixlen)
    name = question.names.get(peer.public_key, peer.public_key)
    return Stage("wireguard", f"to {name}: AllowedIPs {prefix}")


def _route(objects: Iterable[KernelObject], table: int, target: str) -> Route | None:
    """Return the route of a table that the kernel takes: the longest prefix, then the metric."""
    routes = (item for item in objects if isinstance(item, Route) and item.table == table)
    found = [route for route in routes if _holds(route.prefix, target)]
    return min(
        found, key=lambda route: (-ip_network(route.prefix).prefixlen, route.metric), default=None
    )


def _transit(inside: Iterable[KernelObject], device: str, packet: Packet) -> str:
    """Return the address that masquerading on a device gives the packet."""
    own = [item.address for item in inside if isinstance(item, Address) and item.device == device]
    addresses = [str(ip_interface(address).ip) for address in own]
    return _own(addresses, packet.target) or packet.source


def _of(state: State, netns: str) -> list[KernelObject]:
    return [item for item in state if getattr(item, "netns", None) == netns]


def _addresses(objects: Iterable[KernelObject]) -> set[str]:
    return {str(ip_interface(item.address).ip) for item in objects if isinstance(item, Address)}


def _own(addresses: Iterable[str], target: str) -> str | None:
    version = ip_address(target).version
    return next((item for item in addresses if ip_address(item).version == version), None)


def _longest(prefixes: Iterable[str], target: str) -> str | None:
    containing = [prefix for prefix in prefixes if _holds(prefix, target)]
    return max(
        containing, key=lambda prefix: ip_network(prefix, strict=False).prefixlen, default=None
    )


def _holds(prefix: str, target: str) -> bool:
    block, own = ip_network(prefix, strict=False), ip_address(target)
    return block.version == own.version and own in block
