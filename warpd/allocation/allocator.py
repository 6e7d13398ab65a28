"""(intent, previous allocations) -> allocations: ids, ports, subnets and addresses.

Pure and deterministic. What exists moves only if the YAML or the lock file says so, or if a network
expects more endpoints than its block holds; a warning or a risk says it.

Lives here: the order of the steps, one a resource, and what they have in common. Does not: the
steps (`numbers`, `subnets`, `addresses`, `l2_ids`, `key_names`), whether the YAML's own values make
sense (`validation`), where allocations are kept (`store`). Every resource is given in the same
order: first what is held by those for whom the YAML says nothing, then what the YAML says, then
what is new, in the order of the names; so the order in the file never matters. A value that
another owner holds is never taken away from it: a clash is a finding. Pools bound what is newly
given only. What was released is quarantined (`quarantine`): only ports, which keys guard anyway,
are given again when nothing else is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from warpd.allocation.addresses import AddressPlan, QuarantinedAddresses, assign_addresses
from warpd.allocation.key_names import assign_key_names
from warpd.allocation.l2_ids import assign_l2_ids
from warpd.allocation.model import Allocations, NetworkAllocation, Tombstone
from warpd.allocation.numbers import (
    PORTS,
    ROUTING_TABLES,
    VCIDS,
    assign_numbers,
    assign_transits,
)
from warpd.allocation.pools import Findings
from warpd.allocation.quarantine import (
    Quarantine,
    quarantine_of,
    released,
    when,
    with_pending_releases,
)
from warpd.allocation.renames import apply_renames, merge_lockfile, restore_returning
from warpd.allocation.subnets import assign_subnets, assign_subnets6
from warpd.errors import Finding
from warpd.intent.model import Intent, Network

# Fields whose move cuts clients off.
_CLIENT_FIELDS: Final = ("vcid", "port", "subnet", "subnet6")


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What every step asks for.

    networks: those of the intent, in the order in which they are served.
    previous: what those of them hold that were there before, in that order.
    """

    intent: Intent
    networks: Mapping[str, Network]
    previous: Mapping[str, NetworkAllocation]
    quarantine: Quarantine


def allocate(
    intent: Intent, previous: Allocations, now_s: int = 0, lockfile: Allocations | None = None
) -> tuple[Allocations, Findings]:
    """(allocations, findings): all that `intent` leaves open is given, and `previous` is kept.

    intent: one without errors (`validation`).
    now_s: seconds since the epoch, for the quarantine.
    lockfile: what the lock file says; it goes before `previous`.

    With an error among the findings the allocations are incomplete and must not be used.
    """
    renamed = apply_renames(intent, previous)
    recorded = None if lockfile is None else apply_renames(intent, lockfile)
    known = renamed if recorded is None else merge_lockfile(recorded, renamed, now_s)
    quarantine = quarantine_of(intent, known, now_s)
    known = restore_returning(intent, known, quarantine)
    quarantine = with_pending_releases(intent, known, quarantine, now_s)
    networks = {name: intent.networks[name] for name in _in_order(intent, recorded)}
    held = {name: known.networks[name] for name in networks if name in known.networks}
    current, findings = _assign(_Inputs(intent, networks, held, quarantine))
    current = _same_objects(current, renamed.networks)
    if recorded is not None:
        findings += tuple(_moves(renamed, current, intent, recorded))
    return Allocations(current, released(known, current, quarantine, now_s)), findings


def _in_order(intent: Intent, lockfile: Allocations | None) -> list[str]:
    """Names in their order; those of the lock file first, so that no other one gets their
    values.
    """
    recorded = lockfile.networks if lockfile is not None else {}
    return sorted(intent.networks, key=lambda name: (name not in recorded, name))


def _same_objects(
    current: Mapping[str, NetworkAllocation], previous: Mapping[str, NetworkAllocation]
) -> dict[str, NetworkAllocation]:
    """The allocations; an equal one is the previous object, by which others see that it is."""
    same = {}
    for name, allocation in current.items():
        former = previous.get(name)
        same[name] = former if former is not None and former == allocation else allocation
    return same


# ---- the steps --------------------------------------------------------------------------------


