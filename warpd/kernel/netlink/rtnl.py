"""rtnetlink: dumps and other answers to plain rows. Requests are made by `rtnl_encoder`.

Reading goes over the few attributes that are needed, and leaves every counter of every link.
"""

from __future__ import annotations

import errno
import functools
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from warpd.kernel.kinds.route import DEFAULT_BITS
from warpd.kernel.kinds.rule import FR_ACT_BLACKHOLE, FR_ACT_GOTO, FR_ACT_NOP, FR_ACT_TO_TBL
from warpd.kernel.netlink.rtnl_encoder import NLM_F_CREATE, NLM_F_EXCL
from warpd.kernel.netlink.socket import NetlinkSocket, Refusal, attributes
from warpd.kernel.rows import AddressRow, LinkRow, RouteRow, RuleRow
from warpd.kernel.state import ROUTE_PROTOCOL

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_GETADDR, RTM_GETROUTE, RTM_GETRULE = 22, 26, 34
IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_LINKINFO, IFLA_IFALIAS, IFLA_EXT_MASK = (
    3,
    4,
    5,
    10,
    18,
    20,
    29,
)
IFF_UP, IFF_LOWER_UP = 1, 1 << 16  # linux/if.h
IFLA_GROUP = 27
IFLA_PROP_LIST, IFLA_ALT_IFNAME = 52, 53
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
IFLA_AF_SPEC = 26
IFLA_INET_CONF: Mapping[int, int] = {socket.AF_INET: 1, socket.AF_INET6: 2}
FRA_PRIORITY, FRA_FWMARK, FRA_TABLE, FRA_L3MDEV, FRA_PROTOCOL = 6, 10, 15, 19, 21
FRA_DST, FRA_IIFNAME, FRA_GOTO, FRA_SUPPRESS_PREFIXLEN, FRA_FWMASK = 1, 3, 4, 14, 16
KNOWN_ACTIONS = (FR_ACT_TO_TBL, FR_ACT_GOTO, FR_ACT_NOP, FR_ACT_BLACKHOLE)
FIB_RULE_PERMANENT, FIB_RULE_UNRESOLVED, FIB_RULE_IIF_DETACHED = 1, 4, 8
KNOWN_RULE_ATTRIBUTES = frozenset(
    {
        FRA_PRIORITY,
        FRA_FWMARK,
        FRA_TABLE,
        FRA_L3MDEV,
        FRA_PROTOCOL,
        FRA_DST,
        FRA_IIFNAME,
        FRA_GOTO,
        FRA_SUPPRESS_PREFIXLEN,
        FRA_FWMASK,
    }
)
WHOLE_MASK = 0xFFFFFFFF
NOWHERE = (0, 0)
RTEXT_FILTER_SKIP_STATS = 8
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_TABLE = 1, 4, 5, 6, 7, 15
RTA_SRC, RTA_IIF, RTA_MARK = 2, 3, 16
RTN_UNICAST, RTN_LOCAL, RTN_ANYCAST, RTN_MULTICAST, RTN_BROADCAST = 1, 2, 4, 5, 3
RT_TABLE_LOCAL = 255
KEPT_BY_KERNEL = (RTN_LOCAL, RTN_BROADCAST, RTN_MULTICAST, RTN_ANYCAST)
RTM_F_CLONED = 0x200
RTM_F_FIB_MATCH = 0x2000
RTA_MULTIPATH = 9
NEXTHOP = struct.Struct("=HBBi")
IFINFO = struct.Struct("=BxHiII")
IFADDR = struct.Struct("=BBBBI")
RTMSG = struct.Struct("=BBBBBBBBI")
FIBRULE = struct.Struct("=BBBBBBBBI")


def _number(data: memoryview) -> int:
    return int.from_bytes(data, "little")


def _signed(data: memoryview) -> int:
    return int.from_bytes(data, "little", signed=True)


def _address(data: memoryview) -> str:
    return socket.inet_ntop(socket.AF_INET if len(data) == 4 else socket.AF_INET6, data)


