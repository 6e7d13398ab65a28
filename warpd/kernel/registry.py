"""All object kinds, one line each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
    tc_filter,
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
from warpd.kernel.rows import ForeignReading, LinkRow, NamespaceRows, Reading, VethEnd
from warpd.kernel.state import KernelObject

Reader = Callable[[NamespaceRows], Iterable[Reading | ForeignReading]]
LinkReader = Callable[[LinkRow, NamespaceRows], KernelObject | VethEnd | None]


@dataclass(frozen=True, slots=True)
class Kind:
    """One object kind.

    - `cls`: its class, which holds its identity, phase and what changes in place.
    - `channel`: how a change of it reaches the kernel, with the function that encodes it.
    - `rules`: what the kernel does by itself around it.
    - `read`: how it is read from what one look at one namespace found, or None where another kind's
      reader yields it (the four of nftables come from one listing) or the live machine makes it
      (`Netns` from /run/netns, `OrphanLink` and `DuplicateObject` of what nothing else took).
    - `drivers`, `read_link`: for a link, the drivers by which it is told, and how it is read. A
      reader answers None for a link that is not as warpd makes it.
    """

    cls: type[KernelObject]
    channel: Channel
    rules: ExistenceRules[Any] = field(default_factory=ExistenceRules)
    read: Reader | None = None
    drivers: tuple[str, ...] = ()
    read_link: LinkReader | None = None


KINDS: Final = (
    Kind(
        NftTable, Transaction(commands.encode_table), nft_table.NftTableRules(), read=nft_table.read
    ),
    Kind(NetworkSubtable, Transaction(commands.encode_subtable), nft_table.SubtableRules()),
    Kind(
        IngressFilter, Transaction(commands.encode_ingress_filter), nft_table.IngressFilterRules()
    ),
    Kind(NftElements, Transaction(commands.encode_elements), nft_table.NftElementsRules()),
    Kind(Netns, Direct.NAMESPACE),
    Kind(Vrf, LinkRequests(vrf.encode), drivers=("vrf",), read_link=vrf.read),
    Kind(
        Bridge,
        LinkRequests(ethernet.encode_bridge, bridge.options),
        drivers=("bridge",),
        read_link=ethernet.read_bridge,
    ),
    Kind(
        Gretap,
        LinkRequests(ethernet.encode_gretap),
        drivers=("gretap",),
        read_link=ethernet.read_gretap,
    ),
    Kind(
        Vxlan,
        LinkRequests(ethernet.encode_vxlan),
        drivers=("vxlan",),
        read_link=ethernet.read_vxlan,
    ),
    Kind(
        WireguardLink,
        LinkRequests(link.encode_wireguard),
        wireguard.WireguardLinkRules(),
        drivers=("wireguard", "tun"),
        read_link=wireguard.read_link,
    ),
    Kind(
        Veth,
        LinkRequests(link.encode_veth),
        link.VethRules(),
        drivers=("veth",),
        read_link=link.read_end,
    ),
    Kind(OrphanLink, LinkRequests(link.encode_orphan)),
    Kind(Sysctl, Direct.SETTING, sysctl.SysctlRules(), read=sysctl.read),
    Kind(
        BridgePort,
        IndexedRequests(bridge.encode),
        bridge_port.BridgePortRules(),
        read=bridge_port.read,
    ),
    Kind(TcIngress, IndexedRequests(tc.batches, tc.lacking), read=tc_filter.read),
    Kind(
        WireguardDevice,
        Direct.WIREGUARD_DEVICE,
        wireguard.WireguardDeviceRules(),
        read=wireguard.read_devices,
    ),
    Kind(
        WireguardPeer,
        Direct.WIREGUARD_PEERS,
        wireguard.WireguardPeerRules(),
        read=wireguard.read_peers,
    ),
    Kind(Address, Requests(address.encode), read=address.read),
    Kind(LinkUp, Requests(link.encode_up), link.LinkUpRules(), read=link.read_up),
    Kind(Route, Requests(route.encode), route.RouteRules(), read=route.read),
    Kind(Rule, Requests(rule.encode), read=rule.read),
    Kind(DuplicateObject, Requests(duplicates.encode)),
)
_BY_CLASS: Final[Mapping[type[KernelObject], Kind]] = {kind.cls: kind for kind in KINDS}
READERS: Final = tuple(kind.read for kind in KINDS if kind.read is not None)
LINK_READERS: Final[Mapping[str, LinkReader]] = {
    driver: kind.read_link
    for kind in KINDS
    if kind.read_link is not None
    for driver in kind.drivers
}


def kind_of(item: KernelObject) -> Kind:
    """The kind of an object.

    Raises:
        KeyError: its class has no line in `KINDS`.
    """
    return _BY_CLASS[type(item)]
