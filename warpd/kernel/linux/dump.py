"""One look at one namespace: rows from the kernel -> objects, ours and foreign told apart.

Ours in the root: a link with our alias (or one end of a pair whose other end is in a namespace of
ours; `objects.link.pair` finds that), routes and rules of our protocol, our table. In a namespace
of ours everything that carries one of our names, except routes of another protocol.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import os
import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from ipaddress import ip_interface
from typing import Literal

from warpd import naming
from warpd.kernel.api import Dump
from warpd.kernel.kinds.address import IFA_F_NOPREFIXROUTE, Address
from warpd.kernel.kinds.bridge_port import BridgePort
from warpd.kernel.kinds.duplicates import DuplicateObject
from warpd.kernel.kinds.ethernet import Bridge, Gretap, Leg, Vxlan, max_learned
from warpd.kernel.kinds.link import (
    KERNEL_NAMES,
    NEWBORN,
    LinkUp,
    OrphanLink,
    WireguardLink,
    group_of,
    group_of_alias,
    link_key,
    maker_of,
)
from warpd.kernel.kinds.netns import Netns, room
from warpd.kernel.kinds.nft_table import IngressFilter, NftElements, NftTable, base_of, part_of
from warpd.kernel.kinds.route import RTN_UNICAST, Route, route_key
from warpd.kernel.kinds.rule import Rule
from warpd.kernel.kinds.sysctl import BRIDGE_NETFILTER, TAG_FENCE4, TAG_FENCE6, WATCHED, Sysctl
from warpd.kernel.kinds.tc_filter import TcIngress
from warpd.kernel.kinds.vrf import Vrf
from warpd.kernel.kinds.wireguard import WireguardDevice, WireguardPeer
from warpd.kernel.linux import wireguard_go as userspace
from warpd.kernel.linux.cloud import cloud_address
from warpd.kernel.linux.local_routes import local_prefixes
from warpd.kernel.linux.nft_cache import TableCache
from warpd.kernel.netlink import bridge as bridge_netlink
from warpd.kernel.netlink import rtnl
from warpd.kernel.netlink import tc as tc_netlink
from warpd.kernel.netlink.rtnl import AddressRow, LinkRow, RouteRow
from warpd.kernel.netlink.socket import NetlinkSocket
from warpd.kernel.netlink.wireguard import DeviceRead
from warpd.kernel.nftables.listing import NftObject
from warpd.kernel.rows import VethEnd
from warpd.kernel.state import (
    ROOT,
    ROUTE_PROTOCOL,
    DefaultRoute,
    EgressLink,
    ForeignRules,
    Host,
    KernelObject,
    Key,
    PeerTraffic,
    RangeRoute,
)
from warpd.networks.firewall.root import fences

SCOPE_LINK = 253
IFA_F_TEMPORARY, IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_TENTATIVE = (
    0x01,
    0x08,
    0x20,
    0x40,
)  # linux/if_addr.h
PASSING = IFA_F_TEMPORARY | IFA_F_DADFAILED | IFA_F_DEPRECATED | IFA_F_TENTATIVE
SCOPE_GLOBAL = 0
PROTOCOL_KERNEL = 2
# A port with more VLANs than this is meant to let everything through: reading all their counters
# would take longer than a look.
COUNTED_VLANS = 1000
SETTING_BYTES = 4096  # more than any setting of a namespace has
Counts = dict[str, dict[str, tuple[int, int]]]
Within = Callable[[Sequence[str]], Mapping[str, set[int]]]
ReadDevice = Callable[[str, str, str], DeviceRead]


class NamespaceDumper:
    """Reads one namespace; the calling thread is inside it already."""

    def __init__(
        self,
        netns: str,
        route: NetlinkSocket,
        tables: TableCache,
        counted: bool,
        read_device: ReadDevice,
    ) -> None:
        self.netns = netns
        self.links: list[LinkRow] = []
        self.addresses: list[AddressRow] = []
        self.table: NftTable | None = None
        self.userspace: set[str] = set()
        self._route, self._nft, self._counted, self._read_device = (
            route,
            tables,
            counted,
            read_device,
        )
        self._foreign: dict[Key, str] = {}
        self._told: set[Key] = set()
        self._duplicates = 0
        self._traffic: dict[Key, PeerTraffic] = {}
        self._names: dict[int, str] = {}
        self._tc_drops: Counts = {}  # network -> reason -> (packets, bytes)
        self._refused_early: dict[str, int] = {}  # network -> frames that its legs' filters dropped

    def dump(self) -> Dump:
        self.links = rtnl.links(self._route)
        self._names = {row.index: row.name for row in self.links}
        listed = self._nft.read(self._counted)
        tables, counts = listed.objects, listed.counts
        self.table = next((item for item in tables if isinstance(item, NftTable)), None)
        alien = self._alien()
        if alien:
            return Dump(self.netns, alien=alien)
        own = [row for row in self.links if self._is_ours(row)]
        others = _others(self.links, own)
        ends: list[VethEnd] = []
        objects: list[KernelObject] = [self._placed(item) for item in tables]
        for row in own:
            if row.kind == "veth" and row.name.startswith(("up-", "dn-")):
                ends.append(
                    VethEnd(self.netns, row.name, row.index, row.peer_index, row.alias, row.mtu)
                )
            else:
                objects += self._device(row)
        objects += self._ups(own)
        objects += self._addresses(own)
        objects += self._routes(own)
        objects += self._ports(own)
        objects += self._rules(own)
        objects += self._filters(own)
        objects += settings(self.netns, own)
        drops = self._with_frames(_by_group(self.netns, counts), objects)
        return Dump(
            self.netns,
            tuple(objects),
            tuple(ends),
            self._foreign,
            "",
            None,
            self._traffic,
            drops,
            others,
        )

    def _with_frames(self, drops: Counts, objects: Sequence[KernelObject]) -> Counts:
        """With what bridges dropped: the frames that came in by a network's legs, less those that
        some VLAN took.
        """
        rows = {row.name: row for row in self.links}
        refused: dict[str, int] = {}
        for port in objects:
            if (
                isinstance(port, BridgePort)
                and sum(last - first for first, last in port.tagged) <= COUNTED_VLANS
            ):
                count = bridge_netlink.refused(self._route, rows[port.device].index)
                refused[port.group] = refused.get(port.group, 0) + count
        for group, count in refused.items():
            reasons = drops.setdefault(group, {})
            judged = reasons.get("other-network", (0, 0))[0] + self._refused_early.get(group, 0)
            reasons["vlan"] = (max(count - judged, 0), reasons.get("vlan", (0, 0))[1])
        for group, counts in self._tc_drops.items():
            _add(drops.setdefault(group, {}), counts)
        return drops

    def _placed(self, item: NftObject) -> KernelObject:
        """A gate without its link judges nothing, but the kernel may keep the chain (Linux 6.13
        on), hooked to nothing.
        """
        rows = {row.name: row for row in self.links}
        if isinstance(item, IngressFilter) and item.device not in rows:
            return IngressFilter(item.netns, item.device, ())
        if isinstance(item, NftElements) and item.part in rows:
            owner = group_of_alias(rows[item.part].alias) if self.netns == ROOT else ""
            return NftElements(item.netns, item.set, item.elements, item.part, owner)
        return item

    def tag(self) -> int:
        """What our doors remember, all of them together."""
        doors = [
            row for row in self.links if row.name.startswith(("dn-", "vrf-")) and self._is_ours(row)
        ]
        return functools.reduce(
            operator.or_, (int(row.setting(socket.AF_INET, "tag") or 0) for row in doors), 0
        )

    def foreign_rules(self) -> ForeignRules:
        """Chains of others on the way of our packets."""
        return self._nft.foreign_rules()

    def _alien(self) -> str:
        """A namespace with our form of name, but somebody else's content."""
        if self.netns == ROOT or self.table is not None:
            return ""
        if any(
            row.alias.startswith(naming.ALIAS_PREFIX) or row.group == NEWBORN for row in self.links
        ):
            return ""
        # Without our table and our alias it is ours only as a crash leaves it: new, with nothing in
        # it that is up.
        known = [
            row.name for row in self.links if row.name in KERNEL_NAMES or naming.is_link(row.name)
        ]
        strange = [row.name for row in self.links if row.up or row.name not in known]
        return (
            f"namespace {self.netns} is in use by somebody else: {', '.join(strange[:3])}"
            if strange
            else ""
        )

    def _is_ours(self, row: LinkRow) -> bool:
        if row.alias.startswith(naming.ALIAS_PREFIX) or row.group == NEWBORN:
            return True
        if not naming.is_link(row.name):
            return False
        if self.netns != ROOT:
            return True
        # born here and not yet moved away: the crash window of a pair's or of wireguard-go's
        # creation
        unmarked = not row.alias and (
            row.kind == "veth" or (row.kind == "tun" and self._served(row.name))
        )
        if not unmarked:
            text = f"link {row.name} ({row.kind or 'physical'}) without our alias"
            self._foreign[link_key(ROOT, row.name)] = text
        return unmarked

    def _served(self, device: str) -> bool:
        return os.path.exists(userspace.socket_path(device))

    def _device(self, row: LinkRow) -> list[KernelObject]:
        if row.group == NEWBORN:  # created, but not marked: a crash came in between
            return [OrphanLink(self.netns, row.name, row.kind, self._owner(row))]
        if row.name.startswith("wg-"):
            return self._wireguard(row)
        master = self._names.get(row.master, "")
        legs = sum(other.master == row.index and other.kind in LEGS for other in self.links)
        made = _plain_device(self.netns, row, master, self._names, legs)
        return [made or OrphanLink(self.netns, row.name, row.kind, self._owner(row))]

    def _owner(self, row: LinkRow) -> str:
        return (
            (group_of_alias(row.alias) or group_of(ROOT, row.name))
            if self.netns == ROOT
            else self.netns
        )

    def _wireguard(self, row: LinkRow) -> list[KernelObject]:
        right = row.kind == "wireguard" or (
            row.kind == "tun" and self._served(row.name)
        )  # else its process is gone
        if not right or (self.netns == ROOT and not row.alias):
            return [OrphanLink(self.netns, row.name, row.kind, self._owner(row))]
        if row.kind == "tun":
            self.userspace.add(row.name)
        read = self._read_device(self.netns, row.name, row.kind)
        master = self._names.get(row.master, "")
        link = WireguardLink(self.netns, row.name, row.alias, row.mtu, row.kind, master=master)
        device = WireguardDevice(self.netns, row.name, read.private_key, read.port, read.mark)
        return [link, device, *self._peers(row.name, read)]

    def _peers(self, device: str, read: DeviceRead) -> list[KernelObject]:
        out: list[KernelObject] = []
        for public, peer in read.peers.items():
            ips = tuple(sorted(peer.allowed_ips))
            found = WireguardPeer(
                self.netns, device, public, peer.preshared_key, peer.keepalive, ips
            )
            out.append(found)
            self._traffic[found.key] = PeerTraffic(
                peer.received, peer.sent, peer.handshake, peer.endpoint
            )
        return out

    def _ups(self, own: Sequence[LinkRow]) -> Iterator[KernelObject]:
        for row in own:
            if row.up:
                yield LinkUp(self.netns, row.name, maker_of(self.netns, row.name), self._owner(row))
        if self.netns != ROOT and any(row.name == "lo" and row.up for row in self.links):
            yield LinkUp(self.netns, "lo", None)

    def _addresses(self, own: Sequence[LinkRow]) -> Iterator[KernelObject]:
        self.addresses = rtnl.addresses(self._route)
        names = {row.index: row.name for row in own}
        for row in self.addresses:
            name = names.get(row.index)
            link_local = row.scope == SCOPE_LINK and row.address.startswith("fe80:")
            if name is None or link_local:
                continue
            maker = maker_of(self.netns, name) or link_key(self.netns, name)
            connected = not row.flags & IFA_F_NOPREFIXROUTE
            found = Address(self.netns, name, f"{row.address}/{row.prefixlen}", maker, connected)
            yield self._single(found, "addr", row.body)

    def _routes(self, own: Sequence[LinkRow]) -> Iterator[KernelObject]:
        tables, names = self._tables(own), {row.name for row in own}
        for row in rtnl.routes(self._route, ours_only=self.netns == ROOT):
            name = self._names.get(row.index, "") if row.kind == RTN_UNICAST else ""
            if row.protocol == PROTOCOL_KERNEL:
                continue  # comes and goes with an address, which is what is judged
            if row.protocol != ROUTE_PROTOCOL:
                key = route_key(self.netns, row.table, row.prefix, row.metric)
                self._foreign[key] = f"route {row.prefix} of protocol {row.protocol} on {name}"
                continue
            yield self._single(
                self._route_of(row, name, name in names, tables.get(row.table, "")),
                "route",
                row.body,
            )

    def _route_of(self, row: RouteRow, device: str, on_ours: bool, owner: str) -> Route:
        maker = maker_of(self.netns, device) if on_ours else None
        return Route(
            self.netns,
            row.prefix,
            device,
            maker,
            row.via or None,
            row.table,
            row.metric,
            row.kind,
            owner=owner,
        )

    def _tables(self, own: Sequence[LinkRow]) -> dict[int, str]:
        """Routing table -> the network whose VRF it is."""
        return {
            _int(row.data, IFLA_VRF_TABLE): self._owner(row) for row in own if row.kind == "vrf"
        }

    def _rules(self, own: Sequence[LinkRow]) -> Iterator[KernelObject]:
        tables = self._tables(own)
        for row in rtnl.rules(self._route):
            table = 0 if row.l3mdev else row.table
            inside = room(self.netns)
            place = (self.netns, row.version, row.priority, row.mark, table)
            found = Rule(
                *place,
                tables.get(table, "") or (group_of(self.netns, row.link) if row.link else ""),
                *inside,
                goto=row.goto,
                nop=row.nop,
                suppress=row.suppress,
                link=row.link,
                to=row.to,
                mask=row.mask,
                blackhole=row.blackhole,
                of_vrf=row.l3mdev and row.blackhole,
            )
            yield self._single(found, "rule", row.body, row.odd)

    def _single(
        self,
        item: KernelObject,
        family: Literal["addr", "route", "rule"],
        body: bytes,
        odd: bool = False,
    ) -> KernelObject:
        """The first thing under its key; every other is surplus."""
        if not odd and item.key not in self._told:
            self._told.add(item.key)
            return item
        self._duplicates += 1
        return DuplicateObject(
            self.netns, family, item.key, body, self._duplicates, item.group, item.container
        )

    def _ports(self, own: Sequence[LinkRow]) -> Iterator[KernelObject]:
        legs = {row.index: row.name for row in own if row.master and row.kind in LEGS}
        if legs:
            for port in bridge_netlink.ports(self._route):
                if port.index in legs:
                    yield bridge_netlink.port_object(self.netns, legs[port.index], port)

    def _filters(self, own: Sequence[LinkRow]) -> Iterator[KernelObject]:
        """What stands at the ingress of our links."""
        found = tc_netlink.qdiscs(self._route)
        for row in own:
            if row.index not in found:
                continue
            qdisc = found[row.index]
            rows = [] if qdisc.block else tc_netlink.filters(self._route, row.index)
            owner = self._owner(row) if self.netns == ROOT else ""
            item = TcIngress(
                self.netns, row.name, tc_netlink.content(rows), qdisc.block, qdisc.kind, owner
            )
            self._count(item.group, rows)
            if row.kind in LEGS:
                early = sum(packets for _reason, packets, _size in tc_netlink.drops(rows))
                self._refused_early[item.group] = self._refused_early.get(item.group, 0) + early
            yield item

    def _count(self, group: str, rows: Sequence[tc_netlink.FilterRow]) -> None:
        for reason, packets, size in tc_netlink.drops(rows):
            _add(self._tc_drops.setdefault(group, {}), {reason: (packets, size)})


