"""The shape of the YAML: defaults, what is taken and what is refused."""

from __future__ import annotations

import json
from datetime import date
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any

import pytest
from pydantic import ValidationError

from warpd.intent.model import Endpoint, Gateway, Intent, Network
from warpd.intent.network_types import NETWORK_TYPES
from warpd.intent.types import Range, is_host, is_host_port, is_link_name

KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="


def network(**fields: Any) -> Network:
    return Network.model_validate({"type": "l2-mesh", **fields})


def test_the_least_that_can_be_written() -> None:
    intent = Intent.model_validate({"version": 1, "networks": {}})
    pools = intent.gateway.pools
    assert (pools.ports, pools.vcids) == (Range(51820, 51829), Range(10000000, 99999999))
    assert (pools.routing_tables, pools.transit) == (
        Range(1000, 32000),
        IPv4Network("198.19.0.0/16"),
    )
    assert {kind: str(pool) for kind, pool in pools.subnets.items()} == {
        "secure-internet": "10.100.0.0/16",
        "remote-resource-gateway": "10.200.0.0/16",
        "l3vpn-gateway": "10.50.0.0/16",
        "l2-point-to-point": "10.60.0.0/16",
        "l2-mesh": "10.70.0.0/16",
    }
    gateway = intent.gateway
    assert (gateway.public_endpoint, gateway.uplink, gateway.isolation) == (
        "auto",
        "auto",
        "namespace",
    )
    assert (gateway.wireguard, gateway.vlan_scope) == ("auto", "gateway")
    assert [str(server) for server in gateway.dns] == ["9.9.9.9", "2620:fe::fe"]


def test_one_pool_given_keeps_the_others() -> None:
    gateway = Gateway.model_validate({"pools": {"subnets": {"l2-mesh": "10.7.0.0/24"}}})
    assert len(gateway.pools.subnets) == len(NETWORK_TYPES)
    assert gateway.pools.subnets["l2-mesh"] == IPv4Network("10.7.0.0/24")


def test_defaults_of_a_network_and_an_endpoint() -> None:
    plain = network(endpoints={"e": {"type": "cpe"}})
    assert plain.enabled and plain.ipv6 and plain.nat and plain.nat6
    assert plain.allow_private == () and plain.peer_communication is None
    end = plain.endpoints["e"]
    assert end.enabled and end.preshared_key and end.rotation == 0 and end.keepalive is None


def test_values_become_addresses() -> None:
    fields = {
        "subnet": "10.1.0.0/29",
        "gateway_address": "10.1.0.1",
        "allow_private": ["10.0.0.0/8", "fc00::/7"],
    }
    got = network(**fields, vlan_range="100-110", vni_pool=1)
    assert got.subnet == IPv4Network("10.1.0.0/29") and got.gateway_address == IPv4Address(
        "10.1.0.1"
    )
    assert got.allow_private == (IPv4Network("10.0.0.0/8"), IPv6Network("fc00::/7"))
    assert got.vlan_range == Range(100, 110) and got.vni_pool == Range(1, 1)
    end = Endpoint.model_validate({"type": "mobile", "expires": "2030-12-31", "public_key": KEY})
    assert end.expires == date(2030, 12, 31) and end.public_key == KEY


