"""What on this host may stand in the way of traffic, told to the operator by plan, doctor and
status.

Pure.
"""

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

# Networks in namespaces come in by dn-<vcid>; those in VRFs by vrf-<vcid>, and go back by
# wg-<vcid>.
LETS_THROUGH: Final = {
    "forward": (
        'nft insert rule {where} iifname {{ "dn-*", "vrf-*" }} accept\n'
        'nft insert rule {where} oifname {{ "dn-*", "wg-*" }} ct state established,related accept'
    ),
    "input": "nft insert rule {where} udp dport {{ {ports} }} accept",
}
PORTS_NAMED: Final = 8
WIREGUARD_OVERHEAD4: Final = 60  # bytes: IPv4 20, UDP 8, WireGuard 32
Warning = dict[str, str]


def host_warnings(
    host: Host, allocations: Allocations, intent: Intent | None = None
) -> Iterator[Warning]:
    """What of the host's own set-up keeps packets of ours from where they are to go: routes, and
    foreign chains for certain.

    Our table cannot overrule a foreign chain: each comes with the rule that helps.

    Without an intent only the listening ports are looked at. What the chains might do, but not for
    certain, is not said here: see `uncertain_chains`.
    """
    yield from uplink_warnings(host)
    yield from foreign_warnings(host, allocations, intent)
    if intent is not None:
        yield from mtu_warnings(host, intent)


def mtu_warnings(host: Host, intent: Intent) -> Iterator[Warning]:
    """Networks whose own `mtu` leaves no room for the tunnel: each large packet is cut in two.

    Segments are made for that.
    """
    fits = host.uplink_mtu - WIREGUARD_OVERHEAD4
    for name, network in sorted(intent.networks.items()):
        if host.uplink_mtu and network.mtu and network.mtu > fits and not network.traits.ethernet:
            room = (
                f"the uplink {host.uplink} has room for {fits} ({host.uplink_mtu} less the tunnel's"
                " own bytes)"
            )
            text = (
                f"networks.{name}.mtu is {network.mtu}, and {room}: each large packet is cut in two"
            )
            yield {"message": text, "hint": f"leave `mtu` out, or write at most {fits}"}


def ways_warnings(host: Host, allocations: Allocations, intent: Intent) -> Iterator[Warning]:
    """As `host_warnings`, but for chains that concern what arrives at listening ports."""
    yield from uplink_warnings(host)
    yield from _closed_ways(host, allocations, intent)


def uplink_warnings(host: Host) -> Iterator[Warning]:
    """Where the host's own default route does not use the link that is named as uplink."""
    for version in host.elsewhere:
        where = (
            f"the host's own IPv{version} default route does not lead over the uplink {host.uplink}"
        )
        if version in host.steered:
            text = (
                f"{where}; what networks send to the internet leaves by {host.uplink} all the same"
                f" (routing table {UPLINK_TABLE})"
            )
            hint = (
                "if that is not meant, name the link of the default route, or write `uplink: auto`"
            )
        else:
            text = (
                f"{where}, which has no IPv{version} address: nothing that networks send to the"
                f" internet by IPv{version} leaves"
            )
            hint = f"give {host.uplink} an address, or name the link of the default route"
        yield {"message": text, "hint": hint}


def foreign_warnings(
    host: Host, allocations: Allocations, intent: Intent | None = None
) -> Iterator[Warning]:
    """As `host_warnings`, of chains of others alone."""
    yield from _closed_ports(host, allocations, intent)
    yield from _closed_ways(host, allocations, intent)


def drops_forwarded(host: Host, probe: Probe) -> ForeignChain | None:
    """The foreign chain that drops this packet for certain; None for none."""
    return next(
        (found.chain for found in judge(host.foreign_rules, probe) if found.end == "dropped"), None
    )


def uncertain_chains(
    host: Host, allocations: Allocations, intent: Intent | None, connected_ports: Iterable[int] = ()
) -> list[str]:
    """Foreign chains that may drop what arrives at our ports: the drop is understood, something
    before it is not.

    A port with a session is not counted: its packets do pass.
    """
    ports = set(listening_ports(allocations, intent)) - set(connected_ports)
    found = (
        one
        for port in sorted(ports)
        for version in _versions(host)
        for one in judge(host.foreign_rules, _arriving(host, port, version))
    )
    return sorted(
        {
            _chain_text(one.chain)
            for one in found
            if one.end == "unknown" and (one.rule or one.chain.policy == "drop")
        }
    )


def port_warning(port: int, who: str) -> Warning:
    """That somebody else listens on a port of ours; `who` is "" where that is not known."""
    text = (
        f"UDP port {port} is taken by {who or 'another program'}: the network that has it cannot"
        " come up"
    )
    return {"message": text, "hint": "stop that program, or give the network another `port`"}


# ---- listening ports -----------------------------------------------------------------------------------------


