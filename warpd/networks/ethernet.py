"""What the Ethernet types share: a bridge, a leg for each endpoint, and what a leg lets in.

Three things judge a frame: the filters of its leg (`frames`), the VLANs of its port, and that the
bridge is a member of no VLAN, so that nothing goes up to the gateway. What the port dropped follows
from the bridge's own counters. In the root, a gate of the leg (IPv4 and IPv6 frames,
nft_do_chain_inet_ingress lets the rest by) asks besides whether the frame came in by its own
network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from warpd import naming
from warpd.intent.model import Network
from warpd.kernel.kinds.bridge_port import BridgePort, Vlans
from warpd.kernel.kinds.ethernet import PAYLOAD, Bridge, Leg, max_learned
from warpd.kernel.kinds.link import LinkUp, link_key
from warpd.kernel.kinds.nft_table import IngressFilter, NftElements
from warpd.kernel.kinds.sysctl import Sysctl
from warpd.kernel.kinds.tc_filter import Filters, TcIngress
from warpd.kernel.nftables.rules import DROP, count, match, meta, only_bits, rule
from warpd.kernel.state import ROOT, KernelObject
from warpd.networks import frames
from warpd.networks.firewall.second_guard import PERMITTED
from warpd.networks.placement import Placement
from warpd.networks.resolved import ResolvedNetwork

OTHER_NETWORK = "other-network"
REASONS = (OTHER_NETWORK,)


def bridge_name(network: ResolvedNetwork) -> str:
    return network.intent.bridge_name or naming.bridge(network.vcid)


@dataclass(frozen=True, slots=True)
class LegAdmission:
    """What each leg of a segment lets in."""

    port: BridgePort  # the VLANs of its port; its names are of no meaning
    filters: Filters  # of its ingress


def objects(
    network: ResolvedNetwork,
    placement: Placement,
    bridge: Bridge,
    legs: Sequence[Leg],
    admission: LegAdmission,
) -> list[KernelObject]:
    """The bridge with its legs."""
    port = admission.port
    group = naming.namespace(network.vcid)
    own = link_key(placement.netns, bridge.name)
    out: list[KernelObject] = [
        bridge,
        LinkUp(placement.netns, bridge.name, own, group),
        *_quiet(placement, bridge.name, group),
    ]
    out.append(TcIngress(placement.netns, bridge.name, frames.bridge_filters(), owner=group))
    if placement.netns == ROOT:
        out.append(NftElements(ROOT, "bridge_ifaces", frozenset({bridge.name}), bridge.name, group))
    for leg in legs:
        key = link_key(placement.netns, leg.name)
        out += [leg, LinkUp(placement.netns, leg.name, key), *_quiet(placement, leg.name, group)]
        out.append(TcIngress(placement.netns, leg.name, admission.filters, owner=group))
        out += _own_only(placement, leg.name)
        out.append(BridgePort(placement.netns, leg.name, port.untagged, port.tagged, port.learning))
    return out


def _quiet(placement: Placement, name: str, group: str) -> list[KernelObject]:
    """No address of the gateway's own on a tenant's segment, not even a link-local one, and nothing
    answered or forwarded.

    The filters keep every frame from the gateway's own protocols already; these settings hold
    should they be missing.
    """
    values = {f"net/ipv6/conf/{name}/disable_ipv6": "1", f"net/ipv4/conf/{name}/forwarding": "0"}
    values |= {f"net/ipv4/conf/{name}/arp_ignore": "8", f"net/ipv4/conf/{name}/rp_filter": "1"}
    key = link_key(placement.netns, name)
    return [
        Sysctl(placement.netns, path, value, key, owner=group) for path, value in values.items()
    ]


def bridge(
    network: ResolvedNetwork, placement: Placement, name: str, protocol: int, legs: int
) -> Bridge:
    limit = max_learned(legs)
    return Bridge(
        placement.netns,
        name,
        naming.alias(network.vcid, network.name),
        PAYLOAD,
        protocol=protocol,
        max_learned=limit,
    )


def _own_only(placement: Placement, leg: str) -> list[KernelObject]:
    """In the root, where tunnels of several networks may have the same two addresses: a leg takes
    what came in by its own.
    """
    if not placement.mark:
        return []
    # The guard has set its bit in the mark of what it let in.
    own = only_bits(meta("mark"), 0xFFFFFFFF ^ PERMITTED)
    other = rule(
        "came in by this network",
        match(own, placement.mark, op="!="),
        count(placement.named(OTHER_NETWORK)),
        DROP,
    )
    return [IngressFilter(placement.netns, leg, (other,))]


def tagged_of(network: Network) -> Vlans:
    return ((network.vlan_range.first, network.vlan_range.last),) if network.vlan_range else ()
