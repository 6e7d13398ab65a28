"""Our nftables table `inet warpd`, one per namespace, and the elements that permit.

The table (sets, counters, chains, rules) is one object: it is the guard, and it changes in one
transaction. In the root, where VRF networks share it, each of them has a subtable of its own:
names that end in its VCID, and entries in the table's dispatch maps. An ingress filter is a chain
at the ingress of one link, and goes with the table or with that link.

A set has a role. The elements of a *permit* set (who may pass) are objects of their own, added last
and removed first. Those of a *limit* set (what is guarded, and how) are added first and removed
last; an entry of a map that gets another value is removed before anything is given, and then added.
Those of a *static* set (address ranges) belong to the table or subtable. Those of a *learned*
set are added by rules as packets come, and are not compared.

Rules are kept as JSON text in the form in which libnftables lists them, so that what is read can be
compared with what is wanted. How they are written is in `nftables.rules`, how a listing becomes
objects in `nftables.listing`, how a change becomes commands in `nftables.commands`.
"""

from __future__ import annotations

import dataclasses
import errno
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

from warpd import naming
from warpd.kernel.existence import ExistenceRules, Existing
from warpd.kernel.kinds.link import OnDevice, group_of, group_of_alias, link_key
from warpd.kernel.kinds.netns import namespace_keys
from warpd.kernel.rows import NamespaceRows, Reading
from warpd.kernel.state import ROOT, KernelObject, Key, Phase

STRANGE = "strange"  # the type of whatever in our table warpd never puts there
FAMILY = "inet"
TABLE = "warpd"
Role = Literal["permit", "limit", "learned", "static"]
# The role of every set that is not static.
ROLES: Mapping[str, Role] = {
    "permitted_ifaces": "permit",
    "bridge_ifaces": "permit",
    "endpoints4": "permit",
    "endpoints6": "permit",
    "endpoint_addrs4": "permit",
    "endpoint_addrs6": "permit",
    "neighbours_known4": "learned",
    "neighbours_known6": "learned",
    "neighbours_pending4": "learned",
    "neighbours_pending6": "learned",
    "guarded_ifaces": "limit",
    "port-blocks": "limit",
    "endpoint_ids4": "limit",
    "endpoint_ids6": "limit",
}
_PART = re.compile(r"(.+)-([1-9][0-9]*)")
GATE = "gate-"
JOINT = " . "  # between the parts of a type or element that is made of several


def part_of(name: str) -> int:
    """The VCID at the end of a name in the root's table; 0 for a name of the gateway's own."""
    match = _PART.fullmatch(name)
    return int(match[2]) if match else 0


def base_of(name: str) -> str:
    """A name in the root's table without the VCID at its end."""
    match = _PART.fullmatch(name)
    return match[1] if match else name


def key_of(element: str) -> str:
    """An element of a set, or the key of one of a map."""
    return element.partition(" : ")[0]


def role_of(name: str) -> Role:
    """The role of a set or map, by its name in any table."""
    return ROLES.get(base_of(name), "static")


@dataclass(frozen=True, slots=True)
class NftSet:
    """A set or map of our table.

    - `type`: of its elements, or of its keys; several are joined by " . ".
    - `interval`: elements may be prefixes and ranges.
    - `elements`: sorted; only those of a static set.
    - `map`: the type of what a map leads to, "" for a set. The entries of a static verdict map (a
      dispatch map) belong to the subtables.
    - `timeout`: seconds after which an element goes, 0 for never.
    - `size`: the most elements of a set with a timeout.
    """

    name: str
    type: str
    interval: bool = False
    elements: tuple[str, ...] = ()
    map: str = ""
    timeout: int = 0
    size: int = 0

    @property
    def role(self) -> Role:
        return role_of(self.name)


@dataclass(frozen=True, slots=True)
class NftChain:
    """A chain of our table.

    - `rules`: canonical JSON of {"expr": [...], "comment": ...}.
    - `hook`: None for a chain that others jump to, which has no type, priority and policy.
    """

    name: str
    rules: tuple[str, ...]
    hook: str | None = None
    type: str = "filter"
    priority: int = 0
    policy: str = "accept"


