"""One look at one namespace: rows from the kernel -> objects, ours and foreign told apart.

Ours in the root are a link with our alias (or one end of a pair whose other end is in a namespace
of ours; `kinds.link.pair` finds that), routes and rules of our protocol, and our table. In a
namespace of ours everything that carries one of our names is ours, except routes of another
protocol.

Lives here: which rows are fetched, and which links are ours. Does not: what a row becomes. Every
object kind reads its own rows (`warpd.kernel.registry`).
"""

from __future__ import annotations

import functools
import operator
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from warpd import naming
from warpd.kernel.api import Dump
from warpd.kernel.kinds import vrf
from warpd.kernel.kinds.duplicates import DuplicateObject
from warpd.kernel.kinds.link import (
    KERNEL_NAMES,
    LEG_DRIVERS,
    NEWBORN,
    OrphanLink,
    link_key,
    owner_of,
)
from warpd.kernel.kinds.nft_table import NftTable, table_key
from warpd.kernel.kinds.sysctl import TAG_SET, WATCHED
from warpd.kernel.linux import wireguard_go
from warpd.kernel.linux.counters import dropped
from warpd.kernel.linux.host import RootLook, read_setting
from warpd.kernel.linux.nft_cache import TableCache
from warpd.kernel.netlink import bridge, rtnl, tc
from warpd.kernel.netlink.socket import NetlinkSocket
from warpd.kernel.registry import LINK_READERS, READERS
from warpd.kernel.rows import (
    DeviceRead,
    ForeignReading,
    LinkRow,
    NamespaceRows,
    QdiscRow,
    Reading,
    VethEnd,
)
from warpd.kernel.state import ROOT, KernelObject, Key, PeerTraffic

