"""Warn of what on this host may stop traffic of networks; plan, doctor and status show it. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from warpd.allocation.model import Allocations
from warpd.intent.model import Intent
from warpd.intent.reserved import UPLINK_TABLE
from warpd.kernel.nftables.foreign_rules import ChainVerdict
from warpd.kernel.state import ForeignChain, Host
from warpd.networks.isolation.vrf import HOST_PRIORITY
from warpd.networks.resolved import isolation_of
from warpd.service.views import packet_paths
from warpd.service.views.packet_paths import Kind, Passage
from warpd.service.views.words import first_of

Warning = dict[str, str]
# The rules by which a foreign chain lets packets of a kind through, by kind and hook.
REQUESTS: Final = "udp dport {{ {ports} }} accept"
REPLIES: Final = "udp sport {{ {ports} }} accept"
FORWARDED: Final = (
    'iifname {{ "dn-*", "vrf-*" }} accept',
    'oifname {{ "dn-*", "wg-*" }} ct state established,related accept',
)
LETS_THROUGH: Final[Mapping[tuple[Kind, str], tuple[str, ...]]] = {
    ("request", "ingress"): (REQUESTS,),
    ("request", "prerouting"): (REQUESTS,),
    ("request", "input"): (REQUESTS,),
    ("reply", "output"): (REPLIES,),
    ("reply", "postrouting"): (REPLIES,),
    ("reply", "egress"): (REPLIES,),
    ("out", "prerouting"): ('iifname {{ "dn-*", "vrf-*", "wg-*" }} accept',),
    ("out", "forward"): FORWARDED,
    ("out", "postrouting"): ('iifname {{ "dn-*", "vrf-*" }} accept',),
    ("back", "forward"): FORWARDED,
    ("back", "postrouting"): ('oifname {{ "dn-*", "wg-*" }} accept',),
}
# Elsewhere packets of networks cannot be told from those of the host.
BEHIND_NAT: Final = "let TCP, UDP and ICMP of the uplink's own addresses through that chain"
WHAT: Final[Mapping[Kind, str]] = {
    "request": "what clients send to UDP port",
    "reply": "what the gateway answers to clients from UDP port",
    "out": "what clients send of",
    "back": "the answers to clients of",
}
PORTS_NAMED: Final = 8
NETWORKS_NAMED: Final = 3
WIREGUARD_OVERHEAD4: Final = 60  # bytes: IPv4 20, UDP 8, WireGuard 32


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


def forwarding_warnings(host: Host, allocations: Allocations, intent: Intent) -> Iterator[Warning]:
    """Yield the warnings of `host_warnings`, except those about listening ports."""
    yield from uplink_warnings(host)
    yield from _closed_paths(host, allocations, intent)


def uplink_warnings(host: Host) -> Iterator[Warning]:
    """Yield warnings about routes of the host beside the named uplink, and rules that lead replies
    to clients away.
    """
    yield from _diversions(host)
    yield from _replies_astray(host)
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
                f" (routing table {UPLINK_TABLE}), and so do WireGuard's answers to clients"
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


def _replies_astray(host: Host) -> Iterator[Warning]:
    """Yield routing rules of others that are asked before those of warpd, and take replies away."""
    for route in host.astray:
        text = (
            f"a routing rule of the host leads replies to clients (as to {route.prefix}) over"
            f" {route.device}: clients get no answers by IPv{route.version}"
        )
        hint = f"`ip -{route.version} rule` shows it: give it a priority above {HOST_PRIORITY}"
        yield {"message": text, "hint": hint}


def foreign_warnings(
    host: Host, allocations: Allocations, intent: Intent | None = None
) -> Iterator[Warning]:
    """Yield the warnings of `host_warnings` that concern foreign chains."""
    yield from _closed_ports(host, allocations, intent)
    yield from _closed_paths(host, allocations, intent)


def uncertain_chains(
    host: Host, allocations: Allocations, intent: Intent | None, connected_ports: Iterable[int] = ()
) -> list[str]:
    """Return the foreign chains that may drop packets of ours, and certainly drop none.

    Such a chain drops what no rule lets through, and some of its rules warpd cannot evaluate.

    Args:
        host: the observed host.
        allocations: the allocations of the networks.
        intent: without it all ports are checked, and nothing else.
        connected_ports: ports at which a client has a session, so that packets pass.
    """
    ports = set(listening_ports(allocations, intent)) - set(connected_ports)
    passages = [passage for _port, passage in _of_ports(host, sorted(ports))]
    passages += [passage for _name, passage in _of_networks(host, allocations, intent)]
    found = list(packet_paths.verdicts(host, passages))
    certain = {_chain_text(each.chain) for each in found if each.end == "dropped"}
    return sorted({_chain_text(each.chain) for each in found if each.by_default} - certain)


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


def vxlan_port_warning(port: int, who: str, networks: list[str]) -> Warning:
    """Return the warning that something else has the UDP port of VXLAN in the host.

    Args:
        port: the UDP port.
        who: the VXLAN devices or the program that have it.
        networks: the names of the networks whose legs need it.
    """
    text = (
        f"UDP port {port} is taken by {who}, which is not ours: the VXLAN legs of"
        f" {first_of(networks, NETWORKS_NAMED)} cannot come up in a VRF"
    )
    hint = "take it down or give it another port, or write `isolation: namespace` for the network"
    return {"message": text, "hint": hint}


def networks_with_vxlan(intent: Intent) -> list[str]:
    """Return the networks that are to be up with VXLAN legs in the host itself."""
    return [
        name
        for name, network in sorted(intent.networks.items())
        if network.enabled
        and network.traits.leg == "vxlan"
        and isolation_of(network, intent.gateway) == "vrf"
    ]


# -- listening ports


def _closed_ports(host: Host, allocations: Allocations, intent: Intent | None) -> Iterator[Warning]:
    """Yield foreign chains that drop packets of listening ports, one warning for each."""
    closed: dict[tuple[str, str, Kind], tuple[ChainVerdict, set[int]]] = {}
    for port, passage in _of_ports(host, listening_ports(allocations, intent)):
        for found in _dropped(host, passage):
            key = (_chain_text(found.chain), found.rule, passage.kind)
            closed.setdefault(key, (found, set()))[1].add(port)
    for (chain, _rule, kind), (found, ports) in closed.items():
        text = f"chain {chain} (not ours) {_how(found)} {WHAT[kind]} {_numbers(ports)}"
        yield {"message": text, "hint": _opens_ports(found.chain, kind, ports)}


def _of_ports(host: Host, ports: Iterable[int]) -> Iterator[tuple[int, Passage]]:
    for port, version in itertools.product(ports, _versions(host)):
        for passage in packet_paths.of_port(host, port, version):
            yield port, passage


def _opens_ports(chain: ForeignChain, kind: Kind, ports: set[int]) -> str:
    """Return how a foreign chain lets packets of UDP ports through."""
    if chain.table != "firewalld":
        return _lets_through(chain, kind, _numbers(ports))
    commands = [
        f"firewall-cmd --permanent --add-port={port}/udp" for port in sorted(ports)[:PORTS_NAMED]
    ]
    return "\n".join(["let them through:", *commands, "firewall-cmd --reload"])


def _lets_through(chain: ForeignChain, kind: Kind, ports: str = "") -> str:
    """Return the commands by which a foreign chain lets packets of a kind through."""
    rules = LETS_THROUGH.get((kind, chain.hook))
    if rules is None:
        return BEHIND_NAT
    where = _chain_text(chain)
    commands = [f"nft insert rule {where} {rule.format(ports=ports)}" for rule in rules]
    return "\n".join(["let them through:", *commands])


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


def _numbers(ports: Iterable[int]) -> str:
    return first_of(list(map(str, sorted(ports))), PORTS_NAMED)


# -- forwarded packets


def _closed_paths(host: Host, allocations: Allocations, intent: Intent | None) -> Iterator[Warning]:
    """Yield foreign chains that drop packets of networks, with the networks that each concerns."""
    closed: dict[tuple[str, Kind], tuple[ChainVerdict, list[str]]] = {}
    told: set[tuple[str, str]] = set()
    for name, passage in _of_networks(host, allocations, intent):
        for found in _dropped(host, passage):
            chain = _chain_text(found.chain)
            if (name, chain) not in told:
                closed.setdefault((chain, passage.kind), (found, []))[1].append(name)
            told.add((name, chain))
    for (chain, kind), (found, names) in closed.items():
        text = (
            f"chain {chain} (not ours) {_how(found)} {WHAT[kind]} {first_of(names, NETWORKS_NAMED)}"
        )
        yield {"message": text, "hint": _lets_through(found.chain, kind)}


def _of_networks(
    host: Host, allocations: Allocations, intent: Intent | None
) -> Iterator[tuple[str, Passage]]:
    """Yield the passages of the networks that are to be up."""
    if intent is None:
        return
    for name, network in sorted(intent.networks.items()):
        allocation = allocations.networks.get(name)
        if allocation is not None and network.enabled:
            for passage in packet_paths.of_network(host, network, intent.gateway, allocation):
                yield name, passage


def _dropped(host: Host, passage: Passage) -> list[ChainVerdict]:
    """Return the verdicts of the chains that certainly drop every packet of a passage."""
    return [found for found in packet_paths.verdicts(host, [passage]) if found.end == "dropped"]


# -- words


def _chain_text(chain: ForeignChain) -> str:
    return f"{chain.family} {chain.table} {chain.name}"


def _how(found: ChainVerdict) -> str:
    if not found.rule:
        return "drops by its policy"
    return f"{'rejects' if found.rule == 'reject' else 'drops'} by a rule"


__all__ = [
    "foreign_warnings",
    "forwarding_warnings",
    "host_warnings",
    "listening_ports",
    "networks_with_vxlan",
    "port_warning",
    "uncertain_chains",
    "uplink_warnings",
    "vxlan_port_warning",
]
