"""Links: what all of them have, the WireGuard device, the veth pair to the uplink, and whether a
link is up.

A link is ours by its alias, `warpd:<vcid>:<network>`. The kernel takes no alias with the request
that creates a link (rtnl_create_link in net/core/rtnetlink.c reads IFLA_GROUP, not IFLA_IFALIAS).
So the request carries the link group NEWBORN, and once it has succeeded, the link is given its
alias and the default group. A link that another program made is never marked, and a crash in
between leaves a link that is known to be ours and is removed. In our own namespaces every link with
a name of ours is ours anyway. Links are created down; `LinkUp` is an object of its own because it
comes later.

The WireGuard device of a network in a namespace is created by a request on the root namespace's
socket with IFLA_NET_NS_FD. It is born in the root, where its UDP socket stays (`creating_net` in
drivers/net/wireguard/device.c), and is never visible there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from warpd import naming
from warpd.kernel.existence import ExistenceRules
from warpd.kernel.kinds.netns import namespace_keys
from warpd.kernel.request import Handle, Index, Message
from warpd.kernel.rows import LinkRow, NamespaceRows, Reading, VethEnd
from warpd.kernel.state import ROOT, Action, Change, KernelObject, Key, Phase

KIND = "link"
IFF_UP = 1
NEWBORN = 0x77617270  # the link group ("warp") of a link that was created and has no alias yet
DEFAULT_GROUP = 0
LEG_DRIVERS = ("gretap", "vxlan")  # of the tunnels that are ports of a bridge of ours
# Devices that the kernel puts into every namespace when their drivers are loaded.
KERNEL_NAMES = frozenset(
    [
        "lo",
        "gre0",
        "gretap0",
        "erspan0",
        "tunl0",
        "sit0",
        "ip6tnl0",
        "ip6gre0",
        "ip_vti0",
        "ip6_vti0",
        "bond0",
        "dummy0",
        "teql0",
        "ifb0",
        "ifb1",
    ]
)


def group_of_alias(text: str) -> str:
    """The network that an alias of ours names, by its namespace's name; "" for any other alias."""
    vcid = naming.vcid_of_alias(text)
    return naming.namespace(vcid) if vcid is not None else ROOT


def owner_of(netns: str, row: LinkRow) -> str:
    """The network that a link of ours belongs to, by its namespace's name."""
    return netns or group_of_alias(row.alias) or group_of(ROOT, row.name)


def link_key(netns: str, name: str) -> Key:
    """The key of a link, whatever its driver."""
    return Key(KIND, netns, name)


def maker_of(netns: str, device: str) -> Key | None:
    """The object whose creation made this device; None for one that is always there (lo)."""
    if device == "lo":
        return None
    if not device.startswith(naming.TRANSIT_INNER_PREFIX):
        return link_key(netns, device)
    return link_key(
        ROOT, naming.TRANSIT_OUTER_PREFIX + device.removeprefix(naming.TRANSIT_INNER_PREFIX)
    )


def group_of(netns: str, name: str) -> str:
    """The network that something belongs to: from where it lives, or else from the VCID in its
    name.
    """
    if netns != ROOT:
        return netns
    vcid = naming.vcid_of_link(name)
    if vcid is None:
        vcid = naming.vcid_at_end(name)
    return naming.namespace(vcid) if vcid is not None else ROOT


class OnDevice(KernelObject):
    """What hangs on a link of ours: it goes with the link, and belongs to the link's network."""

    __slots__ = ()
    netns: str
    device: str

    @property
    def needs(self) -> tuple[Key, ...]:
        return (link_key(self.netns, self.device),)

    @property
    def container(self) -> Key | None:
        return link_key(self.netns, self.device)

    @property
    def group(self) -> str:
        return group_of(self.netns, self.device)


