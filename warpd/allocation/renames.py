"""How grants outlive an edit: new names, names that come back, and what is given up and rests for a
while. Pure.

Lives here: old grants as today's names see them, and what nobody else may have yet. Does not: who
gets what is new (`allocator`). An owner is its name: one that comes back while its numbers rest
gets them again, for they were never anybody else's. A name's successor (`renamed_from`) is the same
owner under a new name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from warpd.allocation.addresses import EndpointAllocation
from warpd.allocation.model import (
    Allocations,
    NetworkAllocation,
    Tombstone,
    endpoint_allocation,
    endpoint_values,
    network_allocation,
    network_values,
)
from warpd.intent.model import Intent, Network
from warpd.intent.types import seconds_of

# What the YAML may say instead of leaving it to us.
_SAYABLE: Final = ("vcid", "port", "routing_table", "subnet", "subnet6")
# What is not itself a number that somebody else could be given.
_COMPANIONS: Final = frozenset({"gateway_address", "gateway_address6", "first_name"})


@dataclass(frozen=True, slots=True)
class Quarantine:
    """What nobody but its last owner may have yet; every map leads from a value, as text, to who
    had it.
    """

    rows: tuple[Tombstone, ...] = ()
    period_s: int = 0
    own: Mapping[str, Mapping[str, Tombstone]] = field(
        default_factory=dict
    )  # field of a network -> value
    seats: Mapping[str, Mapping[str, Mapping[str, Tombstone]]] = field(
        default_factory=dict
    )  # network -> field -> value

    @staticmethod
    def of(rows: Iterable[Tombstone], period_s: int, now_s: int) -> Quarantine:
        """Those of `rows` that are still to rest."""
        live = tuple(sorted(row for row in rows if now_s < row.since + period_s))
        own: dict[str, dict[str, Tombstone]] = {}
        seats: dict[str, dict[str, dict[str, Tombstone]]] = {}
        for row in live:
            fields = seats.setdefault(row.network, {}) if row.endpoint else own
            for name, value in row.values:
                fields.setdefault(name, {})[value] = row
        return Quarantine(live, period_s, own, seats)

    def of_network(self, name: str, what: str) -> set[str]:
        """Values of a network's field that rest, but for what `name` itself gave up."""
        return {value for value, row in self.own.get(what, {}).items() if row.network != name}

    def numbers(self, what: str) -> dict[int, str]:
        """Numbers of networks that rest -> the network that had them."""
        return {int(value): row.network for value, row in self.own.get(what, {}).items()}

    def in_network(self, name: str, what: str) -> Mapping[str, Tombstone]:
        return self.seats.get(name, {}).get(what, {})

    def vnis(self) -> dict[int, tuple[str, str]]:
        rows = ((row.get("vni"), row) for row in self.rows if row.endpoint)
        return {int(vni): (row.network, row.endpoint) for vni, row in rows if vni}

    def until(self, row: Tombstone) -> int:
        return row.since + self.period_s

    def next_free(self, rows: Iterable[Tombstone]) -> str:
        """When the first of these may be given again, as people read it."""
        return when(min(self.until(row) for row in rows))


