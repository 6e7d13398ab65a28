"""What a port of a bridge of ours lets through: its VLANs, and whether the bridge learns addresses
there.

Every VLAN on a port of ours is ours. A VLAN id is either the port's own (frames come and go
untagged) or tagged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import ClassVar

from warpd.kernel.existence import ExistenceRules
from warpd.kernel.kinds.link import OnDevice, link_key
from warpd.kernel.state import Key, Phase

Vlans = tuple[
    tuple[int, int], ...
]  # ranges, both ends included, ascending, neither touching nor overlapping


@dataclass(frozen=True, slots=True)
class BridgePort(OnDevice):
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


class BridgePortRules(ExistenceRules[BridgePort]):
    """The settings of a port are there with the port."""

    exclusive = False


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
    return frozenset(vid for first, last in vlans for vid in range(first, last + 1))


def without(vlans: Vlans, vid: int) -> Vlans:
    return ranges(members(vlans) - {vid})
