"""What an isolation mode offers to a network type, and what a type asks of it. Values only.

Types speak of a `Room` (where their device lives, how packets leave) and never of a mode; modes read `Wants`
and never a type. A new mode is a file beside this one and a line in `MODES`; a new type likewise.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from warpd.objects.nft import NftTable
from warpd.state import Host, Key, Object


@dataclass(frozen=True, slots=True)
class Site:
    """One enabled network with everything assigned: what both a type and a mode start from."""

    name: str
    vcid: int
    subnet: IPv4Network
    subnet6: IPv6Network | None  # None: no IPv6 in this network
    gateway_address: IPv4Address
    gateway_address6: IPv6Address | None
    transit: IPv4Network
    routing_table: int
    mtu: int
    host: Host


@dataclass(frozen=True, slots=True)
class Room:
    """Where a network's objects live, and the names of its devices there."""

    netns: str
    tunnel: str  # the WireGuard device
    exit: str  # the device towards the uplink
    link: Key  # the object that makes the tunnel device
    exit_link: Key


@dataclass(frozen=True, slots=True)
class Wants:
    """What a type asks of the mode: a way out, and whether the network's own addresses are kept on it."""

    egress: bool
    nat4: bool = True
    nat6: bool = True


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one network adds: its objects, its guard, and its part in the gateway's own guard."""

    objects: tuple[Object, ...]
    guard: NftTable
    routed: tuple[IPv4Network | IPv6Network, ...]  # ranges that keep their source on the way out
