"""All object kinds, one line each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from warpd.kernel.channels import (
    Channel,
    Direct,
    IndexedRequests,
    LinkRequests,
    Requests,
    Transaction,
)
from warpd.kernel.existence import ExistenceRules
from warpd.kernel.kinds import (
    address,
    bridge_port,
    duplicates,
    ethernet,
    link,
    nft_table,
    route,
    rule,
    sysctl,
    vrf,
    wireguard,
)
from warpd.kernel.kinds.address import Address
from warpd.kernel.kinds.bridge_port import BridgePort
from warpd.kernel.kinds.duplicates import DuplicateObject
from warpd.kernel.kinds.ethernet import Bridge, Gretap, Vxlan
from warpd.kernel.kinds.link import LinkUp, OrphanLink, Veth, WireguardLink
from warpd.kernel.kinds.netns import Netns
from warpd.kernel.kinds.nft_table import IngressFilter, NetworkSubtable, NftElements, NftTable
from warpd.kernel.kinds.route import Route
from warpd.kernel.kinds.rule import Rule
from warpd.kernel.kinds.sysctl import Sysctl
from warpd.kernel.kinds.tc_filter import TcIngress
from warpd.kernel.kinds.vrf import Vrf
from warpd.kernel.kinds.wireguard import WireguardDevice, WireguardPeer
from warpd.kernel.netlink import bridge, tc
from warpd.kernel.nftables import commands
from warpd.kernel.state import KernelObject


@dataclass(frozen=True, slots=True)
class Kind:
    """One object kind.

    - `cls`: its class, which holds its identity, phase and what changes in place.
    - `channel`: how a change of it reaches the kernel, with the function that encodes it.
    - `rules`: what the kernel does by itself around it.
    """

    cls: type[KernelObject]
    channel: Channel
    rules: ExistenceRules[Any] = field(default_factory=ExistenceRules)


KINDS: Final = (
    Kind(NftTable, Transaction(commands.encode_table), nft_table.NftTableRules()),
    Kind(NetworkSubtable, Transaction(commands.encode_subtable), nft_table.SubtableRules()),
    Kind(
        IngressFilter, Transaction(commands.encode_ingress_filter), nft_table.IngressFilterRules()
    ),
    Kind(NftElements, Transaction(commands.encode_elements), nft_table.NftElementsRules()),
    Kind(Netns, Direct.NAMESPACE),
    Kind(Vrf, LinkRequests(vrf.encode)),
    Kind(Bridge, LinkRequests(ethernet.encode_bridge, bridge.options)),
    Kind(Gretap, LinkRequests(ethernet.encode_gretap)),
    Kind(Vxlan, LinkRequests(ethernet.encode_vxlan)),
    Kind(WireguardLink, LinkRequests(link.encode_wireguard), wireguard.WireguardLinkRules()),
    Kind(Veth, LinkRequests(link.encode_veth), link.VethRules()),
    Kind(OrphanLink, LinkRequests(link.encode_orphan)),
    Kind(Sysctl, Direct.SETTING, sysctl.SysctlRules()),
    Kind(BridgePort, IndexedRequests(bridge.encode), bridge_port.BridgePortRules()),
    Kind(TcIngress, IndexedRequests(tc.batches, tc.lacking)),
    Kind(WireguardDevice, Direct.WIREGUARD_DEVICE, wireguard.WireguardDeviceRules()),
    Kind(WireguardPeer, Direct.WIREGUARD_PEERS, wireguard.WireguardPeerRules()),
    Kind(Address, Requests(address.encode)),
    Kind(LinkUp, Requests(link.encode_up), link.LinkUpRules()),
    Kind(Route, Requests(route.encode), route.RouteRules()),
    Kind(Rule, Requests(rule.encode)),
    Kind(DuplicateObject, Requests(duplicates.encode)),
)
_BY_CLASS: Final[Mapping[type[KernelObject], Kind]] = {kind.cls: kind for kind in KINDS}


def kind_of(item: KernelObject) -> Kind:
    """The kind of an object.

    Raises:
        KeyError: its class has no line in `KINDS`.
    """
    return _BY_CLASS[type(item)]
