"""What a kernel object is, and State: an immutable map from kernel key to object.

Lives here: what every object kind answers, the order of creation, and the two sides that `diff`
compares. Does not: any object kind (`kinds/`), any comparison (`diff`).
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Network
from typing import Any, ClassVar, Final, NamedTuple, Self

ROOT = ""  # the namespace warpd itself runs in
ROUTE_PROTOCOL = 119  # rtm_protocol of our routes and rules
# Seconds after its handshake when a WireGuard session ends (REJECT_AFTER_TIME in
# drivers/net/wireguard/messages.h).
SESSION_S: Final = 180
# Seconds that a handshake may lie ahead of the clock: a look reads the clock before the peers.
AHEAD_S: Final = 10
# Links between a network and the uplink: this prefix and the IPv4 transit address as the low 32
# bits.
TRANSIT6: Final = IPv6Network("fd77:6172:7064::/96")


class Phase(enum.IntEnum):
    """When an object is created.

    Removal is the reverse, except that addresses and routes go after everything that is created.

    The guard is first and the permits are last, so that a crash after any step leaves less reach
    than planned. Links come up before the routes, because the kernel refuses a route over a link
    that is down (ENETDOWN, fib_check_nh in net/ipv4/fib_semantics.c). That is safe, since every
    packet meets the guard, and its permits are not yet there.
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
    """The kernel's own identity of an object.

    Two objects have one key exactly when the kernel would refuse or replace the second. So the keys
    of what is wanted and of what is observed are equal exactly when they are the same thing.

    - `kind`: the object kind (`KernelObject.KIND`). All links share "link": the kernel has one name
      space for them, whatever their driver.
    - `netns`: the name of the namespace, "" for the root. A veth pair has the namespace of its
      outer end.
    - `name`: the identity within both, in the words of the kind.

    Hazards: an ifindex is never part of a key, since a link that is made anew has another one and
    an old one is used again. A value that changes in place is never part of a key either: it would
    turn a change into a removal and a creation.
    """

    kind: str
    netns: str
    name: str

    def __str__(self) -> str:
        return f"{self.netns or 'root'}/{self.kind}/{self.name}"


class KernelObject:
    """One thing in the kernel, as plain frozen data: what every object kind answers.

    A kind is a frozen, slotted dataclass that derives from this class, in `kinds/`, mostly in a
    file of its own. Fields with `compare=False` are known on the wanted side only (a label, the
    object that it needs), or on the observed side only (the value to restore); `diff` passes over
    them.
    `diff`, `plan` and `engine` know objects by what is declared here and never by their class.

    - `KIND`: the first part of its key.
    - `CHANGEABLE`: names of the fields that change in place. A difference in any other compared
      field means that the object is removed and created anew.
    - `TRANSACTED`: changes go through `Kernel.transact`; those of one call are all made, or none.
    - `TWO_NAMESPACES`: it lives in two namespaces, so that one namespace shows only its end there.
    - `NUMEROUS`: there may be a hundred thousand of them, so that what is observed and equal to
      what is wanted is kept as one object.

    Hazards:
    1. What a kernel does not report must not be compared, or the object differs for ever. What it
       reports in another form (IPv6 metric 0 reads back as 1024) is written in that form.
    2. A field that is neither compared nor an identity is never repaired.
    3. `needs` and `container` name keys, not objects: what they name may be missing from a State.
    4. An object kind without an answer to "how does a restarted warpd with an empty disk know that
       this is ours?" must not exist: whatever it made could never be removed.
    """

    __slots__ = ()
    KIND: ClassVar[str]
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset()
    TRANSACTED: ClassVar[bool] = False
    TWO_NAMESPACES: ClassVar[bool] = False
    NUMEROUS: ClassVar[bool] = False

    @property
    def key(self) -> Key:
        """The kernel's identity of this object."""
        raise NotImplementedError

    @property
    def phase(self) -> Phase:
        """When it is created."""
        raise NotImplementedError

    @property
    def group(self) -> str:
        """The network that it belongs to, by its namespace's name; "" for the gateway's own."""
        raise NotImplementedError

    @property
    def needs(self) -> tuple[Key, ...]:
        """Keys that must exist before it is created."""
        return ()

    @property
    def container(self) -> Key | None:
        """The object whose removal takes this one with it; None where only its own removal does."""
        return None

    @property
    def opens(self) -> str:
        """The namespace that this object lets us look into, by name; "" for none."""
        return ""

    @property
    def removable(self) -> bool:
        """Whether it is removed when it is not wanted, rather than left as it is."""
        return True

    @property
    def removed_last(self) -> bool:
        """Whether a removal may wait until all is created.

        True for what gives no reach by itself, so that a route that changes its prefix leaves no
        gap.
        """
        return self.phase in (Phase.ADDRESS, Phase.ROUTE)

    def vanishes_with(self, gone: Collection[Key], released: Collection[Key]) -> bool:
        """Whether the kernel removes it by itself.

        Args:
            gone: keys of objects that lose their content: deleted, replaced or rebuilt.
            released: keys of ports that stay while their VRF or bridge goes.
        """
        return self.container in gone

    def orphaned_by(self, gone: Collection[Key]) -> bool:
        """Whether it outlives its container in a form that does nothing and is made anew."""
        return False

    def master_in(self, gone: Collection[Key]) -> bool:
        """Whether it is a port of a VRF or bridge that goes."""
        return False

    def without_master(self) -> Self:
        """The same object as the kernel leaves it when its VRF or bridge has gone."""
        return self

    def avoiding(self, blocked: Collection[Key]) -> Self:
        """Return the object without the parts that foreign objects with these keys prevent."""
        return self

    def rebuilt_by(self, after: KernelObject) -> bool:
        """Whether changing it in place to `after` loses its content.

        `after` is wanted under the same key.
        """
        return False

    def revoked_to(self, after: Self) -> Self | None:
        """What is left of it once all that `after` does not have is taken away.

        None where nothing has to be taken away before anything is given. `after` is wanted under
        the same key and differs only in fields that change in place.
        """
        return None


