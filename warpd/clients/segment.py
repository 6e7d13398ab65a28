"""The Ethernet part of an L2 endpoint's config as a value: the tunnel to the gateway, the bridge,
the port. Pure.

Lives here: names, addresses and sizes. Does not: how a format says them. Frames of 1500 bytes, or
1504 with a VLAN tag, must pass whatever the path's MTU, so outer packets fragment. Where, differs:

- a GRETAP that ignores an inner DF and sets none itself gives packets larger than the WireGuard
  device's MTU to the kernel's fragmentation, inside WireGuard;
- where the device cannot ignore an inner DF, and for every VXLAN (as a bridge port it answers
  "fragmentation needed" to frames that do not fit the route), the WireGuard device's own MTU must
  hold the largest packet; then WireGuard's outer packets fragment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from warpd import naming
from warpd.allocation.model import NetworkAllocation
from warpd.errors import WarpError
from warpd.intent.network_types import LegTunnel, traits

MTU: Final = 1500  # of the frames' payload; a VLAN tag comes on top
VXLAN_PORT: Final = 4789  # IANA's; the kernel's own default is another one
ETHERNET_AND_TAG: Final = 18
IPV4: Final = 20
OVERHEAD: Final[dict[LegTunnel, int]] = {"gretap": 4, "vxlan": 8 + 8}  # GRE; UDP and VXLAN


@dataclass(frozen=True, slots=True)
class Segment:
    """One endpoint's way into its network's Ethernet.

    `vni` and `port` mean something for VXLAN only.
    """

    kind: LegTunnel
    local: str  # inner address of the endpoint
    remote: str  # inner address of the gateway
    device: str
    bridge: str
    vni: int | None = None
    port: int = VXLAN_PORT
    mtu: int = MTU
    lan_port: str | None = None  # None: the operator adds ports to the bridge

    @property
    def carrier_mtu(self) -> int:
        """Bytes of the largest packet that this tunnel makes: 1542 for GRETAP, 1554 for VXLAN."""
        return self.mtu + ETHERNET_AND_TAG + OVERHEAD[self.kind] + IPV4


def segment(network_type: str, given: NetworkAllocation, endpoint: str) -> Segment | None:
    """None where the network carries no Ethernet.

    Raises:
        WarpError: l2-mesh, and the endpoint has no VNI.
    """
    kind, seat = traits(network_type).leg, given.endpoints[endpoint]
    if kind is None:
        return None
    if kind == "vxlan" and seat.vni is None:
        raise WarpError(f"endpoint {endpoint} was granted no VNI", code="vni-missing", who="bug")
    return Segment(
        kind,
        str(seat.address),
        str(given.gateway_address),
        device=f"{'gt' if kind == 'gretap' else 'vx'}-{given.vcid}",
        bridge=naming.bridge(given.vcid),
        vni=seat.vni if kind == "vxlan" else None,
    )
