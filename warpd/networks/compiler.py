"""(intent, grants, keys, host facts) -> State: every object that should exist. Pure.

Lives here: which networks and endpoints are in force, and who builds their objects. Does not: what
a type lets through (`networks/`), where things live (`isolation/`), how a difference is mended
(`diff`, `plan`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from ipaddress import IPv4Network, collapse_addresses
from types import MappingProxyType
from typing import Any, Final

from warpd import naming
from warpd.allocation.model import Allocations, NetworkAllocation
from warpd.errors import Finding
from warpd.intent.model import Endpoint, Gateway, Intent, Network
from warpd.intent.types import is_plain_link_name
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import (
    ROOT,
    TRANSIT6,
    EgressLink,
    ForeignRules,
    Host,
    KernelObject,
    Key,
    State,
)
from warpd.keys import derivation
from warpd.networks import tunnel
from warpd.networks.firewall import root
from warpd.networks.firewall.connection_limits import LEAST, Share
from warpd.networks.firewall.local_delivery import with_transit
from warpd.networks.firewall.rules import Range
from warpd.networks.isolation import MODES, mode
from warpd.networks.isolation.namespace import transit6
from warpd.networks.limits import endpoint_share, shares_of, table_size
from warpd.networks.placement import NetworkSite, RootContribution
from warpd.networks.types import min_mtu, type_named

WIREGUARD_OVERHEAD = 80  # bytes: IPv6 header 40, UDP 8, WireGuard 32
IPV6_MINIMUM_MTU = 1280
NONE_KEYED: Final[Mapping[str, WireguardPeer]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class CompileInputs:
    """Everything that one network is compiled from: equal terms, equal objects."""

    name: str
    network: Network
    allocation: NetworkAllocation
    gateway: Gateway
    master: derivation.Master
    host: Host
    today: date


@dataclass(frozen=True, slots=True)
class CompiledNetwork:
    """One network, compiled."""

    terms: CompileInputs
    built: RootContribution
    state: State


@dataclass(frozen=True, slots=True)
class Problem:
    """What this machine, as it is now, keeps a network from.

    It says nothing about the YAML, and never stops other networks.

    `whole`: nothing is given to the network, which still loses what it should no longer have;
    otherwise it is built, and only its way out of the gateway does not work.
    """

    network: str
    group: str
    whole: bool
    finding: Finding


@dataclass(frozen=True, slots=True)
class Compiled:
    """What should exist, and what this machine keeps networks from."""

    state: State
    problems: tuple[Problem, ...]
    names: Mapping[str, str]  # group (namespace name) -> network name
    parts: Mapping[str, CompiledNetwork] = field(default_factory=dict)  # by group
    shared: State = field(default_factory=State)  # the gateway's own

    @property
    def stopped(self) -> frozenset[str]:
        """Groups to which nothing is given."""
        return frozenset(problem.group for problem in self.problems if problem.whole)

    def of(self, groups: Collection[str]) -> State:
        """What should exist of these groups."""
        parts = [self.parts[group].state for group in groups if group in self.parts]
        return State.joined([*parts, self.shared] if ROOT in groups else parts)

    def moved(self, before: Compiled) -> set[str]:
        """Groups of which something else should exist than `before`."""
        moved = {
            group for group, part in self.parts.items() if not _same(part, before.parts.get(group))
        }
        shared = set() if self.shared.objects == before.shared.objects else {ROOT}
        return moved | shared | (before.parts.keys() - self.parts.keys())


def _same(part: CompiledNetwork, other: CompiledNetwork | None) -> bool:
    """One that was taken as it was is the same object: cheaper to ask than to compare all that it
    holds.
    """
    return part is other or (other is not None and part.state.objects == other.state.objects)


def compile_state(
    intent: Intent,
    allocations: Allocations,
    master: derivation.Master,
    host: Host,
    today: date,
    last: Compiled | None = None,
) -> Compiled:
    """Compile every enabled network; what `last` holds of the same terms is taken from there."""
    fenced = policy_facts(host)
    fenced = dataclasses.replace(
        fenced, local=with_transit(fenced.local, intent.gateway.pools.transit)
    )
    known = {part.terms.name: part for part in last.parts.values()} if last is not None else {}
    by_name: dict[str, CompiledNetwork] = {}
    problems: list[Problem] = []
    for name, network in sorted(intent.networks.items()):
        if not network.enabled:
            continue
        terms = CompileInputs(
            name, network, allocations.networks[name], intent.gateway, master, fenced, today
        )
        problems += _problems(terms, host)
        try:
            kept = name in known and known[name].terms == terms
            by_name[name] = known[name] if kept else _part(terms, _keyed(terms, known.get(name)))
        except ValueError as failure:
            problems.append(_clash(terms, str(failure)))
    clashes = _clashes(by_name)
    sound = [part for name, part in sorted(by_name.items()) if name not in clashes]
    shared = _shared_state(fenced, sound, intent)
    taken = {
        part.terms.name: _clash(part.terms, text)
        for part in sound
        if (text := _taken_by_gateway(part, shared))
    }
    if taken:
        clashes |= taken
        sound = [part for part in sound if part.terms.name not in taken]
        shared = _shared_state(fenced, sound, intent)
    parts = {part.built.group: part for part in sound}
    state = State.joined([*(part.state for part in parts.values()), shared])
    names = {group: part.terms.name for group, part in parts.items()}
    return Compiled(state, (*problems, *clashes.values()), names, parts, shared)


def _shared_state(host: Host, parts: Collection[CompiledNetwork], intent: Intent) -> State:
    return State.of(_gateway_objects(host, parts, intent)) if parts else State()


def _taken_by_gateway(part: CompiledNetwork, shared: State) -> str:
    """What a network claims that is the gateway's own: a setting of the uplink, say, whose name its
    bridge would have.
    """
    key = next((key for key in sorted(shared.objects) if key in part.state.objects), None)
    return f"{key} is the gateway's own" if key is not None else ""


def _clashes(parts: Mapping[str, CompiledNetwork]) -> dict[str, Problem]:
    """Networks that claim a kernel object which another one has, by name.

    The first one in order keeps it.
    """
    try:
        State.joined(part.state for part in parts.values())
    except ValueError:
        return dict(_claimed_twice(parts))
    return {}


def _claimed_twice(parts: Mapping[str, CompiledNetwork]) -> Iterator[tuple[str, Problem]]:
    owners: dict[Key, str] = {}
    for name, part in sorted(parts.items()):
        taken = next((key for key in sorted(part.state.objects) if key in owners), None)
        if taken is None:
            owners |= dict.fromkeys(part.state.objects, name)
        else:
            yield name, _clash(part.terms, f"network {owners[taken]} has {taken} already")


def _clash(terms: CompileInputs, text: str) -> Problem:
    return _problem(
        terms,
        True,
        "clash",
        f"networks.{terms.name}",
        text,
        "give one of them another name or number",
    )


def _problem(
    terms: CompileInputs, whole: bool, code: str, path: str, message: str, hint: str
) -> Problem:
    return Problem(
        terms.name,
        naming.namespace(terms.allocation.vcid),
        whole,
        Finding(code, path, message, hint),
    )


def targets(intent: Intent) -> tuple[str, ...]:
    """Ranges that networks may reach by other links than the uplink: the host must forward answers
    on those that lead there.
    """
    out: set[str] = set()
    for network in intent.networks.values():
        if network.enabled:
            out |= {
                str(item)
                for item in type_named(network.type).targets(
                    network, dns_of(network, intent.gateway)
                )
            }
    return tuple(sorted(out))


def with_fence(host: Host) -> Host:
    """The host with the fences that should stand: where forwarding is off, or was until we turned
    it on.
    """
    own4 = tuple(
        link.name for link in host.exits if link.name in host.fence4 or not link.forwarding4
    )
    return dataclasses.replace(
        host,
        fence4=() if host.forwarding4 else own4,
        fence6=host.fence6 or not host.forwarding6,
    )


def policy_facts(host: Host) -> Host:
    """The host as far as it decides what is wanted: the same before and after we have changed its
    forwarding.
    """
    return dataclasses.replace(
        with_fence(host),
        forwarding4=False,
        forwarding6=False,
        uplink_down=False,
        conntrack_max=table_size(host.conntrack_max),
        exits=tuple(EgressLink(link.name) for link in host.exits if not is_closed(host, link)),
        foreign_rules=ForeignRules(),
    )


def _problems(terms: CompileInputs, host: Host) -> Iterable[Problem]:
    """`host` is the machine as it was seen, before anything of ours."""
    if driver(terms.gateway, host) is None:
        text = (
            f"gateway.wireguard is {terms.gateway.wireguard}, and this machine has no such"
            " WireGuard"
        )
        hint = (
            "load the kernel module (modprobe wireguard) or install wireguard-go (apt install"
            " wireguard-go)"
        )
        yield _problem(terms, True, "wireguard-missing", "gateway.wireguard", text, hint)
    isolation = isolation_of(terms.network, terms.gateway)
    why = _why_not(terms)
    if why:
        text = f"cannot be {isolation} on this machine: {why}"
        hint = "mend that, or write `isolation: namespace`, which behaves the same from outside"
        yield _problem(
            terms, True, "isolation-unsupported", f"networks.{terms.name}.isolation", text, hint
        )
    if isolation == "vrf":
        yield from _table_problems(terms, host)
    if type_named(terms.network.type).wants(terms.network).egress:
        yield from _egress_problems(terms, host)


def _table_problems(terms: CompileInputs, host: Host) -> Iterable[Problem]:
    """A table that another VRF looks up, too, would join two VRFs."""
    table = terms.allocation.routing_table
    for taken, name in host.foreign_vrfs:
        if taken == table:
            text = f"routing table {table} is that of {name}, a VRF of this host that is not ours"
            hint = "write `routing_table:` with another number, or remove that VRF"
            yield _problem(
                terms, True, "table-taken", f"networks.{terms.name}.routing_table", text, hint
            )


def _why_not(terms: CompileInputs) -> str:
    isolation = mode(isolation_of(terms.network, terms.gateway))
    return str(
        isolation.unsupported_reason(
            site_of(
                terms.name, terms.network, terms.allocation, terms.host, terms.today, terms.gateway
            )
        )
    )


def _egress_problems(terms: CompileInputs, host: Host) -> Iterable[Problem]:
    if not host.uplink:
        wanted = terms.gateway.uplink
        what = (
            "this host has no default route" if wanted == "auto" else f"there is no link {wanted}"
        )
        text = f"no uplink: {what}; nothing leaves to the internet until there is one"
        yield _problem(
            terms,
            False,
            "uplink-missing",
            "gateway.uplink",
            text,
            "name the interface that reaches the internet",
        )
    for link in host.exits:
        if is_closed(host, link):
            text = (
                f"this host forwards IPv4, but somebody has turned that off for {link.name} alone:"
                " answers cannot come back"
            )
            hint = f"sysctl net.ipv4.conf.{link.name}.forwarding=1, if that is meant"
            yield _problem(terms, False, "exit-closed", "gateway.uplink", text, hint)


def is_closed(host: Host, link: EgressLink) -> bool:
    """Whether somebody has turned IPv4 forwarding off for this link alone, on a host that forwards."""
    return host.forwarding4 and not link.forwarding4 and link.name not in host.fence4


def isolation_of(network: Network, gateway: Gateway) -> str:
    return network.isolation or gateway.isolation


def dns_of(network: Network, gateway: Gateway) -> tuple[Any, ...]:
    return network.dns if network.dns is not None else gateway.dns


def driver(gateway: Gateway, host: Host) -> str | None:
    """Which WireGuard makes the devices: the link kind, or None when the machine has none that is
    allowed.
    """
    wanted = gateway.wireguard
    if host.wireguard_kernel and wanted in ("auto", "kernel"):
        return "wireguard"
    return "tun" if host.wireguard_go and wanted in ("auto", "userspace") else None


def _driver(terms: CompileInputs) -> str:
    """As `driver`; where this machine has none, the one that the YAML asks for."""
    return driver(terms.gateway, terms.host) or (
        "tun" if terms.gateway.wireguard == "userspace" else "wireguard"
    )


def tunnel_mtu(network: Network, host: Host) -> int:
    """Bytes of inner packet that fit into one outer packet on the uplink, whichever family the
    client dials.
    """
    fits = max(host.uplink_mtu - WIREGUARD_OVERHEAD, IPV6_MINIMUM_MTU)
    return network.mtu or max(fits, min_mtu(network.type))


def site_of(
    name: str,
    network: Network,
    allocation: NetworkAllocation,
    host: Host,
    today: date,
    gateway: Gateway,
) -> NetworkSite:
    subnet6 = allocation.subnet6 if network.ipv6 else None
    routes = [
        route
        for one in network.explicit_endpoints.values()
        if in_force(one, today)
        for route in one.routes
    ]
    inside = [
        allocation.subnet,
        *([subnet6] if subnet6 else ()),
        *(item for item in routes if item.version == 4 or subnet6),
    ]
    return NetworkSite(
        name=name,
        vcid=allocation.vcid,
        subnet=allocation.subnet,
        subnet6=subnet6,
        gateway_address=allocation.gateway_address,
        gateway_address6=allocation.gateway_address6 if network.ipv6 else None,
        transit=allocation.transit,
        routing_table=allocation.routing_table,
        vlan=allocation.vlan,
        mtu=tunnel_mtu(network, host),
        inside=tuple(sorted(inside, key=lambda item: (item.version, item))),
        host=host,
        shares=shares_of(network, gateway, host.conntrack_max),
        link_number=(
            int(allocation.transit.network_address) - int(gateway.pools.transit.network_address)
        )
        // 2,
    )


def in_force(endpoint: Endpoint, today: date) -> bool:
    return endpoint.enabled and (endpoint.expires is None or today < endpoint.expires)


def network_key_of(
    network: Network, gateway: Gateway, vcid: int, master: derivation.Master
) -> derivation.Secret:
    """The private key of the gateway's device in one network."""
    return derivation.network_key(
        master, vcid, network.rotation, network.private_key_file, gateway.rotation
    )


