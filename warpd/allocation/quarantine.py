"""Quarantine: what was released a short while ago, and is given to nobody else yet. Pure.

Lives here: which tombstones still count, and what an edit releases. Does not: new names, and names
that come back (`renames`); who gets what (`allocator`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from warpd.allocation.model import (
    FIELDS,
    NETWORK_FIELDS,
    Allocations,
    EndpointAllocation,
    NetworkAllocation,
    Tombstone,
    endpoint_values,
    network_values,
)
from warpd.intent.model import Intent, Network
from warpd.intent.types import seconds_of

Released = Iterator[tuple[str, dict[str, Any]]]  # (endpoint or "", values by field)
Pairs = set[tuple[str, str]]  # (field, value as text)

_COMPANIONS: Final = frozenset(each.name for each in FIELDS.values() if each.is_companion)
_BY_YAML: Final = tuple(each for each in NETWORK_FIELDS if each.yaml and not each.is_companion)


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The tombstones that count now.

    period_s: for how long a released value is quarantined; 0 for not at all.
    own: field of a network -> value as text -> tombstone.
    inside: network -> field of an endpoint -> value as text -> tombstone.
    """

    rows: tuple[Tombstone, ...] = ()
    period_s: int = 0
    own: Mapping[str, Mapping[str, Tombstone]] = field(default_factory=dict)
    inside: Mapping[str, Mapping[str, Mapping[str, Tombstone]]] = field(default_factory=dict)

    @staticmethod
    def of(rows: Iterable[Tombstone], period_s: int, now_s: int) -> Quarantine:
        """Those of `rows` that count at `now_s` (seconds since the epoch).

        What was released in the future, while the clock was ahead, counts as released now.
        """
        counting = {_until_now(row, now_s) for row in rows if now_s < row.released_s + period_s}
        current = tuple(sorted(counting))
        own: dict[str, dict[str, Tombstone]] = {}
        inside: dict[str, dict[str, dict[str, Tombstone]]] = {}
        for row in current:
            fields = inside.setdefault(row.network, {}) if row.endpoint else own
            for name, value in row.values:
                fields.setdefault(name, {})[value] = row
        return Quarantine(current, period_s, own, inside)

    def of_networks(self, name: str) -> Mapping[str, Tombstone]:
        """The quarantined values of a field of networks."""
        return self.own.get(name, {})

    def numbers(self, name: str) -> dict[int, str]:
        """Quarantined numbers of a field of networks -> the network that had them."""
        return {int(value): row.network for value, row in self.of_networks(name).items()}

    def in_network(self, network: str, name: str) -> Mapping[str, Tombstone]:
        """The quarantined values of a field of the endpoints of one network."""
        return self.inside.get(network, {}).get(name, {})

    def vnis(self) -> dict[int, tuple[str, str]]:
        """Quarantined VNIs -> the (network, endpoint) that had them."""
        rows = ((row.get("vni"), row) for row in self.rows if row.endpoint)
        return {int(vni): (row.network, row.endpoint) for vni, row in rows if vni}

    def until(self, row: Tombstone) -> int:
        """When the values of `row` are free for others, in seconds since the epoch."""
        return row.released_s + self.period_s

    def next_free(self, rows: Iterable[Tombstone]) -> str:
        """When the first of these is free for others, for people."""
        return when(min(self.until(row) for row in rows))


def _until_now(row: Tombstone, now_s: int) -> Tombstone:
    return row if row.released_s <= now_s else dataclasses.replace(row, released_s=now_s)


def when(time_s: int) -> str:
    """Seconds since the epoch, for people."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def quarantine_of(intent: Intent, allocations: Allocations, now_s: int) -> Quarantine:
    """What is quarantined at `now_s` (seconds since the epoch) by this intent's period."""
    return Quarantine.of(allocations.tombstones, seconds_of(intent.gateway.quarantine), now_s)


# ---- what an edit is about to release ---------------------------------------------------------


def with_pending_releases(
    intent: Intent, allocations: Allocations, quarantine: Quarantine, now_s: int
) -> Quarantine:
    """The quarantine, and with it all that the intent releases by this very edit.

    Without it, one owner's values could become another one's in the same pass.
    """
    if not quarantine.period_s:
        return quarantine
    pairs = (
        (name, previous, intent.networks.get(name))
        for name, previous in allocations.networks.items()
    )
    rows = _new_rows(
        ((name, _leaving(previous, network)) for name, previous, network in pairs),
        quarantine,
        now_s,
    )
    if not rows:
        return quarantine
    return Quarantine.of((*quarantine.rows, *rows), quarantine.period_s, now_s)


def _new_rows(
    released: Iterable[tuple[str, Released]], quarantine: Quarantine, now_s: int
) -> list[Tombstone]:
    """Tombstones of what networks release, without those that are there already."""
    known = {(row.network, row.endpoint, row.values) for row in quarantine.rows}
    rows = []
    for name, items in released:
        for endpoint, values in items:
            row = Tombstone.of(name, endpoint, now_s, values)
            if (name, endpoint, row.values) not in known:
                rows.append(row)
    return rows


