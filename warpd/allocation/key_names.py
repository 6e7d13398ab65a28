"""Names by which keys are derived: the first one that each network and endpoint had. Pure.

A part of `allocator`.

Lives here: which name that is, so that no two owners ever share one, and none gets that of an owner
whose allocation is quarantined. Does not: keys (`keys.derivation`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import count

from warpd.allocation.model import EndpointAllocation, NetworkAllocation, Tombstone
from warpd.allocation.pools import Pool
from warpd.allocation.quarantine import Quarantine
from warpd.intent.model import Intent, Network


def assign_key_names(
    allocations: Mapping[str, NetworkAllocation],
    intent: Intent,
    previous: Mapping[str, NetworkAllocation],
    quarantine: Quarantine,
) -> dict[str, NetworkAllocation]:
    """The allocations with `first_name` and `key_name` set where they are not the owner's name."""
    held = {name: previous[name].first_name or name for name in allocations if name in previous}
    wanted = {name: intent.networks[name].renamed_from or name for name in allocations}
    first_names = _assign(held, wanted, _names_of_removed(allocations, quarantine))
    named = {}
    for name, allocation in allocations.items():
        endpoints = _with_key_names(
            allocation.endpoints,
            intent.networks[name],
            previous.get(name),
            quarantine.in_network(name, "key_name"),
        )
        first_name = first_names[name] if first_names[name] != name else ""
        if first_name or endpoints is not allocation.endpoints:
            allocation = replace(allocation, endpoints=endpoints, first_name=first_name)
        named[name] = allocation
    return named


def _names_of_removed(
    allocations: Mapping[str, NetworkAllocation], quarantine: Quarantine
) -> set[str]:
    """First names of networks that were removed a short while ago."""
    return {
        row.get("first_name") or row.network
        for row in quarantine.rows
        if not row.endpoint and row.network not in allocations
    }


def _with_key_names(
    endpoints: Mapping[str, EndpointAllocation],
    network: Network,
    previous: NetworkAllocation | None,
    quarantined: Mapping[str, Tombstone],
) -> Mapping[str, EndpointAllocation]:
    """The same mapping where the keys of every endpoint go by its name."""
    known = previous.endpoints if previous is not None else {}
    renamed = _renamed(network, known)
    if not (renamed or quarantined or _have_more_than_addresses(previous)):
        return endpoints
    held = _key_names(endpoints, known)
    wanted = {name: renamed.get(name, name) for name in endpoints}
    key_names = _assign(held, wanted, quarantined)
    if all(key_name == name for name, key_name in key_names.items()):
        return endpoints
    return {name: _with_key_name(one, name, key_names[name]) for name, one in endpoints.items()}


def _have_more_than_addresses(previous: NetworkAllocation | None) -> bool:
    return previous is not None and not previous.holds_only_addresses


def _key_names(endpoints: Iterable[str], known: Mapping[str, EndpointAllocation]) -> dict[str, str]:
    """The names by which the keys of endpoints go that were there before."""
    return {name: known[name].key_name or name for name in endpoints if name in known}


def _renamed(network: Network, known: Mapping[str, EndpointAllocation]) -> dict[str, str]:
    """Name -> former name of each endpoint that is renamed by this edit."""
    return {
        name: endpoint.renamed_from
        for name, endpoint in network.explicit_endpoints.items()
        if endpoint.renamed_from and name not in known
    }


def _with_key_name(endpoint: EndpointAllocation, name: str, key_name: str) -> EndpointAllocation:
    return endpoint if key_name == name else replace(endpoint, key_name=key_name)


def _assign(
    held: Mapping[str, str], wanted: Mapping[str, str], quarantined: Iterable[str]
) -> dict[str, str]:
    """Owner -> name: the one it holds, or the one it wants, numbered where that is taken."""
    names: Pool[str, str] = Pool(dict.fromkeys(quarantined, ""))
    for owner, name in held.items():
        names.take(owner, name)
    for owner in names.without(sorted(wanted)):
        names.take_first(owner, _numbered(wanted[owner]))
    return names.values


def _numbered(name: str) -> Iterator[str]:
    yield name
    for number in count(2):
        yield f"{name}+{number}"
