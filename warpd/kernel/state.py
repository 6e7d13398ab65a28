"""What a kernel object is, and State: an immutable map from kernel key to object.

Lives here: the identity of objects, the order of their creation and the two sides that `diff`
compares. Does not: any object kind (`objects/`), any comparison (`diff`).

Theory: a key is the kernel's own identity (namespace, kind, name), never an index, so that the key
of what we want and the key of what we see are equal exactly when creating one would collide with
the other.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Network
from typing import Any, ClassVar, Final, NamedTuple, Protocol

ROOT = ""  # the namespace warpd itself runs in
ROUTE_PROTOCOL = 119  # rtm_protocol of our routes and rules
# Links between a network and the uplink: this prefix and the IPv4 transit address as the low 32
# bits.
TRANSIT6: Final = IPv6Network("fd77:6172:7064::/96")


class Phase(enum.IntEnum):
    """When an object is created; removal is the exact reverse.

    A route needs its link up (the kernel answers ENETDOWN otherwise, fib_check_nh), so links come
    up before the routes; that is safe because every packet still meets the guard, whose grant sets
    are filled last.
    """

    GUARD = 1
    NAMESPACE = 2
    DEVICE = 3
    SETTING = 4
    PEER = 5
    ADDRESS = 6
    UP = 7
    ROUTE = 8
    PERMIT = 9


class Key(NamedTuple):
    """The kernel's identity of an object: kind, namespace ("" is the root), name within both."""

    kind: str
    netns: str
    name: str

    def __str__(self) -> str:
        return f"{self.netns or 'root'}/{self.kind}/{self.name}"


class KernelObject(Protocol):
    """One thing in the kernel, as plain frozen data."""

    KIND: ClassVar[str]
    CHANGEABLE: ClassVar[
        frozenset[str]
    ]  # fields that change in place; any other difference means replace

    @property
    def key(self) -> Key: ...

    @property
    def phase(self) -> Phase: ...

    @property
    def needs(self) -> tuple[Key, ...]:
        """Keys that must exist first."""
        ...

    @property
    def container(self) -> Key | None:
        """The object whose removal takes this one with it."""
        ...

    @property
    def group(self) -> str:
        """Name of the namespace of the network that it belongs to; "" for the gateway's own
        objects.
        """
        ...


@dataclass(frozen=True, slots=True)
class State:
    """An immutable map from key to object."""

    objects: Mapping[Key, KernelObject] = field(default_factory=dict)

    @classmethod
    def of(cls, objects: Iterable[KernelObject]) -> State:
        """Build a State.

        Raises:
            ValueError: two objects claim one key.
        """
        out: dict[Key, KernelObject] = {}
        for item in objects:
            key = item.key
            if key in out:
                raise ValueError(f"two owners of {key}")
            out[key] = item
        return cls(out)

    @classmethod
    def joined(cls, states: Iterable[State]) -> State:
        """As `of` all that they hold, but without a look at each object.

        Raises:
            ValueError: two of them hold one key.
        """
        every, out = list(states), dict[Key, KernelObject]()
        for each in every:
            out.update(each.objects)
        return (
            cls(out)
            if len(out) == sum(map(len, every))
            else cls.of(item for each in every for item in each)
        )

    def __iter__(self) -> Iterator[KernelObject]:
        return iter(self.objects.values())

    def __len__(self) -> int:
        return len(self.objects)

    def get(self, key: Key) -> KernelObject | None:
        return self.objects.get(key)


@dataclass(frozen=True, slots=True)
class EgressLink:
    """A link of the host by which packets of a network may leave, and whether it forwards the
    answers.
    """

    name: str
    forwarding4: bool = False


@dataclass(frozen=True, slots=True)
class RangeRoute:
    """How the host reaches a range that networks may reach.

    `links` are those with a route to a part of the range or to all of it, default routes apart;
    `first` is the link by which the kernel sends to the range's first address, "" for not at all;
    `by_default` says that it does so for want of a better route. Links of our own are never among
    them.
    """

    target: str  # a prefix
    links: tuple[str, ...] = ()  # sorted
    first: str = ""
    by_default: bool = False


@dataclass(frozen=True, slots=True)
class DefaultRoute:
    """Where the host's default route of one family leads; `via` is "" for a link without a gateway."""

    version: int
    device: str
    via: str


@dataclass(frozen=True, slots=True)
class ForeignChain:
    """An nftables chain of another program.

    `hook` is "" for one that others jump to; `complete` is false for one that was too large to
    read. `rules` are the expressions of each rule as JSON (libnftables-json(5)).
    """

    family: str
    table: str
    name: str
    hook: str = ""
    policy: str = "accept"
    rules: tuple[str, ...] = ()
    complete: bool = True


