"""Kernel events of every namespace: one rtnetlink and one nftables socket (NETLINK_LISTEN_ALL_NSID,
Linux 4.2).

The kernel sends only events of namespaces that have an id in ours; `Listener.subscribe` gives one
to each that warpd reads. An event says only where to look, never what is there. Events of the
host's own (a BGP daemon's routes, other programs' tables) are passed on only where they may concern
objects of ours.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping

from warpd import naming
from warpd.kernel.api import Event
from warpd.kernel.kinds.nft_table import TABLE
from warpd.kernel.netlink.socket import (
    HEADER,
    SO_RCVBUFFORCE,
    SOL_NETLINK,
    NetlinkSocket,
    Refusal,
    attributes,
)
from warpd.kernel.state import ROOT, ROUTE_PROTOCOL

NETLINK_NETFILTER = 12
NETLINK_ADD_MEMBERSHIP = 1
NETLINK_LISTEN_ALL_NSID = 8
RTM_NEWLINK, RTM_DELLINK = 16, 17
RTM_NEWROUTE, RTM_DELROUTE = 24, 25
RTM_NEWRULE, RTM_DELRULE = 32, 33
RTM_NEWQDISC, RTM_DELTFILTER = 36, 45  # the first and the last of traffic control
# the upper half of the handle of what stands at a link's ingress, and of its filters' parent
TC_INGRESS = 0xFFFF
RTM_NEWNSID, RTM_GETNSID = 88, 90
NETNSA_NSID, NETNSA_FD = 1, 3
IFLA_IFNAME = 3
FRA_PROTOCOL = 21
NFT_MSG_NEWGEN = 15
NFTA_TABLE = (
    1  # the table's name has this number in messages of tables, chains, rules, sets and elements
)
RT_TABLE_COMPAT = 252  # stands for a table above 255: a VRF's may be meant
# RTNLGRP_ numbers (linux/rtnetlink.h): link, traffic control, addresses and routes of both
# families, rules, settings of links, bridge VLANs. Neighbours are left out, they only make noise.
ROUTE_GROUPS = (1, 4, 5, 7, 8, 9, 11, 19, 24, 25, 33)
NFNLGRP_NFTABLES = 7
RECEIVE_BYTES = 8 * 1024 * 1024
READ_MAX_S = 1.0  # for one socket at a time


class Listener:
    """Hears what happens. Not for use by two threads."""

    def __init__(
        self,
        receive_bytes: int = RECEIVE_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sockets = (
            _subscribed(socket.NETLINK_ROUTE, ROUTE_GROUPS, receive_bytes),
            _subscribed(NETLINK_NETFILTER, (NFNLGRP_NFTABLES,), receive_bytes),
        )
        self._names: dict[int, str] = {}
        self._clock = clock

    def close(self) -> None:
        for each in self._sockets:
            each.close()

    def filenos(self) -> tuple[int, ...]:
        return tuple(each.fileno() for each in self._sockets)

    def subscribe(self, route: NetlinkSocket, namespaces: Mapping[str, int]) -> None:
        """Hear these namespaces as well: name -> descriptor. Those that are gone are forgotten.

        Raises:
            OSError: a namespace got no id, so that its events are lost; the others are heard.
        """
        self._names = {}
        faults: list[str] = []
        for name, fd in namespaces.items():
            try:
                self._names[_nsid(route, fd)] = name
            except OSError as failure:
                faults.append(f"{name}: {failure.strerror}")
        if faults:
            more = f", and {len(faults) - 1} more" if faults[1:] else ""
            raise OSError(errno.ENONET, faults[0] + more)

    def wait(self, timeout_s: float) -> Iterator[Event]:
        """Events since the last call, waiting at most `timeout_s` for the first one."""
        if timeout_s:
            select.select(self._sockets, (), (), timeout_s)
        for each in self._sockets:
            for data, netns in self._received(each):
                if data is None:
                    yield Event(ROOT, overrun=True)
                elif each is self._sockets[0]:
                    yield from _route_events(data, netns)
                else:
                    yield from _nft_events(data, netns)

    def _received(self, sock: socket.socket) -> Iterator[tuple[bytes | None, str]]:
        """Datagrams with the namespace they come from; None for those that were lost.

        It ends after READ_MAX_S even while more comes in, so that a storm of events does not stop
        the daemon's other work. What is left stays in the socket for the next call: where that is
        too much, the kernel says that it lost some.
        """
        deadline = self._clock() + READ_MAX_S
        while self._clock() < deadline:
            try:
                data, ancillary, flags, _address = sock.recvmsg(1 << 16, 64)
            except BlockingIOError:
                return
            except OSError as failure:
                if failure.errno != errno.ENOBUFS:
                    raise
                yield None, ROOT
                continue
            netns = self._where(ancillary)
            if netns is not None:
                yield (None if flags & socket.MSG_TRUNC else data), netns

    def _where(self, ancillary: list[tuple[int, int, bytes]]) -> str | None:
        """The namespace's name, "" for the root; None for one that is not ours."""
        for level, kind, data in ancillary:
            if level == SOL_NETLINK and kind == NETLINK_LISTEN_ALL_NSID:
                return self._names.get(struct.unpack("=i", data[:4])[0])
        return ROOT


