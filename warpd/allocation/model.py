"""Allocations: which numbers, blocks and addresses every network and endpoint holds.

Lives here: the values, and one table of their fields. Both files that hold allocations derive from
that table: the state folder's JSON (`state_json`) and the lock file's YAML (`lockfile`). Does not:
who gets what (`allocator`), how an allocation outlives an edit (`renames`, `quarantine`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Final

from warpd.intent.capacity import LEG_MAX
from warpd.intent.types import TABLE_MAX, VCID_MAX, VLAN_MAX, VNI_MAX, Range

PORT_MAX: Final = 65535

# ---- the table of fields ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AllocationField:
    """One field of an allocation, as both files and the allocator know it.

    type: `int`, `str`, or a class of `ipaddress`.
    limits: the smallest and the largest number; None for what is no number.
    yaml: the field of the intent by which the operator may choose the value; "" for none.
    is_optional: whether an empty value is left out of the files; it is read as `empty`.
    is_unique: whether no two networks of a gateway may hold the same value.
    is_companion: whether the value follows from another one, so that it is no number of a pool.
    """

    name: str
    type: type
    limits: Range | None = None
    yaml: str = ""
    is_unique: bool = False
    is_companion: bool = False
    is_optional: bool = False
    empty: Any = None

    def parse(self, value: Any) -> Any:
        """The value, of its text or its number. Raises: TypeError, ValueError where it is none."""
        parsed = self.type(value)
        if self.limits is not None and parsed not in self.limits:
            raise ValueError(f"{self.name} {parsed} is not in {self.limits}")
        return parsed


def _allocated(of_type: type, limits: Range | None = None, **properties: Any) -> dict[str, Any]:
    """Metadata of a dataclass's field: the arguments of `AllocationField`, without its name and
    default.
    """
    return {"allocated": {"type": of_type, "limits": limits, **properties}}


def _fields(of_class: type) -> tuple[AllocationField, ...]:
    """The table of one class, in the order of its fields; one with a default is optional."""
    return tuple(
        AllocationField(
            each.name,
            is_optional=each.default is not MISSING,
            empty=each.default,
            **each.metadata["allocated"],
        )
        for each in dataclasses.fields(of_class)
        if "allocated" in each.metadata
    )


# ---- the values ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EndpointAllocation:
    """What one endpoint holds.

    leg: the number of its leg in an Ethernet network, from 1; 0 elsewhere.
    vni: the VXLAN id of that leg; None where there is none.
    key_name: the name by which its keys are derived, where it is not the endpoint's name.
    """

    address: IPv4Address = field(metadata=_allocated(IPv4Address))
    address6: IPv6Address = field(metadata=_allocated(IPv6Address))
    leg: int = field(default=0, metadata=_allocated(int, Range(0, LEG_MAX)))
    vni: int | None = field(default=None, metadata=_allocated(int, Range(1, VNI_MAX)))
    key_name: str = field(default="", metadata=_allocated(str))


@dataclass(frozen=True)
class NetworkAllocation:
    """What one network holds, and its endpoints.

    vlan: the VLAN of an Ethernet network; 0 where there is none.
    first_name: the name that it was first allocated under, where it has another one now.
    """

    vcid: int = field(
        metadata=_allocated(int, Range(1, VCID_MAX), yaml="vcid", is_unique=True),
    )
    port: int = field(
        metadata=_allocated(int, Range(1, PORT_MAX), yaml="port", is_unique=True),
    )
    routing_table: int = field(
        metadata=_allocated(int, Range(1, TABLE_MAX), yaml="routing_table", is_unique=True),
    )
    subnet: IPv4Network = field(metadata=_allocated(IPv4Network, yaml="subnet"))
    subnet6: IPv6Network = field(metadata=_allocated(IPv6Network, yaml="subnet6", is_unique=True))
    gateway_address: IPv4Address = field(
        metadata=_allocated(IPv4Address, yaml="gateway_address", is_companion=True)
    )
    gateway_address6: IPv6Address = field(metadata=_allocated(IPv6Address, is_companion=True))
    transit: IPv4Network = field(metadata=_allocated(IPv4Network, is_unique=True))
    endpoints: Mapping[str, EndpointAllocation] = field(default_factory=dict)
    vlan: int = field(
        default=0,
        metadata=_allocated(int, Range(0, VLAN_MAX), yaml="vlan_id", is_unique=True),
    )
    first_name: str = field(default="", metadata=_allocated(str, is_companion=True))

    @cached_property
    def holds_only_addresses(self) -> bool:
        """Whether no endpoint has more than its addresses: no leg, no VNI, no name for keys."""
        return not any(one.leg or one.vni or one.key_name for one in self.endpoints.values())

    @cached_property
    def is_consistent(self) -> bool:
        """Whether all addresses are inside the subnets, and no two of them are the same."""
        four = {int(self.gateway_address), *(int(one.address) for one in self.endpoints.values())}
        six = {int(self.gateway_address6), *(int(one.address6) for one in self.endpoints.values())}
        if not (_are_inside(four, self.subnet) and _are_inside(six, self.subnet6)):
            return False
        return len(four) == len(six) == len(self.endpoints) + 1

    def first_names(self, name: str, endpoint: str) -> tuple[str, str] | None:
        """The names that the network and the endpoint were first allocated under.

        `name` and `endpoint` are their names now. None where these are the first ones.
        """
        key_name = self.endpoints[endpoint].key_name
        if not (self.first_name or key_name):
            return None
        return self.first_name or name, key_name or endpoint


def _are_inside(addresses: set[int], subnet: IPv4Network | IPv6Network) -> bool:
    first = int(subnet.network_address)
    return first <= min(addresses) and max(addresses) < first + subnet.num_addresses


ENDPOINT_FIELDS: Final = _fields(EndpointAllocation)
NETWORK_FIELDS: Final = _fields(NetworkAllocation)
FIELDS: Final[Mapping[str, AllocationField]] = {
    each.name: each for each in (*NETWORK_FIELDS, *ENDPOINT_FIELDS)
}


@dataclass(frozen=True, slots=True, order=True)
class Tombstone:
    """A released allocation, or a part of one, that is given to nobody else yet.

    endpoint: "" where the values were the network's own.
    released_s: seconds since the epoch.
    values: (field, value as text), in the order of the fields' names.
    """

    network: str
    endpoint: str
    released_s: int
    values: tuple[tuple[str, str], ...]

    @staticmethod
    def of(network: str, endpoint: str, released_s: int, values: Mapping[str, Any]) -> Tombstone:
        """The tombstone of these values by field."""
        pairs = sorted((name, str(value)) for name, value in values.items())
        return Tombstone(network, endpoint, released_s, tuple(pairs))

    def get(self, name: str) -> str:
        """The value of a field as text; "" where it was not released."""
        return dict(self.values).get(name, "")


@dataclass(frozen=True, slots=True)
class Allocations:
    """All that a gateway has allocated: by network, and what is quarantined."""

    networks: Mapping[str, NetworkAllocation] = field(default_factory=dict)
    tombstones: tuple[Tombstone, ...] = ()


# ---- values by the name of the field ---------------------------------------------------------


def network_values(allocation: NetworkAllocation) -> dict[str, str | int]:
    """A network's own values by field, without its endpoints."""
    return _values(allocation, NETWORK_FIELDS)


