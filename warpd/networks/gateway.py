"""The gateway's own objects: the guard in the root, its settings and rules, what modes share there.

They follow from all networks together and from the host, and belong to no network. Pure.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, collapse_addresses
from typing import NamedTuple

from warpd.allocation.model import NetworkAllocation
from warpd.intent.model import Gateway
from warpd.intent.types import is_plain_link_name
from warpd.kernel.kinds.nft_table import NftTable
from warpd.kernel.state import TRANSIT6, Host, KernelObject
from warpd.networks.firewall import root
from warpd.networks.firewall.rules import Range
from warpd.networks.isolation import MODES
from warpd.networks.isolation.namespace import transit6
from warpd.networks.placement import RootContribution
from warpd.networks.resolved import ResolvedNetwork
from warpd.networks.types import type_named


class Member(NamedTuple):
    """One network, as far as the gateway's own objects follow from it."""

    network: ResolvedNetwork
    contribution: RootContribution

    @property
    def egress(self) -> bool:
        return self.network.intent.traits.egress


def objects(host: Host, members: Sequence[Member], gateway: Gateway) -> list[KernelObject]:
    """Everything of the gateway's own; nothing where there is no network."""
    if not members:
        return []
    has_ipv6 = any(member.network.intent.ipv6 for member in members)
    fence = host if has_ipv6 else dataclasses.replace(host, fence6=False)
    leaving = [member for member in members if member.egress]
    ranges_of_vrfs = list(collapse_addresses(_ranges_of_vrfs(leaving)))
    default_links = sorted({hop.device for hop in host.hops if hop.version == 4})
    return [
        _guard(fence, host, members, gateway),
        *root.drop_unmarked_to(_transits(members, gateway)),
        *root.settings(fence, has_ipv6),
        *root.steering(host),
        *root.drop_unmarked_beyond(default_links, ranges_of_vrfs),
        *_shared(members, host),
    ]


def _guard(fence: Host, host: Host, members: Sequence[Member], gateway: Gateway) -> NftTable:
    allocations = [member.network.allocation for member in members]
    contributions = [member.contribution for member in members]
    routed = list(_each(part.routed for part in contributions))
    return root.guard(
        fence,
        ranges=list(_each(map(_ranges, allocations))),
        routed=routed,
        sources=[*routed, *_each(part.sources for part in contributions)],
        transits=list(_each(map(_both_ends, allocations))),
        port_pool=(gateway.pools.ports.first, gateway.pools.ports.last),
        ports=[allocation.port for allocation in allocations],
        guarded_ifaces=list(_each(part.guarded_ifaces for part in contributions)),
        port_blocks=list(_each(part.port_blocks for part in contributions)),
        uplinks=list(_uplinks(host, members)),
        egress_routes=list(_egress_routes(members)),
    )


_each = itertools.chain.from_iterable


def _ranges(allocation: NetworkAllocation) -> tuple[Range, ...]:
    return (allocation.subnet, allocation.subnet6, allocation.transit)


def _both_ends(allocation: NetworkAllocation) -> tuple[Range, ...]:
    return (allocation.transit, transit6(allocation.transit))


def _transits(members: Sequence[Member], gateway: Gateway) -> list[Range]:
    """All ranges of transit links, where there is any: links of networks may be from an earlier
    pool.
    """
    linked = [member.network for member in members if member.contribution.transit]
    if not linked:
        return []
    own = [network.transit for network in linked]
    ranges: list[Range] = [*collapse_addresses([gateway.pools.transit, *own])]
    if any(network.intent.ipv6 for network in linked):
        ranges.append(TRANSIT6)
    return ranges


def _ranges_of_vrfs(leaving: Iterable[Member]) -> list[IPv4Network]:
    """The IPv4 ranges of networks that leave, and not by a transit link."""
    parts = [member.contribution for member in leaving if not member.contribution.transit]
    ranges = [item for part in parts for item in part.sources]
    return [item for item in ranges if isinstance(item, IPv4Network)]


def _uplinks(host: Host, members: Iterable[Member]) -> Iterator[tuple[str, str, int]]:
    """By which links what comes in by a guarded interface may leave: (that interface, link, IP
    version).

    A link whose name would mean more than itself in a rule is left out.
    """
    named = [*((link, 4) for link in host.uplinks4), *((link, 6) for link in host.uplinks6)]
    plain = [(link, version) for link, version in named if is_plain_link_name(link)]
    for member in members:
        if member.egress:
            for iface in member.contribution.guarded_ifaces:
                for link, version in plain:
                    yield (iface, link, version)


def _egress_routes(members: Iterable[Member]) -> Iterator[tuple[str, str, Range]]:
    """The other links by which a network's packets may leave: (guarded interface, link, towards
    which range).
    """
    for member in members:
        if member.egress:
            for iface in member.contribution.guarded_ifaces:
                for link, target in _exits(member.network):
                    yield (iface, link, target)


def _exits(network: ResolvedNetwork) -> Iterator[tuple[str, Range]]:
    """The other links of the host by which a network's packets may leave, and towards what."""
    targets = type_named(network.intent.type).egress_destinations(network.intent, network.dns)
    wanted = {str(item): item for item in targets}
    for route in network.host.range_routes:
        if route.target in wanted:
            for link in route.links:
                if is_plain_link_name(link):
                    yield (link, wanted[route.target])


def _shared(members: Sequence[Member], host: Host) -> Iterator[KernelObject]:
    """What the networks of each mode need of the root together."""
    for module in MODES:
        own = [member.network for member in members if member.network.isolation == module.NAME]
        if own:
            yield from module.shared(any(network.intent.ipv6 for network in own), host)
