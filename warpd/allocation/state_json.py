"""Allocations as the JSON document of the state folder.

Lives here: its shape and its versions. Does not: the fields (`model`), the file (`store`).
Version 1 had no tombstones; version 2 called them `freed`. Both are read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Final

from warpd.allocation.model import (
    ENDPOINT_FIELDS,
    FIELDS,
    AllocationField,
    Allocations,
    EndpointAllocation,
    NetworkAllocation,
    Tombstone,
    network_allocation,
    network_values,
)

VERSION: Final = 3
VERSIONS_READ: Final = (1, 2, 3)
_endpoint_values: Final = attrgetter(*(each.name for each in ENDPOINT_FIELDS))
RELEASED_MAX_S: Final = 2**35  # seconds since the epoch: beyond the year 3000


class Writer:
    """Allocations to JSON; a network that is the same object as the last time is not encoded
    again.
    """

    def __init__(self) -> None:
        self._parts: dict[str, tuple[NetworkAllocation, str]] = {}

    def text(self, allocations: Allocations) -> str:
        """The document: sorted, a line a network, so that equal allocations are equal bytes."""
        self._parts = {
            name: self._part(name, item) for name, item in sorted(allocations.networks.items())
        }
        networks = ",\n".join(text for _, text in self._parts.values())
        rows = map(_tombstone_row, sorted(allocations.tombstones))
        tombstones = ",\n".join(json.dumps(row, sort_keys=True) for row in rows)
        return (
            f'{{"version": {VERSION},\n"tombstones": [\n{tombstones}\n],\n'
            f'"networks": {{\n{networks}\n}}}}\n'
        )

    def _part(self, name: str, item: NetworkAllocation) -> tuple[NetworkAllocation, str]:
        previous = self._parts.get(name)
        if previous is not None and previous[0] is item:
            return previous
        endpoints = {each: _endpoint_row(one) for each, one in item.endpoints.items()}
        values = {**network_values(item), "endpoints": endpoints}
        return item, f"{json.dumps(name)}: {json.dumps(values, sort_keys=True)}"


def to_json(allocations: Allocations) -> str:
    """As `Writer.text`, once."""
    return Writer().text(allocations)


def _endpoint_row(allocation: EndpointAllocation) -> list[str | int]:
    """The fields in their order without their names, for there may be very many endpoints.

    Empty ones at the end are left out; before another one they are 0.
    """
    row = list(_endpoint_values(allocation))
    while not row[-1]:
        row.pop()
    return list(map(_plain, row))


def _plain(value: Any) -> str | int:
    if value is None:
        return 0
    return value if isinstance(value, int) else str(value)


def _tombstone_row(row: Tombstone) -> list[Any]:
    return [row.network, row.endpoint, row.released_s, dict(row.values)]


def from_json(text: str) -> Allocations:
    """The allocations of a document of any version that was ever written.

    Raises:
        ValueError: it is no such document.
    """
    try:
        document = json.loads(text)
        version = document["version"]
        if version not in VERSIONS_READ:
            raise ValueError(f"allocations of version {version}, this warpd reads {VERSIONS_READ}")
        networks = {name: _network(item) for name, item in sorted(document["networks"].items())}
        rows = document.get("tombstones" if version == VERSION else "freed", ())
        return Allocations(networks, tuple(_tombstone(*row) for row in rows))
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(f"these are no allocations: {error!r}") from None


def _network(values: Mapping[str, Any]) -> NetworkAllocation:
    endpoints = {name: _endpoint(row) for name, row in sorted(values["endpoints"].items())}
    return network_allocation(values, endpoints)


def _endpoint(row: list[Any]) -> EndpointAllocation:
    """Raises: TypeError, ValueError when the row is none."""
    if len(row) > len(ENDPOINT_FIELDS):
        raise ValueError(f"an endpoint has {len(ENDPOINT_FIELDS)} fields, not {len(row)}")
    return EndpointAllocation(*map(_row_value, ENDPOINT_FIELDS, row))


def _row_value(each: AllocationField, value: Any) -> Any:
    """0 and "" stand where an optional field before the last one is empty."""
    return each.empty if each.is_optional and not value else each.parse(value)


def _tombstone(
    network: str, endpoint: str, released_s: int, values: Mapping[str, str]
) -> Tombstone:
    """Raises: ValueError when a value is none of its field: an unreadable one would be given
    again.
    """
    if not 0 <= int(released_s) < RELEASED_MAX_S:
        raise ValueError(f"{released_s} is no time")
    for name in FIELDS.keys() & values.keys():
        FIELDS[name].parse(values[name])
    return Tombstone.of(str(network), str(endpoint), int(released_s), values)
