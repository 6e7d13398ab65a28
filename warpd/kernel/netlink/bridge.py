"""Ports of VLAN-aware bridges, as bytes: which VLANs they carry, and whether the bridge learns
there.

Requests and answers of the PF_BRIDGE family (net/bridge/br_netlink.c). VLANs travel as ranges,
begin and end marked.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from warpd.kernel.kinds.bridge_port import PVID, UNTAGGED, BridgePort, Vlans, members, ranges
from warpd.kernel.kinds.ethernet import IFLA_BR_FDB_MAX_LEARNED, IFLA_BR_VLAN_STATS, Bridge
from warpd.kernel.netlink.rtnl import (
    IFINFO,
    IFLA_EXT_MASK,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MASTER,
    RTM_DELLINK,
    RTM_GETLINK,
    RTM_NEWLINK,
)
from warpd.kernel.netlink.socket import NetlinkSocket, Refusal, attributes
from warpd.kernel.rows import PortRow
from warpd.kernel.state import Action, Change

AF_BRIDGE = socket.AF_BRIDGE if hasattr(socket, "AF_BRIDGE") else 7
RTM_SETLINK = 19
RTEXT_FILTER_BRVLAN_COMPRESSED = 4
NLA_F_NESTED = 0x8000
IFLA_PROTINFO, IFLA_AF_SPEC = 12, 26
IFLA_BRPORT_LEARNING = 8
IFLA_BRIDGE_VLAN_INFO = 2
RANGE_BEGIN, RANGE_END = 0x8, 0x10
ALL_VLANS: Vlans = ((1, 4094),)
VLAN = struct.Struct("=HH")
# RTM_GETSTATS (linux/if_link.h): a link's own counters, and as a bridge's port those of its VLANs
RTM_GETSTATS = 94
IFSTATS = struct.Struct("=BxxxII")
IFLA_STATS_LINK_64, IFLA_STATS_LINK_XSTATS_SLAVE = 1, 3
LINK_64, XSTATS_SLAVE = 1 << 0, 1 << 2
LINK_XSTATS_TYPE_BRIDGE = 1
BRIDGE_XSTATS_VLAN = 1  # struct bridge_vlan_xstats: bytes, then packets that came in


def ports(sock: NetlinkSocket) -> list[PortRow]:
    """Every port of every bridge in this namespace.

    Raises:
        DumpError: the dump was torn again and again.
    """
    out: list[PortRow] = []
    body = IFINFO.pack(AF_BRIDGE, 0, 0, 0, 0) + struct.pack(
        "=HHI", 8, IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN_COMPRESSED
    )
    sock.dump(RTM_GETLINK, body, lambda data: out.append(_decode(data)), out.clear)
    return out


def _decode(data: memoryview) -> PortRow:
    _family, _type, index, _flags, _change = IFINFO.unpack_from(data)
    master, learning = 0, True
    vlans: list[tuple[int, int]] = []
    for what, start, end in attributes(data, IFINFO.size, len(data)):
        if what == IFLA_MASTER:
            master = int.from_bytes(data[start:end], "little")
        elif what == IFLA_PROTINFO:
            for inner, a, b in attributes(data, start, end):
                if inner == IFLA_BRPORT_LEARNING:
                    learning = bool(int.from_bytes(data[a:b], "little"))
        elif what == IFLA_AF_SPEC:
            rows = (
                VLAN.unpack_from(data, a)
                for w, a, _b in attributes(data, start, end)
                if w == IFLA_BRIDGE_VLAN_INFO
            )
            vlans += _unrolled(rows)
    return PortRow(index, master, tuple(vlans), learning)


def options(index: int, change: Change) -> list[tuple[int, int, bytes]]:
    """Requests for what is set on a bridge by its index.

    These are the limit of learned addresses and, for a new bridge, that it counts frames by port
    and VLAN; the kernel takes the latter only while the bridge has no port.
    """
    if change.action is Action.DELETE:
        return []
    before: Bridge | None = change.before
    after: Bridge = change.after
    data = b""
    if before is None:
        data = b"".join(struct.pack("=HHBxxx", 5, kind, 1) for kind in IFLA_BR_VLAN_STATS)
    if before is None or before.max_learned != after.max_learned:
        data += struct.pack("=HHI", 8, IFLA_BR_FDB_MAX_LEARNED, after.max_learned)
    if not data:
        return []
    info = struct.pack("=HH8s", 11, IFLA_INFO_KIND, b"bridge") + _nested(IFLA_INFO_DATA, data)
    return [(RTM_NEWLINK, 0, IFINFO.pack(0, 0, index, 0, 0) + _nested(IFLA_LINKINFO, info))]


def refused(sock: NetlinkSocket, index: int) -> int:
    """Frames that came in by a port and that none of its VLANs took (net/bridge counts only those
    that are let in).
    """
    body = IFSTATS.pack(0, index, LINK_64 | XSTATS_SLAVE)
    answer = sock.ask(RTM_GETSTATS, body)
    if isinstance(answer, Refusal):
        return 0  # the link has just gone, and its counters with it
    data = memoryview(answer)
    received = taken = 0
    for what, start, end in attributes(data, IFSTATS.size, len(data)):
        if what == IFLA_STATS_LINK_64:
            received = int.from_bytes(data[start : start + 8], "little")
        elif what == IFLA_STATS_LINK_XSTATS_SLAVE:
            taken = sum(
                _taken(data, a, b)
                for kind, a, b in attributes(data, start, end)
                if kind == LINK_XSTATS_TYPE_BRIDGE
            )
    return max(received - taken, 0)


def _taken(data: memoryview, start: int, end: int) -> int:
    rows = [a for kind, a, _b in attributes(data, start, end) if kind == BRIDGE_XSTATS_VLAN]
    return sum(int.from_bytes(data[a + 8 : a + 16], "little") for a in rows)


def _unrolled(rows: Iterator[tuple[int, ...]]) -> Iterator[tuple[int, int]]:
    begin = 0
    for flags, vid in rows:
        if flags & RANGE_BEGIN:
            begin = vid
        elif flags & RANGE_END:
            yield from ((each, flags & ~RANGE_END) for each in range(begin, vid + 1))
        else:
            yield vid, flags


def encode(index: int, change: Change) -> list[list[tuple[int, int, bytes]]]:
    """The requests that turn one port into the other, in one batch: first what goes.

    A removal needs none: what a port lets through goes with the port.
    """
    if change.action is Action.DELETE:
        return []
    before: BridgePort | None = change.before
    after: BridgePort = change.after
    requests = [*_vlan_changes(index, before, after)]
    if before is None or before.learning != after.learning:
        requests.append((RTM_SETLINK, 0, _learning(index, after.learning)))
    return [requests]


def _vlan_changes(
    index: int, before: BridgePort | None, after: BridgePort
) -> Iterator[tuple[int, int, bytes]]:
    untagged, tagged = _previous_vlans(before)
    gone = ALL_VLANS
    if before is None or before.untagged >= 0:
        stays = members(after.tagged) | ({after.untagged} & {untagged})
        gone = ranges((tagged | {untagged}) - stays - {0})
    if gone:
        yield RTM_DELLINK, 0, _vlans(index, gone, 0)
    fresh = ranges(members(after.tagged) - tagged)
    if fresh:
        yield RTM_SETLINK, 0, _vlans(index, fresh, 0)
    if after.untagged and after.untagged != untagged:
        own = ((after.untagged, after.untagged),)
        yield RTM_SETLINK, 0, _vlans(index, own, PVID | UNTAGGED)


def _previous_vlans(before: BridgePort | None) -> tuple[int, frozenset[int]]:
    """The untagged VLAN of a port and its tagged ones.

    A port that held something odd loses every VLAN first, so that it counts as having none.
    """
    if before is None or before.untagged < 0:
        return 0, frozenset()
    return before.untagged, members(before.tagged)


def _header(index: int) -> bytes:
    return IFINFO.pack(AF_BRIDGE, 0, index, 0, 0)


def _nested(kind: int, body: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(body), kind | NLA_F_NESTED) + body


def _vlans(index: int, vlans: Vlans, flags: int) -> bytes:
    body = b""
    for first, last in vlans:
        ends = (
            ((first, flags),)
            if first == last
            else ((first, flags | RANGE_BEGIN), (last, flags | RANGE_END))
        )
        body += b"".join(
            struct.pack("=HH", 8, IFLA_BRIDGE_VLAN_INFO) + VLAN.pack(mark, vid)
            for vid, mark in ends
        )
    return _header(index) + _nested(IFLA_AF_SPEC, body)


def _learning(index: int, learning: bool) -> bytes:
    attribute = struct.pack("=HHB", 5, IFLA_BRPORT_LEARNING, int(learning)) + b"\0" * 3
    return _header(index) + _nested(IFLA_PROTINFO, attribute)
