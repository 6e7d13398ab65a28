"""Allocations: who gets which id, port, subnet and address, and that nobody's ever moves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest

from tests.counts import growth
from warpd.allocation.allocator import allocate
from warpd.allocation.model import Allocations
from warpd.intent.capacity import capacity, expected_users, prefix_for
from warpd.intent.model import Intent
from warpd.networks.isolation.namespace import transit6


def intent(networks: dict[str, Any], **pools: Any) -> Intent:
    return Intent.model_validate({"version": 1, "gateway": {"pools": pools}, "networks": networks})


def net(*names: str, **fields: Any) -> dict[str, Any]:
    endpoints = {name: {"type": "mobile"} for name in names}
    return {"type": "secure-internet", "endpoints": endpoints, **fields}


def given(networks: dict[str, Any], old: Allocations | None = None, **pools: Any) -> Allocations:
    allocations, findings = allocate(intent(networks, **pools), old or Allocations())
    assert findings == ()
    return allocations


def codes(
    networks: dict[str, Any], old: Allocations | None = None, **pools: Any
) -> list[tuple[str, str]]:
    return [(f.code, f.path) for f in allocate(intent(networks, **pools), old or Allocations())[1]]


@pytest.mark.parametrize(
    ("users", "prefix"),
    [
        (1, 31),
        (2, 30),
        (3, 29),
        (6, 29),
        (7, 28),
        (14, 28),
        (15, 27),
        (30, 27),
        (31, 26),
        (62, 26),
        (63, 25),
        (126, 25),
        (127, 24),
        (254, 24),
        (255, 23),
        (510, 23),
        (511, 22),
    ],
)
def test_the_contracts_table_of_sizes(users: int, prefix: int) -> None:
    assert prefix_for(users) == prefix
    assert capacity(prefix) >= users


def test_one_network_gets_everything() -> None:
    one = given({"privacy": net("b", "a", expected_users=6)}).networks["privacy"]
    assert one.subnet == IPv4Network("10.100.0.0/29")
    assert one.gateway_address == IPv4Address("10.100.0.0")
    assert [str(e.address) for e in one.endpoints.values()] == ["10.100.0.1", "10.100.0.2"]
    assert list(one.endpoints) == ["a", "b"]
    base = int(one.subnet6.network_address)
    assert one.subnet6.prefixlen == 64 and one.subnet6.subnet_of(IPv6Network("fd00::/8"))
    assert one.gateway_address6 == IPv6Address(base + 1)
    assert [int(e.address6) - base for e in one.endpoints.values()] == [2, 3]
    assert (
        one.port == 51820
        and one.routing_table == 1000
        and one.transit == IPv4Network("198.19.0.0/31")
    )
    assert 10000000 <= one.vcid <= 99999999


def test_a_subnet_is_filled_to_the_last_address() -> None:
    names = [f"e{n}" for n in range(6)]
    one = given({"n": net(*names, expected_users=6)}).networks["n"]
    assert sorted(int(e.address) & 7 for e in one.endpoints.values()) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("gateway", "offsets"), [("10.9.0.3", [0, 1, 2, 4, 5, 6]), ("10.9.0.7", [1, 2, 3, 4, 5, 6])]
)
def test_a_gateway_elsewhere_leaves_as_many_addresses(gateway: str, offsets: list[int]) -> None:
    names = [f"e{n}" for n in range(6)]
    one = given({"n": net(*names, subnet="10.9.0.0/29", gateway_address=gateway)}).networks["n"]
    assert sorted(int(e.address) & 7 for e in one.endpoints.values()) == offsets


def test_in_a_31_the_endpoint_owns_the_other_address() -> None:
    one = given({"n": net("a", subnet="10.9.0.0/31", gateway_address="10.9.0.1")}).networks["n"]
    assert one.endpoints["a"].address == IPv4Address("10.9.0.0")
    assert one.endpoints["a"].address6 != one.gateway_address6


def test_the_vcid_follows_the_name_alone() -> None:
    alone = given({"privacy": net()}).networks["privacy"].vcid
    crowd = given({name: net() for name in ("privacy", "a", "b", "z")}).networks["privacy"].vcid
    assert alone == crowd


def test_vcids_probe_on_collision() -> None:
    many = {f"n{i}": net() for i in range(10)}
    got = given(many, vcids="20000000-20000009").networks
    assert sorted(one.vcid for one in got.values()) == list(range(20000000, 20000010))


def test_explicit_values_come_first_and_others_go_around() -> None:
    got = given(
        {"a": net(), "z": net(port=51820, routing_table=1000, subnet="10.100.0.0/31")}
    ).networks
    assert (got["a"].port, got["a"].routing_table, str(got["a"].subnet)) == (
        51821,
        1001,
        "10.100.0.2/31",
    )


def test_nothing_moves_when_others_come_and_go() -> None:
    first = given({"m": net("x", "y", expected_users=6), "q": net("x")})
    second = given({"a": net("x"), "m": net("a", "x", "y", expected_users=6), "q": net("x")}, first)
    assert second.networks["q"] == first.networks["q"]
    assert second.networks["m"].endpoints["x"] == first.networks["m"].endpoints["x"]
    assert second.networks["m"].endpoints["a"].address == IPv4Address("10.100.0.3")
    third = given({"q": net("x")}, second)
    assert third.networks == {"q": first.networks["q"]}


def test_disabled_keeps_its_allocation() -> None:
    first = given({"a": net("x"), "b": net("x")})
    second = given({"a": net("x", enabled=False), "b": net("x"), "c": net("x")}, first)
    assert second.networks["a"] == first.networks["a"]


def test_a_changed_explicit_value_moves_only_that_allocation() -> None:
    first = given({"n": net("a", "b", expected_users=6)}).networks["n"]
    body = net("a", "b", expected_users=6, port=51829)
    body["endpoints"]["a"]["address"] = "10.100.0.5"
    second = given({"n": body}, Allocations({"n": first})).networks["n"]
    assert second.port == 51829 and second.endpoints["a"].address == IPv4Address("10.100.0.5")
    assert second.endpoints["a"].address6 == first.endpoints["a"].address6
    assert second.endpoints["b"] == first.endpoints["b"]
    assert (second.vcid, second.subnet, second.subnet6) == (first.vcid, first.subnet, first.subnet6)


def test_what_is_held_is_not_taken_away() -> None:
    first = given({"n": net("a", expected_users=6)})
    body = net("a", "b", expected_users=6)
    body["endpoints"]["b"]["address"] = "10.100.0.1"
    assert codes({"n": body}, first) == [("taken", "networks.n.endpoints.b.address")]
    assert codes({"n": net("a", expected_users=6), "o": net(port=51820)}, first) == [
        ("taken", "networks.o.port")
    ]


def test_growing_in_place_keeps_every_address() -> None:
    first = given({"n": net("a", "b", expected_users=2)})
    second = given({"n": net("a", "b", "c", expected_users=6)}, first).networks["n"]
    assert second.subnet == IPv4Network("10.100.0.0/29")
    assert all(second.endpoints[name] == first.networks["n"].endpoints[name] for name in "ab")


def test_growing_without_room_moves_with_a_warning() -> None:
    first = given({"a": net("x"), "b": net("x")})
    allocations, findings = allocate(
        intent({"a": net("x", "y", expected_users=6), "b": net("x")}), first
    )
    assert [(f.code, f.severity, f.path) for f in findings] == [
        ("subnet-moves", "warning", "networks.a.expected_users")
    ]
    assert "10.100.0.0/31" in findings[0].message and "10.100.0.8/29" in findings[0].message
    assert allocations.networks["a"].endpoints["x"].address == IPv4Address("10.100.0.9")
    assert (
        allocations.networks["a"].endpoints["x"].address6
        == first.networks["a"].endpoints["x"].address6
    )
    assert allocations.networks["b"] == first.networks["b"]


def test_who_gets_no_address_is_named_even_where_nobody_has_checked_the_intent() -> None:
    allocations, findings = allocate(intent({"n": net("a", "b", "c")}), Allocations())
    assert [(item.code, item.path) for item in findings] == [
        ("pool-exhausted", "networks.n.endpoints")
    ]
    assert findings[0].message.endswith("no address is left for b, c")
    assert list(allocations.networks["n"].endpoints) == ["a"]


@pytest.mark.parametrize(
    ("pools", "path"),
    [
        ({"ports": "51820-51820"}, "gateway.pools.ports"),
        ({"vcids": "5-5"}, "gateway.pools.vcids"),
        ({"routing_tables": "7-7"}, "gateway.pools.routing_tables"),
        ({"transit": "198.19.0.0/31"}, "gateway.pools.transit"),
        ({"subnets": {"secure-internet": "10.1.0.0/31"}}, "gateway.pools.subnets.secure-internet"),
    ],
)
def test_an_exhausted_pool_names_its_key(pools: dict[str, Any], path: str) -> None:
    assert codes({"a": net(), "b": net()}, **pools) == [("pool-exhausted", path)]


def test_a_fixed_address_places_an_automatic_subnet() -> None:
    one = given({"n": net("a", expected_users=6, gateway_address="10.100.7.1")}).networks["n"]
    assert one.subnet == IPv4Network("10.100.7.0/29")


def test_an_address_outside_of_the_held_subnet_is_a_finding() -> None:
    first = given({"n": net("a", expected_users=6)})
    body = net("a", expected_users=6)
    body["endpoints"]["a"]["address"] = "10.100.9.1"
    _, findings = allocate(intent({"n": body}), first)
    assert findings[0].code == "address-outside-subnet" and "10.100.0.0/29" in findings[0].message


def test_a_global_prefix_is_used_and_a_small_one_refused() -> None:
    one = given({"n": net("a", subnet6="2001:db8:7::/64")}).networks["n"]
    assert str(one.endpoints["a"].address6) == "2001:db8:7::2"
    assert codes({"n": net("a", "b", expected_users=2, subnet6="2001:db8:7::/127")}) == [
        ("subnet6-too-small", "networks.n.subnet6")
    ]


def test_explicit_address6_is_gone_around() -> None:
    body = net("a", "b", expected_users=2)
    body["endpoints"]["b"]["address6"] = "2001:db8:7::2"
    one = given({"n": {**body, "subnet6": "2001:db8:7::/64"}}).networks["n"]
    assert len({e.address6 for e in one.endpoints.values()} | {one.gateway_address6}) == 3


def test_the_transit_links_ipv6_side() -> None:
    assert transit6(IPv4Network("198.19.0.2/31")) == IPv6Network("fd77:6172:7064::c613:2/127")


def test_default_sizes() -> None:
    kinds = (
        "secure-internet",
        "l2-point-to-point",
        "l2-mesh",
        "l3vpn-gateway",
        "remote-resource-gateway",
    )
    networks = intent({kind: {"type": kind} for kind in kinds}).networks
    assert [expected_users(networks[kind]) for kind in kinds] == [1, 2, 254, 254, 254]


def test_twenty_hash_seeds_give_the_same_bytes() -> None:
    body = {"version": 1, "networks": {f"n{i}": net("b", "a", expected_users=3) for i in range(8)}}
    program = (
        "import json,sys\nfrom warpd.intent.model import Intent\nfrom warpd.allocation.allocator"
        " import allocate\n"
        "from warpd.allocation.model import Allocations\nfrom warpd.allocation.state_json import"
        " to_json\n"
        "print(to_json(allocate(Intent.model_validate(json.loads(sys.argv[1])),Allocations())[0]))"
    )
    seen = set()
    for seed in range(20):
        done = subprocess.run(
            [sys.executable, "-c", program, json.dumps(body)],
            env={"PYTHONHASHSEED": str(seed), "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        seen.add(done.stdout)
    print(f"distinct allocations over 20 hash seeds: {len(seen)}")
    assert len(seen) == 1


def test_what_allocations_cost_follows_the_number_of_endpoints() -> None:
    def made(each: int) -> Callable[[], object]:
        names = [f"e{n:04}" for n in range(each)]
        nets = {f"n{i:03}": net(*names, expected_users=1000) for i in range(10)}
        big = intent(nets, ports="40000-41000", subnets={"secure-internet": "10.0.0.0/8"})
        return lambda: allocate(big, Allocations())

    def kept(each: int) -> Callable[[], object]:
        names = [f"e{n:04}" for n in range(each)]
        nets = {f"n{i:03}": net(*names, expected_users=1000) for i in range(10)}
        big = intent(nets, ports="40000-41000", subnets={"secure-internet": "10.0.0.0/8"})
        held, findings = allocate(big, Allocations())
        assert findings == () and allocate(big, held)[0] == held
        return lambda: allocate(big, held)

    new, again = growth(made, 200), growth(kept, 200)
    print(f"twice the endpoints: {new:.2f} times the calls when new, {again:.2f} when kept")
    assert new < 2.5 and again < 2.5
