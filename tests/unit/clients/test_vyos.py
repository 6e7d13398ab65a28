"""The VyOS format: each `set` command against the tree of VyOS' interface definitions, its value
types and the rules that VyOS checks at commit (TTL 0 beside no-pmtu-discovery, ignore-df only with
it).
"""

from __future__ import annotations

import re
import shlex
from ipaddress import ip_address, ip_interface, ip_network
from itertools import pairwise

import pytest

from tests import clients
from warpd.clients import vyos
from warpd.clients.config import ClientConfig
from warpd.intent.types import VCID_MAX

KEY = r"[A-Za-z0-9+/]{43}="
ADDRESS, PREFIX, HOST, NUMBER = r"[0-9a-f.:]+", r"[0-9a-f.:]+/\d+", r"[a-z0-9.-]+", r"\d+"
WG, TUN, VXLAN, BR, PORT = r"wg\d+", r"tun\d+", r"vxlan\d+", r"br\d+", r"(?:eth|tun|vxlan)\d+"
KNOWN = [
    rf"interfaces (?:wireguard {WG}|tunnel {TUN}|vxlan {VXLAN}|bridge {BR}) description .{{1,255}}",
    rf"interfaces wireguard {WG} (?:address {PREFIX}|mtu {NUMBER}|port {NUMBER}|private-key {KEY})",
    rf"interfaces wireguard {WG} peer gateway (?:public-key|preshared-key) {KEY}",
    rf"interfaces wireguard {WG} peer gateway (?:address {ADDRESS}|host-name {HOST}|port {NUMBER})",
    (
        rf"interfaces wireguard {WG} peer gateway (?:allowed-ips {PREFIX}|persistent-keepalive"
        rf" {NUMBER})"
    ),
    (
        rf"interfaces tunnel {TUN} (?:encapsulation gretap|source-address {ADDRESS}|remote"
        rf" {ADDRESS}|mtu {NUMBER})"
    ),
    rf"interfaces tunnel {TUN} parameters ip (?:no-pmtu-discovery|ignore-df|ttl \d+)",
    (
        rf"interfaces vxlan {VXLAN} (?:vni {NUMBER}|port {NUMBER}|source-address {ADDRESS}|remote"
        rf" {ADDRESS}|mtu {NUMBER})"
    ),
    rf"interfaces vxlan {VXLAN} parameters (?:nolearning|ip df unset)",
    rf"interfaces bridge {BR} member interface {PORT}",
    rf"protocols static (?:table {NUMBER} )?(?:route|route6) {PREFIX} interface {WG}",
    (
        rf"policy (?:route|route6) warp\d+ rule {NUMBER} (?:destination address {PREFIX}|set table"
        rf" (?:main|{NUMBER}))"
    ),
    (
        rf"(?:nat|nat66) source rule {NUMBER} (?:description .+|outbound-interface name"
        rf" {WG}|translation address masquerade)"
    ),
]
GRAMMAR = re.compile("|".join(f"(?:{pattern})" for pattern in KNOWN))


def commands(config: ClientConfig) -> list[str]:
    lines = [line for line in vyos.text(config).splitlines() if not line.startswith("#")]
    assert all(line.startswith("set ") for line in lines)
    return [" ".join(shlex.split(line)[1:]) for line in lines]


def values(config: ClientConfig, path: str) -> list[str]:
    return [
        line.removeprefix(f"{path} ") for line in commands(config) if line.startswith(f"{path} ")
    ]


@pytest.mark.parametrize("host", ["vpn.example.com", "2001:db8::1"])
@pytest.mark.parametrize("kind", clients.NETWORKS)
def test_every_command_is_in_the_tree(kind: str, host: str) -> None:
    config = clients.made(kind, host=host, vcid=VCID_MAX)
    if config.segment:
        config = config.with_port("eth1")
    made = commands(config)
    assert len(set(made)) == len(made)
    for line in made:
        assert GRAMMAR.fullmatch(line), line


@pytest.mark.parametrize("kind", clients.NETWORKS)
def test_values_are_in_their_bounds(kind: str) -> None:
    config = clients.made(kind)
    for line in commands(config):
        words = line.split()
        for key, low, high in (
            ("mtu", 1200, 16000),
            ("rule", 1, 999_999),
            ("table", 1, 200),
            ("vni", 0, 2**24 - 2),
        ):
            numbers = [
                int(after) for word, after in pairwise(words) if word == key and after.isdigit()
            ]
            assert all(low <= number <= high for number in numbers), line
        for prefix in (word for word in words if "/" in word and re.fullmatch(PREFIX, word)):
            assert ip_interface(prefix)


@pytest.mark.parametrize("kind", clients.NETWORKS)
def test_the_peer_reads_back(kind: str) -> None:
    config = clients.made(kind, host="198.51.100.7")
    at = f"interfaces wireguard wg{config.vcid}"
    assert values(config, f"{at} private-key") == [config.private_text]
    assert values(config, f"{at} peer gateway public-key") == [config.gateway_public_key]
    assert values(config, f"{at} peer gateway preshared-key") == [config.shared_text]
    assert tuple(values(config, f"{at} peer gateway allowed-ips")) == config.allowed_ips
    assert ip_address(values(config, f"{at} peer gateway address")[0])
    assert tuple(values(config, f"{at} address")) == config.addresses


def test_each_family_has_its_own_words() -> None:
    config = clients.made("l3vpn-gateway", "paris")
    four = [value.split()[0] for value in values(config, "protocols static route")]
    six = [value.split()[0] for value in values(config, "protocols static route6")]
    assert (*four, *six) == config.allowed_ips
    assert {ip_network(each).version for each in four} == {4} and {
        ip_network(each).version for each in six
    } == {6}


def test_everything_through_the_tunnel_for_what_comes_from_the_inside() -> None:
    config = clients.made("secure-internet")
    assert values(config, "protocols static route") == []
    (table,) = {value.split()[0] for value in values(config, "protocols static table")}
    for kind in ("route", "route6"):
        rules = values(config, f"policy {kind} warp{config.vcid}")
        assert rules[-1] == f"rule 100 set table {table}"
        assert all(rule.endswith("set table main") for rule in rules[1:-1:2])
    assert f"set policy route warp{config.vcid} interface LAN" in vyos.text(config)
    assert len([line for line in commands(config) if line.endswith("masquerade")]) == 2


def test_a_gretap_that_ignores_an_inner_df_as_vyos_demands() -> None:
    config = clients.made("l2-point-to-point").with_port("eth1")
    at = f"interfaces tunnel tun{config.vcid} parameters ip"
    assert sorted(values(config, at)) == ["ignore-df", "no-pmtu-discovery", "ttl 0"]
    assert values(config, f"interfaces bridge br{config.vcid} member interface") == [
        f"tun{config.vcid}",
        "eth1",
    ]