class _Fields:
    """The attributes of one message in data[offset:end], by number."""

    __slots__ = ("_data", "_places", "_span")

    def __init__(self, data: memoryview, offset: int, end: int) -> None:
        self._data = data
        self._span = (offset, end)
        self._places = {what: (low, high) for what, low, high in attributes(data, offset, end)}

    def kinds(self) -> Iterable[int]:
        return self._places.keys()

    def raw(self, what: int) -> memoryview:
        """The value of an attribute; empty where it is not there."""
        low, high = self._places.get(what, NOWHERE)
        return self._data[low:high]

    def text(self, what: int) -> str:
        return bytes(self.raw(what)).rstrip(b"\0").decode("utf-8", "replace")

    def texts(self, what: int) -> Iterator[str]:
        """The values of an attribute that is there several times."""
        for kind, low, high in attributes(self._data, *self._span):
            if kind == what:
                yield bytes(self._data[low:high]).rstrip(b"\0").decode("utf-8", "replace")

    def number(self, what: int, otherwise: int = 0) -> int:
        place = self._places.get(what)
        return otherwise if place is None else _number(self._data[place[0] : place[1]])

    def address(self, what: int) -> str:
        data = self.raw(what)
        return _address(data) if data else ""

    def inner(self, what: int) -> _Fields:
        """The attributes inside an attribute."""
        return _Fields(self._data, *self._places.get(what, NOWHERE))


def decode_link(data: memoryview) -> LinkRow:
    """A row of RTM_NEWLINK (struct ifinfomsg)."""
    _family, _type, index, flags, _change = IFINFO.unpack_from(data)
    found = _Fields(data, IFINFO.size, len(data))
    info = found.inner(IFLA_LINKINFO)
    special = info.inner(IFLA_INFO_DATA)
    return LinkRow(
        index,
        found.text(IFLA_IFNAME),
        info.text(IFLA_INFO_KIND),
        found.number(IFLA_MTU),
        bool(flags & IFF_UP),
        found.text(IFLA_IFALIAS),
        found.number(IFLA_LINK),
        found.number(IFLA_MASTER),
        {kind: bytes(special.raw(kind)) for kind in special.kinds()},
        _conf(found.inner(IFLA_AF_SPEC)),
        found.number(IFLA_GROUP),
        bool(flags & IFF_LOWER_UP),
        tuple(found.inner(IFLA_PROP_LIST).texts(IFLA_ALT_IFNAME)),
    )


def _conf(families: _Fields) -> dict[int, bytes]:
    """Address family -> the array of its settings."""
    out: dict[int, bytes] = {}
    for family, what in IFLA_INET_CONF.items():
        array = families.inner(family).raw(what)
        if array:
            out[family] = bytes(array)
    return out


def decode_rule(data: memoryview) -> RuleRow:
    """A row of RTM_NEWRULE (struct fib_rule_hdr).

    The kernel always tells FRA_SUPPRESS_PREFIXLEN (all ones for none), and FRA_FWMASK with a mark.
    A rule whose target or link is gone does nothing until that is back: then the kernel finds it
    by itself.
    """
    family, to, source, tos, table, _res1, _res2, action, flags = FIBRULE.unpack_from(data)
    found = _Fields(data, FIBRULE.size, len(data))
    strange = flags & ~(FIB_RULE_PERMANENT | FIB_RULE_UNRESOLVED | FIB_RULE_IIF_DETACHED)
    unknown = not KNOWN_RULE_ATTRIBUTES.issuperset(found.kinds())
    address = found.address(FRA_DST)
    mask = found.number(FRA_FWMASK)
    suppress = found.raw(FRA_SUPPRESS_PREFIXLEN)
    return RuleRow(
        version=4 if family == socket.AF_INET else 6,
        priority=found.number(FRA_PRIORITY),
        mark=found.number(FRA_FWMARK),
        table=found.number(FRA_TABLE, table),
        l3mdev=bool(found.number(FRA_L3MDEV)),
        goto=found.number(FRA_GOTO),
        nop=action == FR_ACT_NOP,
        suppress=_signed(suppress) if suppress else -1,
        link=found.text(FRA_IIFNAME),
        to=f"{address}/{to}" if address else "",
        mask=0 if mask == WHOLE_MASK else mask,
        blackhole=action == FR_ACT_BLACKHOLE,
        protocol=found.number(FRA_PROTOCOL),
        odd=bool(source or tos or strange or unknown or action not in KNOWN_ACTIONS),
        body=bytes(data),
    )


