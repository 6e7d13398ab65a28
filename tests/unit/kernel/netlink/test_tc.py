"""Filters of traffic control as bytes: what warpd writes is what it reads, and nothing else is
taken for it.
"""

from __future__ import annotations

import errno
import struct

import pytest

from warpd.kernel.kinds.tc_filter import TcFilter, TcIngress
from warpd.kernel.netlink import tc as tc_netlink
from warpd.kernel.netlink.socket import Refusal
from warpd.kernel.state import Action, Change

FIRST = TcFilter(10, "drop", "reserved-mac", destination_mac="01:80:c2:00:00:01")
SECOND = TcFilter(20, "drop", "vlan-stacked", 0x88A8)
LIMIT = TcFilter(30, "limit", "storm", packets_per_s=2000, burst=2000)


def read(request: tc_netlink.Request) -> TcFilter:
    """A request as the kernel would show it."""
    _kind, _flags, body = request
    _family, _index, handle, _parent, info = tc_netlink.TCMSG.unpack_from(body)
    return tc_netlink._filter(memoryview(body), handle, info).filter


def requests(before: tuple[TcFilter, ...], after: tuple[TcFilter, ...]) -> list[tc_netlink.Request]:
    change = Change(Action.UPDATE, TcIngress("", "gt-1-1", before), TcIngress("", "gt-1-1", after))
    return tc_netlink.encode(7, change)


@pytest.mark.parametrize("item", [FIRST, SECOND, LIMIT])
def test_what_is_written_is_read(item: TcFilter) -> None:
    (request,) = requests((), (item,))
    assert read(request) == item


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (
            struct.pack("=i", tc_netlink.TC_ACT_SHOT),
            struct.pack("=i", 3),
        ),  # what is dropped is passed on to another action
        (b"police\0", b"gact\0\0\0"),
        (b"flower\0", b"basic\0\0"),
        (
            struct.pack("=HH", 4 + 6, tc_netlink.FLOWER_ETH_DST),
            struct.pack("=HH", 4 + 6, 6),
        ),  # its source instead
        (
            struct.pack("=I", tc_netlink.EVERY_SIZE),
            struct.pack("=I", 9000),
        ),  # only packets up to a size
    ],
    ids=["result", "action", "classifier", "key", "size"],
)
def test_a_filter_of_somebody_else_is_none_of_ours(right: bytes, wrong: bytes) -> None:
    ((kind, flags, body),) = requests((), (FIRST,))
    assert right in body
    assert read((kind, flags, body.replace(right, wrong))).verdict == "unknown"


def test_a_filter_that_stays_is_not_touched() -> None:
    made = requests((FIRST, SECOND), (FIRST, SECOND, LIMIT))
    assert [read(request) for request in made] == [LIMIT]


def test_a_filter_that_changes_is_replaced_in_place() -> None:
    other = TcFilter(10, "drop", "other", destination_mac="01:80:c2:00:00:02")
    ((kind, flags, _body),) = requests((FIRST,), (other,))
    assert (kind, flags) == (
        tc_netlink.RTM_NEWTFILTER,
        tc_netlink.NLM_F_CREATE | tc_netlink.NLM_F_REPLACE,
    )


def test_a_prefix_of_another_length_is_not_replaced_in_place() -> None:
    one = TcFilter(10, "drop", "x", 0x0800, destination="10.0.0.0/8")
    other = TcFilter(10, "drop", "x", 0x0800, destination="10.0.0.1/32")
    assert [kind for kind, _flags, _body in requests((one,), (other,))] == [
        tc_netlink.RTM_DELTFILTER,
        tc_netlink.RTM_NEWTFILTER,
    ]


@pytest.mark.parametrize(
    "before",
    [
        (TcFilter(20, "drop", "x", 0x0800),),
        (TcFilter(20, "unknown"),),
        (SECOND, TcFilter(20, "unknown")),
    ],
    ids=["another protocol", "unknown", "two of one preference"],
)
def test_what_cannot_be_replaced_goes_first(before: tuple[TcFilter, ...]) -> None:
    kinds = [kind for kind, _flags, _body in requests(before, (SECOND, LIMIT))]
    assert kinds[0] == tc_netlink.RTM_DELTFILTER
    assert set(kinds[1:]) == {tc_netlink.RTM_NEWTFILTER}


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EOPNOTSUPP])
def test_a_kernel_without_it_is_named(code: int) -> None:
    text = tc_netlink.lacking(Refusal(code, "No such file or directory")).text
    assert "act_police" in text
    assert tc_netlink.lacking(Refusal(errno.EPERM, "no")).text == "no"
