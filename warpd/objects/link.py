"""Links: WireGuard devices and the veth pair to the uplink; and whether a link is up.

Ours: the alias `warpd:<vcid>:<network>`. A link is created and marked in one netlink buffer, which the kernel
works through within one system call, so no crash of ours leaves an unmarked one; inside our own namespaces
every link that has one of our names is ours anyway. Links are created down; `LinkUp` is an object of its own
because it comes later.

The WireGuard device is created by a request on the root namespace's socket with IFLA_NET_NS_FD: it is born in
the root (its UDP socket stays there, drivers/net/wireguard/device.c, `creating_net`) and never seen there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from warpd.objects.message import Handle, Index, Message
from warpd.objects.netns import netns_name, room
from warpd.state import ALIAS_PREFIX, ROOT, Key, Rank

OWN_NAME = re.compile(r"(wg|up|dn)-([1-9][0-9]*)")
KIND = "link"
IFF_UP = 1


def alias(vcid: int, network: str) -> str:
    return f"{ALIAS_PREFIX}{vcid}:{network}"


def link_key(netns: str, name: str) -> Key:
    return Key(KIND, netns, name)


def maker_of(netns: str, device: str) -> Key | None:
    """The object whose creation made this device; None for one that is always there (lo)."""
    match = OWN_NAME.fullmatch(device)
    if match is None:
        return None
    return link_key(ROOT, f"dn-{match[2]}") if match[1] == "up" else link_key(netns, device)


def group_of(netns: str, name: str) -> str:
    """The network that a link belongs to, from where it lives or else from its name."""
    if netns != ROOT:
        return netns
    match = OWN_NAME.fullmatch(name)
    return netns_name(int(match[2])) if match else ROOT


@dataclass(frozen=True, slots=True)
class WireguardLink:
    """A WireGuard device; `driver` is the kernel's own ("wireguard") or a tun device of wireguard-go ("tun")."""

    KIND: ClassVar[str] = KIND
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset({"mtu", "alias"})

    netns: str
    name: str
    alias: str
    mtu: int
    driver: str = "wireguard"

    @property
    def key(self) -> Key:
        return link_key(self.netns, self.name)

    @property
    def rank(self) -> Rank:
        return Rank.DEVICE

    @property
    def needs(self) -> tuple[Key, ...]:
        return room(self.netns)

    @property
    def container(self) -> Key | None:
        return None  # removed by itself, before its namespace: that death is asynchronous and keeps the UDP port

    @property
    def group(self) -> str:
        return group_of(self.netns, self.name)


@dataclass(frozen=True, slots=True)
class Veth:
    """The pair between the root (`name`) and a network's namespace (`peer_name`)."""

    KIND: ClassVar[str] = KIND
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset({"mtu", "peer_mtu", "alias", "peer_alias"})

    name: str
    peer_netns: str
    peer_name: str
    alias: str
    peer_alias: str
    mtu: int
    peer_mtu: int
    netns: str = ROOT

    @property
    def key(self) -> Key:
        return link_key(self.netns, self.name)

    @property
    def rank(self) -> Rank:
        return Rank.DEVICE

    @property
    def needs(self) -> tuple[Key, ...]:
        return room(self.peer_netns)

    @property
    def container(self) -> Key | None:
        return None

    @property
    def group(self) -> str:
        return self.peer_netns or group_of(self.netns, self.name)


@dataclass(frozen=True, slots=True)
class VethEnd:
    """One end of a pair as one namespace sees it: half of what a `Veth` is."""

    netns: str
    name: str
    index: int
    peer_index: int
    alias: str
    mtu: int


def pair(ends: Sequence[VethEnd]) -> list[Veth | StrayLink]:
    """Ends seen in all namespaces -> pairs, by the indexes that each says of the other.

    An end in the root without our alias is ours only when its other end is in a namespace of ours.
    """
    inner = {(end.index, end.peer_index): end for end in ends if end.netns != ROOT}
    out: list[Veth | StrayLink] = []
    for end in ends:
        if end.netns != ROOT:
            continue
        other = inner.pop((end.peer_index, end.index), None)
        if other is None and end.alias.startswith(ALIAS_PREFIX):
            out.append(StrayLink(ROOT, end.name, "veth"))
        elif other is not None:
            out.append(Veth(end.name, other.netns, other.name, end.alias, other.alias, end.mtu, other.mtu))
    out += [StrayLink(end.netns, end.name, "veth") for end in inner.values()]
    return out


@dataclass(frozen=True, slots=True)
class StrayLink:
    """A link with a name and mark of ours in a place or of a kind that we never want: only ever removed."""

    KIND: ClassVar[str] = KIND
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset()

    netns: str
    name: str
    driver: str

    @property
    def key(self) -> Key:
        return link_key(self.netns, self.name)

    @property
    def rank(self) -> Rank:
        return Rank.DEVICE

    @property
    def needs(self) -> tuple[Key, ...]:
        return ()

    @property
    def container(self) -> Key | None:
        return None

    @property
    def group(self) -> str:
        return group_of(self.netns, self.name)