def _closed_ports(host: Host, allocations: Allocations, intent: Intent | None) -> Iterator[Warning]:
    closed: dict[tuple[str, str], tuple[Judged, set[int]]] = {}
    for port, version in itertools.product(listening_ports(allocations, intent), _versions(host)):
        for found in judge(host.foreign_rules, _arriving(host, port, version)):
            if found.end == "dropped":
                closed.setdefault((_chain_text(found.chain), found.rule), (found, set()))[1].add(
                    port
                )
    for found, ports in closed.values():
        named = _numbers(ports)
        hint = LETS_THROUGH["input"].format(where=_chain_text(found.chain), ports=named)
        if found.chain.table == "firewalld":
            hint = (
                "\n".join(
                    f"firewall-cmd --permanent --add-port={port}/udp"
                    for port in sorted(ports)[:PORTS_NAMED]
                )
                + "\nfirewall-cmd --reload"
            )
        yield {
            "message": (
                f"chain {_chain_text(found.chain)} (not ours) {_how(found)} what clients send to"
                f" UDP port {named}"
            ),
            "hint": f"let them through:\n{hint}",
        }


def listening_ports(allocations: Allocations, intent: Intent | None) -> list[int]:
    """Of the networks that shall be up; without an intent of all."""
    off = (
        {name for name, network in intent.networks.items() if not network.enabled}
        if intent is not None
        else set[str]()
    )
    return sorted(
        {allocation.port for name, allocation in allocations.networks.items() if name not in off}
    )


def _versions(host: Host) -> list[int]:
    """Address families in which clients can reach the uplink; both where that is not known."""
    found = {6 if ":" in address else 4 for address in host.uplink_addresses}
    return sorted(found) or [4, 6]


def _arriving(host: Host, port: int, version: int) -> Probe:
    return Probe("input", version, host.uplink, "", "udp", port)


def _numbers(ports: Iterable[int]) -> str:
    every = sorted(ports)
    more = [f"and {len(every) - PORTS_NAMED} more"] if len(every) > PORTS_NAMED else []
    return ", ".join([*(str(port) for port in every[:PORTS_NAMED]), *more])


# ---- forwarded packets ---------------------------------------------------------------------------------------


def _closed_ways(host: Host, allocations: Allocations, intent: Intent | None) -> Iterator[Warning]:
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
                closed.setdefault(f"{_chain_text(found.chain)} {way}", (found, way, []))[2].append(
                    name
                )
                break
    for found, blocked, names in closed.values():
        what = "what clients send" if blocked == "out" else "the answers to clients"
        few = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        yield {
            "message": f"chain {_chain_text(found.chain)} (not ours) {_how(found)} {what} of {few}",
            "hint": (
                "let them"
                f" through:\n{LETS_THROUGH['forward'].format(where=_chain_text(found.chain))}"
            ),
        }


def _dropped_by_one(host: Host, probes: list[Probe]) -> Judged | None:
    """The verdict of a chain that drops every one of these packets for certain."""
    dropped: list[dict[str, Judged]] = []
    for probe in probes:
        found = judge(host.foreign_rules, probe)
        dropped.append({_chain_text(one.chain): one for one in found if one.end == "dropped"})
    common = set(dropped[0]).intersection(*dropped[1:]) if dropped else set[str]()
    return dropped[0][min(common)] if common else None


def _ways(
    host: Host, network: Network, gateway: Gateway, vcid: int
) -> Iterator[tuple[Literal["out", "back"], list[Probe]]]:
    """Packets that a network sends through the host, and their answers; nothing for networks that
    stay inside.
    """
    vrf = isolation_of(network, gateway) == "vrf"
    link, back = (
        (naming.vrf(vcid), naming.tunnel(vcid))
        if vrf
        else (naming.transit_outer(vcid), naming.transit_outer(vcid))
    )
    sent: list[Probe] = []
    if network.traits.internet:
        sent = [Probe("forward", 4, link, host.uplink, "tcp", port) for port in (80, 443)]
    for resource in network.resources if network.traits.lists_resources else ():
        if resource.via is None:
            sent += list(_to_resource(link, resource))
    if sent:
        yield "out", sent
        comes_by = host.uplink if network.traits.internet else ""
        versions = sorted({probe.version for probe in sent})
        yield (
            "back",
            [
                Probe("forward", version, comes_by, back, "", None, "established")
                for version in versions
            ],
        )


def _to_resource(link: str, resource: Resource) -> Iterator[Probe]:
    protocol = (
        "ipv6-icmp"
        if resource.protocol == "icmp" and resource.subnet.version == 6
        else resource.protocol or ""
    )
    for ports in resource.ports or (None,):
        yield Probe("forward", resource.subnet.version, link, "", protocol, _single(ports))


def _single(ports: Range | None) -> int | None:
    return ports.first if ports is not None else None


# ---- words ---------------------------------------------------------------------------------------------------


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
