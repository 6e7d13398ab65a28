"""All object kinds, one line each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from warpd.kernel.existence import ExistenceRules
from warpd.kernel.kinds import bridge_port, link, nft_table, route, sysctl, wireguard
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
from warpd.kernel.state import KernelObject


@dataclass(frozen=True, slots=True)
class Kind:
    """One object kind.

    - `cls`: its class, which holds its identity, phase and what changes in place.
    - `rules`: what the kernel does by itself around it.
    """

    cls: type[KernelObject]
    rules: ExistenceRules[Any] = field(default_factory=ExistenceRules)


KINDS: Final = (
    Kind(NftTable, nft_table.NftTableRules()),
    Kind(NetworkSubtable, nft_table.SubtableRules()),
    Kind(IngressFilter, nft_table.IngressFilterRules()),
    Kind(NftElements, nft_table.NftElementsRules()),
    Kind(Netns),
    Kind(Vrf),
    Kind(Bridge),
    Kind(Gretap),
    Kind(Vxlan),
    Kind(WireguardLink, wireguard.WireguardLinkRules()),
    Kind(Veth, link.VethRules()),
    Kind(OrphanLink),
    Kind(Sysctl, sysctl.SysctlRules()),
    Kind(BridgePort, bridge_port.BridgePortRules()),
    Kind(TcIngress),
    Kind(WireguardDevice, wireguard.WireguardDeviceRules()),
    Kind(WireguardPeer, wireguard.WireguardPeerRules()),
    Kind(Address),
    Kind(LinkUp, link.LinkUpRules()),
    Kind(Route, route.RouteRules()),
    Kind(Rule),
    Kind(DuplicateObject),
)
_BY_CLASS: Final[Mapping[type[KernelObject], Kind]] = {kind.cls: kind for kind in KINDS}


def kind_of(item: KernelObject) -> Kind:
    """The kind of an object.

    Raises:
        KeyError: its class has no line in `KINDS`.
    """
    return _BY_CLASS[type(item)]