def _assign(inputs: _Inputs) -> tuple[dict[str, NetworkAllocation], Findings]:
    """(network -> allocation, in the order of the names, findings)."""
    networks, previous, quarantine = inputs.networks, inputs.previous, inputs.quarantine
    pools = inputs.intent.gateway.pools
    vcids, findings = assign_numbers(VCIDS, networks, previous, pools, quarantine)
    ports, more = assign_numbers(PORTS, networks, previous, pools, quarantine)
    findings += more
    tables, more = assign_numbers(ROUTING_TABLES, networks, previous, pools, quarantine)
    findings += more
    transits, more = assign_transits(pools.transit, networks, previous, quarantine)
    findings += more
    subnets, more = assign_subnets(networks, previous, pools, quarantine)
    findings += more
    subnets6 = assign_subnets6(networks, previous, vcids, quarantine)
    allocations: dict[str, NetworkAllocation] = {}
    complete = vcids.keys() & ports.keys() & tables.keys() & transits.keys() & subnets.keys()
    for name in sorted(complete):
        plan, more = _assign_inside(name, inputs, subnets[name], subnets6[name])
        findings += more
        allocations[name] = NetworkAllocation(
            vcids[name],
            ports[name],
            tables[name],
            subnets[name],
            subnets6[name],
            plan.gateway,
            plan.gateway6,
            transits[name],
            plan.endpoints,
        )
    allocations, more = assign_l2_ids(allocations, previous, inputs.intent, quarantine)
    findings += more
    return assign_key_names(allocations, inputs.intent, previous, quarantine), findings


def _assign_inside(
    name: str, inputs: _Inputs, subnet: IPv4Network, subnet6: IPv6Network
) -> tuple[AddressPlan, Findings]:
    """(addresses of one network, findings)."""
    network, quarantine = inputs.networks[name], inputs.quarantine
    four = quarantine.in_network(name, "address")
    six = quarantine.in_network(name, "address6")
    rows = (*four.values(), *six.values())
    quarantined = QuarantinedAddresses(
        {IPv4Address(text): row.endpoint for text, row in four.items()},
        {IPv6Address(text): row.endpoint for text, row in six.items()},
        quarantine.next_free(rows) if rows else "",
    )
    plan, findings = assign_addresses(
        f"networks.{name}", network, subnet, subnet6, inputs.previous.get(name), quarantined
    )
    return plan, (*_from_quarantine(name, network, four, quarantine), *findings)


def _from_quarantine(
    name: str, network: Network, four: Mapping[str, Tombstone], quarantine: Quarantine
) -> Iterator[Finding]:
    """Warnings: the YAML chooses an address that another endpoint had a short while ago."""
    for each, endpoint in network.explicit_endpoints.items():
        row = four.get(str(endpoint.address)) if endpoint.address is not None else None
        if row is not None and row.endpoint != each:
            yield Finding(
                "quarantine-overridden",
                f"networks.{name}.endpoints.{each}.address",
                f"{endpoint.address} was endpoint {row.endpoint}'s, and is quarantined until"
                f" {when(quarantine.until(row))}",
                "a device that was removed may still use it",
                "warning",
            )


# ---- what a lock file moves -------------------------------------------------------------------


def _moves(
    previous: Allocations,
    current: Mapping[str, NetworkAllocation],
    intent: Intent,
    lockfile: Allocations,
) -> Iterator[Finding]:
    """What the lock file, and not the YAML, takes from its owners: that cuts clients off."""
    for name in sorted(previous.networks.keys() & current.keys() & lockfile.networks.keys()):
        before, after = previous.networks[name], current[name]
        network, recorded = intent.networks[name], lockfile.networks[name]
        for each in _CLIENT_FIELDS:
            was, now = getattr(before, each), getattr(after, each)
            if was != now == getattr(recorded, each) and getattr(network, each) is None:
                yield _moved(f"networks.{name}", each, was, now)
        if before.subnet == after.subnet:
            yield from _moves_inside(name, network, before, after)


def _moves_inside(
    name: str, network: Network, before: NetworkAllocation, after: NetworkAllocation
) -> Iterator[Finding]:
    for each in sorted(before.endpoints.keys() & after.endpoints.keys()):
        was, now = before.endpoints[each].address, after.endpoints[each].address
        if was != now and network.endpoints[each].address is None:
            yield _moved(f"networks.{name}.endpoints.{each}", "address", was, now)


def _moved(path: str, name: str, was: object, now: object) -> Finding:
    text = (
        f"the lock file moves the {name} from {was} to {now}: clients with the old one are cut off"
    )
    hint = "they need their configs again; or put the old one into the lock file"
    return Finding("allocation-moves", path, text, hint, "warning")
