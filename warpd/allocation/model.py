"""What was given, and what was given up: plain values, and their JSON in the state folder.

Lives here: the shape of grants. Does not: who gets what (`allocator`), how a grant outlives an edit
(`renames`), how the operator's lock is written (`lock`). Version 1 of the JSON knew nothing of what
was given up; it is still read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Final

from warpd.allocation.addresses import AddressPlan, EndpointAllocation

VERSION: Final = 2
VERSIONS_READ: Final = (1, 2)
SINCE_MAX: Final = 2**35  # seconds: beyond the year 3000


@dataclass(frozen=True)
class NetworkAllocation:
    """Everything that one network was given."""

    vcid: int
    port: int
    routing_table: int
    subnet: IPv4Network
    subnet6: IPv6Network
    gateway_address: IPv4Address
    gateway_address6: IPv6Address
    transit: IPv4Network
    endpoints: Mapping[str, EndpointAllocation] = field(default_factory=dict)
    vlan: int = 0  # the VLAN of an Ethernet segment; 0 where there is none
    first_name: str = ""  # the name that it was first granted under, where it has another now

    @cached_property
    def seats(self) -> AddressPlan:
        return AddressPlan(
            self.subnet, self.subnet6, self.gateway_address, self.gateway_address6, self.endpoints
        )

    def first_names(self, name: str, endpoint: str) -> tuple[str, str] | None:
        """What network and endpoint were first called; None where that is what they are called."""
        key_name = self.endpoints[endpoint].key_name
        return (
            (self.first_name or name, key_name or endpoint) if self.first_name or key_name else None
        )


@dataclass(frozen=True, slots=True, order=True)
class Tombstone:
    """What somebody had and has no more."""

    network: str
    endpoint: str  # "" where it was the network's own
    since: int  # seconds since the epoch
    values: tuple[
        tuple[str, str], ...
    ]  # fields of the grant, as text, in the order of the fields' names

    def get(self, name: str) -> str:
        """The value of a field; "" where it was not given up."""
        return dict(self.values).get(name, "")


@dataclass(frozen=True, slots=True)
class Allocations:
    networks: Mapping[str, NetworkAllocation] = field(default_factory=dict)
    freed: tuple[Tombstone, ...] = ()


class Writer:
    """Allocations to JSON; what is the very same object as the last time is not written anew."""

    def __init__(self) -> None:
        self._parts: dict[str, tuple[NetworkAllocation, str]] = {}

    def text(self, allocations: Allocations) -> str:
        """Sorted and versioned, a line a network: the same grants are the same bytes."""
        self._parts = {
            name: self._part(name, item) for name, item in sorted(allocations.networks.items())
        }
        networks = ",\n".join(text for _, text in self._parts.values())
        rows = (
            [one.network, one.endpoint, one.since, dict(one.values)]
            for one in sorted(allocations.freed)
        )
        freed = ",\n".join(json.dumps(row, sort_keys=True) for row in rows)
        return (
            f'{{"version": {VERSION},\n"freed": [\n{freed}\n],\n"networks": {{\n{networks}\n}}}}\n'
        )

    def _part(self, name: str, item: NetworkAllocation) -> tuple[NetworkAllocation, str]:
        known = self._parts.get(name)
        if known is not None and known[0] is item:
            return known
        return item, f"{json.dumps(name)}: {json.dumps(_plain(item), sort_keys=True)}"


def to_json(allocations: Allocations) -> str:
    """As `Writer.text`, once."""
    return Writer().text(allocations)


def network_values(item: NetworkAllocation) -> dict[str, str | int]:
    """A network's own grants by field, those that are not there left out."""
    values: dict[str, str | int] = {
        "vcid": item.vcid,
        "port": item.port,
        "routing_table": item.routing_table,
        "subnet": str(item.subnet),
        "subnet6": str(item.subnet6),
        "gateway_address": str(item.gateway_address),
        "gateway_address6": str(item.gateway_address6),
        "transit": str(item.transit),
        "vlan": item.vlan,
        "first_name": item.first_name,
    }
    return {name: value for name, value in values.items() if value}