def decode_address(data: memoryview) -> AddressRow:
    """A row of RTM_NEWADDR (struct ifaddrmsg)."""
    _family, length, flags, scope, index = IFADDR.unpack_from(data)
    found = _Fields(data, IFADDR.size, len(data))
    address = found.address(IFA_LOCAL) or found.address(IFA_ADDRESS)
    return AddressRow(index, address, length, found.number(IFA_FLAGS, flags), scope, bytes(data))


def decode_route(data: memoryview, looked_up: bool = False) -> RouteRow | None:
    """A row of RTM_NEWROUTE (struct rtmsg).

    None for what the kernel keeps by itself: local, broadcast, multicast, cached. The answer to a
    lookup is always marked as cached (RTM_F_CLONED, inet_rtm_getroute); `looked_up` lets it pass.
    """
    family, length, _src, _tos, table, protocol, _scope, kind, flags = RTMSG.unpack_from(data)
    cached = flags & RTM_F_CLONED and not looked_up
    if table == RT_TABLE_LOCAL or kind in KEPT_BY_KERNEL or cached:
        return None
    found = _Fields(data, RTMSG.size, len(data))
    everything = "0.0.0.0" if family == socket.AF_INET else "::"
    return RouteRow(
        f"{found.address(RTA_DST) or everything}/{length}",
        found.number(RTA_TABLE, table),
        protocol,
        kind,
        found.number(RTA_PRIORITY),
        found.number(RTA_OIF),
        found.address(RTA_GATEWAY),
        bytes(data),
        found.address(RTA_PREFSRC),
    )


def links(sock: NetlinkSocket) -> list[LinkRow]:
    """All links of a namespace, without their counters.

    Raises:
        DumpError: the dump was torn again and again.
    """
    body = IFINFO.pack(0, 0, 0, 0, 0) + struct.pack(
        "=HHI", 8, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS
    )
    return _dump(sock, RTM_GETLINK, body, decode_link)


def addresses(sock: NetlinkSocket) -> list[AddressRow]:
    """All addresses of a namespace, of both families.

    Raises:
        DumpError: the dump was torn again and again.
    """
    return _dump(sock, RTM_GETADDR, IFADDR.pack(0, 0, 0, 0, 0), decode_address)


def routes(sock: NetlinkSocket, ours_only: bool) -> list[RouteRow]:
    """Both families.

    `ours_only` lets the kernel filter by protocol: a root with a full table has a million routes.
    """
    protocol = ROUTE_PROTOCOL if ours_only else 0
    out: list[RouteRow] = []
    for family in (socket.AF_INET, socket.AF_INET6):
        body = RTMSG.pack(family, 0, 0, 0, 0, protocol, 0, 0, 0)
        out += [row for row in _dump(sock, RTM_GETROUTE, body, decode_route) if row is not None]
    return [row for row in out if not ours_only or row.protocol == ROUTE_PROTOCOL]


def rules(sock: NetlinkSocket) -> list[RuleRow]:
    """Both families', ours only: the kernel cannot filter rules, but there are few."""
    families = (socket.AF_INET, socket.AF_INET6)
    rows = [
        row
        for family in families
        for row in _dump(sock, RTM_GETRULE, FIBRULE.pack(family, *(0,) * 8), decode_rule)
    ]
    return [row for row in rows if row.protocol == ROUTE_PROTOCOL]


def _dump(
    sock: NetlinkSocket, kind: int, body: bytes, decode: Callable[[memoryview], Any]
) -> list[Any]:
    out: list[Any] = []
    sock.dump(kind, body, lambda data: out.append(decode(data)), out.clear)
    return out