@dataclass(frozen=True, slots=True)
class LinkUp:
    """That a link is administratively up."""

    KIND: ClassVar[str] = "up"
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset()

    netns: str
    name: str
    link: Key | None  # None for `lo`, which is always there; else the object that made the link

    @property
    def key(self) -> Key:
        return Key(self.KIND, self.netns, self.name)

    @property
    def rank(self) -> Rank:
        return Rank.UP

    @property
    def needs(self) -> tuple[Key, ...]:
        return room(self.netns) if self.link is None else (self.link,)

    @property
    def container(self) -> Key | None:
        return self.needs[0] if self.needs else None

    @property
    def group(self) -> str:
        return group_of(self.netns, self.name)


def _set(netns: str, name: str, attrs: list[tuple[str, Any]], **header: Any) -> Message:
    fields = tuple({"index": Index(netns, name), **header}.items())
    return Message(netns, "link", "set", fields, tuple(attrs))


def create_wireguard(link: WireguardLink) -> list[Message]:
    attrs = (
        ("IFLA_IFNAME", link.name),
        ("IFLA_MTU", link.mtu),
        ("IFLA_NET_NS_FD", Handle(link.netns)),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "wireguard")]}),
    )
    return [
        Message(ROOT, "link", "new", (), attrs, create=True),
        _set(link.netns, link.name, [("IFLA_IFALIAS", link.alias)]),
    ]


def create_veth(link: Veth) -> list[Message]:
    peer = [
        ("IFLA_IFNAME", link.peer_name),
        ("IFLA_MTU", link.peer_mtu),
        ("IFLA_NET_NS_FD", Handle(link.peer_netns)),
    ]
    info = [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", {"attrs": peer})]})]
    attrs = (("IFLA_IFNAME", link.name), ("IFLA_MTU", link.mtu), ("IFLA_LINKINFO", {"attrs": info}))
    by_name = (("IFLA_IFNAME", link.name), ("IFLA_IFALIAS", link.alias))
    return [
        Message(link.netns, "link", "new", (), attrs, create=True),
        Message(link.netns, "link", "set", (), by_name),  # by name: in the same buffer nobody knows the index yet
        _set(link.peer_netns, link.peer_name, [("IFLA_IFALIAS", link.peer_alias)]),
    ]


def adopt_tun(link: WireguardLink) -> list[Message]:
    """wireguard-go has made the tun device in the root: mark it there, then move it to where it belongs."""
    mark = (("IFLA_IFNAME", link.name), ("IFLA_IFALIAS", link.alias))
    move = (("IFLA_IFNAME", link.name), ("IFLA_NET_NS_FD", Handle(link.netns)))
    return [Message(ROOT, "link", "set", (), mark), Message(ROOT, "link", "set", (), move)]


def finish_tun(link: WireguardLink) -> list[Message]:
    """Moved: its size, and down again (wireguard-go brings nothing up, but a device keeps what it was)."""
    return [_set(link.netns, link.name, [("IFLA_MTU", link.mtu), ("IFLA_IFALIAS", link.alias)])]


def change_wireguard(before: WireguardLink, after: WireguardLink) -> list[Message]:
    attrs: list[tuple[str, Any]] = []
    if before.mtu != after.mtu:
        attrs.append(("IFLA_MTU", after.mtu))
    if before.alias != after.alias:
        attrs.append(("IFLA_IFALIAS", after.alias))
    return [_set(after.netns, after.name, attrs)]


def change_veth(before: Veth, after: Veth) -> list[Message]:
    near: list[tuple[str, Any]] = []
    far: list[tuple[str, Any]] = []
    if before.mtu != after.mtu:
        near.append(("IFLA_MTU", after.mtu))
    if before.alias != after.alias:
        near.append(("IFLA_IFALIAS", after.alias))
    if before.peer_mtu != after.peer_mtu:
        far.append(("IFLA_MTU", after.peer_mtu))
    if before.peer_alias != after.peer_alias:
        far.append(("IFLA_IFALIAS", after.peer_alias))
    ends = ((after.netns, after.name, near), (after.peer_netns, after.peer_name, far))
    return [_set(netns, name, attrs) for netns, name, attrs in ends if attrs]


def delete_link(link: WireguardLink | Veth | StrayLink) -> list[Message]:
    index = (("index", Index(link.netns, link.name)),)
    return [Message(link.netns, "link", "del", index, (), absent_is_done=True)]


def set_up(link: LinkUp, up: bool) -> list[Message]:
    return [_set(link.netns, link.name, [], flags=IFF_UP if up else 0, change=IFF_UP)]
