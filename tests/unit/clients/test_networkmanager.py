"""The NetworkManager format: keyfiles as nm-settings-keyfile(5) and NMSettingWireGuard, -IPTunnel,
-Vxlan describe them.

NetworkManager itself reads it in the live tests.
"""

from __future__ import annotations

import configparser
import uuid

import pytest

from tests import clients
from warpd.clients import networkmanager
from warpd.clients.config import ClientConfig

KNOWN = {
    "connection": {"id", "uuid", "type", "interface-name", "master", "slave-type"},
    "wireguard": {"private-key", "mtu", "listen-port"},
    "wireguard-peer": {
        "endpoint",
        "preshared-key",
        "preshared-key-flags",
        "allowed-ips",
        "persistent-keepalive",
    },
    "ipv4": {"method", "address1", "dns", "dns-search"},
    "ipv6": {"method", "address1", "dns", "dns-search"},
    "bridge": {"stp"},
    "bridge-port": set(),
    "ethernet": {"mtu"},
    "ip-tunnel": {"mode", "local", "remote", "path-mtu-discovery", "mtu"},
    "vxlan": {"id", "local", "remote", "destination-port", "learning"},
}
TYPES = {"wireguard", "bridge", "ip-tunnel", "vxlan", "ethernet"}


def keyfiles(config: ClientConfig) -> list[configparser.RawConfigParser]:
    out = []
    for text in networkmanager.files(config).values():
        parser = configparser.RawConfigParser(delimiters="=", comment_prefixes="#", strict=True)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(text)
        out.append(parser)
    return out


@pytest.mark.parametrize("kind", clients.NETWORKS)
def test_every_group_and_key_is_known(kind: str) -> None:
    config = clients.made(kind)
    if config.segment:
        config = config.with_port("eth1")
    for file in keyfiles(config):
        assert file["connection"]["type"] in TYPES and file["connection"]["type"] in (
            *file.sections(),
            "ethernet",
        )
        for group in file.sections():
            assert set(file[group]) <= KNOWN[group.partition(".")[0]], group


@pytest.mark.parametrize("kind", clients.NETWORKS)
def test_the_peer_reads_back(kind: str) -> None:
    config = clients.made(kind)
    file = keyfiles(config)[0]
    peer = file[f"wireguard-peer.{config.gateway_public_key}"]
    assert peer["endpoint"] == config.dial and peer["preshared-key"] == config.shared_text
    assert tuple(peer["allowed-ips"].rstrip(";").split(";")) == config.allowed_ips
    assert file["wireguard"]["private-key"] == config.private_text
    assert (file["ipv4"]["address1"], file["ipv6"]["address1"]) == config.addresses


def test_without_ipv6_the_family_is_off() -> None:
    file = keyfiles(clients.made("l3vpn-gateway", ipv6=False))[0]
    assert dict(file["ipv6"]) == {"method": "disabled"}


def test_every_connection_keeps_its_own_uuid() -> None:
    config = clients.made("l2-mesh").with_port("eth1")
    ids = [file["connection"]["uuid"] for file in keyfiles(config)]
    assert len({uuid.UUID(each) for each in ids}) == len(ids) == 4
    later = clients.made("l2-mesh", host="other.example.com").with_port("eth1").numbered(9)
    assert [file["connection"]["uuid"] for file in keyfiles(later)] == ids
    assert clients.made("l2-mesh", "b").endpoint == "b"
    other = {file["connection"]["uuid"] for file in keyfiles(clients.made("l2-mesh", "b"))}
    assert not other & set(ids)


@pytest.mark.parametrize("kind", ["l2-point-to-point", "l2-mesh"])
def test_ports_belong_to_the_bridge(kind: str) -> None:
    config = clients.made(kind).with_port("eth1")
    assert config.segment is not None
    files = [file["connection"] for file in keyfiles(config)]
    ports = {
        each["interface-name"] for each in files if each.get("master") == config.segment.bridge
    }
    assert ports == {config.segment.device, "eth1"}
    assert [each["interface-name"] for each in files if each["type"] == "bridge"] == [
        config.segment.bridge
    ]