@dataclass(frozen=True, slots=True)
class ForeignSet:
    """A named set or map of another program; `elements` is a JSON list."""

    family: str
    table: str
    name: str
    elements: str


@dataclass(frozen=True, slots=True)
class ForeignRules:
    """What other programs' nftables tables do on the way of our packets: base chains, and whatever
    they jump to.
    """

    chains: tuple[ForeignChain, ...] = ()
    sets: tuple[ForeignSet, ...] = ()


@dataclass(frozen=True, slots=True)
class Host:
    """Facts about the machine that are not ours but decide what we want.

    `fence4` (links) and `fence6` are what our own fence rules in the kernel say: the memory that it
    was us who turned forwarding on, kept in the kernel itself so that it survives the loss of the
    state folder.
    """

    hostname: str = ""
    uplink: str = ""
    uplink_mtu: int = 1500
    uplink_addresses: tuple[str, ...] = ()
    local: tuple[
        str, ...
    ] = ()  # prefixes that are delivered to the host itself, without those on links of ours
    uplink_down: bool = False  # it is there, but switched off or without a carrier
    cloud_address: str = (
        ""  # under which the cloud's NAT makes the uplink reachable; "": none is known
    )
    wireguard_kernel: bool = False
    wireguard_go: bool = False
    forwarding4: bool = False  # net.ipv4.ip_forward
    forwarding6: bool = False  # net.ipv6.conf.all.forwarding
    exits: tuple[EgressLink, ...] = ()  # the uplink, and other links by which a network may leave
    # by which what is meant for the internet may leave, of each family; several for a multipath
    # route
    uplinks4: tuple[str, ...] = ()
    uplinks6: tuple[str, ...] = ()
    ways: tuple[RangeRoute, ...] = ()  # of the ranges asked for, in their order
    elsewhere: tuple[
        int, ...
    ] = ()  # IP versions whose default route leads over another link than the one named as uplink
    steered: tuple[int, ...] = ()  # those of them that the uplink can carry: it has an address
    hops: tuple[DefaultRoute, ...] = ()  # by the uplink
    bridge_netfilter: tuple[
        str, ...
    ] = ()  # the tables through which br_netfilter would send bridged frames
    onlink: tuple[str, ...] = ()  # prefixes of the exits: who is in them, the host looks for itself
    conntrack_max: int = 262144  # connections that the kernel tracks in one namespace
    vrf: bool = True  # the kernel can make VRFs
    foreign_vrfs: tuple[
        tuple[int, str], ...
    ] = ()  # routing tables of VRFs that are not ours, with their names
    ra_links: tuple[
        str, ...
    ] = ()  # links of others that believe routers (accept_ra is 1, or 2 since we fence)
    fence4: tuple[str, ...] = ()
    fence6: bool = False
    tagged4: bool = False  # our doors remember that we turned IPv4 forwarding on for the uplink
    foreign_rules: ForeignRules = ForeignRules()
    # Of the uplink: addresses that will go (temporary, deprecated) or do not answer (tentative);
    # and those sent from by default.
    passing_addresses: tuple[str, ...] = ()
    source_addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PeerTraffic:
    """What the kernel counted for one WireGuard peer.

    Bytes, and seconds since the epoch (0 = never).
    """

    received: int
    sent: int
    handshake: int
    endpoint: str


@dataclass(frozen=True, slots=True)
class Observed:
    """One look at the kernel: our objects, foreign ones that sit on a key of ours, and the host's
    facts.
    """

    state: State
    foreign: Mapping[Key, str] = field(default_factory=dict)
    host: Host = field(default_factory=Host)
    traffic: Mapping[Key, PeerTraffic] = field(default_factory=dict)
    drops: Mapping[str, Mapping[str, tuple[int, int]]] = field(
        default_factory=dict
    )  # netns -> reason -> (packets, bytes)
    others: Mapping[Key, str] = field(
        default_factory=dict
    )  # links of others: in the way of whoever wants their name

    def in_the_way(self, key: Key) -> str | None:
        """What of others sits under this key; None where nothing does."""
        return self.foreign.get(key, self.others.get(key))


class Action(enum.Enum):
    """Everything a step can be."""

    CREATE = "create"
    UPDATE = "update"
    REVOKE = "revoke"  # an in-place change that only takes away, done before anything is given
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Change:
    """One change to one object; `before` is None for a creation, `after` for a removal."""

    action: Action
    before: Any
    after: Any

    @property
    def subject(self) -> KernelObject:
        subject: KernelObject = self.after if self.after is not None else self.before
        return subject
