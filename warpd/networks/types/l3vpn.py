"""l3vpn-gateway: sites reach each other, with all networks behind them, through the gateway; no
internet.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from warpd.intent.model import Network
from warpd.kernel.nftables.rules import ACCEPT, match, payload, rule
from warpd.kernel.state import KernelObject
from warpd.networks import tunnel
from warpd.networks.firewall.rules import Range, drops
from warpd.networks.placement import EgressRequirements, FirewallPolicy, Placement
from warpd.networks.resolved import ResolvedNetwork
from warpd.networks.tunnel import TunnelPeer

TYPE = "l3vpn-gateway"
REASONS = ("not-routed", "spoofed")
Servers = Sequence[IPv4Address | IPv6Address]


def egress_requirements(_network: ResolvedNetwork) -> EgressRequirements:
    return EgressRequirements(egress=False)


def firewall_policy(network: ResolvedNetwork) -> FirewallPolicy:
    routed = [
        rule("sites", match(payload(family, "daddr"), f"@endpoints{version}"), ACCEPT)
        for family, version in (("ip", 4), ("ip6", 6))
    ]
    chains = {"peers": [*tunnel.spoofed(network), *routed, *drops(str(network.vcid), "not-routed")]}
    return tunnel.firewall_policy(network, chains, reasons=REASONS)


def objects(
    _network: ResolvedNetwork, _place: Placement, _peers: Sequence[TunnelPeer]
) -> list[KernelObject]:
    """Return no objects beside the tunnel."""
    return []


def egress_destinations(_network: Network, _dns: Servers) -> list[Range]:
    """Return no destinations."""
    return []
