"""l2-mesh: one shared Ethernet segment, a VXLAN leg over WireGuard for each endpoint, each with a
VNI of its own.

Every leg is a tunnel to one known endpoint, so that the bridge alone learns where an address is.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from warpd import naming
from warpd.intent.model import Network
from warpd.kernel.kinds.bridge_port import BridgePort
from warpd.kernel.kinds.ethernet import ETH_P_8021Q, PAYLOAD, VXLAN_PORT, Vxlan
from warpd.kernel.nftables.rules import match, payload
from warpd.kernel.state import KernelObject
from warpd.networks import ethernet, frames, tunnel
from warpd.networks.firewall.rules import Range
from warpd.networks.placement import EgressRequirements, FirewallPolicy, Placement
from warpd.networks.resolved import ResolvedNetwork
from warpd.networks.tunnel import TunnelPeer

TYPE = "l2-mesh"
Servers = Sequence[IPv4Address | IPv6Address]


def egress_requirements(_network: ResolvedNetwork) -> EgressRequirements:
    return EgressRequirements(egress=False)


def firewall_policy(network: ResolvedNetwork) -> FirewallPolicy:
    leg = [match(payload("udp", "dport"), VXLAN_PORT)]
    # A VXLAN tunnel sends each flow of frames from a port of its own (RFC 7348, section 5).
    return tunnel.firewall_policy(network, {}, reasons=ethernet.REASONS, leg=leg, tracked=False)


def objects(
    network: ResolvedNetwork, placement: Placement, peers: Sequence[TunnelPeer]
) -> list[KernelObject]:
    """The bridge and its legs."""
    name = ethernet.bridge_name(network)
    tagged = ethernet.tagged_of(network.intent)
    untagged = network.intent.vlan_id or (0 if network.intent.vlan_range else network.vlan)
    bridge = ethernet.bridge(network, placement, name, ETH_P_8021Q, len(peers))
    port = BridgePort(placement.netns, "", untagged, tagged)
    admission = ethernet.LegAdmission(port, frames.leg_filters(permits_vlans=True, storms=True))
    return ethernet.objects(
        network,
        placement,
        bridge,
        [_leg(network, placement, name, peer) for peer in peers],
        admission,
    )


def _leg(network: ResolvedNetwork, placement: Placement, bridge: str, peer: TunnelPeer) -> Vxlan:
    return Vxlan(
        placement.netns,
        naming.vxlan(network.vcid, peer.leg),
        naming.alias(network.vcid, network.name),
        PAYLOAD,
        str(network.gateway_address),
        str(peer.address),
        placement.tunnel,
        vni=peer.vni,
        master=bridge,
    )


def egress_destinations(_network: Network, _dns: Servers) -> list[Range]:
    """Return no destinations."""
    return []