def public_key_of(key_name: str, endpoint: Endpoint, vcid: int, master: derivation.Master) -> str:
    """The endpoint's own key where the YAML gives one, else the one derived by the name that its
    keys go by.
    """
    kept = derivation.kernel_keys(master, vcid, key_name)
    if kept is not None:
        return kept.public_key
    return endpoint.public_key or derivation.public_key(
        derivation.endpoint_key(master, vcid, key_name, endpoint.rotation)
    )


def preshared_key_of(
    key_name: str, endpoint: Endpoint, vcid: int, master: derivation.Master
) -> derivation.Secret | None:
    """None where the YAML wants none."""
    kept = derivation.kernel_keys(master, vcid, key_name)
    if kept is not None:
        return kept.preshared_key
    if not endpoint.preshared_key:
        return None
    return derivation.preshared_key(
        master, vcid, key_name, endpoint.rotation, file=endpoint.preshared_key_file
    )


def peers_of(
    network: Network,
    allocation: NetworkAllocation,
    master: derivation.Master,
    today: date,
    keyed: Mapping[str, WireguardPeer] = NONE_KEYED,
    share: Share = LEAST,
) -> list[tunnel.TunnelPeer]:
    """The endpoints in force today, by name; those that are `keyed` with the keys they have.

    `share` is the network's.
    """
    out = []
    for name, endpoint in sorted(network.endpoints.items()):
        if not in_force(endpoint, today):
            continue
        addresses = allocation.endpoints[name]
        key_name = addresses.key_name or name
        six = addresses.address6 if network.ipv6 else None
        if name in keyed:
            public, shared = keyed[name].public_key, keyed[name].preshared_key
        else:
            public = public_key_of(key_name, endpoint, allocation.vcid, master)
            shared = preshared_key_of(key_name, endpoint, allocation.vcid, master)
        out.append(
            tunnel.TunnelPeer(
                name=name,
                public_key=public,
                preshared_key=shared,
                address=addresses.address,
                address6=six,
                routes=endpoint.routes,
                leg=addresses.leg,
                vni=addresses.vni or 0,
                keepalive=endpoint.keepalive or 0,
                endpoint=endpoint.endpoint,
                share=endpoint_share(endpoint, share),
            )
        )
    return out


