"""Suspensions: endpoints that somebody has taken out at once, whatever the YAML says. Pure.

Lives here: which endpoints a suspension is about, and when it is over. Does not: the file
(`store.suspensions`), what follows in the kernel (`networks.resolved`).

A suspension is of an allocation, not of a name: it goes by the names that network and endpoint were
first allocated under, as keys and config versions do. So it follows its endpoint through a rename,
and comes back with one that gets its quarantined allocation again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from warpd.allocation.model import Allocations, NetworkAllocation, Tombstone

FOR_MAX_S: Final = 366 * 86_400  # the longest time that may be given
BY_MAX: Final = 64  # characters
REASON_MAX: Final = 200
SUSPENSIONS_MAX: Final = 10_000

Name = tuple[str, str]  # network, endpoint


@dataclass(frozen=True, slots=True, order=True)
class Suspension:
    """One endpoint that is taken out. Times are whole seconds since the epoch.

    network, endpoint: the names that they were first allocated under.
    until_s: when it ends by itself; None: not before somebody resumes it.
    by: who has suspended it.
    reason: why, in that person's words; "" for none given.
    """

    network: str
    endpoint: str
    since_s: int
    until_s: int | None
    by: str
    reason: str

    @property
    def first_names(self) -> Name:
        return self.network, self.endpoint


def first_names(allocations: Allocations, network: str, endpoint: str) -> Name:
    """What a suspension of this endpoint goes by. Raises: KeyError for one that has none."""
    found = allocations.networks[network].first_names(network, endpoint)
    return found or (network, endpoint)


def suspended_in(
    network: str, allocation: NetworkAllocation, suspensions: Iterable[Suspension]
) -> dict[str, Suspension]:
    """The suspended endpoints of one network, by their names of now."""
    first_name = allocation.first_name or network
    own = {item.endpoint: item for item in suspensions if item.network == first_name}
    if not own:
        return {}
    if allocation.holds_only_addresses:
        return {name: own[name] for name in sorted(own.keys() & allocation.endpoints.keys())}
    named = ((name, each.key_name or name) for name, each in allocation.endpoints.items())
    return {name: own[key_name] for name, key_name in named if key_name in own}


def by_name(allocations: Allocations, suspensions: Iterable[Suspension]) -> dict[Name, Suspension]:
    """All suspended endpoints, by their names of now; one without an allocation is left out."""
    rows = tuple(suspensions)
    found: dict[Name, Suspension] = {}
    for network, allocation in allocations.networks.items() if rows else ():
        for name, item in suspended_in(network, allocation, rows).items():
            found[network, name] = item
    return found


def without_removed(
    allocations: Allocations, quarantined: Iterable[Tombstone], suspensions: Iterable[Suspension]
) -> tuple[Suspension, ...]:
    """Those whose allocation is held, or quarantined: an endpoint that comes back meanwhile is the
    same one.
    """
    rows = tuple(suspensions)
    if not rows:
        return rows
    held = {item.first_names for item in by_name(allocations, rows).values()}
    held |= _first_names_of(allocations, tuple(quarantined))
    return tuple(item for item in rows if item.first_names in held)


def _first_names_of(allocations: Allocations, quarantined: Sequence[Tombstone]) -> set[Name]:
    """The first names of endpoints whose allocation is quarantined."""
    networks = _first_names_of_networks(allocations, quarantined)
    return {
        (networks.get(row.network, row.network), row.get("key_name") or row.endpoint)
        for row in quarantined
        if row.endpoint
    }


def _first_names_of_networks(
    allocations: Allocations, quarantined: Iterable[Tombstone]
) -> Mapping[str, str]:
    """Name -> first name of each network that is there, or whose allocation is quarantined."""
    removed = (row for row in quarantined if not row.endpoint)
    names = {row.network: row.get("first_name") or row.network for row in removed}
    for name, allocation in allocations.networks.items():
        names[name] = allocation.first_name or name
    return names