TUNNEL_DRIVERS = ("wireguard", "tun")  # of a WireGuard device: the kernel's own, wireguard-go's
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
        self.userspace: set[str] = set()
        self._rows = NamespaceRows(netns)
        self._table: NftTable | None = None
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
        self._objects: list[KernelObject] = []
        self._ends: list[VethEnd] = []

    def dump(self) -> Dump:
        """Look at the namespace.

        Raises:
            DumpError: it could not be read.
        """
        self.links = rtnl.links(self._route)
        listed = self._nft.read(self._counted)
        by_key = {item.key: item for item in listed.objects}
        self._table = cast("NftTable | None", by_key.get(table_key(self.netns)))
        alien = self._alien()
        if alien:
            return Dump(self.netns, alien=alien)
        own = [row for row in self.links if self._is_ours(row)]
        qdiscs = tc.qdiscs(self._route)
        filters = {
            row.index: self._filters(row, qdiscs[row.index]) for row in own if row.index in qdiscs
        }
        rows = self._rows = self._fetched(own, listed.objects, qdiscs, filters)
        for row in own:
            self._take_link(row)
        for read in READERS:
            for reading in read(rows):
                self._take(reading)
        return Dump(
            self.netns,
            tuple(self._objects),
            tuple(self._ends),
            self._foreign,
            "",
            None,
            self._traffic,
            dropped(self._route, rows, listed.counts, filters),
            _others(self.links, own),
        )

    def root_look(self) -> RootLook:
        """What the look at the root tells of the host; call it after `dump`."""
        rows = self._rows
        foreign_rules = self._nft.foreign_rules()
        return RootLook(rows.links, rows.addresses, self._table, self._tag(), foreign_rules)

    def _fetched(
        self,
        own: Sequence[LinkRow],
        tables: Sequence[KernelObject],
        qdiscs: Mapping[int, QdiscRow],
        filters: Mapping[int, Sequence[tc.FilterRow]],
    ) -> NamespaceRows:
        """Everything that the object kinds read."""
        has_legs = any(row.master and row.kind in LEG_DRIVERS for row in own)
        return NamespaceRows(
            self.netns,
            self.links,
            own,
            {row.index: row.name for row in self.links},
            vrf.owners(self.netns, own),
            rtnl.addresses(self._route),
            rtnl.routes(self._route, ours_only=self.netns == ROOT),
            rtnl.rules(self._route),
            bridge.ports(self._route) if has_legs else (),
            qdiscs,
            {index: tc.content(found) for index, found in filters.items()},
            self._devices(own),
            self._settings(),
            tables,
        )

    def _filters(self, row: LinkRow, qdisc: QdiscRow) -> list[tc.FilterRow]:
        """The filters of a link's own ingress; a shared block has none of the link's own."""
        return [] if qdisc.block else tc.filters(self._route, row.index)

    def _settings(self) -> dict[str, str]:
        """The watched settings of a namespace of ours."""
        watched = WATCHED[""] if self.netns != ROOT else ()
        values = {path: read_setting(path) for path in watched}
        return {path: value for path, value in values.items() if value is not None}

    def _devices(self, own: Sequence[LinkRow]) -> dict[str, DeviceRead]:
        """The content of our WireGuard devices.

        A tun device without its process, and one in the root that moves or is not yet marked, is
        none.
        """
        out: dict[str, DeviceRead] = {}
        for row in own:
            marked = row.group != NEWBORN and bool(self.netns != ROOT or row.alias)
            if not marked or not row.name.startswith(naming.TUNNEL_PREFIX):
                continue
            if row.kind == "tun" and self._served(row.name):
                self.userspace.add(row.name)
                out[row.name] = self._read_device(self.netns, row.name, row.kind)
            elif row.kind == "wireguard":
                out[row.name] = self._read_device(self.netns, row.name, row.kind)
        return out

    def _take_link(self, row: LinkRow) -> None:
        """Keep a link of ours; one that warpd never makes is an orphan."""
        is_tunnel = row.name.startswith(naming.TUNNEL_PREFIX)
        reader = LINK_READERS.get(row.kind)
        found: KernelObject | VethEnd | None = None
        if reader is not None and is_tunnel == (row.kind in TUNNEL_DRIVERS):
            found = reader(row, self._rows)
        if isinstance(found, VethEnd):
            self._ends.append(found)
        elif found is None or row.group == NEWBORN:  # a crash came between creation and mark
            owner = owner_of(self.netns, row)
            self._objects.append(OrphanLink(self.netns, row.name, row.kind, owner))
        else:
            self._objects.append(found)

    def _take(self, reading: Reading | ForeignReading) -> None:
        """Keep an object; what is the second under its key, or odd, is a duplicate."""
        if isinstance(reading, ForeignReading):
            self._foreign[reading.key] = reading.text
            return
        item = reading.item
        if reading.traffic is not None:
            self._traffic[item.key] = reading.traffic
        if not reading.family:
            self._objects.append(item)
        elif not reading.odd and item.key not in self._told:
            self._told.add(item.key)
            self._objects.append(item)
        else:
            self._duplicates += 1
            duplicate = DuplicateObject(
                self.netns,
                reading.family,
                item.key,
                reading.body,
                self._duplicates,
                item.group,
                item.container,
            )
            self._objects.append(duplicate)

    def _tag(self) -> int:
        """What our links in the root remember, all their tags together."""
        rows = [
            row
            for row in self._rows.own
            if row.name.startswith((naming.TRANSIT_OUTER_PREFIX, naming.VRF_PREFIX))
        ]
        tags = (int(row.setting(socket.AF_INET, "tag") or 0) for row in rows)
        return functools.reduce(operator.or_, tags, 0)

    def _alien(self) -> str:
        """Why a namespace with our form of name is somebody else's, "" where it is ours."""
        if self.netns == ROOT or self._table is not None:
            return ""
        if any(_is_marked(row) or _is_our_loopback(row) for row in self.links):
            return ""
        names = [row.name for row in self.links if row.name not in KERNEL_NAMES]
        content = f"with {', '.join(names[:3])}" if names else "empty"
        return f"namespace {self.netns} is somebody else's ({content}): it bears no mark of warpd"

    def _is_ours(self, row: LinkRow) -> bool:
        if _is_marked(row):
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
        return os.path.exists(wireguard_go.socket_path(device))


def _others(links: Sequence[LinkRow], own: Sequence[LinkRow]) -> dict[str, str]:
    """The links of others, by name: none of them is to be taken for one that we want."""
    known = {row.name for row in own}
    return {row.name: row.kind or "physical" for row in links if row.name not in known}


def _is_marked(row: LinkRow) -> bool:
    """Whether a link bears our alias, or the link group of one that has just been created."""
    return row.alias.startswith(naming.ALIAS_PREFIX) or row.group == NEWBORN


def _is_our_loopback(row: LinkRow) -> bool:
    """Whether `lo` bears the number that a namespace of ours has since before it had a name."""
    return row.name == "lo" and row.setting(socket.AF_INET, "tag") == str(TAG_SET)
