"""The links of an Ethernet segment: a VLAN-aware bridge and its legs, one GRETAP or VXLAN tunnel
for each endpoint.

The bridge is created without a default VLAN (`vlan_default_pvid 0`) and is a member of no VLAN
itself, so that a port without a VLAN of its own carries nothing, and no frame reaches the gateway's
own stack. Most attributes of a tunnel cannot change, and some are ignored silently
(drivers/net/vxlan, net/ipv4/ip_gre.c), so that any change replaces it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from warpd.kernel.kinds.link import LEG_DRIVERS, Device, create_device, encode_device, link_key
from warpd.kernel.request import Index, Message
from warpd.kernel.rows import LinkRow, NamespaceRows
from warpd.kernel.state import Action, Change, Key

PAYLOAD = 1500  # bytes of Ethernet payload that every leg carries
# Addresses: four /24 of hosts behind each endpoint, 128 KiB of the kernel's memory.
LEARNED_PER_LEG = 1024
VXLAN_PORT = 4789
ETH_P_8021Q, ETH_P_8021AD = 0x8100, 0x88A8
ETH_P_TEB = 0x6558  # Ethernet frames, as a GRETAP leg sends them
# Attributes of the drivers (linux/if_link.h).
IFLA_BR_STP_STATE, IFLA_BR_VLAN_FILTERING, IFLA_BR_VLAN_PROTOCOL = 5, 7, 8
IFLA_BR_MCAST_SNOOPING, IFLA_BR_VLAN_DEFAULT_PVID = 23, 39
IFLA_BR_VLAN_STATS = (41, 45)  # IFLA_BR_VLAN_STATS_ENABLED, IFLA_BR_VLAN_STATS_PER_PORT
IFLA_BR_FDB_MAX_LEARNED = 49  # Linux 6.7; an older kernel passes over it
IFLA_GRE_LINK, IFLA_GRE_LOCAL, IFLA_GRE_REMOTE = 1, 6, 7
IFLA_GRE_PMTUDISC, IFLA_GRE_IGNORE_DF = 10, 19
IFLA_VXLAN_ID, IFLA_VXLAN_GROUP, IFLA_VXLAN_LINK, IFLA_VXLAN_LOCAL = 1, 2, 3, 4
IFLA_VXLAN_LEARNING, IFLA_VXLAN_PORT = 7, 15
IFLA_VXLAN_GROUP6, IFLA_VXLAN_LOCAL6 = 16, 17


@dataclass(frozen=True, slots=True)
class Bridge(Device):
    """A VLAN-aware bridge.

    - `protocol`: the ethertype of the tags that it looks at (ETH_P_8021Q or ETH_P_8021AD). With
      802.1ad the tags of customers pass as payload.
    - `default_pvid`: the VLAN that a new port is given, 0 for none.
    - `counting`: frames are counted by port and VLAN, from which follows what was dropped. Only a
      bridge without ports takes it.
    - `max_learned`: how many addresses it learns (Linux 6.7). An older kernel has no limit and is
      read as having the one that is wanted.

    Ours: its alias.
    """

    CHANGEABLE: ClassVar[frozenset[str]] = frozenset(
        {
            "mtu",
            "alias",
            "master",
            "filtering",
            "protocol",
            "default_pvid",
            "snooping",
            "stp",
            "max_learned",
        }
    )

    filtering: bool = True
    protocol: int = ETH_P_8021Q
    default_pvid: int = 0
    snooping: bool = False
    stp: bool = False
    counting: bool = True
    max_learned: int = LEARNED_PER_LEG


@dataclass(frozen=True, slots=True)
class Leg(Device):
    """A tunnel to one endpoint, over the tunnel that its WireGuard peer is."""

    local: str = ""
    remote: str = ""
    underlay: str = ""  # the link whose routes it takes, and whose packets it believes

    @property
    def needs(self) -> tuple[Key, ...]:
        return (link_key(self.netns, self.underlay), link_key(self.netns, self.master))


@dataclass(frozen=True, slots=True)
class Gretap(Leg):
    """A GRETAP tunnel.

    - `pmtudisc`: whether it sets the don't-fragment bit. Without, what is too large for the
      WireGuard device is cut up inside it.

    Ours: its alias.
    """

    pmtudisc: bool = False
    ignore_df: bool = True


@dataclass(frozen=True, slots=True)
class Vxlan(Leg):
    """A VXLAN tunnel to one remote address.

    `learning` is off, since there is only that one.

    Ours: its alias.
    """

    vni: int = 0
    port: int = VXLAN_PORT
    learning: bool = False


def max_learned(legs: int) -> int:
    """How many addresses a bridge with so many legs learns at most; beyond, frames to new ones go
    to all legs.
    """
    return LEARNED_PER_LEG * max(legs, 1)


def _flags(bridge: Bridge) -> list[tuple[str, int]]:
    return [
        ("IFLA_BR_VLAN_FILTERING", int(bridge.filtering)),
        ("IFLA_BR_VLAN_PROTOCOL", bridge.protocol),
        ("IFLA_BR_VLAN_DEFAULT_PVID", bridge.default_pvid),
        ("IFLA_BR_MCAST_SNOOPING", int(bridge.snooping)),
        ("IFLA_BR_STP_STATE", int(bridge.stp)),
    ]


def read_bridge(row: LinkRow, rows: NamespaceRows) -> Bridge:
    """A bridge; a limit that the kernel does not know reads as what is wanted."""
    legs = sum(other.master == row.index and other.kind in LEG_DRIVERS for other in rows.links)
    limit = max_learned(legs)
    if IFLA_BR_FDB_MAX_LEARNED in row.data:
        limit = row.number(IFLA_BR_FDB_MAX_LEARNED)
    return Bridge(
        rows.netns,
        row.name,
        row.alias,
        row.mtu,
        master=rows.names.get(row.master, ""),
        filtering=bool(row.number(IFLA_BR_VLAN_FILTERING)),
        protocol=row.network_number(IFLA_BR_VLAN_PROTOCOL),
        default_pvid=row.number(IFLA_BR_VLAN_DEFAULT_PVID),
        snooping=bool(row.number(IFLA_BR_MCAST_SNOOPING)),
        stp=bool(row.number(IFLA_BR_STP_STATE)),
        counting=all(row.number(kind) for kind in IFLA_BR_VLAN_STATS),
        max_learned=limit,
    )


def read_gretap(row: LinkRow, rows: NamespaceRows) -> Gretap:
    """A GRETAP tunnel."""
    return Gretap(
        rows.netns,
        row.name,
        row.alias,
        row.mtu,
        master=rows.names.get(row.master, ""),
        local=row.address(IFLA_GRE_LOCAL),
        remote=row.address(IFLA_GRE_REMOTE),
        underlay=rows.names.get(row.number(IFLA_GRE_LINK), ""),
        pmtudisc=bool(row.number(IFLA_GRE_PMTUDISC)),
        ignore_df=bool(row.number(IFLA_GRE_IGNORE_DF)),
    )


def read_vxlan(row: LinkRow, rows: NamespaceRows) -> Vxlan:
    """A VXLAN tunnel."""
    return Vxlan(
        rows.netns,
        row.name,
        row.alias,
        row.mtu,
        master=rows.names.get(row.master, ""),
        local=row.address(IFLA_VXLAN_LOCAL),
        remote=row.address(IFLA_VXLAN_GROUP),
        underlay=rows.names.get(row.number(IFLA_VXLAN_LINK), ""),
        vni=row.number(IFLA_VXLAN_ID),
        port=row.network_number(IFLA_VXLAN_PORT),
        learning=bool(row.number(IFLA_VXLAN_LEARNING)),
    )


def encode_bridge(change: Change) -> list[Message]:
    """The requests that make, change or remove a bridge.

    The limit of learned addresses and the counting are not among them: `netlink.bridge.options`
    makes those by the bridge's index.
    """
    requests = encode_device(change, _create_bridge)
    if change.action is Action.DELETE or change.before is None:
        return requests
    return [*requests, *_change_bridge(change.before, change.after)]


def _create_bridge(bridge: Bridge) -> list[Message]:
    return create_device(bridge, "bridge", _flags(bridge))


def _change_bridge(before: Bridge, after: Bridge) -> list[Message]:
    previous = dict(_flags(before))
    data = [(name, value) for name, value in _flags(after) if previous[name] != value]
    if not data:
        return []
    info = {"attrs": [("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", {"attrs": data})]}
    header = (("index", Index(after.netns, after.name)),)
    return [Message(after.netns, "link", "set", header, (("IFLA_LINKINFO", info),))]


def encode_gretap(change: Change) -> list[Message]:
    """The requests that make, change or remove a GRETAP tunnel."""
    return encode_device(change, _create_gretap)


def encode_vxlan(change: Change) -> list[Message]:
    """The requests that make, change or remove a VXLAN tunnel."""
    return encode_device(change, _create_vxlan)


def _create_gretap(leg: Gretap) -> list[Message]:
    data = [
        ("IFLA_GRE_LINK", Index(leg.netns, leg.underlay)),
        ("IFLA_GRE_LOCAL", leg.local),
        ("IFLA_GRE_REMOTE", leg.remote),
        ("IFLA_GRE_PMTUDISC", int(leg.pmtudisc)),
        ("IFLA_GRE_IGNORE_DF", int(leg.ignore_df)),
    ]
    return create_device(leg, "gretap", data)


def _create_vxlan(leg: Vxlan) -> list[Message]:
    data = [
        ("IFLA_VXLAN_ID", leg.vni),
        ("IFLA_VXLAN_LINK", Index(leg.netns, leg.underlay)),
        ("IFLA_VXLAN_LOCAL", leg.local),
        ("IFLA_VXLAN_GROUP", leg.remote),
        ("IFLA_VXLAN_PORT", leg.port),
        ("IFLA_VXLAN_LEARNING", int(leg.learning)),
    ]
    return create_device(leg, "vxlan", data)