def _subscribed(family: int, groups: tuple[int, ...], receive_bytes: int) -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    made = socket.socket(socket.AF_NETLINK, kind, family)
    try:
        made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, receive_bytes)
        made.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
        made.bind((0, 0))
        for group in groups:
            with contextlib.suppress(OSError):  # RTNLGRP_BRVLAN came with Linux 5.5
                made.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
    except OSError:
        made.close()
        raise
    return made


def _nsid(route: NetlinkSocket, fd: int) -> int:
    """The id that the root knows a namespace by, given if need be (RTM_NEWNSID with -1 lets the
    kernel choose).

    Raises:
        OSError: as the kernel said.
    """
    named = struct.pack("=HHI", 8, NETNSA_FD, fd)
    any_id = struct.pack("=HHi", 8, NETNSA_NSID, -1)
    for _attempt in range(2):
        answer = route.ask(RTM_GETNSID, bytes(4) + named)
        if not isinstance(answer, Refusal):
            found = [
                answer[a:b]
                for kind, a, b in attributes(answer, 4, len(answer))
                if kind == NETNSA_NSID
            ]
            number = int(struct.unpack("=i", found[0])[0]) if found else -1
            if number >= 0:
                return number
        route.request([(RTM_NEWNSID, 0, bytes(4) + any_id + named)])
    raise OSError(errno.ENONET, "the kernel gave the namespace no id")


def _messages(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(type, start of the body, end) of every message in a datagram."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, *_rest = HEADER.unpack_from(data, offset)
        if length < HEADER.size:
            return
        yield kind, offset + HEADER.size, min(offset + length, len(data))
        offset += (length + 3) & ~3


def _route_events(data: bytes, netns: str) -> Iterator[Event]:
    for kind, start, end in _messages(data):
        if netns != ROOT:
            yield Event(netns)
        elif kind in (RTM_NEWLINK, RTM_DELLINK):
            yield Event(ROOT)
            yield from _of_link(data, start + 16, end)
        elif _concerns(kind, data, start, end):
            yield Event(ROOT)


def _of_link(data: bytes, start: int, end: int) -> Iterator[Event]:
    """The network of a link in the root, where the link's name tells it."""
    for kind, a, b in attributes(data, start, end):
        if kind == IFLA_IFNAME:
            vcid = naming.vcid_of_link(data[a:b].rstrip(b"\0").decode(errors="replace"))
            if vcid is not None:
                yield Event(naming.namespace(vcid))


def _concerns(kind: int, data: bytes, start: int, end: int) -> bool:
    """Whether an event of the root could be about something of ours."""
    if kind in (RTM_NEWROUTE, RTM_DELROUTE):
        return _route_concerns(data, start, end)
    if RTM_NEWQDISC <= kind <= RTM_DELTFILTER:
        return _ingress_concerns(data, start, end)
    return True


def _ingress_concerns(data: bytes, start: int, end: int) -> bool:
    """Whether it is about a link's ingress, rather than its output (struct tcmsg)."""
    if end - start < 20:
        return True
    _index, handle, parent = struct.unpack_from("=iII", data, start + 4)
    return TC_INGRESS in (handle >> 16, parent >> 16)


def _route_concerns(data: bytes, start: int, end: int) -> bool:
    """A route of ours, a default route, or one in a table that may be a VRF's (struct rtmsg)."""
    if end - start < 12:
        return True
    length, table, protocol = data[start + 1], data[start + 4], data[start + 5]
    return protocol == ROUTE_PROTOCOL or length == 0 or table == RT_TABLE_COMPAT


def _nft_events(data: bytes, netns: str) -> Iterator[Event]:
    """Events that name our table; the new generation at a transaction's end tells nothing more."""
    for kind, start, end in _messages(data):
        if kind & 0xFF == NFT_MSG_NEWGEN:
            continue
        names = [
            data[a:b] for number, a, b in attributes(data, start + 4, end) if number == NFTA_TABLE
        ]
        if not names or names[0].rstrip(b"\0") == TABLE.encode():
            yield Event(netns)
