"""Pools: the values of one resource, who holds which, and which are quarantined. Pure.

Lives here: what all pools have in common. Does not: which values an owner prefers and in which
order owners are served (`numbers`, `subnets`, `addresses`, `l2_ids`, `key_names`).

All of them serve their owners in the same order: first who holds a value by the YAML or from
before, then who is new, each in the order of the names. So the order in the YAML never matters.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Final, Generic, TypeVar

from warpd.allocation.model import Tombstone
from warpd.allocation.quarantine import Quarantine
from warpd.errors import Finding

Value = TypeVar("Value", bound=Hashable)
Owner = TypeVar("Owner", bound=Hashable)
IPNetwork = TypeVar("IPNetwork", IPv4Network, IPv6Network)

Findings = tuple[Finding, ...]


@dataclass(slots=True)
class Pool(Generic[Value, Owner]):
    """Each value has at most one owner, and each owner has at most one value.

    quarantined: value -> the owner who had it. Nobody else is given it by `take_first`; `take`,
    which is for values that are held or chosen already, does not ask.
    """

    quarantined: Mapping[Value, Owner] = field(default_factory=dict)
    owners: dict[Value, Owner] = field(default_factory=dict)
    values: dict[Owner, Value] = field(default_factory=dict)

    def take(self, owner: Owner, value: Value) -> bool:
        """Let `owner` hold the value. False, and nothing changes, where another one holds it."""
        if value in self.owners:
            return False
        self.owners[value] = owner
        self.values[owner] = value
        return True

    def take_first(self, owner: Owner, candidates: Iterable[Value]) -> bool:
        """Let `owner` hold the first candidate that is free for it. False where none is."""
        for value in candidates:
            if self.is_free(value, owner):
                return self.take(owner, value)
        return False

    def fill(self, owners: Iterable[Owner], candidates: Iterable[Value]) -> list[Owner]:
        """Let each of `owners` who holds nothing hold the next candidate of `never_held`.

        Returns those for whom none is left.
        """
        waiting = self.without(owners)
        for owner, value in zip(waiting, self.never_held(candidates), strict=False):
            self.owners[value] = owner
            self.values[owner] = value
        return self.without(waiting)

    def is_free(self, value: Value, owner: Owner) -> bool:
        """Whether nobody holds the value, and nobody but `owner` had it of late."""
        return value not in self.owners and self.quarantined.get(value, owner) == owner

    def never_held(self, candidates: Iterable[Value]) -> Iterator[Value]:
        """The candidates that nobody holds and nobody had of late.

        One such iterator serves many owners: each value is looked at once.
        """
        return (
            value
            for value in candidates
            if value not in self.owners and value not in self.quarantined
        )

    def without(self, owners: Iterable[Owner]) -> list[Owner]:
        """Those of `owners` who hold nothing."""
        return [owner for owner in owners if owner not in self.values]


@dataclass(slots=True)
class BlockPool(Generic[IPNetwork]):
    """Blocks of addresses that do not overlap: what `Pool` is to single values.

    quarantined: (network who had it, block).
    """

    quarantined: list[tuple[str, IPNetwork]] = field(default_factory=list)
    values: dict[str, IPNetwork] = field(default_factory=dict)

    def is_free(self, block: IPNetwork, owner: str, with_quarantine: bool = True) -> bool:
        """Whether the block overlaps no block of others; `with_quarantine`: nor what they had."""
        return not any(block.overlaps(other) for other in self._others(owner, with_quarantine))

    def lowest(
        self, pool: IPNetwork, prefix: int, owner: str, with_quarantine: bool = True
    ) -> IPNetwork | None:
        """The lowest block of this prefix length in `pool` that is free for `owner`, if any is."""
        if prefix < pool.prefixlen:
            return None
        size = 1 << (pool.max_prefixlen - prefix)
        start, end = span(pool)
        for first, last in sorted(map(span, self._others(owner, with_quarantine))):
            if first >= start + size:
                break
            if last >= start:
                start = -(-(last + 1) // size) * size
        return type(pool)((start, prefix)) if start + size - 1 <= end else None

    def _others(self, owner: str, with_quarantine: bool) -> Iterator[IPNetwork]:
        yield from (block for name, block in self.values.items() if name != owner)
        if with_quarantine:
            yield from (block for name, block in self.quarantined if name != owner)


def span(block: IPv4Network | IPv6Network) -> tuple[int, int]:
    """The first and the last address of a block, as numbers."""
    return int(block.network_address), int(block.broadcast_address)


CHOOSE_ANOTHER: Final = "choose another one"


def taken(path: str, value: str, holder: str, hint: str = CHOOSE_ANOTHER) -> Finding:
    """The YAML chooses a value that another owner holds: it is never taken away from that one."""
    return Finding("taken", path, f"{value} is held by {holder}", hint)


def exhausted(
    path: str, pool: str, owners: list[str], quarantine: Quarantine, rows: Iterable[Tombstone]
) -> Finding:
    """The pool has nothing for these owners.

    path: the pool in the YAML.
    rows: the tombstones that keep values of this pool from being given.
    """
    names = ", ".join(owners)
    waiting = list(rows)
    if not waiting:
        text = f"pool {pool} is exhausted: nothing is left for {names}"
        return Finding("pool-exhausted", path, text, f"widen `{path}`")
    text = f"pool {pool} is exhausted for {names}: all free values are quarantined"
    return Finding(
        "quarantined",
        path,
        f"{text} (gateway.quarantine)",
        f"the next is free at {quarantine.next_free(waiting)}; or widen `{path}`, or shorten"
        " `gateway.quarantine`",
    )
