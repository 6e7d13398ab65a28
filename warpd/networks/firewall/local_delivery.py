"""What comes in by a guarded interface never reaches the host itself, whatever nftables says.

The kernel looks up its table of local addresses before every other routing rule (rule 0), so that
no rule of ours keeps a packet from a service of the host. The `input` chains of our tables do,
until somebody flushes the ruleset. Filters of traffic control at the ingress of every guarded
interface judge before the route is looked up, and no nftables command takes them away
(`kernel/kinds/tc_filter.py`).

They drop what is addressed to the host's own addresses as its table of local routes has them, to
the transit links, and to multicast, broadcast and link-local addresses. What a transit link itself
needs is neighbour discovery; ARP is not IP.
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
# To every host of the link; no packet to them is ever forwarded for an endpoint.
LINK_WIDE: Final = ("224.0.0.0/4", "255.255.255.255/32", "fe80::/10", "ff00::/8")
_FIRST_PASSED, _FIRST_DROPPED = 10, 100


def of_transit(device: str, local: Sequence[str], owner: str) -> TcIngress:
    """The filters of the root's end of a transit link: nothing comes in for the host but neighbour
    discovery.

    Nothing that a network sends is addressed to a transit link either: `local` has those of all
    networks.
    """
    return TcIngress(ROOT, device, (*_discovery(), *_closed((*LINK_WIDE, *local))), owner=owner)


def of_tunnel(
    netns: str, device: str, closed: Iterable[str], spared: Iterable[str], owner: str = ""
) -> TcIngress:
    """The filters of a network's WireGuard device, which has no neighbours.

    `closed` are addresses of where the device is, `spared` those of the gateway in the network
    itself: they answer ping.
    """
    own = {str(ip_network(address)) for address in spared}
    return TcIngress(
        netns,
        device,
        _closed((*LINK_WIDE, *(item for item in closed if item not in own))),
        owner=owner,
    )


def with_transit(local: Iterable[str], transit: Range) -> tuple[str, ...]:
    """The host's own addresses and those of all transit links: ascending prefixes without
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
    """Networks with the same prefixes share the filters: a gateway may have a thousand."""
    return tuple(
        TcFilter(number, "drop", REASON, ETHERTYPES[ip_network(prefix).version], destination=prefix)
        for number, prefix in enumerate(prefixes, _FIRST_DROPPED)
    )
