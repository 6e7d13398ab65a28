"""rtnetlink messages to bytes: a table of families, and one of the attributes that are used.

Source: include/uapi/linux/rtnetlink.h, if_link.h, if_addr.h, fib_rules.h, veth.h and if_tunnel.h. A
test holds every message that warpd sends to the bytes that pyroute2 makes of it.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from warpd.kernel.request import Handle, Index, Message

NLA_HEADER: Final = struct.Struct("=HH")  # length with the header, and type
ALIGNMENT: Final = 4
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400

Resolve = Callable[[Index | Handle], int]
Encode = Callable[[Any, Resolve], bytes]


class MessageFamily:
    """Objects of one sort, as rtnetlink has them.

    - `new`: the type of the message that makes one; the next number removes it (the types come in
      groups of four, linux/rtnetlink.h).
    - `header`: the format of the message's header, and its fields in order.
    """

    def __init__(self, new: int, form: str, fields: str) -> None:
        self.new = new
        self._header = struct.Struct(form)
        self._fields = dict.fromkeys(fields.split(), 0)

    def header(self, fields: Iterable[tuple[str, Any]], resolve: Resolve) -> bytes:
        """A header; the fields that are left out are zero.

        Raises:
            KeyError: a field that the family does not have, or a link that is not there.
        """
        values = self._fields.copy()
        for name, value in fields:
            values[name]  # one that the family does not have is a mistake of ours
            values[name] = resolve(value) if isinstance(value, Index | Handle) else value
        return self._header.pack(*values.values())


FAMILIES: Final[Mapping[str, MessageFamily]] = {
    "link": MessageFamily(16, "=BxHiII", "family ifi_type index flags change"),
    "addr": MessageFamily(20, "=BBBBI", "family prefixlen flags scope index"),
    "route": MessageFamily(
        24, "=BBBBBBBBI", "family dst_len src_len tos table proto scope type flags"
    ),
    "rule": MessageFamily(
        32, "=BBBBBBBBI", "family dst_len src_len tos table res1 res2 action flags"
    ),
}


def encode(message: Message, resolve: Resolve) -> tuple[int, int, bytes]:
    """(type, flags, body) for the socket.

    Raises:
        KeyError: the message has a family, a field or an attribute that is not known here, or a
            link named in it is not there.
        OSError: a namespace named in it cannot be opened.
    """
    family = FAMILIES[message.family]
    kind = family.new + (message.verb == "del")
    if message.body:
        return kind, 0, message.body
    body = family.header(message.header, resolve) + attributes(message.attrs, resolve)
    flags = 0
    if message.verb == "new":
        flags = NLM_F_CREATE | (NLM_F_EXCL if message.create else NLM_F_REPLACE)
    return kind, flags, body


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
    return FAMILIES["link"].header((), resolve) + attributes(value["attrs"], resolve)


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
