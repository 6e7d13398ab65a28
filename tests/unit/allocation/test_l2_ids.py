"""VLAN ids, legs and VNIs: each one's alone, whatever was held before."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from warpd.allocation.allocator import allocate
from warpd.allocation.l2_ids import assign_legs
from warpd.allocation.model import Allocations, EndpointAllocation
from warpd.intent.model import Intent


def endpoint(number: int, leg: int = 0, vni: int | None = None) -> EndpointAllocation:
    return EndpointAllocation(IPv4Address(number), IPv6Address(number), leg, vni)


def test_a_leg_that_two_endpoints_held_stays_with_the_first() -> None:
    """So it may be after a rename onto a name that comes back."""
    before = {"a": endpoint(1, 1, 7), "b": endpoint(2, 1), "c": endpoint(3, 3)}
    now = {name: endpoint(number) for number, name in enumerate("abcd", 1)}
    legs, findings = assign_legs("n", now, before, {2: "gone"})
    assert findings == ()
    assert {name: one.leg for name, one in legs.items()} == {"a": 1, "b": 4, "c": 3, "d": 5}
    assert legs["a"].vni == 7


def test_quarantined_legs_count_toward_the_limit() -> None:
    now = {f"e{number}": endpoint(number) for number in range(1, 1000)}
    _, findings = assign_legs("n", now, {}, {999: "gone"})
    assert [(item.code, item.path) for item in findings] == [
        ("quarantined", "networks.n.endpoints")
    ]


def test_a_vlan_id_that_the_yaml_takes_away_goes_to_nobody_in_the_same_edit() -> None:
    body = {"type": "l2-mesh", "expected_users": 3}
    first = Intent.model_validate({"version": 1, "networks": {"b": body}})
    before, findings = allocate(first, Allocations(), 1_700_000_000)
    assert findings == () and before.networks["b"].vlan == 100
    edited = {"a": body, "b": {**body, "vlan_id": 200}}
    second = Intent.model_validate({"version": 1, "networks": edited})
    after, findings = allocate(second, before, 1_700_000_000)
    assert findings == ()
    assert {name: one.vlan for name, one in after.networks.items()} == {"a": 101, "b": 200}
    assert ("vlan", "100") in after.tombstones[0].values
