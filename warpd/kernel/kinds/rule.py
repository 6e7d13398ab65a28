"""Routing policy rules.

The kernel has no key for rules: two equal ones may exist. Ours is everything that warpd writes of a
rule. A second one, or one that selects in other ways, is a duplicate (`duplicates`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from socket import AF_INET, AF_INET6
from typing import Any, ClassVar

from warpd.kernel.kinds.link import group_of
from warpd.kernel.kinds.netns import namespace_keys
from warpd.kernel.request import Message
from warpd.kernel.rows import NamespaceRows, Reading
from warpd.kernel.state import ROUTE_PROTOCOL, Action, Change, KernelObject, Key, Phase

FR_ACT_TO_TBL, FR_ACT_GOTO, FR_ACT_NOP, FR_ACT_BLACKHOLE = 1, 2, 3, 6


@dataclass(frozen=True, slots=True)
class Rule(KernelObject):
    """A routing policy rule.

    - `version`: 4 or 6.
    - `mark`, `mask`: the mark that a packet must have in the bits of `mask`; with a mask of 0, the
      whole mark where `mark` is not 0, and otherwise none.
    - `table`: the routing table to look up; 0 for that of the packet's VRF (l3mdev), unless `goto`,
      `nop` or `blackhole` says otherwise.
    - `owner`: the network, of a rule in the root.
    - `inside`: its namespace, where that is one of ours.
    - `goto`: go on with the first rule of this priority, which is higher than its own; 0 for no.
    - `nop`: it does nothing: a rule to go to.
    - `suppress`: pass over a route whose prefix is not longer than this; -1 for none.
    - `link`: packets that came in by this link; "" for any, and the host's own.
    - `to`: packets to this prefix; "" for all.
    - `blackhole`: drop what it selects.
    - `of_vrf`: only what is looked up on behalf of a VRF, whichever; with `blackhole`.

    Ours: its protocol, 119.
    """

    KIND: ClassVar[str] = "rule"

    netns: str
    version: int
    priority: int
    mark: int = 0
    table: int = 0
    owner: str = field(default="", compare=False)
    inside: Key | None = field(default=None, compare=False)
    goto: int = field(default=0, kw_only=True)
    nop: bool = field(default=False, kw_only=True)
    suppress: int = field(default=-1, kw_only=True)
    link: str = field(default="", kw_only=True)
    to: str = field(default="", kw_only=True)
    mask: int = field(default=0, kw_only=True)
    blackhole: bool = field(default=False, kw_only=True)
    of_vrf: bool = field(default=False, kw_only=True)

    @property
    def key(self) -> Key:
        return Key(self.KIND, self.netns, f"ipv{self.version} {self.priority} {self._what}")

    @property
    def _what(self) -> str:
        selected = self._selected
        if self.blackhole:
            return f"{selected} blackhole"
        if self.nop:
            return "nop"
        if self.goto:
            return f"{selected} goto {self.goto}"
        longer = f" longer than {self.suppress}" if self.suppress >= 0 else ""
        if self.table:
            return f"{selected} table {self.table}{longer}"
        return f"{selected} l3mdev" if self.link else "l3mdev"

    @property
    def _selected(self) -> str:
        mask = f"/{self.mask:#x}" if self.mask else ""
        mark = f"fwmark {self.mark:#x}{mask}" if self.mark or self.mask else "all"
        link = f"from {self.link} " if self.link else ""
        to = f"to {self.to} " if self.to else ""
        vrf = "l3mdev " if self.of_vrf else ""
        return f"{link}{to}{vrf}{mark}"

    @property
    def phase(self) -> Phase:
        """A rule that drops is made before the links that it guards, and removed after them."""
        return Phase.NAMESPACE if self.blackhole else Phase.ROUTE

    @property
    def needs(self) -> tuple[Key, ...]:
        """A rule that goes to another is passed over while that one is not there (fib_rules_lookup,
        net/core/fib_rules.c).
        """
        target = (Rule(self.netns, self.version, self.goto, nop=True).key,) if self.goto else ()
        return target if self.inside is None else (self.inside, *target)

    @property
    def container(self) -> Key | None:
        return self.inside

    @property
    def group(self) -> str:
        return self.owner or self.netns

    @property
    def removed_last(self) -> bool:
        """Return False: a rule decides which table is used, so its removal must not wait."""
        return False


def rules_among(objects: Iterable[KernelObject]) -> Iterator[Rule]:
    """Yield the routing rules of these objects."""
    return (item for item in objects if isinstance(item, Rule))


def read(rows: NamespaceRows) -> Iterator[Reading]:
    """The routing rules of our protocol."""
    for row in rows.rules:
        table = 0 if row.l3mdev else row.table
        owner = rows.vrf_owners.get(table, "")
        if not owner and row.link:
            owner = group_of(rows.netns, row.link)
        found = Rule(
            rows.netns,
            row.version,
            row.priority,
            row.mark,
            table,
            owner,
            next(iter(namespace_keys(rows.netns)), None),
            goto=row.goto,
            nop=row.nop,
            suppress=row.suppress,
            link=row.link,
            to=row.to,
            mask=row.mask,
            blackhole=row.blackhole,
            of_vrf=row.l3mdev and row.blackhole,
        )
        yield Reading(found, "rule", row.body, row.odd)


def encode(change: Change) -> list[Message]:
    """The request that adds or removes a rule; nothing of one changes in place."""
    create = change.action is not Action.DELETE
    return [_message(change.after if create else change.before, create)]


def _message(rule: Rule, create: bool) -> Message:
    header = (
        ("family", AF_INET if rule.version == 4 else AF_INET6),
        ("table", rule.table if 0 < rule.table < 256 else 0),
        ("action", _action(rule)),
        ("dst_len", ip_network(rule.to).prefixlen if rule.to else 0),
    )
    attrs: list[tuple[str, Any]] = [
        ("FRA_PRIORITY", rule.priority),
        ("FRA_PROTOCOL", ROUTE_PROTOCOL),
        *_selectors(rule),
        *_effects(rule),
    ]
    return Message(rule.netns, "rule", "new" if create else "del", header, tuple(attrs), create)


def _selectors(rule: Rule) -> Iterator[tuple[str, Any]]:
    """Attributes that say which packets a rule is for."""
    if rule.to:
        yield "FRA_DST", str(ip_network(rule.to).network_address)
    if rule.link:
        yield "FRA_IIFNAME", rule.link
    if rule.mark or rule.mask:
        yield "FRA_FWMARK", rule.mark
    if rule.mask:
        yield "FRA_FWMASK", rule.mask


def _effects(rule: Rule) -> Iterator[tuple[str, Any]]:
    """Attributes that say what a rule does, and for which VRF."""
    if rule.goto:
        yield "FRA_GOTO", rule.goto
    if rule.table:
        yield "FRA_TABLE", rule.table
    if rule.suppress >= 0:
        yield "FRA_SUPPRESS_PREFIXLEN", rule.suppress
    by_vrf = not (rule.table or rule.goto or rule.nop or rule.blackhole)
    if rule.of_vrf or by_vrf:
        yield "FRA_L3MDEV", 1


def _action(rule: Rule) -> int:
    if rule.blackhole:
        return FR_ACT_BLACKHOLE
    if rule.nop:
        return FR_ACT_NOP
    return FR_ACT_GOTO if rule.goto else FR_ACT_TO_TBL
