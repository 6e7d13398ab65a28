"""Keep packets from guarded interfaces away from the host itself, without nftables.

The kernel looks up the table of local routes before every other routing rule (rule 0), so no
routing rule can keep a packet from a service of the host. The `input` chains of our tables do this
until somebody flushes the ruleset. Therefore tc filters at the ingress of transit links and of
WireGuard devices drop these packets before the route lookup. No nftables command deletes them
(`kernel/kinds/tc_filter.py`).

They drop packets to the host's own addresses (from its table of local routes), to transit links,
and to multicast, broadcast and link-local addresses. Only neighbour discovery is permitted on a
transit link. ARP is not IP, and no filter matches it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from ipaddress import collapse_addresses, ip_network
from typing import Final

from warpd.kernel.kinds.tc_filter import Filters, TcFilter, TcIngress
from warpd.kernel.state import ROOT, TRANSIT6
from warpd.networks.firewall.rules import Range

REASON: Final = "host-address"
ETHERTYPES: Final = {4: 0x0800, 6: 0x86DD}
ICMPV6: Final = 58
NEIGHBOUR_DISCOVERY: Final = (135, 136)  # solicitation and advertisement, RFC 4861
# Addresses of all hosts of a link. Packets to them are never forwarded for an endpoint.
LINK_WIDE: Final = ("224.0.0.0/4", "255.255.255.255/32", "fe80::/10", "ff00::/8")
_FIRST_PASSED, _FIRST_DROPPED = 10, 100


def of_transit(device: str, local: Sequence[str], owner: str) -> TcIngress:
    """Return the filters of the root's end of a transit link.

    They drop packets to the host, except neighbour discovery. They also drop packets to the transit
    links of all networks, which `local` contains.
    """
    return TcIngress(ROOT, device, (*_discovery(), *_closed((*LINK_WIDE, *local))), owner=owner)


def of_tunnel(
    netns: str, device: str, closed: Iterable[str], spared: Iterable[str], owner: str = ""
) -> TcIngress:
    """Return the filters of a network's WireGuard device, which needs no neighbour discovery.

    `closed` holds the local addresses of the device's namespace. `spared` holds the gateway's
    addresses in the network, which answer ping.
    """
    own = {str(ip_network(address)) for address in spared}
    return TcIngress(
        netns,
        device,
        _closed((*LINK_WIDE, *(item for item in closed if item not in own))),
        owner=owner,
    )


def with_transit(local: Iterable[str], transit: Range) -> tuple[str, ...]:
    """Return the addresses of the host and of all transit links, as sorted prefixes without
    overlaps.
    """
    ranges = [*(ip_network(item) for item in local), transit, TRANSIT6]
    return tuple(str(item) for version in (4, 6) for item in _merged(ranges, version))


def _merged(ranges: Iterable[Range], version: int) -> Iterable[Range]:
    own = [item for item in ranges if item.version == version]
    out: Iterable[Range] = collapse_addresses(own)  # type: ignore[type-var]  # one family only, the stub cannot know
    return out


def _discovery() -> Filters:
    return tuple(
        TcFilter(number, "pass", ethertype=ETHERTYPES[6], ip_protocol=ICMPV6, icmp_type=kind)
        for number, kind in enumerate(NEIGHBOUR_DISCOVERY, _FIRST_PASSED)
    )


@functools.lru_cache(maxsize=64)
def _closed(prefixes: tuple[str, ...]) -> Filters:
    """Return the filters for these prefixes. They are cached, since up to a thousand networks have
    the same prefixes.
    """
    return tuple(
        TcFilter(number, "drop", REASON, ETHERTYPES[ip_network(prefix).version], destination=prefix)
        for number, prefix in enumerate(prefixes, _FIRST_DROPPED)
    )