@dataclass(frozen=True, slots=True)
class NftTable(KernelObject):
    """Our table `inet warpd` of one namespace: its sets, counters, chains and rules.

    In the root, without what belongs to one network (`NetworkSubtable`). `sets`, `counters` and
    `chains` are sorted by name.

    Ours: the family and name of the table, which no other program uses.
    """

    KIND: ClassVar[str] = "nft-table"
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset({"sets", "counters", "chains"})
    TRANSACTED: ClassVar[bool] = True

    netns: str
    sets: tuple[NftSet, ...]  # each tuple sorted by name
    counters: tuple[str, ...]
    chains: tuple[NftChain, ...]
    # Elements of the limit set that come with the table's own transaction, so that no link is
    # unguarded while the table is made or rebuilt; each is an object of its own as well.
    guarded_ifaces: tuple[str, ...] = field(default=(), compare=False)

    @property
    def key(self) -> Key:
        return table_key(self.netns)

    @property
    def phase(self) -> Phase:
        return Phase.GUARD

    @property
    def needs(self) -> tuple[Key, ...]:
        return namespace_keys(self.netns)

    @property
    def container(self) -> Key | None:
        return next(iter(namespace_keys(self.netns)), None)

    @property
    def group(self) -> str:
        return self.netns

    def avoiding(self, blocked: Collection[Key]) -> Self:
        """Without the links of others that have the name of a link to be guarded."""
        kept = tuple(
            name for name in self.guarded_ifaces if link_key(self.netns, name) not in blocked
        )
        return (
            self if kept == self.guarded_ifaces else dataclasses.replace(self, guarded_ifaces=kept)
        )

    def rebuilt_by(self, after: KernelObject) -> bool:
        return needs_rebuild(self, after)


@dataclass(frozen=True, slots=True)
class NetworkSubtable(KernelObject):
    """One network's part of the root's table.

    `entries` are its elements of the dispatch maps, as (map, link, chain), sorted.

    Ours: it is in our table, under names that end in the network's VCID.
    """

    KIND: ClassVar[str] = "nft-part"
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset({"sets", "counters", "chains", "entries"})
    TRANSACTED: ClassVar[bool] = True

    vcid: int
    sets: tuple[NftSet, ...]
    counters: tuple[str, ...]
    chains: tuple[NftChain, ...]
    entries: tuple[tuple[str, str, str], ...]  # (map, link, chain), sorted
    netns: str = ROOT

    @property
    def key(self) -> Key:
        return part_key(self.vcid)

    @property
    def phase(self) -> Phase:
        return Phase.GUARD

    @property
    def needs(self) -> tuple[Key, ...]:
        return (table_key(self.netns),)

    @property
    def container(self) -> Key | None:
        return table_key(self.netns)

    @property
    def group(self) -> str:
        return naming.namespace(self.vcid)

    def rebuilt_by(self, after: KernelObject) -> bool:
        return needs_rebuild(self, after)


@dataclass(frozen=True, slots=True)
class IngressFilter(OnDevice):
    """What may come in by one link, decided frame by frame before anything else sees it.

    `rules` are those of a chain at the link's ingress hook, as canonical JSON.

    Ours: the chain is in our table.
    """

    KIND: ClassVar[str] = "nft-gate"
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset({"rules"})
    TRANSACTED: ClassVar[bool] = True

    netns: str
    device: str
    rules: tuple[str, ...]

    @property
    def key(self) -> Key:
        return Key(self.KIND, self.netns, self.device)

    @property
    def phase(self) -> Phase:
        return Phase.SETTING

    @property
    def needs(self) -> tuple[Key, ...]:
        """The counters it names are the part's or the table's."""
        return (
            _home(self.netns, self.device.rpartition("-")[0]),
            link_key(self.netns, self.device),
        )

    def vanishes_with(self, gone: Collection[Key], released: Collection[Key]) -> bool:
        """With the table. When its link goes, it depends on the kernel whether the chain stays
        (Linux 6.13 and later keep it, hooked to nothing).
        """
        return table_key(self.netns) in gone

    def orphaned_by(self, gone: Collection[Key]) -> bool:
        return self.container in gone


class SubtableRules(ExistenceRules[NetworkSubtable]):
    """A transaction that fails has one of two numbers (`Nft.run`): something that it names is
    gone, or EINVAL.
    """

    taken = errno.EINVAL
    absent = missing = errno.ENOENT


class IngressFilterRules(ExistenceRules[IngressFilter]):
    """It is written as a whole, whatever was there."""

    taken = 0
    missing = errno.ENOENT


Guard = NftTable | NetworkSubtable


def part_key(vcid: int) -> Key:
    """The key of a network's subtable."""
    return Key(NetworkSubtable.KIND, ROOT, str(vcid))


def _home(netns: str, name: str) -> Key:
    """What owns a set or counter of this name: the table, or in the root the part whose VCID ends
    the name.
    """
    vcid = part_of(name) if netns == ROOT else 0
    return part_key(vcid) if vcid else table_key(netns)


