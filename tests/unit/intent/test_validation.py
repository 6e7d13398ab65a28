"""Rules between objects: what must be let through. What must be refused stands in `tests/bad`."""

from __future__ import annotations

from typing import Any

import pytest

from warpd.intent.capacity import capacity
from warpd.intent.model import Intent
from warpd.intent.validation import check

EVERY_TYPE: dict[str, Any] = {
    "version": 1,
    "gateway": {
        "name": "gw-fra1",
        "public_endpoint": "vpn.example.com",
        "dns": ["9.9.9.9", "2620:fe::fe"],
    },
    "networks": {
        "privacy": {
            "type": "secure-internet",
            "expected_users": 6,
            "peer_communication": False,
            "endpoints": {
                "phone-1": {"type": "mobile"},
                "laptop-1": {
                    "type": "mobile",
                    "public_key": "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
                },
            },
        },
        "corp": {
            "type": "remote-resource-gateway",
            "resources": [
                {"subnet": "172.20.0.0/16", "protocol": "tcp", "ports": [443, "8000-8100"]},
                {"subnet": "172.21.1.5/32"},
                {"subnet": "192.168.77.0/24", "via": "hq-router"},
            ],
            "endpoints": {
                "laptop-2": {"type": "mobile"},
                "hq-router": {"type": "cpe", "routes": ["192.168.77.0/24"]},
            },
        },
        "sites": {
            "type": "l3vpn-gateway",
            "isolation": "vrf",
            "endpoints": {
                "berlin": {"type": "cpe", "routes": ["192.168.10.0/24", "fd00:10::/64"]},
                "paris": {
                    "type": "gateway",
                    "routes": ["192.168.20.0/24"],
                    "endpoint": "198.51.100.7:51820",
                    "keepalive": 25,
                },
            },
        },
        "wire": {
            "type": "l2-point-to-point",
            "vlan_range": "100-110",
            "endpoints": {"left": {"type": "cpe"}, "right": {"type": "cpe"}},
        },
        "campus": {
            "type": "l2-mesh",
            "vlan_id": 100,
            "expected_users": 30,
            "endpoints": {"a": {"type": "cpe"}, "b": {"type": "cpe"}, "c": {"type": "cpe"}},
        },
    },
}


def codes(networks: dict[str, Any], gateway: dict[str, Any] | None = None) -> list[str]:
    intent = Intent.model_validate({"version": 1, "networks": networks, "gateway": gateway or {}})
    return [finding.code for finding in check(intent)]


def mobiles(count: int) -> dict[str, Any]:
    return {f"e{number}": {"type": "mobile"} for number in range(count)}


def test_every_type_side_by_side_is_sound() -> None:
    assert check(Intent.model_validate(EVERY_TYPE)) == ()


def test_findings_do_not_depend_on_the_order_of_the_file() -> None:
    networks = {
        name: {
            "type": "l2-mesh",
            "port": 51821,
            "vlan_id": 5,
            "subnet": "10.9.0.0/30",
            "endpoints": mobiles(3),
        }
        for name in ("c", "a", "b")
    }
    intent = Intent.model_validate({"version": 1, "networks": networks})
    turned = Intent.model_validate({"version": 1, "networks": dict(reversed(networks.items()))})
    assert check(intent) == check(turned) != ()


def test_networks_may_overlap_each_other() -> None:
    same = {"type": "secure-internet", "subnet": "10.9.0.0/24", "subnet6": "fd00:9::/64"}
    ends = {"endpoints": {"e": {"type": "mobile", "address": "10.9.0.7", "address6": "fd00:9::7"}}}
    assert codes({"a": {**same, **ends}, "b": {**same, **ends}}) == []


def test_one_network_without_nat_may_overlap_one_with_it() -> None:
    same = {"type": "secure-internet", "subnet": "10.9.0.0/24"}
    assert codes({"a": {**same, "nat": False}, "b": same}) == []
    assert codes({"a": {**same, "nat": False}, "b": {**same, "nat": False}}) == ["return-path"]


@pytest.mark.parametrize(("prefix", "room"), [(31, 1), (30, 2), (29, 6), (28, 14), (24, 254)])
def test_a_subnet_holds_what_the_contract_says(prefix: int, room: int) -> None:
    assert capacity(prefix) == room
    network = {"type": "secure-internet", "subnet": f"10.9.0.0/{prefix}"}
    assert codes({"n": {**network, "endpoints": mobiles(room)}}) == []
    assert codes({"n": {**network, "endpoints": mobiles(room + 1)}}) == ["subnet-too-small"]


