"""What was dropped, by network and reason: counters of nftables, of tc filters and of bridges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from warpd.kernel.kinds.bridge_port import PVID, ranges
from warpd.kernel.kinds.link import LEG_DRIVERS, group_of, owner_of
from warpd.kernel.kinds.nft_table import base_of, part_of
from warpd.kernel.netlink import bridge
from warpd.kernel.netlink.socket import NetlinkSocket
from warpd.kernel.netlink.tc import FilterRow, drops
from warpd.kernel.rows import LinkRow, NamespaceRows, PortRow
from warpd.kernel.state import ROOT

# A port with more VLANs than this is meant to let everything through: reading all their counters
# would take longer than a look.
COUNTED_VLANS = 1000
Counts = dict[str, dict[str, tuple[int, int]]]  # network -> reason -> (packets, bytes)


def dropped(
    route: NetlinkSocket,
    rows: NamespaceRows,
    counted: Mapping[str, tuple[int, int]],
    filters: Mapping[int, Sequence[FilterRow]],
) -> Counts:
    """Everything that was dropped in one namespace.

    Args:
        route: a socket in that namespace.
        rows: what a look at it found.
        counted: name of a counter of our nftables table -> (packets, bytes).
        filters: index of a link of ours -> the filters at its ingress.
    """
    out = _by_group(rows.netns, counted)
    early: dict[str, int] = {}
    by_filters: Counts = {}
    for link in rows.own:
        group = _group(rows.netns, link)
        for reason, packets, size in drops(filters.get(link.index, ())):
            _add(by_filters.setdefault(group, {}), reason, packets, size)
            if link.kind in LEG_DRIVERS:
                early[group] = early.get(group, 0) + packets
    for group, frames in _refused_by_bridges(route, rows).items():
        reasons = out.setdefault(group, {})
        judged = reasons.get("other-network", (0, 0))[0] + early.get(group, 0)
        reasons["vlan"] = (max(frames - judged, 0), reasons.get("vlan", (0, 0))[1])
    for group, found in by_filters.items():
        for reason, (packets, size) in found.items():
            _add(out.setdefault(group, {}), reason, packets, size)
    return out


def _refused_by_bridges(route: NetlinkSocket, rows: NamespaceRows) -> dict[str, int]:
    """Network -> frames that came in by its ports and that no VLAN took."""
    out: dict[str, int] = {}
    legs = {row.index: row for row in rows.own if row.master and row.kind in LEG_DRIVERS}
    for port in rows.ports:
        if port.index in legs and _is_counted(port):
            group = group_of(rows.netns, legs[port.index].name)
            out[group] = out.get(group, 0) + bridge.refused(route, port.index)
    return out


def _is_counted(port: PortRow) -> bool:
    tagged = ranges(vid for vid, flags in port.vlans if not flags & PVID)
    return sum(last - first for first, last in tagged) <= COUNTED_VLANS


def _group(netns: str, link: LinkRow) -> str:
    """The network that a link's filters belong to (`TcIngress.group`)."""
    return owner_of(netns, link) or group_of(netns, link.name)


def _add(to: dict[str, tuple[int, int]], reason: str, packets: int, size: int) -> None:
    before = to.get(reason, (0, 0))
    to[reason] = (before[0] + packets, before[1] + size)


def _by_group(netns: str, counts: Mapping[str, tuple[int, int]]) -> Counts:
    """nftables counters by network: in the root, those of a network carry its VCID at their end."""
    out: Counts = {}
    for name, value in counts.items():
        if netns == ROOT and part_of(name):
            out.setdefault(group_of(ROOT, name), {})[base_of(name)] = value
        else:
            out.setdefault(netns, {})[name] = value
    return out
