"""Traffic control qdiscs and filters as bytes: requests, and dumps to plain rows.

A message is struct tcmsg and attributes (linux/rtnetlink.h, linux/pkt_cls.h). Every filter of ours
has the handle 1 of its preference, so that it is created or replaced by the same request. What is
read and is not exactly such as we write has the verdict "unknown", so that it is seen to differ
from everything that is wanted.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from warpd.kernel.kinds.tc_filter import CLSACT, ETH_P_ALL, Filters, TcFilter, TcIngress, Verdict
from warpd.kernel.netlink.socket import NetlinkSocket, Refusal, attributes
from warpd.kernel.rows import QdiscRow
from warpd.kernel.state import Action, Change

Request = tuple[int, int, bytes]
Raw = Mapping[int, bytes]

NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLA_F_NESTED = 0x8000
RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
RTM_NEWTFILTER, RTM_DELTFILTER, RTM_GETTFILTER = 44, 45, 46
TCMSG = struct.Struct("=BxxxiIII")  # family, ifindex, handle, parent, info
TC_H_CLSACT = 0xFFFFFFF1
CLSACT_HANDLE, INGRESS_PARENT = 0xFFFF0000, 0xFFFFFFF2
HANDLE = 1
TCA_KIND, TCA_OPTIONS, TCA_CHAIN, TCA_INGRESS_BLOCK = 1, 2, 11, 13
FLOWER, POLICE = "flower", "police"
FLOWER_ACT, FLOWER_ETH_DST, FLOWER_ETH_DST_MASK, FLOWER_ETH_TYPE, FLOWER_IP_PROTO = 3, 4, 5, 8, 9
FLOWER_IPV4_DST, FLOWER_IPV4_DST_MASK, FLOWER_IPV6_DST, FLOWER_IPV6_DST_MASK = 12, 13, 16, 17
FLOWER_FLAGS, FLOWER_VLAN_ID, FLOWER_VLAN_ETH_TYPE, FLOWER_IN_HW_COUNT = 22, 23, 25, 86
FLOWER_ICMPV4_TYPE, FLOWER_ICMPV4_TYPE_MASK, FLOWER_ICMPV6_TYPE, FLOWER_ICMPV6_TYPE_MASK = (
    51,
    52,
    55,
    56,
)
# Attributes that every filter has, and those that the message's header tells as well.
FLOWER_IGNORED = frozenset({FLOWER_ACT, FLOWER_ETH_TYPE, FLOWER_FLAGS, FLOWER_IN_HW_COUNT})
ACT_KIND, ACT_OPTIONS, ACT_STATS, ACT_COOKIE = 1, 2, 4, 6
STATS_BASIC, STATS_QUEUE = 1, 3
POLICE_TBF, POLICE_RESULT, POLICE_TM, POLICE_PAD, POLICE_PKTRATE64, POLICE_PKTBURST64 = (
    1,
    5,
    6,
    7,
    10,
    11,
)
TBF = struct.Struct(
    "=IiIII12s12siiI"
)  # index, action, limit, burst, mtu, rate, peak rate, refcnt, bindcnt, capab
NO_RATE = bytes(12)
EVERY_SIZE = 0xFFFFFFFF  # bytes of a packet: none is too large (it is what the kernel makes of 0)
TC_ACT_UNSPEC, TC_ACT_OK, TC_ACT_SHOT = -1, 0, 2
RESULTS: Mapping[Verdict, int] = {"drop": TC_ACT_SHOT, "pass": TC_ACT_OK, "limit": TC_ACT_UNSPEC}
VERDICTS: Mapping[int, Verdict] = {result: verdict for verdict, result in RESULTS.items()}
TICK_NS = 64  # a tick of the packet scheduler (PSCHED_SHIFT)
ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD
# The parts that a kernel may lack, for the error that asks to install them.
PARTS = "sch_ingress, cls_flower and act_police (Debian: linux-image-amd64)"
Counted = tuple[str, int, int]  # reason, packets, bytes


@dataclass(frozen=True, slots=True)
class FilterRow:
    """One filter, and what it has dropped."""

    filter: TcFilter
    handle: int
    packets: int
    bytes: int


# -- looks


def qdiscs(sock: NetlinkSocket) -> dict[int, QdiscRow]:
    """What sits at the ingress of every link of this namespace, by the link's index.

    A kernel without traffic control has none.

    Raises:
        DumpError: the dump was torn again and again.
    """
    out: dict[int, QdiscRow] = {}

    def each(data: memoryview) -> None:
        _family, index, handle, _parent, _info = TCMSG.unpack_from(data)
        if handle == CLSACT_HANDLE:
            found = _attributes(data, TCMSG.size, len(data))
            out[index] = QdiscRow(_text(found, TCA_KIND), _number(found, TCA_INGRESS_BLOCK))

    sock.dump(RTM_GETQDISC, _head(0, 0, 0), each, out.clear, absent=errno.EOPNOTSUPP)
    return out


def filters(sock: NetlinkSocket, index: int) -> list[FilterRow]:
    """The filters of a link's own ingress.

    Raises:
        DumpError: the dump was torn again and again.
    """
    out: list[FilterRow] = []

    def each(data: memoryview) -> None:
        _family, _index, handle, _parent, info = TCMSG.unpack_from(data)
        if handle:  # else the head of a preference, which has no filter's content
            out.append(_filter(data, handle, info))

    where = _head(index, 0, INGRESS_PARENT)
    sock.dump(RTM_GETTFILTER, where + _attribute(TCA_CHAIN, struct.pack("=I", 0)), each, out.clear)
    return out


def content(rows: Sequence[FilterRow]) -> Filters:
    """The filters of a link as an object has them."""
    return tuple(
        row.filter for row in sorted(rows, key=lambda row: (row.filter.preference, row.handle))
    )


def drops(rows: Sequence[FilterRow]) -> list[Counted]:
    """What was dropped, filter by filter, under the reason that each has."""
    return [
        (row.filter.reason, row.packets, row.bytes)
        for row in rows
        if row.filter.reason and row.filter.verdict != "pass"
    ]


def _filter(data: memoryview, handle: int, info: int) -> FilterRow:
    found = _attributes(data, TCMSG.size, len(data))
    preference, ethertype = info >> 16, socket.ntohs(info & 0xFFFF)
    unknown = TcFilter(preference, "unknown", ethertype=ethertype)
    if _text(found, TCA_KIND) != FLOWER or handle != HANDLE:
        return FilterRow(unknown, handle, 0, 0)
    options = _nested(found, TCA_OPTIONS)
    actions = list(_nested(options, FLOWER_ACT).values())
    action = _within(actions[0]) if len(actions) == 1 else {}
    packets, size, dropped = _counts(action)
    keys = _keys(options, ethertype)
    done = _action(action)
    if keys is None or done is None:
        return FilterRow(unknown, handle, 0, 0)
    verdict, rate, burst = done
    reason = action.get(ACT_COOKIE, b"").decode("ascii", "replace")
    mac, vlan_id, vlan_ethertype, protocol, icmp_type, destination = keys
    made = TcFilter(
        preference,
        verdict,
        reason,
        ethertype,
        mac,
        vlan_id,
        vlan_ethertype,
        protocol,
        icmp_type,
        destination,
        rate,
        burst,
    )
    # A policer counts every packet that meets it; what it drops by its rate it counts as well
    # (tcf_police_act).
    return FilterRow(
        made, handle, packets if verdict == "drop" else dropped, size if verdict == "drop" else 0
    )


Keys = tuple[str, int | None, int, int | None, int | None, str]


def _keys(options: Raw, ethertype: int) -> Keys | None:
    """What a flower filter matches; None for what none of ours does."""
    mac = _mac(options.get(FLOWER_ETH_DST), options.get(FLOWER_ETH_DST_MASK, b""))
    vlan_id = (
        int.from_bytes(options[FLOWER_VLAN_ID], "little") if FLOWER_VLAN_ID in options else None
    )
    behind = int.from_bytes(options.get(FLOWER_VLAN_ETH_TYPE, b""), "big")
    protocol = options[FLOWER_IP_PROTO][0] if FLOWER_IP_PROTO in options else None
    kinds = [
        options[kind][0] for kind in (FLOWER_ICMPV4_TYPE, FLOWER_ICMPV6_TYPE) if kind in options
    ]
    icmp_type = kinds[0] if kinds else None
    destination = _prefix(options)
    keys = (mac, vlan_id, behind, protocol, icmp_type, destination)
    again = TcFilter(1, "pass", "", ethertype, *keys)
    present = {kind: raw for kind, raw in options.items() if kind not in FLOWER_IGNORED}
    written = {kind: raw for kind, raw in _flower_keys(again) if kind not in FLOWER_IGNORED}
    return keys if present == written else None


def _mac(address: bytes | None, mask: bytes) -> str:
    if address is None:
        return ""
    text = address.hex(":")
    return text if mask == b"\xff" * 6 else f"{text}/{mask.hex(':')}"


def _prefix(options: Raw) -> str:
    for family, kind, mask in (
        (socket.AF_INET, FLOWER_IPV4_DST, FLOWER_IPV4_DST_MASK),
        (socket.AF_INET6, FLOWER_IPV6_DST, FLOWER_IPV6_DST_MASK),
    ):
        if kind in options and mask in options:
            length = int.from_bytes(options[mask], "big").bit_count()
            return f"{socket.inet_ntop(family, options[kind])}/{length}"
    return ""


def _action(action: Raw) -> tuple[Verdict, int, int] | None:
    """Verdict, packets a second and burst of a policer of ours; None for every other action."""
    if _text(action, ACT_KIND) != POLICE:
        return None
    options = _nested(action, ACT_OPTIONS)
    result = int.from_bytes(options.get(POLICE_RESULT, bytes(4)), "little", signed=True)
    rate = int.from_bytes(options.get(POLICE_PKTRATE64, b""), "little")
    ticks = int.from_bytes(options.get(POLICE_PKTBURST64, b""), "little")
    verdict = VERDICTS.get(result)
    known = {POLICE_TBF, POLICE_RESULT, POLICE_TM, POLICE_PAD, POLICE_PKTRATE64, POLICE_PKTBURST64}
    if verdict is None or options.keys() - known or (verdict == "limit") != bool(rate):
        return None
    _index, exceed, _limit, burst, mtu, per_s, peak, _refs, _binds, _capab = TBF.unpack_from(
        options[POLICE_TBF]
    )
    if (exceed, burst, mtu, per_s, peak) != (TC_ACT_SHOT, 0, EVERY_SIZE, NO_RATE, NO_RATE):
        return None
    return verdict, rate, round(ticks * TICK_NS * rate / 1_000_000_000)


def _counts(action: Raw) -> tuple[int, int, int]:
    """Packets and bytes that met an action, and packets that it dropped by its rate."""
    stats = _nested(action, ACT_STATS)
    basic, queue = stats.get(STATS_BASIC, b""), stats.get(STATS_QUEUE, b"")
    size, packets = struct.unpack_from("=QI", basic) if len(basic) >= 12 else (0, 0)
    dropped = struct.unpack_from("=III", queue)[2] if len(queue) >= 12 else 0
    return packets, size, dropped


# -- requests


def encode(index: int, change: Change) -> list[Request]:
    """The requests that make a change of the filters of a link with this index."""
    after: TcIngress | None = change.after
    before: Filters = change.before.filters if change.before is not None else ()
    return list(_filter_changes(index, before, after.filters if after is not None else ()))


def batches(index: int, change: Change) -> list[list[Request]]:
    """The requests of a change in batches.

    The qdisc is created first and alone: into one that is somebody else's no filter is put.
    """
    if change.action is Action.DELETE:
        return [[delete_qdisc(index)]]
    qdisc = [[create_qdisc(index)]] if change.before is None else []
    return [*qdisc, encode(index, change)]


def create_qdisc(index: int) -> Request:
    """The request that creates a clsact qdisc; refused where one is there (EEXIST)."""
    body = _head(index, CLSACT_HANDLE, TC_H_CLSACT) + _named(TCA_KIND, CLSACT)
    return RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, body


def delete_qdisc(index: int) -> Request:
    """The request that removes a clsact qdisc, with its filters."""
    return (
        RTM_DELQDISC,
        0,
        _head(index, 0, TC_H_CLSACT),
    )  # without a handle what is gone is ENOENT, with one EINVAL


def _filter_changes(index: int, before: Filters, after: Filters) -> Iterator[Request]:
    """Filters that stay are not touched; one that changes is replaced in place where the kernel can
    do that.
    """
    wanted = {item.preference: item for item in after}
    for preference in sorted({item.preference for item in before}):
        if _must_go(
            [item for item in before if item.preference == preference], wanted.get(preference)
        ):
            yield RTM_DELTFILTER, 0, _head(index, 0, INGRESS_PARENT, preference << 16)
    kept = set(before)
    for item in after:
        if item not in kept:
            yield _write(index, item)


def _must_go(before: Sequence[TcFilter], after: TcFilter | None) -> bool:
    """A preference has one kind of filter and one protocol, and a filter with another handle is not
    replaced by ours. Nor is one by another mask, which a prefix of another length has (EINVAL,
    net/sched/cls_flower.c, fl_check_assign_mask).
    """
    if after is None or len(before) > 1:
        return True
    return before[0].verdict == "unknown" or _mask(before[0]) != _mask(after)


def _mask(item: TcFilter) -> tuple[object, ...]:
    """Which bits of a frame a filter looks at, and by which protocol."""
    return (
        item.ethertype,
        item.destination_mac.partition("/")[2] if item.destination_mac else None,
        item.vlan_id is None,
        bool(item.vlan_ethertype),
        item.ip_protocol is None,
        item.icmp_type is None,
        ip_network(item.destination).prefixlen if item.destination else None,
    )


def _write(index: int, item: TcFilter) -> Request:
    info = item.preference << 16 | socket.htons(item.ethertype)
    keys = b"".join(_attribute(kind, raw) for kind, raw in _flower_keys(item))
    action = _attribute(NLA_F_NESTED | 1, _police(item))
    options = keys + _attribute(NLA_F_NESTED | FLOWER_ACT, action)
    body = (
        _head(index, HANDLE, INGRESS_PARENT, info)
        + _named(TCA_KIND, FLOWER)
        + _attribute(NLA_F_NESTED | TCA_OPTIONS, options)
    )
    return RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_REPLACE, body


def _flower_keys(item: TcFilter) -> Iterator[tuple[int, bytes]]:
    if item.ethertype != ETH_P_ALL:
        yield FLOWER_ETH_TYPE, struct.pack("!H", item.ethertype)
    if item.destination_mac:
        address, _, mask = item.destination_mac.partition("/")
        yield FLOWER_ETH_DST, bytes.fromhex(address.replace(":", ""))
        yield FLOWER_ETH_DST_MASK, bytes.fromhex(mask.replace(":", "")) if mask else b"\xff" * 6
    if item.vlan_id is not None:
        yield FLOWER_VLAN_ID, struct.pack("=H", item.vlan_id)
    if item.vlan_ethertype:
        yield FLOWER_VLAN_ETH_TYPE, struct.pack("!H", item.vlan_ethertype)
    yield from _network_keys(item)


def _network_keys(item: TcFilter) -> Iterator[tuple[int, bytes]]:
    six = item.ethertype == ETH_P_IPV6
    if item.ip_protocol is not None:
        yield FLOWER_IP_PROTO, bytes([item.ip_protocol])
    if item.icmp_type is not None:
        yield FLOWER_ICMPV6_TYPE if six else FLOWER_ICMPV4_TYPE, bytes([item.icmp_type])
        yield FLOWER_ICMPV6_TYPE_MASK if six else FLOWER_ICMPV4_TYPE_MASK, b"\xff"
    if item.destination:
        prefix = ip_network(item.destination)
        yield FLOWER_IPV6_DST if six else FLOWER_IPV4_DST, prefix.network_address.packed
        yield FLOWER_IPV6_DST_MASK if six else FLOWER_IPV4_DST_MASK, prefix.netmask.packed


def _police(item: TcFilter) -> bytes:
    tbf = TBF.pack(0, TC_ACT_SHOT, 0, 0, EVERY_SIZE, NO_RATE, NO_RATE, 0, 0, 0)
    options = _attribute(POLICE_TBF, tbf) + _attribute(
        POLICE_RESULT, struct.pack("=i", RESULTS[item.verdict])
    )
    if item.packets_per_s:
        ticks = round(item.burst * 1_000_000_000 / item.packets_per_s / TICK_NS)
        options += _attribute(POLICE_PKTRATE64, struct.pack("=Q", item.packets_per_s))
        options += _attribute(POLICE_PKTBURST64, struct.pack("=Q", ticks))
    cookie = _attribute(ACT_COOKIE, item.reason.encode("ascii")) if item.reason else b""
    return _named(ACT_KIND, POLICE) + cookie + _attribute(NLA_F_NESTED | ACT_OPTIONS, options)


def lacking(refusal: Refusal) -> Refusal:
    """A refusal with what to install, where the kernel lacks qdisc, classifier or action."""
    if refusal.errno not in (errno.ENOENT, errno.EOPNOTSUPP):
        return refusal
    return Refusal(
        refusal.errno, f"{refusal.text}: the kernel cannot filter at ingress, it needs {PARTS}"
    )


# -- bytes


def _head(index: int, handle: int, parent: int, info: int = 0) -> bytes:
    return TCMSG.pack(0, index, handle, parent, info)


def _attribute(kind: int, raw: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(raw), kind) + raw + b"\0" * (-len(raw) % 4)


def _named(kind: int, text: str) -> bytes:
    return _attribute(kind, text.encode() + b"\0")


def _attributes(data: bytes | memoryview, start: int, end: int) -> dict[int, bytes]:
    return {kind: bytes(data[a:b]) for kind, a, b in attributes(data, start, end)}


def _within(raw: bytes) -> dict[int, bytes]:
    return _attributes(raw, 0, len(raw))


def _nested(found: Raw, kind: int) -> dict[int, bytes]:
    return _within(found.get(kind, b""))


def _text(found: Raw, kind: int) -> str:
    return found.get(kind, b"").rstrip(b"\0").decode("ascii", "replace")


def _number(found: Raw, kind: int) -> int:
    return int.from_bytes(found.get(kind, b""), "little")