@pytest.mark.parametrize(
    ("kind", "room"),
    [
        ("secure-internet", 1),
        ("remote-resource-gateway", 254),
        ("l3vpn-gateway", 254),
        ("l2-point-to-point", 2),
    ],
)
def test_how_many_endpoints_an_automatic_subnet_takes(kind: str, room: int) -> None:
    extra = (
        {"resources": [{"subnet": "172.20.0.0/16"}]} if kind == "remote-resource-gateway" else {}
    )
    assert codes({"n": {"type": kind, **extra, "endpoints": mobiles(room)}}) == []
    assert codes({"n": {"type": kind, **extra, "endpoints": mobiles(room + 1)}}) == [
        "too-many-endpoints"
    ]


def test_the_number_to_write_is_named() -> None:
    intent = Intent.model_validate(
        {"version": 1, "networks": {"n": {"type": "secure-internet", "endpoints": mobiles(7)}}}
    )
    assert check(intent)[0].hint == "write expected_users: 7"


def test_one_vlan_id_in_two_networks_where_the_scope_is_the_network() -> None:
    networks = {name: {"type": "l2-mesh", "vlan_id": 100} for name in ("a", "b")}
    assert codes(networks) == ["vlan-twice"]
    assert codes(networks, {"vlan_scope": "network"}) == []


def test_small_mtu_without_ipv6() -> None:
    assert codes({"n": {"type": "secure-internet", "mtu": 1000, "ipv6": False}}) == []
    assert codes({"n": {"type": "secure-internet", "mtu": 1000}}) == ["mtu-ipv6"]


def test_the_ends_of_a_subnet_are_ordinary_addresses() -> None:
    ends = {
        "e": {"type": "mobile", "address": "10.9.0.0"},
        "f": {"type": "mobile", "address": "10.9.0.7"},
    }
    network = {
        "type": "secure-internet",
        "subnet": "10.9.0.0/29",
        "gateway_address": "10.9.0.1",
        "endpoints": ends,
    }
    assert codes({"n": network}) == []


def test_the_gateways_ipv6_address_is_taken() -> None:
    ends = {"e": {"type": "mobile", "address6": "fd00:9::1"}}
    assert codes(
        {"n": {"type": "secure-internet", "subnet6": "fd00:9::/64", "endpoints": ends}}
    ) == ["address-twice"]


def test_widening_a_pool_as_told_is_enough() -> None:
    networks = {f"n{number}": {"type": "l2-mesh"} for number in range(12)}
    assert codes(networks) == ["pool-exhausted"]
    assert codes(networks, {"pools": {"ports": "51820-51831"}}) == []


def test_every_overlap_of_many_routes_is_found() -> None:
    routes = [
        "10.0.0.0/12",
        "10.1.0.0/16",
        "10.2.3.0/24",
        "192.168.0.0/24",
        "fd00::/48",
        "fd00:0:0:1::/64",
    ]
    ends = {f"e{number}": {"type": "cpe", "routes": [route]} for number, route in enumerate(routes)}
    assert codes({"n": {"type": "l3vpn-gateway", "endpoints": ends}}) == ["overlap"] * 3
    same = {"a": {"type": "cpe", "routes": ["10.1.0.0/16", "10.1.0.0/16"]}}
    assert codes({"n": {"type": "l3vpn-gateway", "endpoints": same}}) == ["overlap"]


def test_disabled_networks_keep_their_numbers() -> None:
    networks = {
        name: {"type": "l2-mesh", "port": 51821, "enabled": name == "a"} for name in ("a", "b")
    }
    assert codes(networks) == ["port-twice"]


@pytest.mark.parametrize(("different", "is_refused"), [(255, False), (256, True)])
def test_different_limits_have_a_bound(different: int, is_refused: bool) -> None:
    endpoints = {
        f"e{n}": {"type": "mobile", "limits": {"connections": n}} for n in range(1, different + 1)
    }
    network = {"type": "secure-internet", "expected_users": 300, "endpoints": endpoints}
    found = check(Intent.model_validate({"version": 1, "networks": {"a": network}}))
    assert ("too-many-limits" in {item.code for item in found}) == is_refused