def link_named(sock: NetlinkSocket, name: str) -> LinkRow | None:
    """The link of that name, None where there is none.

    The name may be one of its other names (altnames): rtnl_dev_get in net/core/rtnetlink.c looks
    for both, and takes a long one by this attribute only.
    """
    raw = name.encode("utf-8", "surrogatepass") + b"\0"
    body = IFINFO.pack(0, 0, 0, 0, 0)
    body += struct.pack("=HH", 4 + len(raw), IFLA_ALT_IFNAME) + raw + b"\0" * (-len(raw) % 4)
    answer = sock.ask(RTM_GETLINK, body)
    return None if isinstance(answer, Refusal) else decode_link(memoryview(answer))


def supports_vrf(sock: NetlinkSocket) -> bool:
    """A VRF without a table is asked for: refused in any case, as unknown (EOPNOTSUPP) or as
    incomplete (vrf_newlink).
    """
    kind = struct.pack("=HH4s", 8, IFLA_INFO_KIND, b"vrf")
    body = IFINFO.pack(0, 0, 0, 0, 0) + struct.pack("=HH", 4 + len(kind), IFLA_LINKINFO) + kind
    answer = sock.ask(RTM_NEWLINK, body, NLM_F_CREATE | NLM_F_EXCL)
    return isinstance(answer, Refusal) and answer.errno == errno.EINVAL


def route_to_address(sock: NetlinkSocket, target: str) -> RouteRow | None:
    """How the kernel would send a packet to `target`, None for not at all: no table of any size is
    read.
    """
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    packed = socket.inet_pton(family, target)
    body = RTMSG.pack(family, len(packed) * 8, 0, 0, 0, 0, 0, 0, 0)
    body += struct.pack("=HH", 4 + len(packed), RTA_DST) + packed
    answer = sock.ask(RTM_GETROUTE, body)
    row = None if isinstance(answer, Refusal) else decode_route(memoryview(answer), looked_up=True)
    return row if row is not None and row.kind == RTN_UNICAST else None


def forwarded_by(sock: NetlinkSocket, target: str, source: str, link: int, mark: int) -> int | None:
    """By which link a packet would be forwarded that comes in by `link` and has this mark.

    Returns:
        The index of a link; None where it would be dropped or delivered to the host
        (inet_rtm_getroute() in net/ipv4/route.c, inet6_rtm_getroute() in net/ipv6/route.c).
    """
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    to, of = socket.inet_pton(family, target), socket.inet_pton(family, source)
    body = RTMSG.pack(family, len(to) * 8, len(of) * 8, 0, 0, 0, 0, 0, 0)
    for kind, value in ((RTA_DST, to), (RTA_SRC, of)):
        body += struct.pack("=HH", 4 + len(value), kind) + value
    for kind, number in ((RTA_IIF, link), (RTA_MARK, mark)):
        body += struct.pack("=HHI", 8, kind, number)
    answer = sock.ask(RTM_GETROUTE, body)
    row = None if isinstance(answer, Refusal) else decode_route(memoryview(answer), looked_up=True)
    return row.index if row is not None and row.kind == RTN_UNICAST else None


@dataclass(frozen=True, slots=True)
class MatchedRoute:
    """The route by which the kernel sends to an address: its prefix, and the links of all its next
    hops.
    """

    prefix: str
    links: frozenset[int]
    first: int  # the link that is taken for this address


def route_to(sock: NetlinkSocket, target: str) -> MatchedRoute | None:
    """The whole route that policy routing finds for an address (RTM_F_FIB_MATCH), None for no
    unicast route.
    """
    found = route_to_address(sock, target)
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    packed = socket.inet_pton(family, target)
    body = RTMSG.pack(family, len(packed) * 8, 0, 0, 0, 0, 0, 0, RTM_F_FIB_MATCH)
    answer = sock.ask(RTM_GETROUTE, body + struct.pack("=HH", 4 + len(packed), RTA_DST) + packed)
    if found is None or isinstance(answer, Refusal):
        return None
    data = memoryview(answer)
    row = decode_route(data, looked_up=True)
    if row is None:
        return None
    links = frozenset(_next_hops(data)) or frozenset([found.index])
    return MatchedRoute(row.prefix, links, found.index)