LEGS = ("gretap", "vxlan")
IFLA_VRF_TABLE = 1
IFLA_BR_STP_STATE, IFLA_BR_VLAN_FILTERING, IFLA_BR_VLAN_PROTOCOL, IFLA_BR_MCAST_SNOOPING = (
    5,
    7,
    8,
    23,
)
IFLA_BR_VLAN_DEFAULT_PVID = 39
IFLA_GRE_LINK, IFLA_GRE_LOCAL, IFLA_GRE_REMOTE, IFLA_GRE_PMTUDISC, IFLA_GRE_IGNORE_DF = (
    1,
    6,
    7,
    10,
    19,
)
IFLA_VXLAN_ID, IFLA_VXLAN_GROUP, IFLA_VXLAN_LINK, IFLA_VXLAN_LOCAL = 1, 2, 3, 4
IFLA_VXLAN_LEARNING, IFLA_VXLAN_PORT = 7, 15


def _int(data: Mapping[int, bytes], kind: int) -> int:
    return int.from_bytes(data.get(kind, b""), "little")


def _net(data: Mapping[int, bytes], kind: int) -> int:
    return int.from_bytes(data.get(kind, b""), "big")


def _text(data: Mapping[int, bytes], kind: int) -> str:
    return socket.inet_ntop(socket.AF_INET, data[kind]) if len(data.get(kind, b"")) == 4 else ""


