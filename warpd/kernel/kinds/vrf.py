"""A VRF: an l3mdev device in the root that ties its ports' lookups to one routing table.

Ours by its alias. The table of a VRF cannot change (drivers/net/vrf.c has no changelink): another
table means another device.
"""

from __future__ import annotations

from dataclasses import dataclass

from warpd.kernel.kinds.link import Device, create_device, encode_device
from warpd.kernel.request import Message
from warpd.kernel.state import Change, Phase

MTU = 65575  # what the kernel gives a VRF (IP6_MAX_MTU of drivers/net/vrf.c)


@dataclass(frozen=True, slots=True)
class Vrf(Device):
    table: int = 0

    @property
    def phase(self) -> Phase:
        return Phase.NAMESPACE


def encode(change: Change) -> list[Message]:
    """The requests that make, change or remove a VRF."""
    return encode_device(change, _create)


def _create(vrf: Vrf) -> list[Message]:
    return create_device(vrf, "vrf", [("IFLA_VRF_TABLE", vrf.table)])
