"""What the lock file and the YAML say differently. Pure.

Lives here: where the lock file contradicts the YAML or itself, and where it is behind. Does not:
its shape (`lockfile`), what is done about it (the command, `workspace`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from ipaddress import IPv4Network
from typing import Any, Final

from warpd.allocation.lockfile import Lockfile
from warpd.allocation.model import (
    NETWORK_FIELDS,
    Allocations,
    EndpointAllocation,
    NetworkAllocation,
    endpoint_values,
    network_values,
)
from warpd.errors import Finding
from warpd.intent.diagnostics import Loc, path_of
from warpd.intent.file_names import LOCK_FILE
from warpd.intent.model import Endpoint, Intent, Network

CONTRADICTS: Final = "lock-contradicts"
BEHIND: Final = "lock-behind"

_NAMED_AT_MOST: Final = 5
_ONE_NETWORK: Final = "remove one of the two networks here and run `warpctl lock` again"
_ONE_ENDPOINT: Final = "an address, a leg and a name for keys are one endpoint's: remove one line"
_UPDATE: Final = "`warpctl lock` brings it up to date; commit it"

Row = tuple[Loc, Hashable]  # (place in the lock file, value)


@dataclasses.dataclass(frozen=True, slots=True)
class _Entry:
    """A network of the YAML, and what the lock file has for it.

    name: of the entry: the network's, or the one that it had before.
    """

    network: Network
    name: str
    allocation: NetworkAllocation

    @property
    def loc(self) -> Loc:
        return ("networks", self.name)

    @property
    def endpoints(self) -> Mapping[str, EndpointAllocation]:
        """Those entries that are endpoints of the YAML, in the order of their names."""
        endpoints = self.allocation.endpoints
        named = {_entry(name, one, endpoints) for name, one in self.network.endpoints.items()}
        return {name: endpoints[name] for name in sorted(endpoints) if name in named}


# ---- what contradicts the YAML ----------------------------------------------------------------


def contradictions(lockfile: Lockfile, intent: Intent) -> Iterator[Finding]:
    """What cannot be obeyed: errors, each at its line in the lock file.

    Entries of what the YAML no longer has are left alone.
    """
    if lockfile.allocations is None:
        return
    networks = lockfile.allocations.networks
    entries = []
    for name, network in sorted(intent.networks.items()):
        entry = _entry(name, network, networks)
        if entry is not None:
            entries.append(_Entry(network, entry, networks[entry]))
    for each in entries:
        yield from _against_network(lockfile, each)
        yield from _against_endpoints(lockfile, each)
        yield from _outside_of_subnets(lockfile, each)
        yield from _shared_inside(lockfile, each)
    yield from _shared(lockfile, intent, entries)


def _entry(name: str, one: Network | Endpoint, entries: Iterable[str]) -> str | None:
    """The name under which the lock file has it: its own, or the one it had before."""
    names = (name, one.renamed_from)
    return next((each for each in names if each is not None and each in entries), None)


def _against_network(lockfile: Lockfile, entry: _Entry) -> Iterator[Finding]:
    for each in NETWORK_FIELDS:
        chosen = getattr(entry.network, each.yaml) if each.yaml else None
        recorded = getattr(entry.allocation, each.name)
        if chosen is not None and recorded and chosen != recorded:
            yield _differs(lockfile, (*entry.loc, each.name), recorded, f"{each.yaml}: {chosen}")


def _against_endpoints(lockfile: Lockfile, entry: _Entry) -> Iterator[Finding]:
    for name, endpoint in sorted(entry.network.endpoints.items()):
        each = _entry(name, endpoint, entry.allocation.endpoints)
        if each is None:
            continue
        for field in ("address", "address6"):
            chosen = getattr(endpoint, field)
            recorded = getattr(entry.allocation.endpoints[each], field)
            if chosen is not None and chosen != recorded:
                loc = (*entry.loc, "endpoints", each, field)
                yield _differs(lockfile, loc, recorded, f"{field}: {chosen}")


def _differs(lockfile: Lockfile, loc: Loc, recorded: object, chosen: str) -> Finding:
    text = f"the lock has {recorded}, but the YAML says {chosen}"
    return lockfile.at(CONTRADICTS, loc, text, "`warpctl lock` takes over what the YAML says")


def _outside_of_subnets(lockfile: Lockfile, entry: _Entry) -> Iterator[Finding]:
    """Every address lies in its network's subnet."""
    allocation = entry.allocation
    for field, subnet in (("address", allocation.subnet), ("address6", allocation.subnet6)):
        gateway = f"gateway_{field}"
        rows: list[tuple[Loc, Any]] = [((*entry.loc, gateway), getattr(allocation, gateway))]
        for name, endpoint in entry.endpoints.items():
            rows.append(((*entry.loc, "endpoints", name, field), getattr(endpoint, field)))
        for loc, address in rows:
            if address not in subnet:
                text = f"{address} is outside of the network's subnet {subnet}"
                yield lockfile.at("lock-outside", loc, text, "remove the line, or correct it")