def _plain_device(
    netns: str, row: LinkRow, master: str, names: Mapping[int, str], ports: int
) -> KernelObject | None:
    """A VRF, a bridge or a leg of ours; None for what we never make."""
    base = (netns, row.name, row.alias, row.mtu)
    if row.kind == "vrf" and netns == ROOT:
        return Vrf(*base, master=master, table=_int(row.data, IFLA_VRF_TABLE))
    if row.kind == "bridge":
        return _bridge(row, Bridge(*base, master=master, max_learned=max_learned(ports)))
    if row.kind in LEGS:
        return _leg(row, base, master, names)
    return None


def _bridge(row: LinkRow, bridge: Bridge) -> Bridge:
    limit = bridge_netlink.IFLA_BR_FDB_MAX_LEARNED
    return dataclasses.replace(
        bridge,
        max_learned=_int(row.data, limit) if limit in row.data else bridge.max_learned,
        filtering=bool(_int(row.data, IFLA_BR_VLAN_FILTERING)),
        protocol=_net(row.data, IFLA_BR_VLAN_PROTOCOL),
        default_pvid=_int(row.data, IFLA_BR_VLAN_DEFAULT_PVID),
        snooping=bool(_int(row.data, IFLA_BR_MCAST_SNOOPING)),
        stp=bool(_int(row.data, IFLA_BR_STP_STATE)),
        counting=all(_int(row.data, kind) for kind in bridge_netlink.COUNTING),
    )


