"""Observe one namespace: read rows from the kernel, and separate our objects from foreign ones.

In the root namespace these objects are ours: links with our alias, veth ends whose peer is in a
namespace of ours (`kinds.link.pair` finds them), routes and rules with our protocol number, and our
nftables table. In a namespace of ours every object with one of our names is ours, except routes of
another protocol.

This module decides which rows are read and which links are ours. Every object kind makes objects
from its own rows (`warpd.kernel.registry`).
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

TUNNEL_DRIVERS = ("wireguard", "tun")  # a WireGuard device of the kernel, and of wireguard-go
ReadDevice = Callable[[str, str, str], DeviceRead]


class NamespaceDumper:
    """Reads one namespace. The calling thread must have entered this namespace."""

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
        self._warned: set[Key] = set()
        self._duplicates = 0
        self._traffic: dict[Key, PeerTraffic] = {}
        self._objects: list[KernelObject] = []
        self._ends: list[VethEnd] = []

    def dump(self) -> Dump:
        """Read the namespace.

        Raises:
            DumpError: the namespace could not be read.
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
        """Return the rows of the root that `read_host` needs. Call this after `dump`."""
        rows = self._rows
        foreign_rules = self._nft.foreign_rules()
        return RootLook(
            rows.links, rows.addresses, rows.rules, self._table, self._tag(), foreign_rules
        )

    def _fetched(
        self,
        own: Sequence[LinkRow],
        tables: Sequence[KernelObject],
        qdiscs: Mapping[int, QdiscRow],
        filters: Mapping[int, Sequence[tc.FilterRow]],
    ) -> NamespaceRows:
        """Read all rows that the object kinds need."""
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
        """Return the filters at the ingress of a link. A link with a shared block has none."""
        return [] if qdisc.block else tc.filters(self._route, row.index)

    def _settings(self) -> dict[str, str]:
        """Return the watched settings; the root has none here."""
        watched = WATCHED[""] if self.netns != ROOT else ()
        values = {path: read_setting(path) for path in watched}
        return {path: value for path, value in values.items() if value is not None}

    def _devices(self, own: Sequence[LinkRow]) -> dict[str, DeviceRead]:
        """Read our WireGuard devices.

        A tun device without its wireguard-go process is not one of them. Neither is a device in
        the root that is not marked yet, or that will be moved to a namespace.
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
        """Add a link of ours. A link of a kind that warpd never makes becomes an OrphanLink."""
        is_tunnel = row.name.startswith(naming.TUNNEL_PREFIX)
        reader = LINK_READERS.get(row.kind)
        found: KernelObject | VethEnd | None = None
        if reader is not None and is_tunnel == (row.kind in TUNNEL_DRIVERS):
            found = reader(row, self._rows)
        if isinstance(found, VethEnd):
            self._ends.append(found)
        elif found is None or row.group == NEWBORN:  # warpd crashed before it marked the link
            owner = owner_of(self.netns, row)
            self._objects.append(OrphanLink(self.netns, row.name, row.kind, owner))
        else:
            self._objects.append(found)

    def _take(self, reading: Reading | ForeignReading) -> None:
        """Add an object. A second object with the same key, or an odd one, is a DuplicateObject."""
        if isinstance(reading, ForeignReading):
            self._foreign[reading.key] = reading.text
            return
        item = reading.item
        if reading.traffic is not None:
            self._traffic[item.key] = reading.traffic
        if not reading.family:
            self._objects.append(item)
        elif not reading.odd and item.key not in self._warned:
            self._warned.add(item.key)
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
        """Return the bits of the `tag` settings of all our links in the root, combined by OR."""
        rows = [
            row
            for row in self._rows.own
            if row.name.startswith((naming.TRANSIT_OUTER_PREFIX, naming.VRF_PREFIX))
        ]
        tags = (int(row.setting(socket.AF_INET, "tag") or 0) for row in rows)
        return functools.reduce(operator.or_, tags, 0)

    def _alien(self) -> str:
        """Return why a namespace with a name of our form is not ours, or "" if it is ours."""
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
        # A crash can leave a veth or wireguard-go link here: it is made in the root, and moved and
        # marked afterwards.
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
    """Return what has a name that no link of ours can get, by name: the kinds of foreign links, and
    what the other names (altnames) of links are.
    """
    known = {row.name for row in own}
    found = {name: f"another name of {row.name}" for row in links for name in row.altnames}
    found |= {row.name: row.kind or "physical" for row in links if row.name not in known}
    return found


def _is_marked(row: LinkRow) -> bool:
    """Whether a link has our alias, or the link group of links that were just created."""
    return row.alias.startswith(naming.ALIAS_PREFIX) or row.group == NEWBORN


def _is_our_loopback(row: LinkRow) -> bool:
    """Whether `lo` has the tag that `namespaces.create` sets before the namespace has a name."""
    return row.name == "lo" and row.setting(socket.AF_INET, "tag") == str(TAG_SET)
