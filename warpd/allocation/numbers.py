"""Numbers of networks: VCIDs, ports, routing tables, and the links between networks and the uplink.

A part of `allocator`, pure like it.

Lives here: which number a network gets. The order is that of `pools`. What the YAML chooses goes
before the quarantine, with a warning.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import chain
from typing import Final

from warpd.allocation.model import NetworkAllocation
from warpd.allocation.pools import Findings, Pool, exhausted, span, taken
from warpd.allocation.quarantine import Quarantine, when
from warpd.errors import Finding
from warpd.intent.model import Network, Pools
from warpd.intent.types import Range

NumberPool = Pool[int, str]


@dataclass(frozen=True, slots=True)
class NumberedField:
    """One field of networks that is a number out of a pool.

    field: of the allocation, and of the network in the YAML.
    pool: of `gateway.pools`.
    prefers: where to start looking for a network, by its first name; None: the lowest number.
    is_strict: whether a quarantined number is never given to others, even if no other one is left.
    """

    field: str
    pool: str
    prefers: Callable[[Range, str], int] | None = None
    is_strict: bool = True

    @property
    def words(self) -> str:
        return self.field.replace("_", " ")


def preferred_vcid(pool: Range, first_name: str) -> int:
    """The VCID that a network would have on an empty gateway; the same on every gateway."""
    digest = hashlib.sha256(f"warpd/v1/vcid/{first_name}".encode()).digest()
    return pool.first + int.from_bytes(digest[:8], "big") % len(pool)


VCIDS: Final = NumberedField("vcid", "vcids", preferred_vcid)
# Keys guard a port, so that clients of the network that had it are not let into another one.
PORTS: Final = NumberedField("port", "ports", is_strict=False)
ROUTING_TABLES: Final = NumberedField("routing_table", "routing_tables")


def assign_numbers(
    kind: NumberedField,
    networks: Mapping[str, Network],
    previous: Mapping[str, NetworkAllocation],
    pools: Pools,
    quarantine: Quarantine,
) -> tuple[dict[str, int], Findings]:
    """(network -> number, findings). A network that gets none is named by an error.

    networks: in the order in which they are served.
    previous: what those of them hold that were there before.
    """
    limits: Range = getattr(pools, kind.pool)
    pool: NumberPool = Pool(quarantine.numbers(kind.field))
    chosen = {
        name: getattr(network, kind.field)
        for name, network in networks.items()
        if getattr(network, kind.field) is not None
    }
    for name, allocation in previous.items():
        if name not in chosen:
            pool.take(name, getattr(allocation, kind.field))
    findings = [
        *_take_chosen(kind, pool, chosen),
        *_from_quarantine(kind, pool, chosen, quarantine),
    ]
    automatic = {name: network for name, network in networks.items() if name not in chosen}
    without = _take_new(kind, limits, pool, automatic, quarantine)
    if without:
        quarantined = quarantine.of_networks(kind.field)
        rows = [row for text, row in quarantined.items() if int(text) in limits]
        path = f"gateway.pools.{kind.pool}"
        findings.append(exhausted(path, str(limits), without, quarantine, rows))
    return pool.values, tuple(findings)


def _take_new(
    kind: NumberedField,
    limits: Range,
    pool: NumberPool,
    networks: Mapping[str, Network],
    quarantine: Quarantine,
) -> list[str]:
    """Numbers for the networks that have none. Returns those for whom none is left."""
    if kind.prefers is None:
        pool.fill(networks, limits)
    else:
        for name in pool.without(networks):
            start = kind.prefers(limits, networks[name].renamed_from or name)
            pool.take_first(name, _around(limits, start))
    if not kind.is_strict:
        for name in pool.without(networks):
            _take_longest_quarantined(kind, limits, pool, quarantine, name)
    return pool.without(networks)


def _take_chosen(
    kind: NumberedField, pool: NumberPool, chosen: Mapping[str, int]
) -> Iterator[Finding]:
    """Numbers that the YAML chooses; never one that another network holds."""
    for name, number in chosen.items():
        if not pool.take(name, number):
            holder = f"network {pool.owners[number]}"
            yield taken(
                f"networks.{name}.{kind.field}",
                f"{kind.words} {number}",
                holder,
                f"choose another one, or give {holder} another one first",
            )


def _from_quarantine(
    kind: NumberedField, pool: NumberPool, chosen: Mapping[str, int], quarantine: Quarantine
) -> Iterator[Finding]:
    """Warnings: the YAML chooses a number that another network had a short while ago."""
    for name, number in sorted(chosen.items()):
        former = pool.quarantined.get(number, name)
        if former != name:
            row = quarantine.of_networks(kind.field)[str(number)]
            yield Finding(
                "quarantine-overridden",
                f"networks.{name}.{kind.field}",
                f"{kind.words} {number} was network {former}'s, and is quarantined until"
                f" {when(quarantine.until(row))}",
                "clients of that network may still use it",
                "warning",
            )


def _around(limits: Range, start: int) -> Iterator[int]:
    """All numbers once: from `start` to the last, then from the first to `start`."""
    return chain(range(start, limits.last + 1), range(limits.first, start))


def _take_longest_quarantined(
    kind: NumberedField, limits: Range, pool: NumberPool, quarantine: Quarantine, name: str
) -> None:
    quarantined = quarantine.of_networks(kind.field).items()
    for _, number in sorted((row.released_s, int(text)) for text, row in quarantined):
        if number in limits and pool.take(name, number):
            return


def assign_transits(
    pool: IPv4Network,
    networks: Iterable[str],
    previous: Mapping[str, NetworkAllocation],
    quarantine: Quarantine,
) -> tuple[dict[str, IPv4Network], Findings]:
    """(network -> /31 of its link to the uplink, findings). Arguments as of `assign_numbers`."""
    quarantined = {
        IPv4Network(text): row for text, row in quarantine.of_networks("transit").items()
    }
    links: Pool[IPv4Network, str] = Pool({link: row.network for link, row in quarantined.items()})
    for name, allocation in previous.items():
        links.take(name, allocation.transit)
    first, last = span(pool)
    blocks = (IPv4Network((start, 31)) for start in range(first, last, 2))
    without = links.fill(networks, blocks)
    if not without:
        return links.values, ()
    rows = [row for link, row in quarantined.items() if link.subnet_of(pool)]
    finding = exhausted("gateway.pools.transit", str(pool), without, quarantine, rows)
    return links.values, (finding,)
