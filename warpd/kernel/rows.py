"""What the kernel answers, as plain values, before it is known whose it is.

Lives here: the rows that `netlink` decodes and that object kinds read, and what one look at one
namespace finds. Does not: sockets, bytes, decisions.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from warpd.kernel.state import KernelObject, Key, PeerTraffic
from warpd.keys.derivation import Secret

# Where a setting stands in the array that a dump of links holds (IFLA_INET_CONF, from 1 in
# linux/ip.h; IFLA_INET6_CONF, from 0 in linux/ipv6.h). A gateway of a hundred networks has some
# seven hundred settings, which would be as many files to open.
CONF: Mapping[int, Mapping[str, int]] = {
    socket.AF_INET: {
        "forwarding": 0,
        "send_redirects": 5,
        "rp_filter": 7,
        "tag": 11,
        "arp_ignore": 18,
        "src_valid_mark": 23,
    },
    socket.AF_INET6: {"forwarding": 0, "accept_ra": 3, "disable_ipv6": 26, "accept_dad": 27},
}


@dataclass(frozen=True, slots=True)
class LinkRow:
    """One link.

    - `kind`: its driver (IFLA_INFO_KIND), "" for a physical link.
    - `peer_index`, `master`: indexes of other links, 0 for none.
    - `data`: attributes of the driver (IFLA_INFO_DATA), by number.
    - `conf`: address family -> all its settings of this link, in one array.
    - `group`: a number that anybody may give to links (`ip link set group`).
    - `carrier`: IFF_LOWER_UP.
    - `altnames`: its other names, which no other link can have.
    """

    index: int
    name: str
    kind: str
    mtu: int
    up: bool
    alias: str
    peer_index: int
    master: int = 0
    data: Mapping[int, bytes] = field(default_factory=dict)
    conf: Mapping[int, bytes] = field(default_factory=dict)
    group: int = 0
    carrier: bool = True
    altnames: tuple[str, ...] = ()

    def setting(self, family: int, name: str) -> str | None:
        """The content of the file `name` in net/ipv4/conf/LINK or net/ipv6/conf/LINK.

        None where there is no such file. `family` is AF_INET or AF_INET6.
        """
        place = CONF[family][name] * 4
        raw = self.conf.get(family, b"")[place : place + 4]
        return str(int.from_bytes(raw, "little", signed=True)) if raw else None

    def number(self, kind: int) -> int:
        """A number of the driver's, in the machine's own byte order; 0 where it is not told."""
        return int.from_bytes(self.data.get(kind, b""), "little")

    def network_number(self, kind: int) -> int:
        """A number of the driver's, in network byte order; 0 where it is not told."""
        return int.from_bytes(self.data.get(kind, b""), "big")

    def address(self, kind: int) -> str:
        """An IPv4 address of the driver's; "" where it is not told."""
        raw = self.data.get(kind, b"")
        return socket.inet_ntop(socket.AF_INET, raw) if len(raw) == 4 else ""


@dataclass(frozen=True, slots=True)
class AddressRow:
    """One address of a link; `body` is the kernel's message."""

    index: int
    address: str
    prefixlen: int
    flags: int
    scope: int
    body: bytes


@dataclass(frozen=True, slots=True)
class RouteRow:
    """One route; `index` is 0 where it leads over no link. `body` is the kernel's message."""

    prefix: str
    table: int
    protocol: int
    kind: int
    metric: int
    index: int
    via: str
    body: bytes
    source: str = ""  # the address that is sent from, where the kernel says it


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One routing rule; `body` is the kernel's message.

    - `link`: the link by which a packet comes in.
    - `to`: the prefix that a packet is addressed to.
    - `mask`: the bits of the mark that are compared, 0 for all.
    - `odd`: it selects or does what no rule of ours does.
    """

    version: int
    priority: int
    mark: int
    table: int
    l3mdev: bool
    goto: int
    nop: bool
    suppress: int
    link: str
    to: str
    mask: int
    blackhole: bool
    protocol: int
    odd: bool
    body: bytes


@dataclass(frozen=True, slots=True)
class PortRow:
    """One port of a bridge: its VLAN ids with their flags, and whether addresses are learned."""

    index: int
    master: int
    vlans: tuple[tuple[int, int], ...]  # (vid, flags), ranges unrolled
    learning: bool


@dataclass(frozen=True, slots=True)
class QdiscRow:
    """What sits at the ingress of a link; `block` is 0 where its filters are its own."""

    kind: str
    block: int


@dataclass(slots=True)
class PeerRead:
    """One WireGuard peer, put together from as many messages as the kernel needed.

    `handshake` is in seconds since the epoch, 0 for never; `received` and `sent` are bytes.
    """

    public_key: str
    preshared_key: Secret | None = None
    keepalive: int = 0
    allowed_ips: list[str] = field(default_factory=list)
    endpoint: str = ""
    handshake: int = 0
    received: int = 0
    sent: int = 0


@dataclass(slots=True)
class DeviceRead:
    """One WireGuard device, put together from as many messages as the kernel needed."""

    private_key: Secret | None = None
    port: int = 0
    mark: int = 0
    peers: dict[str, PeerRead] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VethEnd:
    """One end of a veth pair as one namespace shows it: half of what a `Veth` is."""

    netns: str
    name: str
    index: int
    peer_index: int
    alias: str
    mtu: int


@dataclass(frozen=True, slots=True)
class NamespaceRows:
    """Everything that one look at one namespace found.

    - `links`: all links; `own`: those of ours.
    - `names`: index of every link -> its name.
    - `vrf_owners`: routing table -> the network whose VRF it is.
    - `qdiscs`: index of a link -> what sits at its ingress.
    - `filters`: index of a link -> the filters of its own ingress, as their kind has them.
    - `devices`: name of a WireGuard device of ours -> its content.
    - `settings`: path below /proc/sys -> value, of those of the namespace itself that are watched.
    - `tables`: the content of our nftables table.
    """

    netns: str
    links: Sequence[LinkRow] = ()
    own: Sequence[LinkRow] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    vrf_owners: Mapping[int, str] = field(default_factory=dict)
    addresses: Sequence[AddressRow] = ()
    routes: Sequence[RouteRow] = ()
    rules: Sequence[RuleRow] = ()
    ports: Sequence[PortRow] = ()
    qdiscs: Mapping[int, QdiscRow] = field(default_factory=dict)
    filters: Mapping[int, tuple[Any, ...]] = field(default_factory=dict)
    devices: Mapping[str, DeviceRead] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    tables: Sequence[KernelObject] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """An object of ours that was read, with what the kernel said besides.

    - `family`, `body`: the kernel's message, by which a duplicate is removed.
    - `odd`: it stands under a key of ours but is not what we would write there.
    - `traffic`: what a peer has carried.
    """

    item: KernelObject
    family: Literal["", "addr", "route", "rule"] = ""
    body: bytes = b""
    odd: bool = False
    traffic: PeerTraffic | None = None


@dataclass(frozen=True, slots=True)
class ForeignReading:
    """Somebody else's object that sits under a key of ours; `text` says what it is."""

    key: Key
    text: str
