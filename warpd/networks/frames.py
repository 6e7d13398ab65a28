"""Which frames of a leg never meet the bridge, and that no frame of a segment ever meets the
gateway's own protocols.

Filters of traffic control (`kernel/kinds/tc_filter.py`) judge every frame, whatever its protocol,
before nftables and the bridge do. Three kinds of frame must not come further:

- Frames to the group addresses 01:80:c2:00:00:01 to :0f, which IEEE 802.1Q keeps for the next
  bridge. A Linux bridge does not forward them: it hands them to the protocols of its host as if
  they had come in by the leg (net/bridge/br_input.c, br_handle_frame). 01:80:c2:00:00:00 (spanning
  tree) is forwarded, since our bridges do not take part in it.
- Frames with more VLAN tags than a network allows. A bridge judges and takes off the outer tag
  alone, so that the inner one would come out as the VLAN of the frame.
- Broadcast and multicast frames beyond a rate, where one frame becomes many (l2-mesh).

What goes up from a bridge itself to the protocols of its host is dropped altogether. Without that,
a bridge that somebody listens on (promiscuous mode) would hand over every frame.
"""

from __future__ import annotations

from typing import Final

from warpd.kernel.kinds.ethernet import ETH_P_8021AD, ETH_P_8021Q
from warpd.kernel.kinds.tc_filter import Filters, TcFilter

RESERVED: Final = "reserved-mac"
STACKED: Final = "vlan-stacked"
STORM: Final = "storm"
# By the bits of the last octet: 1, 2 and 3, 4 to 7, 8 to 15.
RESERVED_ADDRESSES: Final = (
    "01:80:c2:00:00:01",
    "01:80:c2:00:00:02/ff:ff:ff:ff:ff:fe",
    "01:80:c2:00:00:04/ff:ff:ff:ff:ff:fc",
    "01:80:c2:00:00:08/ff:ff:ff:ff:ff:f8",
)
# What announces a VLAN tag: IEEE 802.1Q, 802.1ad, and what was in use before them.
TAG_TYPES: Final = (ETH_P_8021Q, ETH_P_8021AD, 0x9100, 0x9200, 0x9300)
GROUP_ADDRESSES: Final = "01:00:00:00:00:00/01:00:00:00:00:00"
# Each becomes as many frames as the segment has legs. Two thousand a second are twenty times what
# ARP, neighbour discovery and name services of a thousand hosts make. What may come at once is a
# quarter of what the shortest queues on the way to the other legs hold: 1000 frames
# (net.core.netdev_max_backlog) and 1024 packets (MAX_QUEUED_PACKETS of WireGuard).
STORM_PACKETS_PER_S: Final = 2000
STORM_BURST_PACKETS: Final = 256
_FIRST_RESERVED, _FIRST_OUTER, _FIRST_INNER, _STORM = 10, 20, 30, 100


def leg_filters(permits_vlans: bool, storms: bool) -> Filters:
    """The filters of a leg.

    `permits_vlans` says that the network permits VLANs; without, a leg carries every frame,
    whatever its tags. With `storms`, broadcast and multicast frames are limited.
    """
    return (*_reserved(), *(_stacked() if permits_vlans else ()), *((_storm(),) if storms else ()))


def bridge_filters() -> Filters:
    """The filter of a bridge.

    It counts nothing: what it drops has been forwarded to where it belongs as well.
    """
    return (TcFilter(_FIRST_RESERVED),)


def _reserved() -> Filters:
    return tuple(
        TcFilter(number, "drop", RESERVED, destination_mac=addresses)
        for number, addresses in enumerate(RESERVED_ADDRESSES, _FIRST_RESERVED)
    )


def _stacked() -> Filters:
    """A first tag of 802.1Q with another behind it, and every other kind of first tag.

    A single tag of 802.1Q is judged by the VLANs of the port.
    """
    outer = (
        TcFilter(number, "drop", STACKED, kind)
        for number, kind in enumerate(TAG_TYPES[1:], _FIRST_OUTER)
    )
    inner = (
        TcFilter(number, "drop", STACKED, ETH_P_8021Q, vlan_ethertype=kind)
        for number, kind in enumerate(TAG_TYPES, _FIRST_INNER)
    )
    return (*outer, *inner)


def _storm() -> TcFilter:
    rate, burst = STORM_PACKETS_PER_S, STORM_BURST_PACKETS
    return TcFilter(
        _STORM, "limit", STORM, destination_mac=GROUP_ADDRESSES, packets_per_s=rate, burst=burst
    )