def when(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def resting(intent: Intent, allocations: Allocations, now_s: int) -> Quarantine:
    return Quarantine.of(allocations.freed, seconds_of(intent.gateway.quarantine), now_s)


# ---- under today's names -------------------------------------------------------------------------------------


def renamed(intent: Intent, allocations: Allocations) -> Allocations:
    """The grants as the intent names their owners. Done once, it changes nothing any more."""
    networks, freed = dict(allocations.networks), list(allocations.freed)
    for name, network in sorted(intent.networks.items()):
        before = network.renamed_from
        if before is not None and name not in networks:
            freed = [
                dataclasses.replace(row, network=name) if row.network == before else row
                for row in freed
            ]
            if before in networks:
                had = networks.pop(before)
                networks[name] = dataclasses.replace(had, first_name=had.first_name or before)
        moved = {
            one.renamed_from: new
            for new, one in network.explicit_endpoints.items()
            if one.renamed_from is not None
        }
        if moved:
            had_seats = networks[name].endpoints if name in networks else {}
            moved = {old: new for old, new in moved.items() if new not in had_seats}
            freed = [_row_renamed(row, name, moved) for row in freed]
            if name in networks:
                networks[name] = dataclasses.replace(
                    networks[name], endpoints=_seats_renamed(had_seats, moved)
                )
    return Allocations(networks, tuple(freed))


def _seats_renamed(
    seats: Mapping[str, EndpointAllocation], moved: Mapping[str, str]
) -> dict[str, EndpointAllocation]:
    out = {name: one for name, one in seats.items() if name not in moved}
    for old, new in moved.items():
        if old in seats:
            out[new] = dataclasses.replace(seats[old], key_name=seats[old].key_name or old)
    return out


def _row_renamed(row: Tombstone, network: str, moved: Mapping[str, str]) -> Tombstone:
    if row.network != network or row.endpoint not in moved:
        return row
    values = {"key_name": row.endpoint, **dict(row.values)}
    return Tombstone(row.network, moved[row.endpoint], row.since, tuple(sorted(values.items())))


# ---- those that come back ------------------------------------------------------------------------------------


def restored(intent: Intent, allocations: Allocations, rest: Quarantine) -> Allocations:
    """The grants, and beside them what rests of names that the intent has again."""
    if not rest.rows:
        return allocations
    own = {row.network: row for row in rest.rows if not row.endpoint}
    seats = {(row.network, row.endpoint): row for row in rest.rows if row.endpoint}
    networks = dict(allocations.networks)
    for name, network in intent.networks.items():
        if name not in networks and name in own:
            again = _network_again(own[name])
            if again is not None:
                networks[name] = again
        if name in networks:
            networks[name] = _seats_again(name, network, networks[name], seats)
    return Allocations(networks, allocations.freed)


def _network_again(row: Tombstone) -> NetworkAllocation | None:
    """None where only a part of it was given up."""
    try:
        return network_allocation(dict(row.values), {})
    except KeyError:
        return None


def _seats_again(
    name: str, network: Network, had: NetworkAllocation, rows: Mapping[tuple[str, str], Tombstone]
) -> NetworkAllocation:
    back = {}
    for one in network.endpoints:
        row = rows.get((name, one)) if one not in had.endpoints else None
        if row is not None and row.get("address") and row.get("address6"):
            again = endpoint_allocation(dict(row.values))
            back[one] = dataclasses.replace(again, key_name="") if again.key_name == one else again
    return dataclasses.replace(had, endpoints={**had.endpoints, **back}) if back else had


# ---- what is about to be given up ----------------------------------------------------------------------------


def with_leaving(
    intent: Intent, allocations: Allocations, rest: Quarantine, now_s: int
) -> Quarantine:
    """What rests, and what the intent gives up by this very edit: nobody may inherit that in the
    same breath.
    """
    if not rest.period_s:
        return rest
    known = {(row.network, row.endpoint, row.values) for row in rest.rows}
    rows = [
        row
        for name, had in allocations.networks.items()
        for endpoint, values in _leaving(had, intent.networks.get(name))
        if ((row := _row(name, endpoint, values, now_s)).network, row.endpoint, row.values)
        not in known
    ]
    return Quarantine.of((*rest.rows, *rows), rest.period_s, now_s) if rows else rest


def _row(network: str, endpoint: str, values: Mapping[str, Any], now_s: int) -> Tombstone:
    return Tombstone(
        network, endpoint, now_s, tuple(sorted((key, str(value)) for key, value in values.items()))
    )


def _leaving(
    had: NetworkAllocation, network: Network | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    if network is None:
        yield from _given_up(had, None)
        return
    own = {
        key: getattr(had, key)
        for key in _SAYABLE
        if getattr(network, key) not in (None, getattr(had, key))
    }
    if own:
        yield "", own
    for name in had.endpoints.keys() - network.endpoints.keys():
        yield name, {"key_name": name, **endpoint_values(had.endpoints[name])}
    for name, wanted in network.explicit_endpoints.items():
        one = had.endpoints.get(name)
        if one is not None and wanted.address not in (None, one.address):
            yield name, {"address": one.address}


# ---- what is given up ----------------------------------------------------------------------------------------


def released(
    old: Allocations, new: Mapping[str, NetworkAllocation], rest: Quarantine, now_s: int
) -> tuple[Tombstone, ...]:
    """Everything that rests from now on: what rested before, and what `new` has no more; nothing
    that `new` gives.
    """
    if not rest.period_s:
        return ()
    rows = [*rest.rows]
    known = {(row.network, row.endpoint, row.values) for row in rows}
    for name, had in old.networks.items():
        for endpoint, values in _given_up(had, new.get(name)):
            row = _row(name, endpoint, values, now_s)
            if (name, endpoint, row.values) not in known:
                rows.append(row)
    return tuple(sorted(_not_in_use(rows, new))) if rows else ()


def _given_up(
    had: NetworkAllocation, has: NetworkAllocation | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(endpoint or "", fields) for each owner that had something which it has no more."""
    if has is None:
        yield "", network_values(had)
        for name, one in had.endpoints.items():
            yield name, {"key_name": name, **endpoint_values(one)}
        return
    if had is has:
        return
    own = _network_lost(had, has)
    if own:
        yield "", own
    for name, one in had.endpoints.items():
        now = has.endpoints.get(name)
        if now is None:
            yield name, {"key_name": name, **endpoint_values(one)}
        elif now != one:
            lost = _seat_lost(one, now, has)
            if lost:
                yield name, lost


def _network_lost(had: NetworkAllocation, has: NetworkAllocation) -> dict[str, Any]:
    before, after = network_values(had), network_values(has)
    lost = {
        key: value
        for key, value in before.items()
        if key not in _COMPANIONS and after.get(key) != value
    }
    if had.subnet.subnet_of(has.subnet):
        lost.pop("subnet", None)
    return lost


def _seat_lost(
    had: EndpointAllocation, has: EndpointAllocation, network: NetworkAllocation
) -> dict[str, Any]:
    """An address outside of today's subnet rests with the subnet that it was of."""
    before, after = endpoint_values(had), endpoint_values(has)
    lost = {
        key: value for key, value in before.items() if key != "key_name" and after.get(key) != value
    }
    if had.address not in network.subnet:
        lost.pop("address", None)
    if had.address6 not in network.subnet6:
        lost.pop("address6", None)
    return lost


def _not_in_use(
    rows: Iterable[Tombstone], new: Mapping[str, NetworkAllocation]
) -> Iterator[Tombstone]:
    """Without what somebody holds; a row of which only companions are left goes."""
    own, seats = _in_use(new, {row.network for row in rows if row.endpoint})
    for row in rows:
        used = seats.get(row.network, set()) if row.endpoint else own
        shared = own if row.endpoint else set()
        left = tuple(
            pair
            for pair in row.values
            if pair not in used and (pair[0] != "vni" or pair not in shared)
        )
        if any(key not in _COMPANIONS for key, _ in left):
            yield row if left == row.values else dataclasses.replace(row, values=left)


Pairs = set[tuple[str, str]]


def _in_use(
    new: Mapping[str, NetworkAllocation], touched: set[str]
) -> tuple[Pairs, dict[str, Pairs]]:
    """Values that somebody has: of networks and of legs everywhere, of seats in each network that
    is `touched`.
    """
    own: Pairs = set()
    seats: dict[str, Pairs] = {}
    for name, item in new.items():
        own |= {(key, str(value)) for key, value in network_values(item).items()}
        own |= {("vni", str(one.vni)) for one in item.endpoints.values() if one.vni}
        if name in touched:
            seats[name] = {
                (key, str(value))
                for one in item.endpoints.values()
                for key, value in endpoint_values(one).items()
            }
            seats[name] |= {
                ("key_name", one.key_name or each) for each, one in item.endpoints.items()
            }
            seats[name] |= {
                ("address", str(item.gateway_address)),
                ("address6", str(item.gateway_address6)),
            }
    return own, seats


# ---- a lock over the state folder ----------------------------------------------------------------------------


def merged(firm: Allocations, held: Allocations) -> Allocations:
    """`firm` (a lock), and beside it what only `allocation.model` has; what the two say
    differently, `firm` decides.
    """
    networks = dict(firm.networks)
    for name, item in sorted(held.networks.items()):
        first = networks.get(name)
        if first is None:
            networks[name] = item
            continue
        more = {each: one for each, one in item.endpoints.items() if each not in first.endpoints}
        networks[name] = dataclasses.replace(first, endpoints={**first.endpoints, **more})
    return Allocations(networks, _latest((*firm.freed, *held.freed)))


def _latest(rows: Iterable[Tombstone]) -> tuple[Tombstone, ...]:
    """Where both know of the same thing given up, the later one."""
    out: dict[tuple[str, str, tuple[tuple[str, str], ...]], Tombstone] = {}
    for row in sorted(rows, key=lambda row: row.since):
        out[row.network, row.endpoint, row.values] = row
    return tuple(sorted(out.values()))
