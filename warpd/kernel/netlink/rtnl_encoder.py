"""rtnetlink messages to bytes: headers and the attributes that kinds of objects use.

Source: include/uapi/linux/rtnetlink.h, if_link.h, if_addr.h, fib_rules.h, veth.h and if_tunnel.h. A
test holds every message that warpd sends to the bytes that pyroute2 makes of it.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from warpd.kernel.request import Handle, Index

NLA_HEADER: Final = struct.Struct("=HH")  # length with the header, and type
ALIGNMENT: Final = 4

Resolve = Callable[[Index | Handle], int]
Encode = Callable[[Any, Resolve], bytes]

# The fields of each family's header, in order, with their format; those that a message leaves out
# are zero.
_HEADERS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "link": ("=BxHiII", ("family", "ifi_type", "index", "flags", "change")),
    "addr": ("=BBBBI", ("family", "prefixlen", "flags", "scope", "index")),
    "route": (
        "=BBBBBBBBI",
        ("family", "dst_len", "src_len", "tos", "table", "proto", "scope", "type", "flags"),
    ),
    "rule": (
        "=BBBBBBBBI",
        ("family", "dst_len", "src_len", "tos", "table", "res1", "res2", "action", "flags"),
    ),
}


def header(family: str, fields: Iterable[tuple[str, Any]], resolve: Resolve) -> bytes:
    """The header of a message of this family.

    Raises:
        KeyError: a field that the family does not have, or a link that is not there.
    """
    form, names = _HEADERS[family]
    values = dict.fromkeys(names, 0)
    for name, value in fields:
        values[name]  # one that the family does not have is a mistake of ours
        values[name] = resolve(value) if isinstance(value, Index | Handle) else value
    return struct.pack(form, *values.values())


def attributes(attrs: Iterable[tuple[str, Any]], resolve: Resolve) -> bytes:
    """Attributes by their kernel names, one after another, each padded to four bytes.

    Raises:
        KeyError: a name that is not known here, or a link that is not there.
        OSError: a namespace that cannot be opened.
    """
    encoded = []
    for name, value in attrs:
        kind, encode = ATTRIBUTES[name]
        data = encode(value, resolve)
        padding = bytes(-len(data) % ALIGNMENT)
        encoded.append(NLA_HEADER.pack(NLA_HEADER.size + len(data), kind) + data + padding)
    return b"".join(encoded)


def _packed(form: str) -> Encode:
    """A number in this format of `struct`."""
    packer = struct.Struct(form)

    def encode(value: Any, resolve: Resolve) -> bytes:
        return packer.pack(resolve(value) if isinstance(value, Index | Handle) else value)

    return encode


def _text(value: Any, _resolve: Resolve) -> bytes:
    return str(value).encode() + b"\0"


def _ip(value: Any, _resolve: Resolve) -> bytes:
    family = socket.AF_INET6 if ":" in value else socket.AF_INET
    return socket.inet_pton(family, value)


def _nested(value: Any, resolve: Resolve) -> bytes:
    return attributes(value["attrs"], resolve)


def _peer(value: Any, resolve: Resolve) -> bytes:
    """The other end of a veth pair: a link's header and its attributes."""
    return header("link", (), resolve) + attributes(value["attrs"], resolve)


_U8, _U16, _U32, _BE16 = _packed("=B"), _packed("=H"), _packed("=I"), _packed(">H")

ATTRIBUTES: Final[Mapping[str, tuple[int, Encode]]] = {
    "IFLA_IFNAME": (3, _text),
    "IFLA_MTU": (4, _U32),
    "IFLA_MASTER": (10, _U32),
    "IFLA_LINKINFO": (18, _nested),
    "IFLA_IFALIAS": (20, _text),
    "IFLA_GROUP": (27, _U32),
    "IFLA_NET_NS_FD": (28, _U32),
    "IFLA_INFO_KIND": (1, _text),
    "IFLA_INFO_DATA": (2, _nested),
    "VETH_INFO_PEER": (1, _peer),
    "IFLA_BR_STP_STATE": (5, _U32),
    "IFLA_BR_VLAN_FILTERING": (7, _U8),
    "IFLA_BR_VLAN_PROTOCOL": (8, _BE16),
    "IFLA_BR_MCAST_SNOOPING": (23, _U8),
    "IFLA_BR_VLAN_DEFAULT_PVID": (39, _U16),
    "IFLA_GRE_LINK": (1, _U32),
    "IFLA_GRE_LOCAL": (6, _ip),
    "IFLA_GRE_REMOTE": (7, _ip),
    "IFLA_GRE_PMTUDISC": (10, _U8),
    "IFLA_GRE_IGNORE_DF": (19, _U8),
    "IFLA_VRF_TABLE": (1, _U32),
    "IFLA_VXLAN_ID": (1, _U32),
    "IFLA_VXLAN_GROUP": (2, _ip),
    "IFLA_VXLAN_LINK": (3, _U32),
    "IFLA_VXLAN_LOCAL": (4, _ip),
    "IFLA_VXLAN_LEARNING": (7, _U8),
    "IFLA_VXLAN_PORT": (15, _BE16),
    "IFA_ADDRESS": (1, _ip),
    "IFA_LOCAL": (2, _ip),
    "IFA_FLAGS": (8, _U32),
    "RTA_DST": (1, _ip),
    "RTA_OIF": (4, _U32),
    "RTA_GATEWAY": (5, _ip),
    "RTA_PRIORITY": (6, _U32),
    "RTA_TABLE": (15, _U32),
    "FRA_DST": (1, _ip),
    "FRA_IIFNAME": (3, _text),
    "FRA_GOTO": (4, _U32),
    "FRA_PRIORITY": (6, _U32),
    "FRA_FWMARK": (10, _U32),
    "FRA_SUPPRESS_PREFIXLEN": (14, _U32),
    "FRA_TABLE": (15, _U32),
    "FRA_FWMASK": (16, _U32),
    "FRA_L3MDEV": (19, _U8),
    "FRA_PROTOCOL": (21, _U8),
}