def _shared_inside(lockfile: Lockfile, entry: _Entry) -> Iterator[Finding]:
    """Every address, leg and name for keys is one endpoint's."""
    allocation, endpoints = entry.allocation, entry.endpoints

    def rows(field: str) -> Iterator[Row]:
        for name, endpoint in endpoints.items():
            yield (*entry.loc, "endpoints", name, field), getattr(endpoint, field) or None

    four = ((*entry.loc, "gateway_address"), allocation.gateway_address)
    six = ((*entry.loc, "gateway_address6"), allocation.gateway_address6)
    yield from _twice(lockfile, [four, *rows("address")], _ONE_ENDPOINT)
    yield from _twice(lockfile, [six, *rows("address6")], _ONE_ENDPOINT)
    yield from _twice(lockfile, rows("leg"), _ONE_ENDPOINT)
    key_names = (
        ((*entry.loc, "endpoints", name, "key_name"), endpoint.key_name or name)
        for name, endpoint in endpoints.items()
    )
    yield from _twice(lockfile, key_names, _ONE_ENDPOINT)


def _shared(lockfile: Lockfile, intent: Intent, entries: list[_Entry]) -> Iterator[Finding]:
    """What no two networks may hold."""
    for each in NETWORK_FIELDS:
        if each.is_unique and not (each.name == "vlan" and intent.gateway.vlan_scope == "network"):
            yield from _twice(lockfile, _rows_of(each.name, entries), _ONE_NETWORK)
    yield from _twice(lockfile, _vnis_of(entries), _ONE_NETWORK)
    blocks = [
        (entry.allocation.subnet, entry.name) for entry in entries if entry.network.subnet is None
    ]
    yield from _overlaps(lockfile, blocks)


def _rows_of(field: str, entries: list[_Entry]) -> Iterator[Row]:
    """The values of one field.

    A subnet6 that the YAML chooses may be the same in several networks: they are VRFs.
    """
    for entry in entries:
        if field != "subnet6" or entry.network.subnet6 is None:
            yield (*entry.loc, field), getattr(entry.allocation, field) or None


def _vnis_of(entries: list[_Entry]) -> Iterator[Row]:
    for entry in entries:
        for name, endpoint in sorted(entry.allocation.endpoints.items()):
            yield (*entry.loc, "endpoints", name, "vni"), endpoint.vni


def _twice(lockfile: Lockfile, rows: Iterable[Row], hint: str) -> Iterator[Finding]:
    """Errors at every place with a value that a place before it has. None is no value."""
    first: dict[Hashable, Loc] = {}
    for loc, value in rows:
        if value is None:
            continue
        if value in first:
            yield lockfile.at(
                "lock-twice", loc, f"{value} is {path_of(first[value])}'s already", hint
            )
        first.setdefault(value, loc)


