"""A routing policy rule of ours: protocol 119.

The kernel has no key for rules (two equal ones may stand); ours is everything that we write. What stands there twice, or
selects in other ways, is `surplus`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from socket import AF_INET, AF_INET6
from typing import Any, ClassVar

from warpd.objects.message import Message
from warpd.state import ROUTE_PROTOCOL, Key, Rank

FR_ACT_TO_TBL = 1


@dataclass(frozen=True, slots=True)
class Rule:
    KIND: ClassVar[str] = "rule"
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset()

    netns: str
    version: int  # 4 or 6
    priority: int
    mark: int = 0  # 0: every packet
    table: int = 0  # 0: that of the packet's VRF (l3mdev)
    owner: str = field(default="", compare=False)  # in the root
    inside: Key | None = field(default=None, compare=False)  # its namespace, when it is one of ours

    @property
    def key(self) -> Key:
        what = f"{f'fwmark {self.mark:#x}' if self.mark else 'all'} table {self.table}" if self.table else "l3mdev"
        return Key(self.KIND, self.netns, f"ipv{self.version} {self.priority} {what}")

    @property
    def rank(self) -> Rank:
        return Rank.ROUTE

    @property
    def needs(self) -> tuple[Key, ...]:
        return () if self.inside is None else (self.inside,)

    @property
    def container(self) -> Key | None:
        return self.inside

    @property
    def group(self) -> str:
        return self.owner or self.netns


def _message(rule: Rule, create: bool) -> Message:
    header = (
        ("family", AF_INET if rule.version == 4 else AF_INET6),
        ("table", rule.table if 0 < rule.table < 256 else 0),
        ("action", FR_ACT_TO_TBL),
    )
    attrs: list[tuple[str, Any]] = [("FRA_PRIORITY", rule.priority), ("FRA_PROTOCOL", ROUTE_PROTOCOL)]
    if rule.table:
        attrs += [("FRA_FWMARK", rule.mark)] if rule.mark else []
        attrs.append(("FRA_TABLE", rule.table))
    else:
        attrs.append(("FRA_L3MDEV", 1))
    return Message(rule.netns, "rule", "new" if create else "del", header, tuple(attrs), create, absent_is_done=not create)


def create_rule(rule: Rule) -> list[Message]:
    return [_message(rule, create=True)]


def delete_rule(rule: Rule) -> list[Message]:
    return [_message(rule, create=False)]
