"""Count dropped packets by network and reason, from nftables, tc filters and bridges."""

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

# A port with more VLANs than this should pass all frames. Its counters are not read, since this
# would take longer than reading everything else.
COUNTED_VLANS = 1000
Counts = dict[str, dict[str, tuple[int, int]]]  # network -> reason -> (packets, bytes)


def dropped(
    route: NetlinkSocket,
    rows: NamespaceRows,
    counted: Mapping[str, tuple[int, int]],
    filters: Mapping[int, Sequence[FilterRow]],
) -> Counts:
    """Return what was dropped in one namespace, by network and reason.

    Args:
        route: a netlink socket in this namespace.
        rows: the rows that were read in this namespace.
        counted: (packets, bytes) by the name of a counter in our nftables table.
        filters: the filters at the ingress of our links, by the index of the link.
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
        counted_elsewhere = reasons.get("other-network", (0, 0))[0] + early.get(group, 0)
        reasons["vlan"] = (max(frames - counted_elsewhere, 0), reasons.get("vlan", (0, 0))[1])
    for group, found in by_filters.items():
        for reason, (packets, size) in found.items():
            _add(out.setdefault(group, {}), reason, packets, size)
    return out


def _refused_by_bridges(route: NetlinkSocket, rows: NamespaceRows) -> dict[str, int]:
    """Return, by network, how many frames came in by its ports but belong to no VLAN of them."""
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
    """Return the network to which the filters of a link belong (`TcIngress.group`)."""
    return owner_of(netns, link) or group_of(netns, link.name)


def _add(to: dict[str, tuple[int, int]], reason: str, packets: int, size: int) -> None:
    before = to.get(reason, (0, 0))
    to[reason] = (before[0] + packets, before[1] + size)


def _by_group(netns: str, counts: Mapping[str, tuple[int, int]]) -> Counts:
    """Sort nftables counters by network. In the root a counter's name ends with the VCID."""
    out: Counts = {}
    for name, value in counts.items():
        if netns == ROOT and part_of(name):
            out.setdefault(group_of(ROOT, name), {})[base_of(name)] = value
        else:
            out.setdefault(netns, {})[name] = value
    return out
