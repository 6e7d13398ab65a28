"""Object kinds read from rows, without a kernel: what is ours, what is foreign, what is neither."""

from __future__ import annotations

import pytest

from warpd.kernel.kinds import address, bridge_port, ethernet, link, route, rule, vrf, wireguard
from warpd.kernel.kinds.address import IFA_F_NOPREFIXROUTE
from warpd.kernel.kinds.route import RTN_UNICAST, RTN_UNREACHABLE
from warpd.kernel.registry import KINDS, LINK_READERS
from warpd.kernel.rows import (
    AddressRow,
    DeviceRead,
    ForeignReading,
    LinkRow,
    NamespaceRows,
    PortRow,
    Reading,
    RouteRow,
    RuleRow,
    VethEnd,
)
from warpd.kernel.state import ROOT, ROUTE_PROTOCOL, KernelObject

NETNS = "warp-7"
TUNNEL = LinkRow(4, "wg-7", "wireguard", 1420, True, "warpd:7:a", 0)
LEG = LinkRow(9, "gt-7-1", "gretap", 1500, True, "warpd:7:a", 0, master=8)
BOTH = bridge_port.PVID | bridge_port.UNTAGGED


def objects(readings: object) -> list[KernelObject]:
    return [item.item for item in readings if isinstance(item, Reading)]  # type: ignore[attr-defined]


def of_route(protocol: int, kind: int = RTN_UNICAST, index: int = 4) -> RouteRow:
    return RouteRow("10.7.0.0/24", 254, protocol, kind, 0, index, "", b"")


def test_a_route_of_our_protocol_is_ours_and_another_is_foreign_under_its_key() -> None:
    rows = NamespaceRows(NETNS, own=(TUNNEL,), names={4: "wg-7"}, routes=(of_route(119),))
    [ours] = objects(route.read(rows))
    assert (ours.key.name, ours.container) == ("10.7.0.0/24 table 254 metric 0", ours.needs[0])
    rows = NamespaceRows(NETNS, own=(TUNNEL,), names={4: "wg-7"}, routes=(of_route(186),))
    [foreign] = route.read(rows)
    assert isinstance(foreign, ForeignReading)
    assert foreign.key == ours.key


def test_a_route_of_the_kernel_is_no_object() -> None:
    assert list(route.read(NamespaceRows(NETNS, own=(TUNNEL,), routes=(of_route(2),)))) == []


def test_a_route_that_leads_nowhere_has_no_device_whatever_the_row_says() -> None:
    rows = NamespaceRows(ROOT, names={4: "wg-7"}, routes=(of_route(119, RTN_UNREACHABLE),))
    [found] = objects(route.read(rows))
    assert (found.device, found.container) == ("", None)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "scope", "flags", "read"),
    [
        ("10.7.0.1", 0, IFA_F_NOPREFIXROUTE, [("10.7.0.1/24", False)]),
        ("10.7.0.1", 0, 0, [("10.7.0.1/24", True)]),
        ("fe80::1", 253, IFA_F_NOPREFIXROUTE, []),
    ],
)
def test_addresses(text: str, scope: int, flags: int, read: list[tuple[str, bool]]) -> None:
    """One with a connected route differs from ours; the kernel's own link-local ones are not
    read.
    """
    rows = NamespaceRows(
        NETNS, own=(TUNNEL,), addresses=(AddressRow(4, text, 24, flags, scope, b""),)
    )
    found = objects(address.read(rows))
    assert [(item.address, item.connected_route) for item in found] == read  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("vlans", "untagged", "tagged"),
    [
        ((), 0, ()),
        (((5, BOTH),), 5, ()),
        (((5, BOTH), (6, 0), (7, 0)), 5, ((6, 7),)),
        (((5, bridge_port.PVID),), -1, ()),
        (((5, bridge_port.UNTAGGED),), -1, ((5, 5),)),
    ],
)
def test_a_vlan_that_is_half_untagged_is_never_what_is_wanted(
    vlans: tuple[tuple[int, int], ...], untagged: int, tagged: tuple[tuple[int, int], ...]
) -> None:
    rows = NamespaceRows(NETNS, own=(LEG,), ports=(PortRow(9, 8, vlans, True),))
    [found] = objects(bridge_port.read(rows))
    assert (found.untagged, found.tagged) == (untagged, tagged)  # type: ignore[attr-defined]


def test_a_port_of_somebody_elses_bridge_is_not_read() -> None:
    rows = NamespaceRows(NETNS, own=(LEG,), ports=(PortRow(10, 3, (), True),))
    assert objects(bridge_port.read(rows)) == []


def test_a_rule_belongs_to_the_network_whose_table_or_link_it_names() -> None:
    def row(table: int, iif: str) -> RuleRow:
        body = (4, 990, 0, table, False, 0, False, -1, iif, "", 0, False, ROUTE_PROTOCOL, False)
        return RuleRow(*body, b"")

    rows = NamespaceRows(
        ROOT, vrf_owners={700: "warp-7"}, rules=(row(700, ""), row(254, "dn-8"), row(254, ""))
    )
    assert [item.group for item in objects(rule.read(rows))] == ["warp-7", "warp-8", ROOT]


def test_a_vrf_is_ours_in_the_root_only() -> None:
    row = LinkRow(
        5, "vrf-7", "vrf", 65575, True, "warpd:7:a", 0, data={1: (700).to_bytes(4, "little")}
    )
    found = vrf.read(row, NamespaceRows(ROOT))
    assert found is not None
    assert found.table == 700
    assert vrf.read(row, NamespaceRows(NETNS)) is None
    assert vrf.owners(ROOT, (row,)) == {700: "warp-7"}


def test_a_bridge_shows_the_limit_of_the_kernel_or_the_one_of_its_legs() -> None:
    row = LinkRow(8, "br-7", "bridge", 1500, True, "warpd:7:a", 0)
    legs = (LEG, LinkRow(10, "gt-7-2", "gretap", 1500, True, "warpd:7:a", 0, master=8))
    assert ethernet.read_bridge(row, NamespaceRows(NETNS, links=legs)).max_learned == 2048
    told = {ethernet.IFLA_BR_FDB_MAX_LEARNED: (7).to_bytes(4, "little")}
    row = LinkRow(8, "br-7", "bridge", 1500, True, "warpd:7:a", 0, data=told)
    assert ethernet.read_bridge(row, NamespaceRows(NETNS, links=legs)).max_learned == 7


def test_a_device_without_content_is_no_wireguard_device() -> None:
    assert wireguard.read_link(TUNNEL, NamespaceRows(NETNS)) is None
    assert wireguard.read_link(TUNNEL, NamespaceRows(NETNS, devices={"wg-7": DeviceRead()}))


def test_an_end_of_a_pair_is_told_by_its_name() -> None:
    assert link.read_end(TUNNEL, NamespaceRows(NETNS)) is None
    row = LinkRow(3, "up-7", "veth", 1500, True, "warpd:7:a", 12)
    assert link.read_end(row, NamespaceRows(NETNS)) == VethEnd(
        NETNS, "up-7", 3, 12, "warpd:7:a", 1500
    )


def test_every_driver_is_read_by_one_kind() -> None:
    drivers = [driver for kind in KINDS for driver in kind.drivers]
    assert sorted(drivers) == sorted(LINK_READERS)
    assert all((kind.read_link is None) == (kind.drivers == ()) for kind in KINDS)
