"""Two lock files made one. Pure.

Lives here: the allocations of two sides. Does not: files, the YAML's meaning. A value that both
sides gave to different owners stays with ours; theirs loses it and is given another one, which a
text names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from warpd.allocation.model import (
    NETWORK_FIELDS,
    Allocations,
    EndpointAllocation,
    NetworkAllocation,
)

Pair = tuple[str, object]  # (field, value)


def merged_locks(ours: Allocations, theirs: Allocations) -> tuple[Allocations, tuple[str, ...]]:
    """(both sides, a text for each owner of theirs that has to be given another value)."""
    networks = dict(ours.networks)
    texts: list[str] = []
    taken = {pair for allocation in networks.values() for pair in _unique(allocation)}
    for name, allocation in sorted(theirs.networks.items()):
        if name in networks:
            networks[name], more = _with_endpoints(name, networks[name], allocation)
            texts += more
            continue
        clashes = [field for field, value in _unique(allocation) if (field, value) in taken]
        if clashes:
            texts.append(
                f"network {name} gets numbers of its own: {', '.join(clashes)} went to another one"
                " on our side"
            )
            continue
        networks[name] = allocation
        taken |= set(_unique(allocation))
    tombstones = tuple(sorted({*ours.tombstones, *theirs.tombstones}))
    return Allocations(networks, tombstones), tuple(texts)


def _with_endpoints(
    name: str, ours: NetworkAllocation, theirs: NetworkAllocation
) -> tuple[NetworkAllocation, list[str]]:
    """(our network with their endpoints, a text for each that gets another address)."""
    endpoints = dict(ours.endpoints)
    texts: list[str] = []
    taken = {pair for endpoint in endpoints.values() for pair in _held(endpoint)}
    for each, endpoint in sorted(theirs.endpoints.items()):
        if each in endpoints:
            continue
        is_taken = any(pair in taken for pair in _held(endpoint))
        if is_taken or endpoint.address not in ours.subnet:
            texts.append(
                f"endpoint {name}/{each} gets an address of its own: {endpoint.address} went to"
                " another one on our side"
            )
            continue
        endpoints[each] = endpoint
        taken |= set(_held(endpoint))
    return replace(ours, endpoints=endpoints), texts


def _unique(allocation: NetworkAllocation) -> Iterator[Pair]:
    """What no two networks may hold."""
    for each in NETWORK_FIELDS:
        value = getattr(allocation, each.name)
        if each.is_unique and value:
            yield each.name, value


def _held(endpoint: EndpointAllocation) -> Iterator[Pair]:
    """What no two endpoints of a network may hold."""
    yield "address", endpoint.address
    yield "address6", endpoint.address6
    if endpoint.leg:
        yield "leg", endpoint.leg
    if endpoint.vni:
        yield "vni", endpoint.vni