def _leaving(previous: NetworkAllocation, network: Network | None) -> Released:
    """What the YAML alone takes from a network: it is gone, or other values are chosen for it."""
    if network is None:
        yield from _lost(previous, None)
        return
    own = {}
    for each in _BY_YAML:
        value = getattr(previous, each.name)
        if value and getattr(network, each.yaml) not in (None, value):
            own[each.name] = value
    if own:
        yield "", own
    for name in previous.endpoints.keys() - network.endpoints.keys():
        yield name, _all_of(name, previous.endpoints[name])
    for name, endpoint in network.explicit_endpoints.items():
        held = previous.endpoints.get(name)
        if held is not None and endpoint.address not in (None, held.address):
            yield name, {"address": held.address}


def _all_of(name: str, endpoint: EndpointAllocation) -> dict[str, Any]:
    """All that an endpoint holds; by its name, where its keys have no other one."""
    return {"key_name": name, **endpoint_values(endpoint)}


# ---- what an edit has released ----------------------------------------------------------------


def released(
    previous: Allocations,
    current: Mapping[str, NetworkAllocation],
    quarantine: Quarantine,
    now_s: int,
) -> tuple[Tombstone, ...]:
    """All tombstones after an edit: those that count, and one for all that `current` has no more.

    Nothing that `current` holds is in them.
    """
    if not quarantine.period_s:
        return ()
    lost = (
        (name, _lost(allocation, current.get(name)))
        for name, allocation in previous.networks.items()
    )
    rows = [*quarantine.rows, *_new_rows(lost, quarantine, now_s)]
    return tuple(sorted(_without_held(rows, current))) if rows else ()


def _lost(previous: NetworkAllocation, current: NetworkAllocation | None) -> Released:
    """What a network and its endpoints held and hold no more."""
    if previous is current:
        return
    if current is None:
        yield "", network_values(previous)
    else:
        own = _network_lost(previous, current)
        if own:
            yield "", own
    for name, endpoint in previous.endpoints.items():
        now = current.endpoints.get(name) if current is not None else None
        if current is None or now is None:
            yield name, _all_of(name, endpoint)
        elif now != endpoint:
            lost = _endpoint_lost(endpoint, now, current)
            if lost:
                yield name, lost


def _network_lost(previous: NetworkAllocation, current: NetworkAllocation) -> dict[str, Any]:
    after = network_values(current)
    lost = {
        name: value
        for name, value in network_values(previous).items()
        if name not in _COMPANIONS and after.get(name) != value
    }
    if previous.subnet.subnet_of(current.subnet):
        lost.pop("subnet", None)
    return lost


def _endpoint_lost(
    previous: EndpointAllocation, current: EndpointAllocation, network: NetworkAllocation
) -> dict[str, Any]:
    """An address outside of today's subnet is quarantined with the subnet that it belonged to."""
    after = endpoint_values(current)
    lost = {
        name: value
        for name, value in endpoint_values(previous).items()
        if name != "key_name" and after.get(name) != value
    }
    if previous.address not in network.subnet:
        lost.pop("address", None)
    if previous.address6 not in network.subnet6:
        lost.pop("address6", None)
    return lost


def _without_held(
    rows: Iterable[Tombstone], current: Mapping[str, NetworkAllocation]
) -> Iterator[Tombstone]:
    """The rows without what is held; a row of which only companions are left is dropped."""
    rows = list(rows)
    networks, inside = _held(current, {row.network for row in rows if row.endpoint})
    for row in rows:
        held = inside.get(row.network, set()) if row.endpoint else networks
        left = tuple(pair for pair in row.values if not _is_held(pair, held, networks))
        if any(name not in _COMPANIONS for name, _ in left):
            yield row if left == row.values else dataclasses.replace(row, values=left)


def _is_held(pair: tuple[str, str], held: Pairs, networks: Pairs) -> bool:
    """A VNI is unique on the gateway, so that any network may hold it."""
    return pair in held or (pair[0] == "vni" and pair in networks)


def _held(
    current: Mapping[str, NetworkAllocation], touched: set[str]
) -> tuple[Pairs, dict[str, Pairs]]:
    """Values that are held: of networks, and VNIs, on the whole gateway; of endpoints, by network.

    `touched` are the networks whose endpoints are asked for.
    """
    networks: Pairs = set()
    inside: dict[str, Pairs] = {}
    for name, allocation in current.items():
        networks |= {(key, str(value)) for key, value in network_values(allocation).items()}
        networks |= {("vni", str(one.vni)) for one in allocation.endpoints.values() if one.vni}
        if name in touched:
            inside[name] = _held_inside(allocation)
    return networks, inside


def _held_inside(allocation: NetworkAllocation) -> Pairs:
    held = {
        ("address", str(allocation.gateway_address)),
        ("address6", str(allocation.gateway_address6)),
    }
    for name, endpoint in allocation.endpoints.items():
        held |= {(key, str(value)) for key, value in _all_of(name, endpoint).items()}
    return held
