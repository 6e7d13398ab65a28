"""The RouterOS format: a parser of its scripts' grammar as far as it is used, and the properties
that each menu has in MikroTik's documentation (WireGuard, VXLAN, bridge, routing table and rule,
address, route, firewall).
"""

from __future__ import annotations

import re

import pytest

from tests import clients
from warpd.clients import mikrotik
from warpd.clients.config import ClientConfig
from warpd.errors import WarpError

KNOWN = {
    "/interface wireguard": {"name", "mtu", "listen-port", "private-key"},
    "/interface wireguard peers": {
        *("interface", "public-key", "preshared-key", "endpoint-address"),
        *("endpoint-port", "allowed-address", "persistent-keepalive"),
    },
    "/interface vxlan": {"name", "vni", "port", "mtu", "local-address", "dont-fragment"},
    "/interface vxlan vteps": {"interface", "remote-ip", "port"},
    "/interface bridge": {"name", "protocol-mode", "mtu"},
    "/interface bridge port": {"bridge", "interface"},
    "/ip address": {"address", "interface"},
    "/ipv6 address": {"address", "interface", "advertise"},
    "/ip route": {"dst-address", "gateway", "routing-table"},
    "/ipv6 route": {"dst-address", "gateway", "routing-table"},
    "/routing table": {"name", "fib"},
    "/routing rule": {"action", "table", "min-prefix", "dst-address"},
    "/ip firewall nat": {"chain", "out-interface", "action"},
    "/ipv6 firewall nat": {"chain", "out-interface", "action"},
    "/ip firewall filter": {
        *("chain", "action", "in-interface", "protocol", "dst-port", "src-address", "place-before"),
    },
}
WORD = re.compile(
    r'([a-z0-9-]+)(?:=("(?:[^"\\$]|\\["\\$])*"|\([^)]*\)|[A-Za-z0-9./:,-]+))?(?: |\Z)'
)
LINE = re.compile(r"(/[a-z0-9 ]+?) add (.*)\Z")
TRIED = re.compile(r":do \{ (.*?) \} on-error=\{ (.*?) \}\Z")
Command = tuple[str, dict[str, str]]


def commands(text: str) -> list[Command]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return [command(part) for line in lines for part in parts(line)]


def parts(line: str) -> tuple[str, ...]:
    tried = TRIED.match(line)
    return tried.groups() if tried else (line,)


def command(line: str) -> Command:
    found = LINE.match(line)
    assert found, line
    menu, rest = found.groups()
    properties: dict[str, str] = {}
    at = 0
    while at < len(rest):
        word = WORD.match(rest, at)
        assert word, rest[at:]
        assert word[1] not in properties
        properties[word[1]] = (
            re.sub(r'\\(["\\$])', r"\1", word[2][1:-1])
            if (word[2] or "").startswith('"')
            else word[2] or ""
        )
        at = word.end()
    return menu, properties


def of(config: ClientConfig, menu: str) -> list[dict[str, str]]:
    return [properties for name, properties in commands(mikrotik.text(config)) if name == menu]


@pytest.mark.parametrize("kind", [kind for kind in clients.NETWORKS if kind != "l2-point-to-point"])
def test_every_menu_and_property_is_known_and_ours_are_marked(kind: str) -> None:
    config = clients.made(kind)
    if config.segment:
        config = config.with_port("ether2")
    for menu, properties in commands(mikrotik.text(config)):
        assert set(properties) - {"comment"} <= KNOWN[menu], menu
        assert menu == "/routing table" or properties["comment"] == config.title


@pytest.mark.parametrize("host", ["vpn.example.com", "198.51.100.7", "2001:db8::1"])
def test_the_peer_reads_back(host: str) -> None:
    config = clients.made("l3vpn-gateway", host=host)
    (device,), (peer,) = (
        of(config, "/interface wireguard"),
        of(config, "/interface wireguard peers"),
    )
    assert device["private-key"] == config.private_text and device["name"] == peer["interface"]
    assert (peer["public-key"], peer["preshared-key"]) == (
        config.gateway_public_key,
        config.shared_text,
    )
    assert (peer["endpoint-address"], peer["endpoint-port"]) == (host, str(config.host_port[1]))
    assert tuple(peer["allowed-address"].split(",")) == config.allowed_ips
    routes = [*of(config, "/ip route"), *of(config, "/ipv6 route")]
    assert {route["dst-address"] for route in routes} == set(config.allowed_ips)


@pytest.mark.parametrize(
    ("host", "outside"),
    [
        ("198.51.100.7", "198.51.100.7/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("vpn.example.com", '([:resolve "vpn.example.com"] . "/32")'),
    ],
)
def test_everything_through_the_tunnel_but_the_tunnel_itself(host: str, outside: str) -> None:
    config = clients.made("secure-internet", host=host)
    near, gateway, rest = of(config, "/routing rule")
    assert (near["table"], near["min-prefix"], near["action"]) == ("main", "0", "lookup")
    assert (gateway["table"], gateway["dst-address"]) == ("main", outside)
    assert rest["table"] == of(config, "/routing table")[0]["name"] and "dst-address" not in rest
    routes = [*of(config, "/ip route"), *of(config, "/ipv6 route")]
    assert {route["routing-table"] for route in routes} == {rest["table"]}
    assert [nat["action"] for nat in of(config, "/ip firewall nat")] == ["masquerade"]


def test_a_site_with_routes_is_not_hidden() -> None:
    assert of(clients.made("l3vpn-gateway", "berlin"), "/ip firewall nat") == []


def test_a_mesh() -> None:
    config = clients.made("l2-mesh", mtu=1560).with_port("ether2")
    assert config.segment is not None
    (tunnel,), (peer,) = of(config, "/interface vxlan"), of(config, "/interface vxlan vteps")
    assert (tunnel["vni"], tunnel["port"], tunnel["mtu"]) == (
        str(config.segment.vni),
        "4789",
        "1500",
    )
    assert (tunnel["local-address"], peer["remote-ip"]) == (
        config.segment.local,
        config.segment.remote,
    )
    ports = of(config, "/interface bridge port")
    assert {port["interface"] for port in ports} == {tunnel["name"], "ether2"}
    assert {rule.get("place-before") for rule in of(config, "/ip firewall filter")} == {"0", None}


def test_gretap_is_refused_with_a_way_out() -> None:
    with pytest.raises(WarpError, match="GRETAP") as caught:
        mikrotik.text(clients.made("l2-point-to-point"))
    assert caught.value.code == "format-cannot" and "l2-mesh" in caught.value.hint


def test_the_grammar_refuses_what_is_broken() -> None:
    for line in (
        "/ip route add dst-address=<x>",
        '/ip route add comment="a$b"',
        "/ip route dst-address=1.2.3.4",
        'add a="b',
    ):
        with pytest.raises(AssertionError):
            command(line)