def _leg(
    row: LinkRow, base: tuple[str, str, str, int], master: str, names: Mapping[int, str]
) -> Leg:
    if row.kind == "gretap":
        return Gretap(
            *base,
            master=master,
            local=_text(row.data, IFLA_GRE_LOCAL),
            remote=_text(row.data, IFLA_GRE_REMOTE),
            underlay=names.get(_int(row.data, IFLA_GRE_LINK), ""),
            pmtudisc=bool(_int(row.data, IFLA_GRE_PMTUDISC)),
            ignore_df=bool(_int(row.data, IFLA_GRE_IGNORE_DF)),
        )
    return Vxlan(
        *base,
        master=master,
        local=_text(row.data, IFLA_VXLAN_LOCAL),
        remote=_text(row.data, IFLA_VXLAN_GROUP),
        underlay=names.get(_int(row.data, IFLA_VXLAN_LINK), ""),
        vni=_int(row.data, IFLA_VXLAN_ID),
        port=_net(row.data, IFLA_VXLAN_PORT),
        learning=bool(_int(row.data, IFLA_VXLAN_LEARNING)),
    )


def _add(to: dict[str, tuple[int, int]], counts: Mapping[str, tuple[int, int]]) -> None:
    for reason, (packets, size) in counts.items():
        before = to.get(reason, (0, 0))
        to[reason] = (before[0] + packets, before[1] + size)