@dataclass(frozen=True, slots=True)
class Device(KernelObject):
    """A link that is made by one request and marked by its alias."""

    KIND: ClassVar[str] = KIND
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset({"mtu", "alias", "master"})

    netns: str
    name: str
    alias: str
    mtu: int
    master: str = field(default="", kw_only=True)  # the VRF or bridge that it is a port of

    @property
    def key(self) -> Key:
        return link_key(self.netns, self.name)

    @property
    def phase(self) -> Phase:
        return Phase.DEVICE

    @property
    def needs(self) -> tuple[Key, ...]:
        return (
            *namespace_keys(self.netns),
            *((link_key(self.netns, self.master),) if self.master else ()),
        )

    # It has no container: it is removed by itself, before its namespace, whose own end is
    # asynchronous and keeps the UDP port.

    @property
    def group(self) -> str:
        return self.netns or group_of_alias(self.alias) or group_of(self.netns, self.name)

    def master_in(self, gone: Collection[Key]) -> bool:
        return bool(self.master) and link_key(self.netns, self.master) in gone

    def without_master(self) -> Self:
        return dataclasses.replace(self, master="")


@dataclass(frozen=True, slots=True)
class WireguardLink(Device):
    """A WireGuard device; its key, port and peers are objects of their own.

    `driver` is "wireguard" for the kernel's own, or "tun" for one that wireguard-go serves.

    Ours: its alias.
    """

    driver: str = "wireguard"


@dataclass(frozen=True, slots=True)
class Veth(KernelObject):
    """The pair between the root (`name`) and a network's namespace (`peer_name`).

    Ours: the aliases of both ends; without them, that the other end is in a namespace of ours.
    """

    KIND: ClassVar[str] = KIND
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset({"mtu", "peer_mtu", "alias", "peer_alias"})
    TWO_NAMESPACES: ClassVar[bool] = True

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
    def phase(self) -> Phase:
        return Phase.DEVICE

    @property
    def needs(self) -> tuple[Key, ...]:
        return namespace_keys(self.peer_netns)

    @property
    def group(self) -> str:
        return self.peer_netns or group_of(self.netns, self.name)


def pair(ends: Sequence[VethEnd]) -> list[Veth | OrphanLink]:
    """Ends that all namespaces show -> pairs, by the indexes that the ends tell of each other.

    An end in the root without our alias is ours only when its other end is in a namespace of ours.
    """
    inner = {(end.index, end.peer_index): end for end in ends if end.netns != ROOT}
    out: list[Veth | OrphanLink] = []
    for end in ends:
        if end.netns != ROOT:
            continue
        other = inner.pop((end.peer_index, end.index), None)
        if other is None and end.alias.startswith(naming.ALIAS_PREFIX):
            out.append(OrphanLink(ROOT, end.name, "veth"))
        elif other is not None:
            out.append(
                Veth(end.name, other.netns, other.name, end.alias, other.alias, end.mtu, other.mtu)
            )
    out += [OrphanLink(end.netns, end.name, "veth") for end in inner.values()]
    return out


def read_end(row: LinkRow, rows: NamespaceRows) -> VethEnd | None:
    """Our end of a pair to the uplink; None for another veth."""
    if not row.name.startswith((naming.TRANSIT_INNER_PREFIX, naming.TRANSIT_OUTER_PREFIX)):
        return None
    return VethEnd(rows.netns, row.name, row.index, row.peer_index, row.alias, row.mtu)


class VethRules(ExistenceRules[Veth]):
    """Each namespace shows one end."""

    def ends(self, item: Veth, number: int) -> Iterable[VethEnd]:
        near = 2 * number
        far = near + 1
        yield VethEnd(item.netns, item.name, near, far, item.alias, item.mtu)
        yield VethEnd(item.peer_netns, item.peer_name, far, near, item.peer_alias, item.peer_mtu)


@dataclass(frozen=True, slots=True)
class OrphanLink(KernelObject):
    """A link with a name or mark of ours, in a place or of a driver that is never wanted.

    It is only ever removed.

    Ours: its alias, the link group NEWBORN, or its name in a namespace of ours.
    """

    KIND: ClassVar[str] = KIND

    netns: str
    name: str
    driver: str
    owner: str = field(default="", compare=False)

    @property
    def key(self) -> Key:
        return link_key(self.netns, self.name)

    @property
    def phase(self) -> Phase:
        return Phase.DEVICE

    @property
    def group(self) -> str:
        return self.owner or group_of(self.netns, self.name)