def _keyed(terms: CompileInputs, last: CompiledNetwork | None) -> Mapping[str, WireguardPeer]:
    """By name, peers of the last time whose keys are the same still: to derive them is most of the
    work.
    """
    if last is None or (last.terms.master, last.terms.allocation.vcid) != (
        terms.master,
        terms.allocation.vcid,
    ):
        return {}
    peers = {item.label: item for item in last.state if isinstance(item, WireguardPeer)}
    return {
        name: peers[name]
        for name in peers.keys() & terms.network.endpoints.keys()
        if _keys_of(terms, name) == _keys_of(last.terms, name)
    }


def _keys_of(terms: CompileInputs, name: str) -> tuple[object, ...]:
    """What an endpoint's keys follow from, beside the master secret and the VCID."""
    one = terms.network.endpoints[name]
    return (
        one.public_key,
        one.preshared_key,
        one.preshared_key_file,
        one.rotation,
        terms.allocation.endpoints[name].key_name,
    )


def _part(terms: CompileInputs, keyed: Mapping[str, WireguardPeer]) -> CompiledNetwork:
    network, allocation, host = terms.network, terms.allocation, terms.host
    # What this machine cannot make stands as what it could: nothing of it is given, and revocations
    # are still found.
    isolation = mode("namespace" if _why_not(terms) else isolation_of(network, terms.gateway))
    kind = type_named(network.type)
    site = site_of(terms.name, network, allocation, host, terms.today, terms.gateway)
    place = isolation.room(site)
    peers = peers_of(network, allocation, terms.master, terms.today, keyed, site.shares.network)
    private = network_key_of(network, terms.gateway, allocation.vcid, terms.master)
    inner = [
        *tunnel.objects(site, place, _driver(terms), private, allocation.port, peers),
        *kind.objects(site, place, network, peers),
    ]
    fragment = kind.fragment(site, network, dns_of(network, terms.gateway))
    built: RootContribution = isolation.build(site, kind.wants(network), fragment, inner)
    return CompiledNetwork(terms, built, State.of(built.objects))