@dataclass(frozen=True, slots=True)
class NftElements(KernelObject):
    """Elements of a permit or limit set.

    In a set that networks share, `part` is the one link that they speak of. An element of a map is
    written `KEY : VALUE`, and a verdict as `jump CHAIN`.

    Ours: the set is in our table.
    """

    KIND: ClassVar[str] = "nft-elements"
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset({"elements"})
    TRANSACTED: ClassVar[bool] = True

    netns: str
    set: str
    elements: frozenset[str]
    part: str = ""
    owner: str = field(default="", compare=False)  # the network, where no name tells

    @property
    def key(self) -> Key:
        return Key(self.KIND, self.netns, f"{self.set} {self.part}".rstrip())

    @property
    def phase(self) -> Phase:
        return Phase.GUARD if role_of(self.set) == "limit" else Phase.PERMIT

    @property
    def needs(self) -> tuple[Key, ...]:
        return (_home(self.netns, self.set),)

    @property
    def container(self) -> Key | None:
        return _home(self.netns, self.set)

    @property
    def group(self) -> str:
        return self.owner or group_of(self.netns, self.part or self.set)

    def revoked_to(self, after: Self) -> Self | None:
        """Only the elements that both sides hold, where some have to go."""
        if self.elements <= after.elements:
            return None
        return dataclasses.replace(after, elements=self.elements & after.elements)


class NftTableRules(ExistenceRules[NftTable]):
    """The guarded links come with the transaction that makes the table."""

    taken = errno.EINVAL
    absent = errno.ENOENT

    def also_written(
        self, item: NftTable, created: bool, existing: Existing
    ) -> Iterable[KernelObject]:
        for iface in item.guarded_ifaces if created else ():
            yield NftElements(item.netns, "guarded_ifaces", frozenset({iface}), iface)


class NftElementsRules(ExistenceRules[NftElements]):
    """An element that is there is added once more; a set keeps no trace of having none."""

    taken = 0
    absent = missing = errno.ENOENT

    def is_nothing(self, item: NftElements) -> bool:
        return not item.elements


def table_key(netns: str) -> Key:
    """The key of our table in a namespace."""
    return Key(NftTable.KIND, netns, TABLE)


def read(rows: NamespaceRows) -> Iterator[Reading]:
    """The content of our table, from its listing, with what the links there tell of it.

    An ingress filter without its link judges nothing, but Linux 6.13 and later keep its chain,
    hooked to nothing. The elements of a shared set belong to the network of the link they name.
    """
    links = {row.name: row for row in rows.links}
    for item in rows.tables:
        if isinstance(item, IngressFilter) and item.device not in links:
            yield Reading(dataclasses.replace(item, rules=()))
        elif isinstance(item, NftElements) and item.part in links:
            owner = group_of_alias(links[item.part].alias) if rows.netns == ROOT else ""
            yield Reading(dataclasses.replace(item, owner=owner))
        else:
            yield Reading(item)


def needs_rebuild(before: Guard, after: KernelObject) -> bool:
    """Whether the change can only be made by deleting and adding everything.

    That takes one transaction and loses the permits. It is so when a set changes its type or a
    chain its hook, or when the table holds something that warpd never puts there.
    """
    if not isinstance(after, NftTable | NetworkSubtable):
        return False
    return _is_strange(before) or _set_differs(before, after) or _hook_differs(before, after)


def _is_strange(guard: Guard) -> bool:
    return any(item.type.startswith(STRANGE) for item in guard.sets)


def _set_differs(before: Guard, after: Guard) -> bool:
    """Whether a set that stays has another type: the kernel changes none."""
    previous = {item.name: item for item in before.sets}
    stays = (item for item in after.sets if item.name in previous)
    return any(not _same_type(previous[item.name], item) for item in stays)


def _hook_differs(before: Guard, after: Guard) -> bool:
    """Whether a chain that stays has another hook, priority or policy."""
    previous = {chain.name: chain for chain in before.chains}
    stays = (chain for chain in after.chains if chain.name in previous)
    return any(not _same_hook(previous[chain.name], chain) for chain in stays)


def _same_hook(one: NftChain, other: NftChain) -> bool:
    return (one.hook, one.type, one.priority, one.policy) == (
        other.hook,
        other.type,
        other.priority,
        other.policy,
    )


def _same_type(one: NftSet, other: NftSet) -> bool:
    return dataclasses.replace(one, elements=()) == dataclasses.replace(other, elements=())