@dataclass(frozen=True, slots=True)
class LinkUp(KernelObject):
    """That a link is administratively up.

    `link` is the object that made the link; None for `lo`, which is always there.

    Ours: the link is ours, or it is `lo` of a namespace of ours.
    """

    KIND: ClassVar[str] = "up"

    netns: str
    name: str
    link: Key | None  # None for `lo`, which is always there; else the object that made the link
    owner: str = field(default="", compare=False)  # the network, where the name does not tell

    @property
    def key(self) -> Key:
        return Key(self.KIND, self.netns, self.name)

    @property
    def phase(self) -> Phase:
        return Phase.UP

    @property
    def needs(self) -> tuple[Key, ...]:
        return namespace_keys(self.netns) if self.link is None else (self.link,)

    @property
    def container(self) -> Key | None:
        return self.needs[0] if self.needs else None

    @property
    def group(self) -> str:
        return self.owner or group_of(self.netns, self.name)


def read_up(rows: NamespaceRows) -> Iterator[Reading]:
    """Which of our links, and in a namespace of ours lo, are up."""
    for row in rows.own:
        if row.up:
            maker = maker_of(rows.netns, row.name)
            yield Reading(LinkUp(rows.netns, row.name, maker, owner_of(rows.netns, row)))
    if rows.netns != ROOT and any(row.name == "lo" and row.up for row in rows.links):
        yield Reading(LinkUp(rows.netns, "lo", None))


class LinkUpRules(ExistenceRules[LinkUp]):
    """A link that is up is set up once more."""

    taken = 0


def _set(netns: str, name: str, attrs: list[tuple[str, Any]], **header: Any) -> Message:
    fields = tuple({"index": Index(netns, name), **header}.items())
    return Message(netns, "link", "set", fields, tuple(attrs))


def create_device(device: Device, kind: str, data: Sequence[tuple[str, Any]] = ()) -> list[Message]:
    """The requests that create a link in its namespace, as a port of its master, and mark it.

    Args:
        device: the link.
        kind: its driver (IFLA_INFO_KIND).
        data: attributes of that driver (IFLA_INFO_DATA).
    """
    info: list[tuple[str, Any]] = [("IFLA_INFO_KIND", kind)]
    if data:
        info.append(("IFLA_INFO_DATA", {"attrs": list(data)}))
    attrs: list[tuple[str, Any]] = [("IFLA_IFNAME", device.name), ("IFLA_MTU", device.mtu)]
    if device.master:
        attrs.append(("IFLA_MASTER", Index(device.netns, device.master)))
    attrs += [("IFLA_GROUP", NEWBORN), ("IFLA_LINKINFO", {"attrs": info})]
    return [
        Message(device.netns, "link", "new", (), tuple(attrs), create=True),
        _mark(device.netns, device.name, device.alias),
    ]


def _mark(netns: str, name: str, alias: str) -> Message:
    """The mark of a link that was just created: sent once the creation has succeeded."""
    return _set(netns, name, [("IFLA_IFALIAS", alias), ("IFLA_GROUP", DEFAULT_GROUP)])


def _create_wireguard(link: WireguardLink) -> list[Message]:
    if link.netns == ROOT:
        return create_device(link, "wireguard")
    attrs = (
        ("IFLA_IFNAME", link.name),
        ("IFLA_MTU", link.mtu),
        ("IFLA_NET_NS_FD", Handle(link.netns)),
        ("IFLA_GROUP", NEWBORN),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "wireguard")]}),
    )
    return [
        Message(ROOT, "link", "new", (), attrs, create=True),
        _mark(link.netns, link.name, link.alias),
    ]


def _create_veth(link: Veth) -> list[Message]:
    peer = [
        ("IFLA_IFNAME", link.peer_name),
        ("IFLA_MTU", link.peer_mtu),
        ("IFLA_NET_NS_FD", Handle(link.peer_netns)),
    ]
    info = [
        ("IFLA_INFO_KIND", "veth"),
        ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", {"attrs": peer})]}),
    ]
    attrs = (
        ("IFLA_IFNAME", link.name),
        ("IFLA_MTU", link.mtu),
        ("IFLA_GROUP", NEWBORN),
        ("IFLA_LINKINFO", {"attrs": info}),
    )
    return [
        Message(link.netns, "link", "new", (), attrs, create=True),
        _mark(link.netns, link.name, link.alias),
        _set(link.peer_netns, link.peer_name, [("IFLA_IFALIAS", link.peer_alias)]),
    ]