def _gateway_objects(
    host: Host, parts: Collection[CompiledNetwork], intent: Intent
) -> list[KernelObject]:
    allocations = [part.terms.allocation for part in parts]
    ranges = [
        item
        for allocation in allocations
        for item in (allocation.subnet, allocation.subnet6, allocation.transit)
    ]
    routed = [item for part in parts for item in part.built.routed]
    sources = [*routed, *(item for part in parts for item in part.built.sources)]
    both_ends = [
        item
        for allocation in allocations
        for item in (allocation.transit, transit6(allocation.transit))
    ]
    pool = intent.gateway.pools.ports
    listening = {
        *range(pool.first, pool.last + 1),
        *(allocation.port for allocation in allocations),
    }
    six = any(part.terms.network.ipv6 for part in parts)
    fence = host if six else dataclasses.replace(host, fence6=False)
    doors = [name for part in parts for name in part.built.doors]
    leaving = [
        part
        for part in parts
        if type_named(part.terms.network.type).wants(part.terms.network).egress
    ]
    uplinks = [
        (door, link, version)
        for part in leaving
        for door in part.built.doors
        for link, version in _uplinks(host)
    ]
    ways = [
        (door, *way) for part in leaving for door in part.built.doors for way in _ways(part.terms)
    ]
    blocks = [number for part in parts for number in part.built.port_blocks]
    guard = root.guard(
        fence, ranges, routed, sources, both_ends, listening, doors, blocks, uplinks, ways
    )
    networks = [part.terms.network for part in parts]
    own = [
        guard,
        *root.unguarded_ranges(_transits(parts, intent)),
        *root.settings(fence, six),
        *root.steering(host),
    ]
    own += root.unguarded_beyond(sorted(_ways_out4(host)), collapse_addresses(_of_vrfs(leaving)))
    return [*own, *_shared(networks, intent.gateway, host)]


