"""Warn of what on this host may stop traffic of networks; plan, doctor and status show it. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Final, Literal

from warpd import naming
from warpd.allocation.model import Allocations
from warpd.intent.model import Gateway, Intent, Network, Resource
from warpd.intent.reserved import UPLINK_TABLE
from warpd.intent.types import Range
from warpd.kernel.nftables.foreign_rules import Certainty, Judged, Probe, judge
from warpd.kernel.state import ForeignChain, Host
from warpd.networks.resolved import isolation_of
from warpd.service.views.words import first_of

# Packets of networks in namespaces come in by dn-<vcid>. Those of networks in VRFs come in by
# vrf-<vcid>, and their answers leave by wg-<vcid>.
LETS_THROUGH: Final = {
    "forward": (
        'nft insert rule {where} iifname {{ "dn-*", "vrf-*" }} accept\n'
        'nft insert rule {where} oifname {{ "dn-*", "wg-*" }} ct state established,related accept'
    ),
    "input": "nft insert rule {where} udp dport {{ {ports} }} accept",
}
PORTS_NAMED: Final = 8
NETWORKS_NAMED: Final = 3
WIREGUARD_OVERHEAD4: Final = 60  # bytes: IPv4 20, UDP 8, WireGuard 32
Warning = dict[str, str]


def host_warnings(
    host: Host, allocations: Allocations, intent: Intent | None = None
) -> Iterator[Warning]:
    """Yield warnings about routes and foreign chains that certainly stop packets of networks.

    Our table cannot overrule a foreign chain, so that the hint is a rule for that chain. Chains
    that may stop packets are reported by `uncertain_chains`.

    Args:
        host: the observed host.
        allocations: the allocations of the networks.
        intent: without it only the listening ports are checked.
    """
    yield from uplink_warnings(host)
    yield from foreign_warnings(host, allocations, intent)
    if intent is not None:
        yield from mtu_warnings(host, intent)


def mtu_warnings(host: Host, intent: Intent) -> Iterator[Warning]:
    """Yield networks whose `mtu` is too large for the uplink, so that large packets are fragmented.

    Networks that carry Ethernet are left out: their outer packets are fragmented by design.
    """
    if not host.uplink_mtu:
        return
    fits = host.uplink_mtu - WIREGUARD_OVERHEAD4
    for name, network in sorted(intent.networks.items()):
        if network.mtu is None or network.mtu <= fits or network.traits.ethernet:
            continue
        room = (
            f"the uplink {host.uplink} has room for {fits} ({host.uplink_mtu} less the tunnel's"
            " own bytes)"
        )
        text = f"networks.{name}.mtu is {network.mtu}, and {room}: each large packet is cut in two"
        yield {"message": text, "hint": f"leave `mtu` out, or write at most {fits}"}


def ways_warnings(host: Host, allocations: Allocations, intent: Intent) -> Iterator[Warning]:
    """Yield the warnings of `host_warnings`, except those about listening ports."""
    yield from uplink_warnings(host)
    yield from _closed_ways(host, allocations, intent)


def uplink_warnings(host: Host) -> Iterator[Warning]:
    """Yield a warning where routes of the host do not use the link named as uplink."""
    yield from _diversions(host)
    diverted = {route.version for route in host.diverted}
    for version in host.elsewhere:
        where = (
            f"the host's own IPv{version} default route does not lead over the uplink {host.uplink}"
        )
        if version not in host.steered:
            text = (
                f"{where}, which has no IPv{version} address: nothing that networks send to the"
                f" internet by IPv{version} leaves"
            )
            hint = f"give {host.uplink} an address, or name the link of the default route"
            yield {"message": text, "hint": hint}
        elif version not in diverted:
            text = (
                f"{where}; what networks send to the internet leaves by {host.uplink} nevertheless"
                f" (routing table {UPLINK_TABLE}), but WireGuard's own answers to clients do not"
            )
            hint = (
                "if that is not meant, name the link of the default route, or write `uplink: auto`"
            )
            yield {"message": text, "hint": hint}


def _diversions(host: Host) -> Iterator[Warning]:
    """Yield routes to parts of the internet that lead over another link than the named uplink."""
    for route in host.diverted:
        text = (
            f"the host's own route {route.prefix} leads over {route.device}, not over the uplink"
            f" {host.uplink}: what networks send there is dropped (wrong-uplink)"
        )
        hint = f"take that route away, or name {route.device} or `auto` as `uplink`"
        yield {"message": text, "hint": hint}


def foreign_warnings(
    host: Host, allocations: Allocations, intent: Intent | None = None
) -> Iterator[Warning]:
    """Yield the warnings of `host_warnings` that concern foreign chains."""
    yield from _closed_ports(host, allocations, intent)
    yield from _closed_ways(host, allocations, intent)


def drops_forwarded(host: Host, probe: Probe) -> ForeignChain | None:
    """Return the foreign chain that certainly drops a packet; None for none."""
    verdicts = judge(host.foreign_rules, probe)
    return next((found.chain for found in verdicts if found.end == "dropped"), None)


def uncertain_chains(
    host: Host, allocations: Allocations, intent: Intent | None, connected_ports: Iterable[int] = ()
) -> list[str]:
    """Return the foreign chains that may drop what arrives at our listening ports.

    Such a chain has a drop, and before it a rule that warpd cannot evaluate.

    Args:
        host: the observed host.
        allocations: the allocations of the networks.
        intent: without it all ports are checked.
        connected_ports: ports at which a client has a session, so that packets pass.
    """
    ports = set(listening_ports(allocations, intent)) - set(connected_ports)
    chains = set()
    for port, version in itertools.product(sorted(ports), _versions(host)):
        for found in judge(host.foreign_rules, _arriving(host, port, version)):
            if found.end == "unknown" and (found.rule or found.chain.policy == "drop"):
                chains.add(_chain_text(found.chain))
    return sorted(chains)


def port_warning(port: int, who: str, network: str) -> Warning:
    """Return the warning that another program listens on a port of a network.

    Args:
        port: the UDP port.
        who: the program; "" where it is not known.
        network: the name of the network.
    """
    text = (
        f"UDP port {port} is taken by {who or 'another program'}: network {network} cannot come up"
    )
    return {"message": text, "hint": "stop that program, or give the network another `port`"}


# -- listening ports


def _closed_ports(host: Host, allocations: Allocations, intent: Intent | None) -> Iterator[Warning]:
    """Yield foreign chains that drop what arrives at listening ports, one warning for each."""
    closed: dict[tuple[str, str], tuple[Judged, set[int]]] = {}
    for port, version in itertools.product(listening_ports(allocations, intent), _versions(host)):
        for found in judge(host.foreign_rules, _arriving(host, port, version)):
            if found.end == "dropped":
                key = (_chain_text(found.chain), found.rule)
                closed.setdefault(key, (found, set()))[1].add(port)
    for found, ports in closed.values():
        text = (
            f"chain {_chain_text(found.chain)} (not ours) {_how(found)} what clients send to"
            f" UDP port {_numbers(ports)}"
        )
        yield {"message": text, "hint": f"let them through:\n{_opens_ports(found.chain, ports)}"}


def _opens_ports(chain: ForeignChain, ports: set[int]) -> str:
    """Return the commands by which a foreign chain lets UDP ports through."""
    if chain.table != "firewalld":
        return LETS_THROUGH["input"].format(where=_chain_text(chain), ports=_numbers(ports))
    commands = [
        f"firewall-cmd --permanent --add-port={port}/udp" for port in sorted(ports)[:PORTS_NAMED]
    ]
    return "\n".join([*commands, "firewall-cmd --reload"])


def listening_ports(allocations: Allocations, intent: Intent | None) -> list[int]:
    """Return the ports of the networks that are to be up; without an intent those of all."""
    disabled = set()
    if intent is not None:
        disabled = {name for name, network in intent.networks.items() if not network.enabled}
    networks = allocations.networks.items()
    return sorted({allocation.port for name, allocation in networks if name not in disabled})


def _versions(host: Host) -> list[int]:
    """Return the IP versions in which clients can reach the uplink; both where it is not known."""
    found = {6 if ":" in address else 4 for address in host.uplink_addresses}
    return sorted(found) or [4, 6]


def _arriving(host: Host, port: int, version: int) -> Probe:
    return Probe("input", version, host.uplink, "", "udp", port)


def _numbers(ports: Iterable[int]) -> str:
    return first_of(list(map(str, sorted(ports))), PORTS_NAMED)


# -- forwarded packets


def _closed_ways(host: Host, allocations: Allocations, intent: Intent | None) -> Iterator[Warning]:
    """Yield foreign chains that drop forwarded packets, with the networks that each concerns."""
    if intent is None:
        return
    closed: dict[str, tuple[Judged, str, list[str]]] = {}
    for name, network in sorted(intent.networks.items()):
        allocation = allocations.networks.get(name)
        if allocation is None or not network.enabled:
            continue
        for way, probes in _ways(host, network, intent.gateway, allocation.vcid):
            found = _dropped_by_one(host, probes)
            if found is not None:
                key = f"{_chain_text(found.chain)} {way}"
                closed.setdefault(key, (found, way, []))[2].append(name)
                break
    for found, blocked, names in closed.values():
        what = "what clients send" if blocked == "out" else "the answers to clients"
        chain = _chain_text(found.chain)
        text = f"chain {chain} (not ours) {_how(found)} {what} of"
        text += f" {first_of(names, NETWORKS_NAMED)}"
        rules = LETS_THROUGH["forward"].format(where=chain)
        yield {"message": text, "hint": f"let them through:\n{rules}"}


def _dropped_by_one(host: Host, probes: list[Probe]) -> Judged | None:
    """Return the verdict of a chain that certainly drops every one of these packets."""
    dropped: list[dict[str, Judged]] = []
    for probe in probes:
        found = judge(host.foreign_rules, probe)
        dropped.append({_chain_text(one.chain): one for one in found if one.end == "dropped"})
    common = set(dropped[0]).intersection(*dropped[1:]) if dropped else set[str]()
    return dropped[0][min(common)] if common else None


def _ways(
    host: Host, network: Network, gateway: Gateway, vcid: int
) -> Iterator[tuple[Literal["out", "back"], list[Probe]]]:
    """Yield packets that a network sends through the host, and the answers to them.

    There are none for a network without egress.
    """
    link = back = naming.transit_outer(vcid)
    if isolation_of(network, gateway) == "vrf":
        link, back = naming.vrf(vcid), naming.tunnel(vcid)
    sent = _sent(host, network, link)
    if not sent:
        return
    yield "out", sent
    comes_by = host.uplink if network.traits.internet else ""
    versions = sorted({probe.version for probe in sent})
    answers = [
        Probe("forward", version, comes_by, back, "", None, "established") for version in versions
    ]
    yield "back", answers


def _sent(host: Host, network: Network, link: str) -> list[Probe]:
    """Return the packets that stand for what a network sends; they enter the host by `link`."""
    if network.traits.internet:
        return [Probe("forward", 4, link, host.uplink, "tcp", port) for port in (80, 443)]
    sent: list[Probe] = []
    if network.traits.lists_resources:
        for resource in network.resources:
            if resource.via is None:
                sent += _to_resource(link, resource)
    return sent


def _to_resource(link: str, resource: Resource) -> Iterator[Probe]:
    protocol: str = resource.protocol or ""
    if resource.protocol == "icmp" and resource.subnet.version == 6:
        protocol = "ipv6-icmp"
    for ports in resource.ports or (None,):
        yield Probe("forward", resource.subnet.version, link, "", protocol, _single(ports))


def _single(ports: Range | None) -> int | None:
    return ports.first if ports is not None else None


# -- words


def _chain_text(chain: ForeignChain) -> str:
    return f"{chain.family} {chain.table} {chain.name}"


def _how(found: Judged) -> str:
    if not found.rule:
        return "drops by its policy"
    return f"{'rejects' if found.rule == 'reject' else 'drops'} by a rule"


__all__ = [
    "Certainty",
    "drops_forwarded",
    "foreign_warnings",
    "host_warnings",
    "listening_ports",
    "port_warning",
    "uncertain_chains",
    "uplink_warnings",
    "ways_warnings",
]