def adopt_tun(link: WireguardLink) -> list[Message]:
    """wireguard-go has made the tun device in the root: mark it there, then move it to where it
    belongs.
    """
    mark = (("IFLA_IFNAME", link.name), ("IFLA_IFALIAS", link.alias))
    out = [Message(ROOT, "link", "set", (), mark)]
    if link.netns != ROOT:
        move = (("IFLA_IFNAME", link.name), ("IFLA_NET_NS_FD", Handle(link.netns)))
        out.append(Message(ROOT, "link", "set", (), move))
    return out


def finish_tun(link: WireguardLink) -> list[Message]:
    """In its place: its size, its master and its mark (wireguard-go sets none of them)."""
    attrs: list[tuple[str, Any]] = [("IFLA_MTU", link.mtu), ("IFLA_IFALIAS", link.alias)]
    if link.master:
        attrs.append(("IFLA_MASTER", Index(link.netns, link.master)))
    return [_set(link.netns, link.name, attrs)]


def _change_device(before: Device, after: Device) -> list[Message]:
    attrs: list[tuple[str, Any]] = []
    if before.mtu != after.mtu:
        attrs.append(("IFLA_MTU", after.mtu))
    if before.alias != after.alias:
        attrs += [("IFLA_IFALIAS", after.alias), ("IFLA_GROUP", DEFAULT_GROUP)]
    if before.master != after.master:
        attrs.append(("IFLA_MASTER", Index(after.netns, after.master) if after.master else 0))
    return [_set(after.netns, after.name, attrs)] if attrs else []


def _change_veth(before: Veth, after: Veth) -> list[Message]:
    near: list[tuple[str, Any]] = []
    far: list[tuple[str, Any]] = []
    if before.mtu != after.mtu:
        near.append(("IFLA_MTU", after.mtu))
    if before.alias != after.alias:
        near += [("IFLA_IFALIAS", after.alias), ("IFLA_GROUP", DEFAULT_GROUP)]
    if before.peer_mtu != after.peer_mtu:
        far.append(("IFLA_MTU", after.peer_mtu))
    if before.peer_alias != after.peer_alias:
        far.append(("IFLA_IFALIAS", after.peer_alias))
    ends = ((after.netns, after.name, near), (after.peer_netns, after.peer_name, far))
    return [_set(netns, name, attrs) for netns, name, attrs in ends if attrs]


def _delete_link(netns: str, name: str) -> list[Message]:
    return [Message(netns, "link", "del", (("index", Index(netns, name)),), ())]


def encode_device(change: Change, create: Callable[[Any], list[Message]]) -> list[Message]:
    """The requests that make, change or remove a link of one namespace.

    Args:
        change: of a `Device` or an `OrphanLink`.
        create: the requests that make it: the first creates it, the others mark it.
    """
    if change.action is Action.DELETE:
        return _delete_link(change.before.netns, change.before.name)
    if change.before is None:
        return create(change.after)
    return _change_device(change.before, change.after)


def encode_wireguard(change: Change) -> list[Message]:
    """The requests that make, change or remove a WireGuard device."""
    return encode_device(change, _create_wireguard)


def encode_veth(change: Change) -> list[Message]:
    """The requests that make, change or remove a pair, by its outer end."""
    if change.action is Action.DELETE:
        return _delete_link(change.before.netns, change.before.name)
    if change.before is None:
        return _create_veth(change.after)
    return _change_veth(change.before, change.after)


def encode_orphan(change: Change) -> list[Message]:
    """The request that removes it."""
    return _delete_link(change.before.netns, change.before.name)


def encode_up(change: Change) -> list[Message]:
    """The request that sets a link up or down."""
    link: LinkUp = change.subject  # type: ignore[assignment]  # the registry has just said so
    flags = IFF_UP if change.action is not Action.DELETE else 0
    return [_set(link.netns, link.name, [], flags=flags, change=IFF_UP)]