def _transits(parts: Collection[CompiledNetwork], intent: Intent) -> list[Range]:
    """All ranges of transit links, where there is any: links of networks may be from an earlier
    pool.
    """
    links = [part for part in parts if part.built.transit]
    if not links:
        return []
    four = collapse_addresses(
        [intent.gateway.pools.transit, *(part.terms.allocation.transit for part in links)]
    )
    return [*four, *([TRANSIT6] if any(part.terms.network.ipv6 for part in links) else ())]


def _ways_out4(host: Host) -> set[str]:
    """The links that the default routes of networks in VRFs lead to."""
    return {hop.device for hop in host.hops if hop.version == 4}


def _of_vrfs(parts: Iterable[CompiledNetwork]) -> list[IPv4Network]:
    """The IPv4 ranges of networks that leave, and not by a transit link."""
    ranges = [item for part in parts if not part.built.transit for item in part.built.sources]
    return [item for item in ranges if isinstance(item, IPv4Network)]


def _uplinks(host: Host) -> list[tuple[str, int]]:
    """The links by which anything may leave, with the IP version; none whose name would mean more
    than itself in a rule.
    """
    named = [*((link, 4) for link in host.uplinks4), *((link, 6) for link in host.uplinks6)]
    return [(link, version) for link, version in named if is_plain_link_name(link)]


def _ways(terms: CompileInputs) -> list[tuple[str, Range]]:
    """The other links of the host by which a network's packets may leave, and towards what."""
    kind = type_named(terms.network.type)
    wanted = {
        str(item): item
        for item in kind.targets(terms.network, dns_of(terms.network, terms.gateway))
    }
    reached = [
        (link, wanted[way.target])
        for way in terms.host.ways
        if way.target in wanted
        for link in way.links
    ]
    return [(link, target) for link, target in reached if is_plain_link_name(link)]


def _shared(networks: Iterable[Network], settings: Gateway, host: Host) -> list[KernelObject]:
    """What the networks of each mode need of the root together."""
    out: list[KernelObject] = []
    for module in MODES:
        own = [network for network in networks if isolation_of(network, settings) == module.NAME]
        out += module.shared(any(network.ipv6 for network in own), host) if own else []
    return out
