"""Rows from the kernel's messages, built by hand as linux/rtnetlink.h and linux/if_link.h say."""

from __future__ import annotations

import socket
import struct

import pytest

from warpd.kernel.netlink import rtnl
from warpd.kernel.rows import RuleRow


def attribute(kind: int, body: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(body), kind) + body + b"\0" * (-len(body) % 4)


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def test_a_link_with_its_driver_and_settings() -> None:
    conf = attribute(socket.AF_INET, attribute(1, struct.pack("=2i", 1, -1)))
    info = attribute(1, b"vrf\0") + attribute(0x8002, number(1, 700))
    message = rtnl.IFINFO.pack(0, 1, 5, rtnl.IFF_UP, 0) + b"".join(
        (
            attribute(rtnl.IFLA_IFNAME, b"vrf-7\0"),
            number(rtnl.IFLA_MTU, 65575),
            attribute(rtnl.IFLA_IFALIAS, b"warpd:7:a"),
            number(rtnl.IFLA_GROUP, 9),
            attribute(0x8000 | rtnl.IFLA_LINKINFO, info),
            attribute(rtnl.IFLA_AF_SPEC, conf),
        )
    )
    row = rtnl.decode_link(memoryview(message))
    assert (row.index, row.name, row.kind, row.mtu, row.alias) == (
        5,
        "vrf-7",
        "vrf",
        65575,
        "warpd:7:a",
    )
    assert (row.up, row.carrier, row.group, row.master, row.peer_index) == (True, False, 9, 0, 0)
    assert row.number(1) == 700
    assert row.setting(socket.AF_INET, "forwarding") == "1"
    assert row.setting(socket.AF_INET, "rp_filter") is None
    assert row.setting(socket.AF_INET6, "forwarding") is None


def test_the_other_names_of_a_link() -> None:
    names = attribute(rtnl.IFLA_ALT_IFNAME, b"lan\0") + attribute(rtnl.IFLA_ALT_IFNAME, b"enx5\0")
    message = rtnl.IFINFO.pack(0, 1, 5, 0, 0) + attribute(0x8000 | rtnl.IFLA_PROP_LIST, names)
    assert rtnl.decode_link(memoryview(message)).altnames == ("lan", "enx5")


def test_a_link_that_tells_next_to_nothing() -> None:
    row = rtnl.decode_link(memoryview(rtnl.IFINFO.pack(0, 1, 1, 0, 0)))
    assert (row.name, row.kind, row.alias, row.data, row.conf) == ("", "", "", {}, {})


def route(table: int = 254, kind: int = 1, flags: int = 0, attributes: bytes = b"") -> bytes:
    return rtnl.RTMSG.pack(socket.AF_INET, 24, 0, 0, table, 119, 0, kind, flags) + attributes


def test_a_route() -> None:
    told = attribute(rtnl.RTA_DST, socket.inet_aton("10.7.0.0")) + number(rtnl.RTA_TABLE, 7000)
    row = rtnl.decode_route(memoryview(route(252, attributes=told + number(rtnl.RTA_OIF, 4))))
    assert row is not None
    assert (row.prefix, row.table, row.index, row.via, row.metric) == (
        "10.7.0.0/24",
        7000,
        4,
        "",
        0,
    )


@pytest.mark.parametrize(
    "message", [route(255), route(kind=2), route(kind=3), route(flags=rtnl.RTM_F_CLONED)]
)
def test_routes_that_the_kernel_keeps_by_itself_are_none(message: bytes) -> None:
    assert rtnl.decode_route(memoryview(message)) is None


def test_the_answer_to_a_lookup_is_a_route_although_it_is_cached() -> None:
    message = memoryview(route(flags=rtnl.RTM_F_CLONED))
    assert rtnl.decode_route(message, looked_up=True) is not None


def rule(attributes: bytes = b"", tos: int = 0, action: int = 1, flags: int = 0) -> RuleRow:
    head = rtnl.FIBRULE.pack(socket.AF_INET, 16, 0, tos, 254, 0, 0, action, flags)
    return rtnl.decode_rule(memoryview(head + attributes))


def test_a_rule() -> None:
    told = (
        number(rtnl.FRA_PRIORITY, 985)
        + number(rtnl.FRA_FWMARK, 0x77000000)
        + number(rtnl.FRA_FWMASK, 0xFFFFFFFF)
        + attribute(rtnl.FRA_SUPPRESS_PREFIXLEN, b"\xff" * 4)
        + attribute(rtnl.FRA_DST, socket.inet_aton("10.0.0.0"))
        + attribute(rtnl.FRA_IIFNAME, b"dn-7\0")
    )
    row = rule(told)
    assert (row.priority, row.mark, row.mask, row.suppress) == (985, 0x77000000, 0, -1)
    assert (row.to, row.link, row.table, row.odd) == ("10.0.0.0/16", "dn-7", 254, False)


@pytest.mark.parametrize(
    "row",
    [
        rule(tos=4),
        rule(action=8),
        rule(flags=2),
        rule(number(17, 0)),
    ],
    ids=["tos", "action", "inverted", "attribute"],
)
def test_a_rule_that_selects_or_does_what_none_of_ours_does_is_odd(row: RuleRow) -> None:
    assert row.odd


@pytest.mark.parametrize("flags", [1, 4, 8])
def test_a_rule_whose_target_or_link_is_gone_is_not_odd(flags: int) -> None:
    assert not rule(flags=flags).odd