def _next_hops(data: memoryview) -> Iterator[int]:
    """The links of a route, one or several (struct rtnexthop: length, flags, weight, ifindex)."""
    for what, start, end in attributes(data, RTMSG.size, len(data)):
        if what == RTA_OIF:
            yield _number(data[start:end])
        while what == RTA_MULTIPATH and start + NEXTHOP.size <= end:
            length, _flags, _weight, index = NEXTHOP.unpack_from(data, start)
            yield index
            start += max((length + 3) & ~3, NEXTHOP.size)


def links_within(sock: NetlinkSocket, ranges: Sequence[str]) -> dict[str, set[int]]:
    """Range -> the links of every route, in whatever table, to a part of the range or to just the
    range.
    """
    out: dict[str, set[int]] = {}
    for version, family, size in ((4, socket.AF_INET, 4), (6, socket.AF_INET6, 16)):
        blocks = [_block(text, size) for text in ranges if (":" in text) == (size == 16)]
        if blocks:
            body = RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
            # A dump that was torn is begun anew: what it found before is still true of some moment,
            # and only permits.
            take = functools.partial(_take_route, blocks, DEFAULT_BITS[version], out)
            sock.dump(RTM_GETROUTE, body, take, lambda: None)
    return {text: out.get(text, set()) for text in ranges}


def default_over(sock: NetlinkSocket, index: int, version: int) -> str:
    """The gateway of the best default route over a link, in whatever table; "" for none, or a route
    without a gateway.
    """
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    body = RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0) + struct.pack("=HHI", 8, RTA_OIF, index)
    rows = [row for row in _dump(sock, RTM_GETROUTE, body, decode_route) if row is not None]
    own = [
        row
        for row in rows
        if row.prefix.endswith("/0") and row.kind == RTN_UNICAST and row.protocol != ROUTE_PROTOCOL
    ]
    return (
        min(own, key=lambda row: (not row.via, row.metric, row.table, row.via)).via if own else ""
    )


_Block = tuple[str, int, int, int]  # as written, address, length, mask


def _block(text: str, size: int) -> _Block:
    address, _, length = text.partition("/")
    base = int.from_bytes(
        socket.inet_pton(socket.AF_INET6 if size == 16 else socket.AF_INET, address), "big"
    )
    bits = size * 8
    return text, base, int(length), ((1 << bits) - 1) ^ ((1 << (bits - int(length))) - 1)


def _take_route(
    blocks: Sequence[_Block], default_bits: int, found: dict[str, set[int]], data: memoryview
) -> None:
    _family, length, _src, _tos, table, protocol, _scope, kind, flags = RTMSG.unpack_from(data)
    if (
        length <= default_bits
        or table == RT_TABLE_LOCAL
        or kind != RTN_UNICAST
        or flags & RTM_F_CLONED
    ):
        return
    if protocol == ROUTE_PROTOCOL:
        return
    target = next(
        (
            bytes(data[a:b])
            for what, a, b in attributes(data, RTMSG.size, len(data))
            if what == RTA_DST
        ),
        b"",
    )
    number = int.from_bytes(target, "big")
    for text, base, least, mask in blocks:
        if length >= least and number & mask == base:
            found.setdefault(text, set()).update(_next_hops(data))


# The uplink is the link by which the kernel would route a packet to these addresses. They are root
# name servers, since hosts often blackhole the ranges for documentation. Nothing is sent there.
INTERNET = ("198.41.0.4", "2001:503:ba3e::2:30")


def default_routes(sock: NetlinkSocket) -> list[RouteRow]:
    """The default route of each family that has one, IPv4's before IPv6's."""
    return [row for target in INTERNET if (row := route_to_address(sock, target)) is not None]