def _overlaps(lockfile: Lockfile, blocks: list[tuple[IPv4Network, str]]) -> Iterator[Finding]:
    """Of subnets that the YAML does not choose: allocated on two branches, most likely."""
    largest: tuple[IPv4Network, str] | None = None
    for block, name in sorted(blocks):
        if largest is not None and block.overlaps(largest[0]):
            text = f"{block} overlaps {largest[0]} of network {largest[1]}"
            yield lockfile.at("lock-twice", ("networks", name, "subnet"), text, _ONE_NETWORK)
        else:
            largest = (block, name)


# ---- where it is behind -----------------------------------------------------------------------


def behind(lockfile: Lockfile, allocations: Allocations) -> Iterator[Finding]:
    """Warnings: what is allocated and not in the lock file, and what is in it and not allocated."""
    if lockfile.allocations is None:
        return
    recorded = lockfile.allocations.networks
    for name in sorted(allocations.networks.keys() - recorded.keys()):
        yield _behind(f"networks.{name}", f"network {name} is not in {LOCK_FILE}")
    for name in sorted(recorded.keys() - allocations.networks.keys()):
        text = f"the YAML has no network {name}: its numbers stay reserved"
        yield lockfile.at(BEHIND, ("networks", name), text, _UPDATE, "warning")
    for name in sorted(recorded.keys() & allocations.networks.keys()):
        yield from _behind_in(lockfile, name, recorded[name], allocations.networks[name])


def _behind(path: str, text: str) -> Finding:
    return Finding(BEHIND, path, text, _UPDATE, "warning")


def _behind_in(
    lockfile: Lockfile, name: str, recorded: NetworkAllocation, current: NetworkAllocation
) -> Iterator[Finding]:
    missing = current.endpoints.keys() - recorded.endpoints.keys()
    removed = recorded.endpoints.keys() - current.endpoints.keys()
    if missing:
        yield _behind(f"networks.{name}.endpoints", f"not in {LOCK_FILE}: {_listed(missing)}")
    for each in sorted(removed)[:_NAMED_AT_MOST]:
        text = f"the YAML has no endpoint {name}/{each}: its addresses stay reserved"
        yield lockfile.at(BEHIND, ("networks", name, "endpoints", each), text, _UPDATE, "warning")
    if len(removed) > _NAMED_AT_MOST:
        count = len(removed)
        text = f"the YAML no longer has {count} endpoints of network {name}: {_listed(removed)}"
        yield lockfile.at(BEHIND, ("networks", name, "endpoints"), text, _UPDATE, "warning")
    yield from _outdated(lockfile, ("networks", name), network_values, recorded, current)
    for each in sorted(recorded.endpoints.keys() & current.endpoints.keys()):
        before, after = recorded.endpoints[each], current.endpoints[each]
        if before != after:
            loc = ("networks", name, "endpoints", each)
            yield from _outdated(lockfile, loc, endpoint_values, before, after)


def _outdated(
    lockfile: Lockfile,
    loc: Loc,
    values: Callable[[Any], dict[str, Any]],
    recorded: Any,
    current: Any,
) -> Iterator[Finding]:
    before, after = values(recorded), values(current)
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name, "nothing"), after.get(name, "nothing")
        if was != now:
            text = f"the lock has {was}, allocated is {now}"
            yield lockfile.at(BEHIND, (*loc, name), text, _UPDATE, "warning")


def _listed(names: Iterable[str]) -> str:
    every = sorted(names)
    listed = ", ".join(every[:_NAMED_AT_MOST])
    more = len(every) - _NAMED_AT_MOST
    return f"{listed} and {more} more" if more > 0 else listed


def without_contradictions(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings where the YAML has the last word: contradictions only say where the lock is
    behind.
    """
    return tuple(map(_only_behind, findings))


def _only_behind(finding: Finding) -> Finding:
    if finding.code != CONTRADICTS:
        return finding
    return dataclasses.replace(finding, code=BEHIND, severity="warning")