def endpoint_values(allocation: EndpointAllocation) -> dict[str, str | int]:
    """An endpoint's values by field."""
    return _values(allocation, ENDPOINT_FIELDS)


def _values(allocation: object, fields: tuple[AllocationField, ...]) -> dict[str, str | int]:
    """Numbers as they are, all else as text; without optional fields that are empty."""
    values: dict[str, str | int] = {}
    for each in fields:
        value = getattr(allocation, each.name)
        if value or not each.is_optional:
            values[each.name] = value if each.type is int else str(value)
    return values


def network_allocation(
    values: Mapping[str, Any], endpoints: Mapping[str, EndpointAllocation]
) -> NetworkAllocation:
    """The allocation of such values as `network_values` returns.

    Raises:
        KeyError: one is missing.
        TypeError, ValueError: one is not what its field holds.
    """
    return NetworkAllocation(endpoints=endpoints, **_parsed(values, NETWORK_FIELDS))


def endpoint_allocation(values: Mapping[str, Any]) -> EndpointAllocation:
    """The allocation of such values as `endpoint_values` returns.

    Raises as `network_allocation`.
    """
    return EndpointAllocation(**_parsed(values, ENDPOINT_FIELDS))


def _parsed(values: Mapping[str, Any], fields: tuple[AllocationField, ...]) -> dict[str, Any]:
    return {
        each.name: each.parse(values[each.name])
        for each in fields
        if each.name in values or not each.is_optional
    }
