"""Read the prefixes that the kernel delivers to the host itself, from the table of local routes."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable
from ipaddress import IPv6Interface

from warpd.kernel.netlink.rtnl import (
    RT_TABLE_LOCAL,
    RTA_DST,
    RTA_OIF,
    RTM_GETROUTE,
    RTMSG,
    RTN_BROADCAST,
    RTN_LOCAL,
)
from warpd.kernel.netlink.socket import NetlinkSocket, attributes
from warpd.kernel.rows import AddressRow

POINT_TO_POINT = 127  # a prefix of this length has no address of any router (RFC 6164)
FAMILIES = (socket.AF_INET, socket.AF_INET6)


def local_prefixes(
    sock: NetlinkSocket, addresses: Iterable[AddressRow], ours: Collection[int]
) -> tuple[str, ...]:
    """Return the IPv4 and IPv6 prefixes of local delivery, without those of the links in `ours`.

    `ours` holds link indexes.

    Raises:
        DumpError: every dump was interrupted by a change.
    """
    kept = {
        prefix for family in FAMILIES for index, prefix in _dump(sock, family) if index not in ours
    }
    return tuple(
        sorted(
            kept
            | {prefix for row in addresses if row.index not in ours for prefix in _anycast(row)}
        )
    )


def _dump(sock: NetlinkSocket, family: int) -> list[tuple[int, str]]:
    """Return the link index and prefix of each route in the local table."""
    rows: list[tuple[int, str] | None] = []
    body = RTMSG.pack(family, 0, 0, 0, RT_TABLE_LOCAL, 0, 0, 0, 0)
    sock.dump(RTM_GETROUTE, body, lambda data: rows.append(_decode(data)), rows.clear)
    return [row for row in rows if row is not None]


def _decode(data: memoryview) -> tuple[int, str] | None:
    """Return the link index and prefix of a route, or None if it does not deliver locally."""
    family, length, _src, _tos, table, _protocol, _scope, kind, _flags = RTMSG.unpack_from(data)
    if table != RT_TABLE_LOCAL or kind not in (RTN_LOCAL, RTN_BROADCAST):
        return None
    found = {
        what: bytes(data[start:end]) for what, start, end in attributes(data, RTMSG.size, len(data))
    }
    every = bytes(16 if family == socket.AF_INET6 else 4)
    address = socket.inet_ntop(family, found.get(RTA_DST, every))
    return int.from_bytes(found.get(RTA_OIF, b""), "little"), f"{address}/{length}"


def _anycast(row: AddressRow) -> list[str]:
    """Return the subnet-router anycast address of an IPv6 prefix (RFC 4291, section 2.6.1).

    The kernel delivers it locally once it forwards (addrconf_join_anycast() in
    net/ipv6/addrconf.c). warpd turns forwarding on, so the address is included from the beginning.
    """
    if ":" not in row.address or row.prefixlen >= POINT_TO_POINT:
        return []
    return [f"{IPv6Interface(f'{row.address}/{row.prefixlen}').network.network_address}/128"]
