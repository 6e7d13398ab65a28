"""A VRF: an l3mdev device in the root that ties its ports' lookups to one routing table.

Ours by its alias. The table of a VRF cannot change (drivers/net/vrf.c has no changelink): another
table means another device.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from warpd.kernel.kinds.link import Device, create_device, encode_device, owner_of
from warpd.kernel.request import Message
from warpd.kernel.rows import LinkRow, NamespaceRows
from warpd.kernel.state import ROOT, Change, Phase

IFLA_VRF_TABLE = 1
MTU = 65575  # what the kernel gives a VRF (IP6_MAX_MTU of drivers/net/vrf.c)


@dataclass(frozen=True, slots=True)
class Vrf(Device):
    """A VRF, with the routing table that its ports look up.

    Ours: its alias.
    """

    table: int = 0

    @property
    def phase(self) -> Phase:
        return Phase.NAMESPACE


def read(row: LinkRow, rows: NamespaceRows) -> Vrf | None:
    """A VRF; None in a namespace of ours, where warpd never makes one."""
    if rows.netns != ROOT:
        return None
    master = rows.names.get(row.master, "")
    table = row.number(IFLA_VRF_TABLE)
    return Vrf(rows.netns, row.name, row.alias, row.mtu, master=master, table=table)


def owners(netns: str, links: Iterable[LinkRow]) -> dict[int, str]:
    """Routing table -> the network whose VRF it is."""
    vrfs = (row for row in links if row.kind == "vrf")
    return {row.number(IFLA_VRF_TABLE): owner_of(netns, row) for row in vrfs}


def encode(change: Change) -> list[Message]:
    """The requests that make, change or remove a VRF."""
    return encode_device(change, _create)


def _create(vrf: Vrf) -> list[Message]:
    return create_device(vrf, "vrf", [("IFLA_VRF_TABLE", vrf.table)])
