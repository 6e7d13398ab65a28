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
from warpd.kernel.nftables.rules import ACCEPT, match, payload, rule
from warpd.kernel.state import KernelObject
from warpd.networks import ethernet, frames, tunnel
from warpd.networks.firewall.rules import Range
from warpd.networks.placement import EgressRequirements, FirewallPolicy, NetworkSite, Placement
from warpd.networks.tunnel import TunnelPeer

TYPE = "l2-mesh"
# Bytes inside the tunnel that a full frame takes: a VXLAN whose underlay carries less answers for
# the far end that the frame is too large (skb_tunnel_check_pmtu of a bridge port), instead of
# carrying it in fragments.
LEAST_MTU = PAYLOAD + 14 + 4 + 8 + 8 + 20
Servers = Sequence[IPv4Address | IPv6Address]


def wants(_network: Network) -> EgressRequirements:
    return EgressRequirements(egress=False)


def fragment(site: NetworkSite, _network: Network, _dns: Servers) -> FirewallPolicy:
    vxlan = rule(
        "its leg",
        *tunnel.to_gateway("ip", 4, str(site.gateway_address)),
        match(payload("udp", "dport"), VXLAN_PORT),
        ACCEPT,
    )
    return tunnel.fragment(site, {}, reasons=ethernet.REASONS, local=[vxlan])


def objects(
    site: NetworkSite, place: Placement, network: Network, peers: Sequence[TunnelPeer]
) -> list[KernelObject]:
    """The bridge and its legs."""
    name = ethernet.bridge_name(site, network)
    tagged = ethernet.tagged_of(network)
    untagged = network.vlan_id or (0 if network.vlan_range else site.vlan)
    bridge = ethernet.bridge(site, place, name, ETH_P_8021Q, len(peers))
    port = BridgePort(place.netns, "", untagged, tagged)
    admission = ethernet.LegAdmission(port, frames.of_leg(judged=True, storms=True))
    return ethernet.objects(
        site, place, bridge, [_leg(site, place, name, peer) for peer in peers], admission
    )


def _leg(site: NetworkSite, place: Placement, bridge: str, peer: TunnelPeer) -> Vxlan:
    return Vxlan(
        place.netns,
        naming.vxlan(site.vcid, peer.leg),
        naming.alias(site.vcid, site.name),
        PAYLOAD,
        str(site.gateway_address),
        str(peer.address),
        place.tunnel,
        vni=peer.vni,
        master=bridge,
    )


def targets(_network: Network, _dns: Servers) -> list[Range]:
    """Nowhere."""
    return []