@dataclass(frozen=True, slots=True)
class State:
    """An immutable map from key to object: all that is wanted, or all of ours that was observed.

    - `objects`: each under its own key.

    Hazards:
    1. An empty State says that nothing is there. Where nothing was read there must be no State at
       all: a plan that is made with it would create everything.
    2. The order of `objects` carries no meaning. `plan` sorts.
    3. Two wanted objects with one key are a mistake of ours (two networks claim one thing), never
       something to be merged: `of` and `joined` refuse them.
    """

    objects: Mapping[Key, KernelObject] = field(default_factory=dict)

    @classmethod
    def of(cls, objects: Iterable[KernelObject]) -> State:
        """Build a State.

        Raises:
            ValueError: two objects have one key.
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
        """The union of several States, without a look at each object.

        Raises:
            ValueError: two of them hold one key.
        """
        parts = list(states)
        out: dict[Key, KernelObject] = {}
        for part in parts:
            out.update(part.objects)
        if len(out) != sum(len(part) for part in parts):
            return cls.of(item for part in parts for item in part)
        return cls(out)

    def __iter__(self) -> Iterator[KernelObject]:
        return iter(self.objects.values())

    def __len__(self) -> int:
        return len(self.objects)

    def get(self, key: Key) -> KernelObject | None:
        """The object under this key, None where there is none."""
        return self.objects.get(key)


@dataclass(frozen=True, slots=True)
class EgressLink:
    """A link of the host by which packets of a network may leave.

    - `forwarding4`: whether it forwards the answers.
    - `ours`: whether warpd has made it, as a bridge that is named as uplink.
    """

    name: str
    forwarding4: bool = False
    ours: bool = False


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
    """Where the host's default route of one family leads; `via` is "" without a gateway."""

    version: int
    device: str
    via: str


@dataclass(frozen=True, slots=True)
class DivertingRoute:
    """A route of the host that leads to a range over another link than it should."""

    version: int
    prefix: str
    device: str


