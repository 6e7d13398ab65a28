"""What each network type's clients are told: AllowedIPs, name servers, routes, and the Ethernet
part.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests import clients, world
from tests.clients import config_of
from warpd.clients.segment import segment
from warpd.errors import WarpError
from warpd.intent.types import VCID_MAX


def allowed(kind: str, endpoint: str = "", **fields: Any) -> tuple[str, ...]:
    return clients.made(kind, endpoint, **fields).allowed_ips


def test_secure_internet_takes_everything() -> None:
    assert allowed("secure-internet") == ("0.0.0.0/0", "::/0")
    assert allowed("secure-internet", ipv6=False) == ("0.0.0.0/0", "::/0")


def test_resources_and_the_gateway() -> None:
    four, six = clients.gateway_addresses("remote-resource-gateway")
    got = allowed("remote-resource-gateway")
    assert got == (
        f"{four}/32",
        "172.20.0.0/16",
        "192.168.77.0/24",
        "2001:db8:7::/64",
        f"{six}/128",
    )
    assert allowed("remote-resource-gateway", ipv6=False) == (
        f"{four}/32",
        "172.20.0.0/16",
        "192.168.77.0/24",
    )


def test_the_router_of_resources_hears_from_the_clients_and_not_from_behind_itself() -> None:
    _, allocations = clients.given("remote-resource-gateway")
    net = allocations.networks["net"]
    got = allowed("remote-resource-gateway", "hq")
    assert {str(net.subnet), str(net.subnet6), f"{net.gateway_address}/32", "172.20.0.0/16"} <= set(
        got
    )
    assert "192.168.77.0/24" not in got
    laptop = set(allowed("remote-resource-gateway", "laptop"))
    assert str(net.subnet) not in laptop


@pytest.mark.parametrize("gone", [{"enabled": False}, {"expires": world.TODAY.isoformat()}])
def test_who_is_not_in_force_brings_no_routes(gone: dict[str, Any]) -> None:
    hq = {**clients.HQ, **gone}
    endpoints = {"laptop": {"type": "mobile"}, "hq": hq}
    assert "192.168.77.0/24" not in allowed("remote-resource-gateway", endpoints=endpoints)
    sites = {**clients.SITES, "paris": {**clients.SITES["paris"], **gone}}
    assert "192.168.20.0/24" in allowed("l3vpn-gateway")
    assert "192.168.20.0/24" not in allowed("l3vpn-gateway", endpoints=sites)


def test_who_expires_later_does() -> None:
    sites = {**clients.SITES, "paris": {**clients.SITES["paris"], "expires": "2026-01-02"}}
    assert "192.168.20.0/24" in allowed("l3vpn-gateway", endpoints=sites)


def test_l3vpn_knows_the_subnets_and_every_others_routes() -> None:
    net = clients.given("l3vpn-gateway")[1].networks["net"]
    assert set(allowed("l3vpn-gateway", "berlin")) == {
        str(net.subnet),
        str(net.subnet6),
        "192.168.20.0/24",
    }
    paris = {str(net.subnet), str(net.subnet6), "192.168.10.0/24", "fd00:10::/64"}
    assert set(allowed("l3vpn-gateway", "paris")) == paris
    assert set(allowed("l3vpn-gateway", "paris", ipv6=False)) == {
        str(net.subnet),
        "192.168.10.0/24",
    }
    assert clients.made("l3vpn-gateway", "berlin").routes == ("192.168.10.0/24", "fd00:10::/64")


def test_the_order_is_that_of_the_addresses_not_of_the_file() -> None:
    sites = {"paris": clients.SITES["paris"], "berlin": clients.SITES["berlin"]}
    assert allowed("l3vpn-gateway", "paris", endpoints=sites) == allowed("l3vpn-gateway", "paris")
    resources = clients.RESOURCES[::-1]
    assert allowed("remote-resource-gateway", resources=resources) == allowed(
        "remote-resource-gateway"
    )


def test_a_wide_and_a_narrow_resource_stay_apart() -> None:
    resources = [{"subnet": "172.20.0.0/16"}, {"subnet": "172.20.1.0/24"}]
    assert {"172.20.0.0/16", "172.20.1.0/24"} <= set(
        allowed("remote-resource-gateway", resources=resources)
    )


@pytest.mark.parametrize("kind", ["l2-point-to-point", "l2-mesh"])
def test_l2_reaches_the_gateway_only(kind: str) -> None:
    four, six = clients.gateway_addresses(kind)
    assert allowed(kind) == (f"{four}/32", f"{six}/128")
    assert allowed(kind, ipv6=False) == (f"{four}/32",)


def test_name_servers_where_there_is_internet_or_they_are_said() -> None:
    for kind in clients.NETWORKS:
        assert bool(clients.made(kind).dns) == (kind == "secure-internet")
        assert clients.made(kind, dns=["10.9.9.9", "fd00::9"]).dns == ("10.9.9.9", "fd00::9")
        assert clients.made(kind, dns=["10.9.9.9", "fd00::9"], ipv6=False).dns == ("10.9.9.9",)
        assert clients.made(kind, dns=[]).dns == ()


def test_the_ethernet_part() -> None:
    wire, mesh = clients.made("l2-point-to-point").segment, clients.made("l2-mesh", "b").segment
    assert wire is not None and mesh is not None
    assert (wire.kind, wire.vni, wire.mtu, wire.carrier_mtu) == (
        "gretap",
        None,
        1500,
        1500 + 4 + 14 + 4 + 20,
    )
    assert (mesh.kind, mesh.vni, mesh.port, mesh.carrier_mtu) == (
        "vxlan",
        clients.VNI + 1,
        4789,
        1500 + 4 + 14 + 16 + 20,
    )
    assert mesh.remote == clients.gateway_addresses("l2-mesh")[0]
    assert mesh.local == clients.made("l2-mesh", "b").addresses[0].removesuffix("/32")
    for kind in ("secure-internet", "remote-resource-gateway", "l3vpn-gateway"):
        assert clients.made(kind).segment is None


@pytest.mark.parametrize("kind", ["l2-point-to-point", "l2-mesh"])
def test_names_fit_the_kernel_with_the_longest_vcid(kind: str) -> None:
    config = clients.made(kind, vcid=VCID_MAX)
    assert config.segment is not None
    for name in (config.device, config.segment.device, config.segment.bridge):
        assert len(name) <= 15 and str(VCID_MAX) in name


def test_a_mesh_without_vnis_has_no_config() -> None:
    net = clients.given("l2-mesh")[1].networks["net"]
    bare = replace(
        net,
        endpoints={name: replace(endpoint, vni=None) for name, endpoint in net.endpoints.items()},
    )
    with pytest.raises(WarpError) as caught:
        segment("l2-mesh", bare, "a")
    assert caught.value.code == "vni-missing"


def test_the_port_chosen_on_the_device_is_no_new_version() -> None:
    config = clients.made("l2-mesh")
    chosen = config.with_port("eth1")
    assert chosen.segment is not None and chosen.segment.lan_port == "eth1"
    assert chosen.digest() == config.digest() and chosen.masked() == config.masked()
    with pytest.raises(WarpError) as caught:
        clients.made("l3vpn-gateway").with_port("eth1")
    assert caught.value.code == "no-segment"


def test_what_is_kept_of_a_version_shows_that_a_key_changed_and_no_key() -> None:
    config = clients.made("secure-internet")
    assert config.private_key is not None and config.shared_text is not None
    kept = str(config.masked())
    assert config.private_text not in kept and config.shared_text not in kept
    assert config.private_key.reveal().hex()[:8] not in kept
    rotated = {"phone": {"type": "mobile", "rotation": 1}, "tablet": {"type": "mobile"}}
    other = clients.made("secure-internet", endpoints=rotated).masked()
    assert {key for key in other if other[key] != config.masked()[key]} == {
        "private_key",
        "preshared_key",
    }


def test_without_a_date_nobody_has_expired() -> None:
    intent, allocations = clients.given("l3vpn-gateway")
    got = config_of(intent, allocations, world.MASTER, "net", "berlin", public_host="h", mtu=1420)
    assert "192.168.20.0/24" in got.allowed_ips
