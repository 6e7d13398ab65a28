"""l2-point-to-point: a wire between two endpoints, GRETAP over WireGuard on either side of a
bridge.

Without `vlan_id` and `vlan_range` it carries every frame unchanged: the bridge looks at 802.1ad
tags only, so that a customer's 802.1Q tags are payload. The bridge learns nothing: what comes in on
one side goes out on the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from warpd import naming
from warpd.intent.model import Network
from warpd.kernel.kinds.bridge_port import BridgePort
from warpd.kernel.kinds.ethernet import ETH_P_8021AD, ETH_P_8021Q, ETH_P_TEB, PAYLOAD, Gretap
from warpd.kernel.nftables.rules import plain_gre
from warpd.kernel.state import KernelObject
from warpd.networks import ethernet, frames, tunnel
from warpd.networks.firewall.rules import Range
from warpd.networks.placement import EgressRequirements, FirewallPolicy, Placement
from warpd.networks.resolved import ResolvedNetwork
from warpd.networks.tunnel import TunnelPeer

TYPE = "l2-point-to-point"
WIRE = 1  # the VLAN of 802.1ad that stands for the wire itself; S-tagged frames keep the others
EVERY = ((2, 4094),)
Servers = Sequence[IPv4Address | IPv6Address]


def egress_requirements(_network: ResolvedNetwork) -> EgressRequirements:
    return EgressRequirements(egress=False)


def firewall_policy(network: ResolvedNetwork) -> FirewallPolicy:
    leg = plain_gre(ETH_P_TEB)
    return tunnel.firewall_policy(network, {}, reasons=ethernet.REASONS, leg=leg)


def objects(
    network: ResolvedNetwork, placement: Placement, peers: Sequence[TunnelPeer]
) -> list[KernelObject]:
    """The bridge and its two legs."""
    name = ethernet.bridge_name(network)
    whole = not network.intent.vlan_id and not network.intent.vlan_range
    tagged = EVERY if whole else ethernet.tagged_of(network.intent)
    port = BridgePort(
        placement.netns, "", WIRE if whole else network.intent.vlan_id or 0, tagged, learning=False
    )
    bridge = ethernet.bridge(
        network, placement, name, ETH_P_8021AD if whole else ETH_P_8021Q, len(peers)
    )
    # One frame stays one: what a wire carries is bounded by its tunnels, and multicast is as good
    # as any other.
    admission = ethernet.LegAdmission(
        port, frames.leg_filters(permits_vlans=not whole, storms=False)
    )
    return ethernet.objects(
        network,
        placement,
        bridge,
        [_leg(network, placement, name, peer) for peer in peers],
        admission,
    )


def _leg(network: ResolvedNetwork, placement: Placement, bridge: str, peer: TunnelPeer) -> Gretap:
    return Gretap(
        placement.netns,
        naming.gretap(network.vcid, peer.leg),
        naming.alias(network.vcid, network.name),
        PAYLOAD,
        str(network.gateway_address),
        str(peer.address),
        placement.underlay,
        master=bridge,
    )


def egress_destinations(_network: Network, _dns: Servers) -> list[Range]:
    """Return no destinations."""
    return []
