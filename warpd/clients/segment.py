"""Compute the Ethernet part of an L2 endpoint's config: the tunnel to the gateway, the bridge and
the LAN port. Pure.

This module holds names, addresses and sizes; the formats write them. Frames with a payload of 1500
bytes, or 1504 with a VLAN tag, must pass on a path of any MTU. Therefore packets are fragmented, in
one of two places:

- A GRETAP can ignore the DF bit of inner packets and set none itself (`ignore-df nopmtudisc`,
  ip-link(8)). Then the kernel fragments the GRE packets that are larger than the MTU of the
  WireGuard device.
- Some devices cannot set `ignore-df`, and a VXLAN that is a bridge port answers "fragmentation
  needed" to frames that do not fit the route. Then the MTU of the WireGuard device must be large
  enough for the largest packet, and WireGuard's outer packets are fragmented.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from warpd import naming
from warpd.allocation.model import NetworkAllocation
from warpd.errors import WarpError
from warpd.intent.network_types import LegTunnel, traits

# All sizes are in bytes.
MTU: Final = 1500  # payload of a frame, without a VLAN tag
VXLAN_PORT: Final = 4789  # assigned by IANA (RFC 7348); the kernel's default is 8472
ETHERNET_AND_TAG: Final = 18
IPV4: Final = 20
OVERHEAD: Final[dict[LegTunnel, int]] = {"gretap": 4, "vxlan": 8 + 8}  # GRE; UDP and VXLAN


@dataclass(frozen=True, slots=True)
class Segment:
    """The tunnel and the bridge that connect an endpoint to its L2 network.

    Only a VXLAN uses `vni` and `port`.
    """

    kind: LegTunnel
    local: str  # address of the endpoint inside WireGuard
    remote: str  # address of the gateway inside WireGuard
    device: str
    bridge: str
    vni: int | None = None
    port: int = VXLAN_PORT
    mtu: int = MTU
    lan_port: str | None = None  # None: the operator adds a port to the bridge

    @property
    def carrier_mtu(self) -> int:
        """The size of the largest packet of this tunnel: 1542 bytes for GRETAP, 1554 for VXLAN."""
        return self.mtu + ETHERNET_AND_TAG + OVERHEAD[self.kind] + IPV4


def segment(network_type: str, allocation: NetworkAllocation, endpoint: str) -> Segment | None:
    """Return the Ethernet part of an endpoint, or None if the network is not an L2 network.

    Raises:
        WarpError: the network is an l2-mesh, and the endpoint has no VNI.
    """
    kind, address = traits(network_type).leg, allocation.endpoints[endpoint]
    if kind is None:
        return None
    if kind == "vxlan" and address.vni is None:
        raise WarpError(f"endpoint {endpoint} has no VNI", code="vni-missing", who="bug")
    return Segment(
        kind,
        str(address.address),
        str(allocation.gateway_address),
        device=f"{'gt' if kind == 'gretap' else 'vx'}-{allocation.vcid}",
        bridge=naming.bridge(allocation.vcid),
        vni=address.vni if kind == "vxlan" else None,
    )
