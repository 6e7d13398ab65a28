"""The state folder's JSON: what is written is read, and anything else is refused."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from warpd.allocation.lockfile import lock_text, parsed
from warpd.allocation.model import (
    Allocations,
    EndpointAllocation,
    NetworkAllocation,
    Tombstone,
)
from warpd.allocation.state_json import from_json, to_json

FULL = EndpointAllocation(IPv4Address("10.9.0.1"), IPv6Address("fd00::2"), 1, 110001, "first+2")
PLAIN = EndpointAllocation(IPv4Address("10.9.0.2"), IPv6Address("fd00::3"))
KEYED = EndpointAllocation(IPv4Address("10.9.0.3"), IPv6Address("fd00::4"), key_name="first")
ALLOCATIONS = Allocations(
    {
        "n": NetworkAllocation(
            vcid=77,
            port=51820,
            routing_table=1000,
            subnet=IPv4Network("10.9.0.0/29"),
            subnet6=IPv6Network("fd00::/64"),
            gateway_address=IPv4Address("10.9.0.0"),
            gateway_address6=IPv6Address("fd00::1"),
            transit=IPv4Network("198.19.0.0/31"),
            endpoints={"a": FULL, "b": PLAIN, "c": KEYED},
            vlan=100,
            first_name="first",
        )
    },
    (Tombstone.of("n", "d", 1_700_000_000, {"address": "10.9.0.4", "leg": 4, "key_name": "d"}),),
)


def test_every_field_survives_both_files() -> None:
    assert from_json(to_json(ALLOCATIONS)) == ALLOCATIONS
    assert parsed(Path("warp.lock.yaml"), lock_text(ALLOCATIONS).encode()) == ALLOCATIONS


def test_equal_allocations_are_equal_bytes() -> None:
    assert to_json(from_json(to_json(ALLOCATIONS))) == to_json(ALLOCATIONS)


def test_an_endpoint_with_more_fields_than_we_know_is_refused() -> None:
    document = json.loads(to_json(ALLOCATIONS))
    document["networks"]["n"]["endpoints"]["a"].append("more")
    with pytest.raises(ValueError, match="5 fields, not 6"):
        from_json(json.dumps(document))


@pytest.mark.parametrize(
    ("field", "value"), [("vcid", 0), ("port", 65536), ("vlan", 4095), ("subnet", "10.9.0.1/29")]
)
def test_a_value_that_its_field_cannot_hold_is_refused(field: str, value: Any) -> None:
    document = json.loads(to_json(ALLOCATIONS))
    document["networks"]["n"][field] = value
    with pytest.raises(ValueError):
        from_json(json.dumps(document))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        '{"version": 4, "networks": {}}',
        '{"version": 1, "networks": {"a": {}}}',
        "[" * 100000,
    ],
)
def test_other_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        from_json(text)


@pytest.mark.parametrize(
    "row",
    [
        ["n", "e"],
        ["n", "", 1, {"vcid": "x"}],
        ["n", "", 1e300, {}],
        ["n", "", 1, {"subnet": "x"}],
        7,
    ],
)
def test_a_tombstone_must_be_readable_too(row: Any) -> None:
    with pytest.raises(ValueError):
        from_json(json.dumps({"version": 3, "networks": {}, "tombstones": [row]}))