@pytest.mark.parametrize(
    "fields",
    [
        {"port": True},
        {"port": "51820"},
        {"port": 51820.0},
        {"ipv6": 1},
        {"ipv6": "true"},
        {"subnet": 10},
        {"subnet": "10.1.0.0/255.255.255.0"},
        {"subnet6": "fe80::%eth0/64"},
        {"gateway_address": 167772161},
        {"gateway_address": "010.1.2.3"},
        {"description": 5},
        {"type": ["l2-mesh"]},
        {"dns": "9.9.9.9"},
        {"vlan_range": True},
        {"vlan_range": "1-2-3"},
        {"bridge_name": "all"},
        {"bridge_name": "br lan"},
        {"endpoints": {"e": {"type": "cpe", "expires": 1893456000}}},
        {"endpoints": {"e": {"type": "cpe", "public_key": KEY + "\n"}}},
        {"endpoints": {"e\n": {"type": "cpe"}}},
        {"endpoints": {"": {"type": "cpe"}}},
    ],
)
def test_nothing_is_coerced(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        network(**fields)


# The first one's last character holds bits beyond 32 bytes: WireGuard refuses it too.
@pytest.mark.parametrize(
    "key",
    ["a" * 43 + "=", "A" * 43 + "=", KEY[:-1], KEY.replace("Dg=", "Dh="), KEY + "=", "é" * 44],
)
def test_what_is_no_public_key(key: str) -> None:
    with pytest.raises(ValidationError):
        Endpoint.model_validate({"type": "cpe", "public_key": key})


def test_a_wrong_key_is_not_in_the_error() -> None:
    with pytest.raises(ValidationError) as caught:
        Endpoint.model_validate(
            {"type": "cpe", "public_key": "c2VjcmV0", "preshared_key": "c2VjcmV0"}
        )
    assert "c2VjcmV0" not in str(caught.value)


@pytest.mark.parametrize("text", ["vpn.example.com", "gw", "203.0.113.1", "2001:db8::1", "a-1.b2"])
def test_hosts(text: str) -> None:
    assert is_host(text)


@pytest.mark.parametrize(
    "text",
    ["", "a..b", "-a.b", "a b", "203.0.113.256", "[2001:db8::1]", "fe80::1%eth0", "a" * 254, "a\n"],
)
def test_what_is_no_host(text: str) -> None:
    assert not is_host(text)


@pytest.mark.parametrize("text", ["198.51.100.7:51820", "[2001:db8::7]:1", "vpn.example.com:65535"])
def test_host_and_port(text: str) -> None:
    assert is_host_port(text)


@pytest.mark.parametrize(
    "text",
    ["h", "h:0", "h:65536", "2001:db8::7:51820", "[h]:1", "[1.2.3.4]:1", ":1", "h:1x", "h:1\n"],
)
def test_what_is_no_host_and_port(text: str) -> None:
    assert not is_host_port(text)


def test_link_names() -> None:
    assert is_link_name("enp0s31f6") and is_link_name("br-lan.100")
    assert not any(
        is_link_name(text) for text in ("", ".", "..", "a/b", "a:b", "x" * 16, "default", "a\n")
    )


def test_an_uplink_may_be_named_by_a_long_other_name() -> None:
    """The kernel's altnames are longer than its names: ALTIFNAMSIZ of linux/if.h."""
    for name in ("enp1s0f0np0longname", "x" * 127):
        assert Gateway(uplink=name).uplink == name and not is_link_name(name)
    for name in ("x" * 128, "\N{LATIN SMALL LETTER E WITH ACUTE}" * 64, "a/b" * 9, "a b"):
        with pytest.raises(ValidationError, match="is not a name for an interface"):
            Gateway(uplink=name)


def test_a_range_counts_both_ends() -> None:
    some = Range(5, 7)
    assert (len(some), list(some), str(some)) == (3, [5, 6, 7], "5-7")
    assert 5 in some and 7 in some and 8 not in some
    assert some.overlaps(Range(7, 9)) and not some.overlaps(Range(8, 9))


def test_the_intent_is_frozen_and_round_trips_as_json() -> None:
    body = {
        "version": 1,
        "networks": {"n": {"type": "l2-mesh", "vlan_range": "1-9", "subnet": "10.0.0.0/29"}},
    }
    intent = Intent.model_validate(body)
    with pytest.raises(ValidationError):
        intent.gateway = Gateway()  # type: ignore[misc]
    assert Intent.model_validate(json.loads(intent.model_dump_json())) == intent


def test_what_an_endpoint_says_of_its_own() -> None:
    own = {
        "address": "10.0.0.3",
        "address6": "fd00::3",
        "public_key": KEY,
        "preshared_key_file": "/psk",
    }
    own |= {"renamed_from": "x", "routes": ["10.9.0.0/24"]}
    plain = {
        "rotation": 3,
        "keepalive": 5,
        "expires": "2030-01-01",
        "enabled": False,
        "endpoint": "h:1",
        "description": "d",
    }
    ends = {
        f"{name.replace('_', '-')}": {"type": "cpe", name: value}
        for name, value in (plain | own).items()
    }
    network, other = (
        Network.model_validate({"type": "l3vpn-gateway", "endpoints": ends}) for _ in range(2)
    )
    assert list(network.explicit_endpoints) == sorted(name.replace("_", "-") for name in own)
    assert all(network.endpoints[name] is one for name, one in network.explicit_endpoints.items())
    assert network == other, "what was asked of one does not count"
    assert "particular" not in network.model_dump()
