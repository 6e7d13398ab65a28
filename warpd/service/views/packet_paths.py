"""The hooks of the host that packets of networks pass, with packets that stand for all of a kind.

Four kinds: what clients send to a listening port and what the gateway answers from it (the packets
of WireGuard itself), and what a network sends through the host and the answers to it. Pure.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from warpd import naming
from warpd.allocation.model import NetworkAllocation
from warpd.intent.model import Gateway, Network, Resource
from warpd.intent.types import Range
from warpd.kernel.nftables.foreign_rules import ChainVerdict, Hook, Prefix, Probe, evaluate
from warpd.kernel.state import Host
from warpd.networks.isolation.namespace import transit6
from warpd.networks.resolved import isolation_of

Kind = Literal["request", "reply", "out", "back"]
SAMPLE_PORTS: Final = (80, 443)  # TCP ports that stand for the internet


@dataclass(frozen=True, slots=True)
class Passage:
    """Packets of one kind at one hook.

    - `kind`: of a listening port, "request" (to it) and "reply" (from it); of a network, "out" and
      "back" (what it sends, and the answers).
    - `probes`: packets that stand for all of them, of one hook and one IP version.
    """

    kind: Kind
    probes: tuple[Probe, ...]


def of_port(host: Host, port: int, version: int) -> Iterator[Passage]:
    """Yield the passages of a UDP port at which the gateway listens, on the uplink."""
    request = Probe("input", version, host.uplink, "", "udp", port)
    yield from _along("request", [request], "ingress", "prerouting", "input")
    reply = Probe("output", version, "", host.uplink, "udp", state="established", source_port=port)
    yield from _along("reply", [reply], "output", "postrouting", "egress")


def of_network(
    host: Host, network: Network, gateway: Gateway, allocation: NetworkAllocation
) -> Iterator[Passage]:
    """Yield the passages of a network through the host; they are empty for one without egress.

    Packets of networks in namespaces come in by dn-<vcid>. Those of networks in VRFs come in by
    wg-<vcid>, and once more by vrf-<vcid> (vrf_ip_rcv() in drivers/net/vrf.c); their answers leave
    by wg-<vcid>.
    """
    vcid = allocation.vcid
    entries = [naming.transit_outer(vcid)]
    leaves_by = entries[0]
    if isolation_of(network, gateway) == "vrf":
        entries = [naming.tunnel(vcid), naming.vrf(vcid)]
        leaves_by = entries[0]
    for version, inside in _sources(network, gateway, allocation).items():
        sent = [
            dataclasses.replace(probe, iif=entries[-1], source=inside)
            for probe in _sent(host, network)
            if probe.version == version
        ]
        yield from of_sent(sent, entries)
        yield from _back([_answer(probe, leaves_by) for probe in sent])


def of_sent(sent: Sequence[Probe], entries: Iterable[str]) -> Iterator[Passage]:
    """Yield the passages of packets that the host forwards; they come in by each of the entries."""
    for link in entries:
        by_link = [dataclasses.replace(probe, iif=link) for probe in sent]
        yield from _along("out", by_link, "prerouting")
    yield from _along("out", sent, "forward", "postrouting", "egress")


def _back(answers: Sequence[Probe]) -> Iterator[Passage]:
    """Yield the passages of answers; their target is known once our NAT has translated it back."""
    translated = [dataclasses.replace(probe, target=None) for probe in answers]
    yield from _along("back", translated, "ingress", "prerouting")
    yield from _along("back", answers, "forward", "postrouting")


def _along(kind: Kind, probes: Sequence[Probe], *hooks: Hook) -> Iterator[Passage]:
    for hook in hooks:
        yield Passage(kind, tuple(dataclasses.replace(probe, hook=hook) for probe in probes))


def _answer(probe: Probe, leaves_by: str) -> Probe:
    """Return the answer to a packet; it comes in by the link that the packet leaves by."""
    return dataclasses.replace(
        probe,
        iif=probe.oif,
        oif=leaves_by,
        port=None,
        state="established",
        source_port=probe.port,
        source=probe.target,
        target=probe.source,
    )


def _sources(
    network: Network, gateway: Gateway, allocation: NetworkAllocation
) -> dict[int, Prefix]:
    """Return, by IP version, the source that the network's packets have when they enter the host.

    NAT inside a namespace has translated it to the transit link.
    """
    is_linked = isolation_of(network, gateway) != "vrf"
    by_nat4: dict[bool, Prefix] = {True: allocation.transit, False: allocation.subnet}
    by_nat6: dict[bool, Prefix] = {
        True: transit6(allocation.transit),
        False: allocation.subnet6,
    }
    return {4: by_nat4[is_linked and network.nat], 6: by_nat6[is_linked and network.nat6]}


def _sent(host: Host, network: Network) -> Iterator[Probe]:
    """Yield the packets that stand for what a network sends, without their source."""
    if network.traits.internet:
        for version in _versions(host, network):
            for port in SAMPLE_PORTS:
                yield Probe("forward", version, "", host.uplink, "tcp", port)
    if network.traits.lists_resources:
        for resource in network.resources:
            if resource.via is None:
                yield from _to_resource(resource)


def _versions(host: Host, network: Network) -> tuple[int, ...]:
    """Return the IP versions in which the network and the host reach the internet."""
    has_ipv6 = network.ipv6 and any(hop.version == 6 for hop in host.hops)
    return (4, 6) if has_ipv6 else (4,)


def _to_resource(resource: Resource) -> Iterator[Probe]:
    protocol: str = resource.protocol or ""
    if resource.protocol == "icmp" and resource.subnet.version == 6:
        protocol = "ipv6-icmp"
    for ports in resource.ports or (None,):
        yield Probe(
            "forward",
            resource.subnet.version,
            "",
            "",
            protocol,
            _single(ports),
            target=resource.subnet,
        )


def _single(ports: Range | None) -> int | None:
    return ports.first if ports is not None else None


# -- what chains do with them


def verdicts(host: Host, passages: Iterable[Passage]) -> Iterator[ChainVerdict]:
    """Yield, of each foreign chain at each hook, what holds for every packet of the passage."""
    for passage in passages:
        by_chain: dict[tuple[str, str, str], list[ChainVerdict]] = {}
        for found in itertools.chain(
            *(evaluate(host.foreign_rules, one) for one in passage.probes)
        ):
            name = (found.chain.family, found.chain.table, found.chain.name)
            by_chain.setdefault(name, []).append(found)
        yield from (min(each, key=_severity) for each in by_chain.values())


def _severity(found: ChainVerdict) -> tuple[bool, bool, bool]:
    return found.end == "dropped", found.by_default, found.end == "unknown"
