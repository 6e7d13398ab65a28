"""Two lock files made one. Pure.

Lives here: allocations of two sides. Does not: files, the YAML's meaning. A number that both sides
gave to different owners stays with ours; theirs loses it and is given another one, which is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from warpd.allocation.addresses import EndpointAllocation
from warpd.allocation.model import Allocations, NetworkAllocation

_UNIQUE: Final = ("vcid", "port", "routing_table", "subnet6", "transit", "vlan")


def merged_locks(ours: Allocations, theirs: Allocations) -> tuple[Allocations, tuple[str, ...]]:
    """Both, and a text for each owner of theirs that has to be given another number."""
    networks, said = dict(ours.networks), list[str]()
    taken = {(field, getattr(one, field)) for one in networks.values() for field in _UNIQUE}
    for name, item in sorted(theirs.networks.items()):
        if name in networks:
            networks[name], more = _with_endpoints(name, networks[name], item)
            said += more
            continue
        clash = [
            field
            for field in _UNIQUE
            if getattr(item, field) and (field, getattr(item, field)) in taken
        ]
        if clash:
            said.append(
                f"network {name} gets numbers of its own: {', '.join(clash)} went to another one on"
                " our side"
            )
            continue
        networks[name] = item
        taken |= {(field, getattr(item, field)) for field in _UNIQUE}
    return Allocations(networks, tuple(sorted({*ours.freed, *theirs.freed}))), tuple(said)


def _with_endpoints(
    name: str, ours: NetworkAllocation, theirs: NetworkAllocation
) -> tuple[NetworkAllocation, list[str]]:
    endpoints, said = dict(ours.endpoints), list[str]()
    taken = {value for one in endpoints.values() for value in _values(one)}
    for each, one in sorted(theirs.endpoints.items()):
        if each in endpoints:
            continue
        if any(value in taken for value in _values(one)) or one.address not in ours.subnet:
            said.append(
                f"endpoint {name}/{each} gets an address of its own: {one.address} went to another"
                " one on our side"
            )
            continue
        endpoints[each] = one
        taken |= set(_values(one))
    return replace(ours, endpoints=endpoints), said


def _values(one: EndpointAllocation) -> Iterator[tuple[str, object]]:
    yield from (("address", one.address), ("address6", one.address6))
    yield from (("leg", one.leg),) if one.leg else ()
    yield from (("vni", one.vni),) if one.vni else ()