@dataclass(frozen=True, slots=True)
class ForeignChain:
    """An nftables chain of another program.

    - `hook`: "" for one that others jump to.
    - `rules`: the expressions of each rule as JSON (libnftables-json(5)).
    - `complete`: false for one that was too large to read.
    - `priority`: of a base chain.
    - `devices`: the links of a base chain at the hook ingress or egress.
    """

    family: str
    table: str
    name: str
    hook: str = ""
    policy: str = "accept"
    rules: tuple[str, ...] = ()
    complete: bool = True
    priority: int = 0
    devices: tuple[str, ...] = ()


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
    """Facts about the machine that are not ours but decide what is wanted.

    - `uplink_mtu`: bytes.
    - `local`: prefixes that are delivered to the host itself, without those on links of ours.
    - `uplink_down`: the uplink is there, but switched off or without a carrier.
    - `cloud_address`: where the cloud's NAT makes the uplink reachable; "" where that is not known.
    - `forwarding4`, `forwarding6`: net.ipv4.ip_forward, net.ipv6.conf.all.forwarding.
    - `exits`: the uplink, and other links by which a network may leave.
    - `uplinks4`, `uplinks6`: links by which what is meant for the internet may leave; several for a
      multipath route.
    - `range_routes`: of the ranges that were asked for, in their order.
    - `elsewhere`: IP versions whose default route leads over another link than the one that is
      named as uplink; `steered` are those of them that the uplink can carry, as it has an address.
    - `diverted`: where an uplink is named, routes of the host that are longer than a default route
      (`kinds.route.DEFAULT_BITS`) and lead a part of the internet over another link.
    - `astray`: where routing rules of others lead replies to clients, by range of one network of
      each isolation mode.
    - `hops`: default routes by the uplink; of `uplink: auto`, by the one of each IP version.
    - `bridge_netfilter`: the tables through which br_netfilter would send bridged frames.
    - `onlink`: prefixes of the exits; who is in them, the host asks by ARP or neighbour discovery.
    - `conntrack_max`: connections that the kernel tracks in one namespace.
    - `vrf`: the kernel can make VRFs.
    - `foreign_vrfs`: routing tables of VRFs that are not ours, with their names.
    - `foreign_vxlans`: VXLAN devices that are not ours and have the UDP port of our legs.
    - `ra_links`: links of others that accept router advertisements (accept_ra is 1, or 2 since
      warpd fences).
    - `fence4` (links), `fence6`, `tagged4`: what our fence rules and the tags of our links say. It
      is the memory that it was warpd who turned forwarding on, kept in the kernel itself so that it
      survives the loss of the state folder.
    - `taken4`, `taken6`: others have turned forwarding on for the whole host since warpd did for
      its links; it is theirs now (`kinds.sysctl.Fences`).
    - `passing_addresses`: of the uplink, those that will go (temporary, deprecated) or do not
      answer (tentative); `source_addresses` are those sent from by default.
    """

    hostname: str = ""
    uplink: str = ""
    uplink_mtu: int = 1500
    uplink_addresses: tuple[str, ...] = ()
    local: tuple[str, ...] = ()
    uplink_down: bool = False
    cloud_address: str = ""
    wireguard_kernel: bool = False
    wireguard_go: bool = False
    forwarding4: bool = False
    forwarding6: bool = False
    exits: tuple[EgressLink, ...] = ()
    uplinks4: tuple[str, ...] = ()
    uplinks6: tuple[str, ...] = ()
    range_routes: tuple[RangeRoute, ...] = ()
    elsewhere: tuple[int, ...] = ()
    steered: tuple[int, ...] = ()
    diverted: tuple[DivertingRoute, ...] = ()
    astray: tuple[DivertingRoute, ...] = ()
    hops: tuple[DefaultRoute, ...] = ()
    bridge_netfilter: tuple[str, ...] = ()
    onlink: tuple[str, ...] = ()
    conntrack_max: int = 262144
    vrf: bool = True
    foreign_vrfs: tuple[tuple[int, str], ...] = ()
    foreign_vxlans: tuple[str, ...] = ()
    ra_links: tuple[str, ...] = ()
    fence4: tuple[str, ...] = ()
    fence6: bool = False
    taken4: bool = False
    taken6: bool = False
    tagged4: bool = False
    foreign_rules: ForeignRules = ForeignRules()
    passing_addresses: tuple[str, ...] = ()
    source_addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PeerTraffic:
    """What the kernel counted for one WireGuard peer.

    `received` and `sent` are bytes; `handshake` is in seconds since the epoch, 0 for never.
    """

    received: int
    sent: int
    handshake: int
    endpoint: str


def session_age_s(handshake_s: int, now_s: float) -> int | None:
    """Return how many seconds ago a handshake was; None for never, and for one in the future.

    The latter is seen once the clock was set back; nobody knows then how old it is.

    Args:
        handshake_s: seconds since the epoch, 0 for never.
        now_s: seconds since the epoch.
    """
    if not handshake_s or handshake_s > now_s + AHEAD_S:
        return None
    return max(0, int(now_s - handshake_s))


def has_session(handshake_s: int, now_s: float) -> bool:
    """Whether a session of this handshake is still valid. The arguments are as before."""
    age_s = session_age_s(handshake_s, now_s)
    return age_s is not None and age_s < SESSION_S


@dataclass(frozen=True, slots=True)
class Observed:
    """One look at the kernel.

    - `state`: our objects.
    - `foreign`: keys of ours under which a foreign object sits, with what it is.
    - `host`: facts about the machine.
    - `traffic`: of peers, by their key.
    - `drops`: group -> reason -> (packets, bytes).
    - `others`: links of others, which are in the way of whoever wants their name.
    - `unread`: namespaces of ours that could not be read, with why. What is in them is unknown, and
      so is which half of theirs in the root belongs to what.
    """

    state: State
    foreign: Mapping[Key, str] = field(default_factory=dict)
    host: Host = field(default_factory=Host)
    traffic: Mapping[Key, PeerTraffic] = field(default_factory=dict)
    drops: Mapping[str, Mapping[str, tuple[int, int]]] = field(default_factory=dict)
    others: Mapping[Key, str] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)

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
    """One change to one object.

    `before` is what the kernel holds, None for a creation; `after` is what it shall hold, None for
    a removal.
    """

    action: Action
    before: Any
    after: Any

    @property
    def subject(self) -> KernelObject:
        subject: KernelObject = self.after if self.after is not None else self.before
        return subject
