"""How allocations outlive an edit: owners with new names, and owners that come back. Pure.

Lives here: previous allocations under the names of the intent as it is now. Does not: who gets what
is new (`allocator`), what is released (`quarantine`). An owner is its name: one that comes back
while its values are quarantined gets them again, for they were given to nobody else. A name's
successor (`renamed_from`) is the same owner under a new name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from warpd.allocation.model import (
    Allocations,
    EndpointAllocation,
    NetworkAllocation,
    Tombstone,
    endpoint_allocation,
    network_allocation,
)
from warpd.allocation.quarantine import Quarantine
from warpd.intent.model import Intent, Network

# ---- under the names of now -------------------------------------------------------------------


def apply_renames(intent: Intent, allocations: Allocations) -> Allocations:
    """The allocations as the intent names their owners. A second call changes nothing more."""
    networks, tombstones = dict(allocations.networks), allocations.tombstones
    for name, network in sorted(intent.networks.items()):
        former = network.renamed_from
        if former is not None and name not in networks:
            tombstones = tuple(_under_network(row, former, name) for row in tombstones)
            if former in networks:
                previous = networks.pop(former)
                first_name = previous.first_name or former
                networks[name] = dataclasses.replace(previous, first_name=first_name)
        new_names = _new_names(network, networks.get(name))
        if new_names:
            tombstones = tuple(_under_endpoint(row, name, new_names) for row in tombstones)
            if name in networks:
                networks[name] = _with_new_names(networks[name], new_names)
    return Allocations(networks, tombstones)


def _new_names(network: Network, previous: NetworkAllocation | None) -> dict[str, str]:
    """Former name -> name of each endpoint that has not been renamed before."""
    known = previous.endpoints if previous is not None else {}
    return {
        endpoint.renamed_from: name
        for name, endpoint in network.explicit_endpoints.items()
        if endpoint.renamed_from is not None and name not in known
    }


def _with_new_names(previous: NetworkAllocation, new_names: Mapping[str, str]) -> NetworkAllocation:
    """The endpoints under their new names, at the end; their keys go by the names they had."""
    endpoints = {
        name: endpoint for name, endpoint in previous.endpoints.items() if name not in new_names
    }
    for former, name in new_names.items():
        endpoint = previous.endpoints.get(former)
        if endpoint is not None:
            key_name = endpoint.key_name or former
            endpoints[name] = dataclasses.replace(endpoint, key_name=key_name)
    return dataclasses.replace(previous, endpoints=endpoints)


def _under_network(row: Tombstone, former: str, name: str) -> Tombstone:
    return dataclasses.replace(row, network=name) if row.network == former else row


def _under_endpoint(row: Tombstone, network: str, new_names: Mapping[str, str]) -> Tombstone:
    if row.network != network or row.endpoint not in new_names:
        return row
    values = {"key_name": row.endpoint, **dict(row.values)}
    return Tombstone.of(network, new_names[row.endpoint], row.released_s, values)


# ---- those that come back ---------------------------------------------------------------------


def restore_returning(
    intent: Intent, allocations: Allocations, quarantine: Quarantine
) -> Allocations:
    """The allocations, and with them what is quarantined of names that the intent has again."""
    if not quarantine.rows:
        return allocations
    own = {row.network: row for row in quarantine.rows if not row.endpoint}
    inside = {(row.network, row.endpoint): row for row in quarantine.rows if row.endpoint}
    networks = dict(allocations.networks)
    for name, network in intent.networks.items():
        if name not in networks and name in own:
            returning = _network_of(own[name])
            if returning is not None:
                networks[name] = returning
        if name in networks:
            networks[name] = _with_returning(name, network, networks[name], inside)
    return Allocations(networks, allocations.tombstones)


def _network_of(row: Tombstone) -> NetworkAllocation | None:
    """None where only a part of the network's allocation was released."""
    try:
        return network_allocation(dict(row.values), {})
    except KeyError:
        return None


def _with_returning(
    name: str,
    network: Network,
    previous: NetworkAllocation,
    rows: Mapping[tuple[str, str], Tombstone],
) -> NetworkAllocation:
    returning = {}
    for each in network.endpoints:
        row = rows.get((name, each))
        if row is not None and each not in previous.endpoints:
            endpoint = _endpoint_of(row)
            if endpoint is not None:
                returning[each] = endpoint
    if not returning:
        return previous
    return dataclasses.replace(previous, endpoints={**previous.endpoints, **returning})


def _endpoint_of(row: Tombstone) -> EndpointAllocation | None:
    """None where the endpoint kept one of its addresses when the others were released."""
    if not (row.get("address") and row.get("address6")):
        return None
    endpoint = endpoint_allocation(dict(row.values))
    if endpoint.key_name == row.endpoint:
        return dataclasses.replace(endpoint, key_name="")
    return endpoint


# ---- a lock file over the state folder --------------------------------------------------------


def merge_lockfile(lockfile: Allocations, previous: Allocations, now_s: int) -> Allocations:
    """The lock file's allocations, and those of `previous` that it does not have.

    Where the two differ, the lock file decides. `now_s` is seconds since the epoch.
    """
    networks = dict(lockfile.networks)
    for name, allocation in sorted(previous.networks.items()):
        recorded = networks.get(name)
        if recorded is None:
            networks[name] = allocation
            continue
        more = {
            each: endpoint
            for each, endpoint in allocation.endpoints.items()
            if each not in recorded.endpoints
        }
        networks[name] = dataclasses.replace(recorded, endpoints={**recorded.endpoints, **more})
    return Allocations(networks, _latest((*lockfile.tombstones, *previous.tombstones), now_s))


def _latest(rows: Iterable[Tombstone], now_s: int) -> tuple[Tombstone, ...]:
    """Of two tombstones of the same values, the one that was released later, but not in the
    future: that one was written while the clock was ahead.
    """
    latest: dict[tuple[str, str, tuple[tuple[str, str], ...]], Tombstone] = {}
    for row in sorted(rows, key=lambda row: (row.released_s <= now_s, row.released_s)):
        latest[row.network, row.endpoint, row.values] = row
    return tuple(sorted(latest.values()))