def _others(links: Sequence[LinkRow], own: Sequence[LinkRow]) -> dict[str, str]:
    """The links of others, by name: none of them is to be taken for one that we want."""
    known = {row.name for row in own}
    return {row.name: row.kind or "physical" for row in links if row.name not in known}


def _by_group(netns: str, counts: Mapping[str, tuple[int, int]]) -> Counts:
    """Counters by network: in the root, a part's carry its VCID at their end."""
    out: Counts = {}
    for name, value in counts.items():
        shared = netns == ROOT and part_of(name)
        out.setdefault(group_of(ROOT, name) if shared else netns, {})[
            base_of(name) if shared else name
        ] = value
    return out


def read_setting(path: str) -> str | None:
    """Of a namespace, in three system calls, for there may be many; a link's come with the link
    (`LinkRow.setting`).
    """
    try:
        descriptor = os.open(f"/proc/sys/{path}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None  # the kernel has no IPv6, or no br_netfilter
    try:
        return os.read(descriptor, SETTING_BYTES).decode("ascii").strip()
    finally:
        os.close(descriptor)


def settings(netns: str, own: Sequence[LinkRow]) -> Iterator[KernelObject]:
    """The watched settings of a namespace and of our links in it."""
    for path in WATCHED[""] if netns != ROOT else ():
        value = read_setting(path)
        if value is not None:
            yield Sysctl(netns, path, value, Key(Netns.KIND, ROOT, netns), "")
    for row in own:
        owner = (group_of_alias(row.alias) or group_of(ROOT, row.name)) if netns == ROOT else ""
        for shape in WATCHED.get(_role(netns, row), ()):
            value = _setting(row, shape)
            if value is not None:
                yield Sysctl(netns, shape.format(row.name), value, maker_of(netns, row.name), owner)


def _setting(row: LinkRow, shape: str) -> str | None:
    """By its path below /proc/sys, "{}" for the link's name."""
    _, family, _, _, name = shape.split("/")
    return row.setting(socket.AF_INET if family == "ipv4" else socket.AF_INET6, name)


def _role(netns: str, row: LinkRow) -> str:
    if row.name.startswith("wg-"):
        return "vrf-port" if netns == ROOT else "wg"
    return row.name.partition("-")[0] if row.kind == "veth" else row.kind


def look_at_host(
    route: NetlinkSocket,
    look: NamespaceDumper,
    uplink: str,
    targets: Sequence[str],
    wireguard: bool,
    vrf: bool,
    within: Within,
) -> tuple[Host, list[KernelObject]]:
    """The facts about the machine, and the host's own settings that are ours to undo.

    `within` tells the links with a route to a part of each range; it may be of a moment ago.
    """
    hops = rtnl.ways_out(route)
    row = _uplink(look.links, uplink, hops)
    ways = _ways(route, look, targets, within)
    uplinks = _uplinks(route, look, row, uplink)
    elsewhere = _elsewhere(route, row) if uplink != "auto" and row is not None else ()
    steered = _steered(route, look, row, elsewhere) if row is not None else ()
    exits = _exits(look, row, {*uplinks[0], *uplinks[1]}, ways)
    fence4, fence6 = _remembered(look, row, exits)
    host = Host(
        hostname=socket.gethostname(),
        uplink=row.name if row else "",
        uplink_mtu=row.mtu if row else _remembered_mtu(look),
        uplink_addresses=_addresses_of(look.addresses, row),
        uplink_down=row is not None and not (row.up and row.carrier),
        cloud_address=cloud_address(),
        wireguard_kernel=wireguard,
        wireguard_go=userspace.available(),
        forwarding4=read_setting("net/ipv4/ip_forward") == "1",
        forwarding6=read_setting("net/ipv6/conf/all/forwarding") == "1",
        exits=exits,
        uplinks4=uplinks[0],
        uplinks6=uplinks[1],
        ways=ways,
        elsewhere=elsewhere,
        steered=tuple(hop.version for hop in steered),
        ra_links=_ra_links(look, fence6),
        fence4=fence4,
        fence6=fence6,
        tagged4=bool(look.tag() & TAG_FENCE4),
        foreign_rules=look.foreign_rules(),
        passing_addresses=_passing(look.addresses, row),
        source_addresses=tuple(way.source for way in hops if way.source),
        hops=(*_hops(row, hops), *steered),
        local=local_prefixes(
            route, look.addresses, {each.index for each in look.links if _looks_ours(each)}
        ),
        bridge_netfilter=tuple(
            n
            for n in BRIDGE_NETFILTER
            if read_setting(f"net/bridge/bridge-nf-call-{n}") is not None
        ),
        vrf=vrf,
        foreign_vrfs=_foreign_vrfs(look),
        conntrack_max=_conntrack_max(),
        onlink=_onlink(look, exits),
    )
    return host, _host_settings(host, {row.name: row for row in look.links})


def _foreign_vrfs(look: NamespaceDumper) -> tuple[tuple[int, str], ...]:
    """Tables of VRFs that are not ours: the kernel lets several have one table (drivers/net/vrf.c,
    `strict_mode` 0).
    """
    vrfs = (row for row in look.links if row.kind == "vrf" and not _looks_ours(row))
    return tuple(sorted((_int(row.data, IFLA_VRF_TABLE), row.name) for row in vrfs))


def _onlink(look: NamespaceDumper, exits: Sequence[EgressLink]) -> tuple[str, ...]:
    """The prefixes of the exits' addresses, those of one address left out."""
    names = {link.name for link in exits}
    indexes = {row.index for row in look.links if row.name in names}
    rows = (row for row in look.addresses if row.index in indexes and row.scope == SCOPE_GLOBAL)
    found = {ip_interface(f"{row.address}/{row.prefixlen}").network for row in rows}
    return tuple(sorted(str(item) for item in found if item.prefixlen < item.max_prefixlen))


def _conntrack_max() -> int:
    """Entries that the connection table takes; before the module is there, what it will choose by
    the memory.

    As nf_conntrack_init_start() does (net/netfilter/nf_conntrack_core.c): a bucket of 8 bytes for
    each 16 KiB, with bounds.
    """
    said = read_setting("net/netfilter/nf_conntrack_max")
    if said is not None:
        return int(said)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if memory > 4 << 30:
        return 262144
    return 65536 if memory > 1 << 30 else max(memory // 16384 // 8, 1024)


def _remembered(
    look: NamespaceDumper, uplink: LinkRow | None, exits: Sequence[EgressLink]
) -> tuple[tuple[str, ...], bool]:
    """Our fences, by our table and by the tags of our doors: whoever flushes the one does not reach
    the other.
    """
    fence4, fence6 = fences(look.table)
    tag = look.tag()
    if tag & TAG_FENCE4 and exits and (uplink is not None or not fence4):
        fence4 = (
            tuple(sorted({*fence4, exits[0].name}))
            if fence4
            else tuple(link.name for link in exits)
        )
    return fence4, fence6 or bool(tag & TAG_FENCE6)


def _remembered_mtu(look: NamespaceDumper) -> int:
    """While there is no uplink: what its packets measured when our doors were made; without any,
    what most links carry.
    """
    doors = [
        row.mtu
        for row in look.links
        if row.name.startswith(naming.TRANSIT_OUTER_PREFIX)
        and row.alias.startswith(naming.ALIAS_PREFIX)
    ]
    return max(doors, default=1500)


def _exits(
    look: NamespaceDumper, uplink: LinkRow | None, uplinks: set[str], ways: Sequence[RangeRoute]
) -> tuple[EgressLink, ...]:
    """The uplink first, then the other links by which networks may leave; never one of our own,
    never lo.

    While there is no uplink, the links that we let forward before stay what they are, so that
    nothing flaps with it.
    """
    kept = _kept_forwarding(look, _of_others(look)) if uplink is None else {uplink.name}
    more = {name for way in ways for name in way.links} | uplinks
    first = [row for row in look.links if row.name in kept]
    rest = [row for row in _of_others(look) if row.name in more - kept]
    return tuple(_exit(row) for row in [*first, *sorted(rest, key=lambda row: row.name)])


def _of_others(look: NamespaceDumper) -> list[LinkRow]:
    return [row for row in look.links if row.name != "lo" and not _looks_ours(row)]


def _named(look: NamespaceDumper, indexes: Collection[int]) -> tuple[str, ...]:
    """Names of links of others, sorted."""
    return tuple(sorted(row.name for row in _of_others(look) if row.index in indexes))


def _uplinks(
    route: NetlinkSocket, look: NamespaceDumper, uplink: LinkRow | None, wanted: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of either family: the one that is named; else all links of its default route, of which a
    multipath route has several.
    """
    if wanted != "auto" or uplink is None:
        own = (uplink.name,) if uplink is not None else ()
        return own, own
    found = [rtnl.route_to(route, target) for target in rtnl.INTERNET]
    four, six = (_named(look, each.links) if each is not None else () for each in found)
    return four, six


def _hops(uplink: LinkRow | None, found: Sequence[RouteRow]) -> Iterator[DefaultRoute]:
    for way in found:
        if uplink is not None and way.index == uplink.index:
            yield DefaultRoute(6 if ":" in way.prefix else 4, uplink.name, way.via)


def _elsewhere(route: NetlinkSocket, uplink: LinkRow) -> tuple[int, ...]:
    """IP versions whose default route leads over another link than the named uplink."""
    found = {
        version: rtnl.route_to(route, target)
        for version, target in zip((4, 6), rtnl.INTERNET, strict=True)
    }
    return tuple(
        version
        for version, each in found.items()
        if each is not None and uplink.index not in each.links
    )


def _steered(
    route: NetlinkSocket, look: NamespaceDumper, uplink: LinkRow, elsewhere: Sequence[int]
) -> tuple[DefaultRoute, ...]:
    """How the uplink itself leads on where the host's own default route does not use it.

    By the best default route over it that is in any table, or else straight to the link.
    """
    own = {6 if ":" in address else 4 for address in _addresses_of(look.addresses, uplink)}
    versions = [version for version in elsewhere if version in own]
    return tuple(
        DefaultRoute(version, uplink.name, rtnl.default_over(route, uplink.index, version))
        for version in versions
    )


def _ways(
    route: NetlinkSocket, look: NamespaceDumper, targets: Sequence[str], within: Within
) -> tuple[RangeRoute, ...]:
    """How the host reaches each range, and every part of it."""
    whole = {
        target
        for target in targets
        if int(target.partition("/")[2]) < (128 if ":" in target else 32)
    }
    found = within(sorted(whole)) if whole else {}
    return tuple(_way(route, look, target, found.get(target, set())) for target in targets)


def _way(route: NetlinkSocket, look: NamespaceDumper, target: str, within: set[int]) -> RangeRoute:
    found = rtnl.route_to(route, target.partition("/")[0])
    if found is None:
        return RangeRoute(target, _named(look, within))
    by_default = found.length <= rtnl.DEFAULT_BITS
    links = within if by_default else within | found.links
    return RangeRoute(target, _named(look, links), "".join(_named(look, {found.first})), by_default)


def _kept_forwarding(look: NamespaceDumper, rows: Sequence[LinkRow]) -> set[str]:
    """Links that we let forward when there was an uplink: by our table, or where that was flushed,
    by what they do.
    """
    fence4, _fence6 = fences(look.table)
    if fence4 or not look.tag() & TAG_FENCE4 or read_setting("net/ipv4/ip_forward") == "1":
        return {row.name for row in rows if row.name in fence4}
    return {row.name for row in rows if row.setting(socket.AF_INET, "forwarding") == "1"}


def _looks_ours(row: LinkRow) -> bool:
    return naming.is_link(row.name) or row.alias.startswith(naming.ALIAS_PREFIX)


def _exit(row: LinkRow) -> EgressLink:
    return EgressLink(row.name, row.setting(socket.AF_INET, "forwarding") == "1")


def _ra_links(look: NamespaceDumper, fenced: bool) -> tuple[str, ...]:
    rows = [row for row in look.links if row.name not in KERNEL_NAMES and not _looks_ours(row)]
    told = {"1", "2"} if fenced else {"1"}
    return tuple(
        sorted(row.name for row in rows if row.setting(socket.AF_INET6, "accept_ra") in told)
    )


def _host_settings(host: Host, rows: Mapping[str, LinkRow]) -> list[KernelObject]:
    """What we may have changed on the host; `restore` is set only where our fences say that it was
    us.
    """
    names = sorted({link.name for link in host.exits} | set(host.fence4))
    four, six = ("net/ipv4/conf/{}/forwarding", "1"), ("net/ipv6/conf/{}/accept_ra", "2")
    seen = [(name, *four, _was_off(host, name)) for name in names if name in rows]
    seen += [(name, *six, "1" if host.fence6 else None) for name in host.ra_links]
    wanted = [
        (shape.format(name), _setting(rows[name], shape), ours, restore)
        for name, shape, ours, restore in seen
    ]
    every = "net/ipv6/conf/all/forwarding"
    wanted.append((every, read_setting(every), "1", "0" if host.fence6 else None))
    return [
        Sysctl(ROOT, path, value, restore=restore if value == ours else None)
        for path, value, ours, restore in wanted
        if value is not None
    ]


def _was_off(host: Host, name: str) -> str | None:
    """ "0" when it was us who turned it on, and nobody has since turned on the whole host's
    (Docker, a router's config).
    """
    return "0" if name in host.fence4 and not host.forwarding4 else None


def _uplink(links: Sequence[LinkRow], wanted: str, ways: Sequence[RouteRow]) -> LinkRow | None:
    if wanted != "auto":
        return next((row for row in links if row.name == wanted), None)
    return next((row for row in links if ways and row.index == ways[0].index), None)


def _passing(rows: Sequence[AddressRow], link: LinkRow | None) -> tuple[str, ...]:
    """Addresses that will go or do not answer.

    To IPv4 the flag of temporary ones means secondary (if_addr.h).
    """
    if link is None:
        return ()
    own = [row for row in rows if row.index == link.index]
    return tuple(
        row.address
        for row in own
        if row.flags & (PASSING if ":" in row.address else IFA_F_DEPRECATED)
    )


def _addresses_of(rows: Sequence[AddressRow], link: LinkRow | None) -> tuple[str, ...]:
    if link is None:
        return ()
    return tuple(
        row.address for row in rows if row.index == link.index and row.scope == SCOPE_GLOBAL
    )
