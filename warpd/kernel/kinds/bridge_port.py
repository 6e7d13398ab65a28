"""What a port of a bridge of ours lets through: its VLANs, and whether the bridge learns addresses
there.

Every VLAN on a port of ours is ours. A VLAN id is either the port's own (frames come and go
untagged) or tagged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from warpd.kernel.existence import ExistenceRules
from warpd.kernel.kinds.link import LEG_DRIVERS, OnDevice, link_key
from warpd.kernel.rows import NamespaceRows, PortRow, Reading
from warpd.kernel.state import Key, Phase

PVID, UNTAGGED = 0x2, 0x4  # BRIDGE_VLAN_INFO_PVID, BRIDGE_VLAN_INFO_UNTAGGED (linux/if_bridge.h)
Vlans = tuple[
    tuple[int, int], ...
]  # ranges, both ends included, ascending, neither touching nor overlapping


@dataclass(frozen=True, slots=True)
class BridgePort(OnDevice):
    """What one port of a bridge lets through, and whether addresses are learned there.

    `untagged` is the VLAN of untagged frames, 0 where they are dropped.

    Ours: the link that is the port is ours.
    """

    KIND: ClassVar[str] = "bridge-port"
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset({"untagged", "tagged", "learning"})

    netns: str
    device: str
    untagged: int = 0  # 0: untagged frames are dropped
    tagged: Vlans = ()
    learning: bool = True

    @property
    def key(self) -> Key:
        return Key(self.KIND, self.netns, self.device)

    @property
    def phase(self) -> Phase:
        return Phase.SETTING

    @property
    def needs(self) -> tuple[Key, ...]:
        return (link_key(self.netns, self.device), Key("tc-ingress", self.netns, self.device))

    def vanishes_with(self, gone: Collection[Key], released: Collection[Key]) -> bool:
        """With its link, and with the bridge: a link that leaves a bridge keeps no VLAN."""
        return self.container in gone or self.container in released


def read(rows: NamespaceRows) -> Iterator[Reading]:
    """What the tunnels on our bridges let through.

    A VLAN that is half of what "untagged" means (a PVID that leaves with its tag) reads as an
    untagged id of -1, which is never wanted.
    """
    legs = {row.index: row.name for row in rows.own if row.master and row.kind in LEG_DRIVERS}
    for row in rows.ports:
        if row.index in legs:
            yield Reading(_port(rows.netns, legs[row.index], row))


def _port(netns: str, device: str, row: PortRow) -> BridgePort:
    own = [vid for vid, flags in row.vlans if flags & PVID]
    untagged = own[0] if own else 0
    if any(flags & (PVID | UNTAGGED) not in (0, PVID | UNTAGGED) for _vid, flags in row.vlans):
        untagged = -1
    tagged = ranges(vid for vid, flags in row.vlans if not flags & PVID)
    return BridgePort(netns, device, untagged, tagged, row.learning)


class BridgePortRules(ExistenceRules[BridgePort]):
    """The settings of a port are there with the port."""

    taken = 0

    def is_permanent(self, item: BridgePort) -> bool:
        return True


def ranges(vids: Iterable[int]) -> Vlans:
    """VLAN ids as ascending ranges."""
    out: list[tuple[int, int]] = []
    for vid in sorted(set(vids)):
        if out and out[-1][1] == vid - 1:
            out[-1] = (out[-1][0], vid)
        else:
            out.append((vid, vid))
    return tuple(out)


def members(vlans: Vlans) -> frozenset[int]:
    """The VLAN ids in ranges."""
    return frozenset(vid for first, last in vlans for vid in range(first, last + 1))


def without(vlans: Vlans, vid: int) -> Vlans:
    """Ranges of VLAN ids without one id."""
    return ranges(members(vlans) - {vid})