def endpoint_values(item: EndpointAllocation) -> dict[str, str | int]:
    """Likewise of an endpoint."""
    values: dict[str, str | int] = {"address": str(item.address), "address6": str(item.address6)}
    more: dict[str, str | int] = {"leg": item.leg, "vni": item.vni or 0, "key_name": item.key_name}
    return values | {name: value for name, value in more.items() if value}


def network_allocation(
    values: Mapping[str, Any], endpoints: Mapping[str, EndpointAllocation]
) -> NetworkAllocation:
    """The grant of such values.

    Raises:
        KeyError, ValueError: one is missing, or is none.
    """
    return NetworkAllocation(
        int(values["vcid"]),
        int(values["port"]),
        int(values["routing_table"]),
        IPv4Network(values["subnet"]),
        IPv6Network(values["subnet6"]),
        IPv4Address(values["gateway_address"]),
        IPv6Address(values["gateway_address6"]),
        IPv4Network(values["transit"]),
        endpoints,
        int(values.get("vlan", 0)),
        str(values.get("first_name", "")),
    )


def endpoint_allocation(values: Mapping[str, Any]) -> EndpointAllocation:
    """Likewise of an endpoint. Raises: KeyError, ValueError."""
    vni = int(values.get("vni", 0)) or None
    four, six = IPv4Address(values["address"]), IPv6Address(values["address6"])
    return EndpointAllocation(
        four, six, int(values.get("leg", 0)), vni, str(values.get("key_name", ""))
    )


def _plain(item: NetworkAllocation) -> dict[str, Any]:
    return {
        **network_values(item),
        "endpoints": {name: _row(one) for name, one in item.endpoints.items()},
    }


def _row(one: EndpointAllocation) -> list[Any]:
    """Short, for there may be very many: a key's name at the end needs leg and VNI before it, if
    only as 0.
    """
    row = [str(one.address), str(one.address6), one.leg, one.vni or 0, one.key_name]
    while not row[-1]:
        row.pop()
    return row


def from_json(text: str) -> Allocations:
    """Read what `to_json` wrote.

    Raises:
        ValueError: it is something else.
    """
    try:
        document = json.loads(text)
        if document["version"] not in VERSIONS_READ:
            raise ValueError(
                f"grants of version {document['version']}, this warpd reads {VERSIONS_READ}"
            )
        networks = {name: _parsed(item) for name, item in sorted(document["networks"].items())}
        freed = tuple(_freed(*row) for row in document.get("freed", ()))
        return Allocations(networks, freed)
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(f"these are no grants: {error!r}") from None


def _parsed(item: Mapping[str, Any]) -> NetworkAllocation:
    return network_allocation(
        item, {name: _seat(one) for name, one in sorted(item["endpoints"].items())}
    )


def _seat(row: list[Any]) -> EndpointAllocation:
    return endpoint_allocation(
        dict(zip(("address", "address6", "leg", "vni", "key_name"), row, strict=False))
    )


def _freed(network: str, endpoint: str, since: int, values: Mapping[str, str]) -> Tombstone:
    if not 0 <= int(since) < SINCE_MAX:
        raise ValueError(f"{since} is no time")
    for key, parse in _PARSERS.items():
        if key in values:
            parse(values[key])
    return Tombstone(
        str(network),
        str(endpoint),
        int(since),
        tuple((str(key), str(values[key])) for key in sorted(values)),
    )


# What a value that was given up must be, for it is taken apart again where it must not be given.
_PARSERS: Final[dict[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("vcid", "port", "routing_table", "vlan", "leg", "vni"), int),
    **dict.fromkeys(("subnet", "transit"), IPv4Network),
    **dict.fromkeys(("address", "gateway_address"), IPv4Address),
    **dict.fromkeys(("address6", "gateway_address6"), IPv6Address),
    "subnet6": IPv6Network,
}
