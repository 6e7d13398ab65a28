"""The OpenWrt format: the script runs in a shell, and what it feeds to `uci batch` is replayed and
held against the options that netifd's protocol handlers, its devices and fw4 read.

uci itself is in no Debian package; its grammar (words, quotes, delete, set, add_list, commit) is
small and is here.
"""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest

from tests import clients
from warpd.clients import openwrt
from warpd.clients.config import ClientConfig
from warpd.intent.types import VCID_MAX

Section = dict[str, str | list[str]]
PEER = {
    *("description", "public_key", "preshared_key", "endpoint_host", "endpoint_port"),
    *("allowed_ips", "route_allowed_ips", "persistent_keepalive"),
}
KNOWN = {
    "wireguard": {"proto", "private_key", "listen_port", "addresses", "mtu", "dns"},
    "gretap": {"proto", "ipaddr", "peeraddr", "tunlink", "mtu", "df"},
    "vxlan": {"proto", "ipaddr", "peeraddr", "tunlink", "mtu", "vid", "port", "learning"},
    "none": {"proto", "device"},
    "device": {"type", "name", "mtu", "ipv6", "ports"},
    "zone": {"name", "network", "input", "output", "forward", "masq", "masq6"},
    "forwarding": {"src", "dest"},
    "rule": {"name", "src", "src_ip", "target", "proto", "dest_port"},
}
LISTS = {"addresses", "allowed_ips", "dns", "ports", "network"}
# What `uci` names: a section or an option; no dash, which is why ours have none.
PATH = re.compile(r"(network|firewall)\.[A-Za-z0-9_]+(\.[a-z0-9_]+)?\Z")


def batch(config: ClientConfig) -> str:
    """What uci is fed, by the shell itself."""
    script = 'uci() { [ "$*" = "-q batch" ] && cat; }\n' + openwrt.text(config)
    return subprocess.run(
        ["sh", "-euc", script], capture_output=True, text=True, check=True, timeout=10
    ).stdout


def replay(text: str, tree: dict[str, Section]) -> dict[str, Section]:
    for line in text.splitlines():
        verb, argument = shlex.split(line)[0], line.partition(" ")[2]
        path, equals, value = argument.partition("=")
        (value,) = shlex.split(value) if equals else ("",)
        if verb == "commit":
            assert path in ("network", "firewall")
            continue
        assert PATH.match(path), path
        package_section, _, option = path.partition(".")[2].partition(".")
        section = f"{path.partition('.')[0]}.{package_section}"
        if verb == "delete":
            tree.pop(section, None)
        elif not option:
            tree[section] = {"": value}
        elif verb == "add_list":
            items = tree[section].setdefault(option, [])
            assert isinstance(items, list)
            items.append(value)
        else:
            assert verb == "set" and option not in tree[section], line
            tree[section][option] = value
    return tree


def tree_of(config: ClientConfig) -> dict[str, Section]:
    return replay(batch(config), {})


@pytest.mark.parametrize("kind", clients.NETWORKS)
def test_every_option_is_known_and_a_list_where_it_must_be(kind: str) -> None:
    config = clients.made(kind)
    if config.segment:
        config = config.with_port("lan4")
    for name, section in tree_of(config).items():
        kind_ = str(section[""])
        known = (
            PEER
            if kind_.startswith("wireguard_")
            else KNOWN[str(section["proto"]) if kind_ == "interface" else kind_]
        )
        options = set(section) - {""}
        assert options <= known, (name, options - known)
        assert {key for key in options if isinstance(section[key], list)} == options & LISTS


@pytest.mark.parametrize("kind", clients.NETWORKS)
def test_running_it_twice_changes_nothing(kind: str) -> None:
    once = tree_of(clients.made(kind))
    assert replay(batch(clients.made(kind)), tree_of(clients.made(kind))) == once


@pytest.mark.parametrize("kind", clients.NETWORKS)
def test_the_peer_reads_back(kind: str) -> None:
    config = clients.made(kind, host="2001:db8::1")
    tree, name = tree_of(config), f"wg{config.vcid}"
    device, peer = tree[f"network.{name}"], tree[f"network.{name}_gateway"]
    assert peer[""] == f"wireguard_{name}" and device["private_key"] == config.private_text
    assert (peer["public_key"], peer["preshared_key"]) == (
        config.gateway_public_key,
        config.shared_text,
    )
    assert (peer["endpoint_host"], peer["endpoint_port"]) == (
        "2001:db8::1",
        str(config.host_port[1]),
    )
    assert (tuple(device["addresses"]), tuple(peer["allowed_ips"])) == (
        config.addresses,
        config.allowed_ips,
    )


def test_what_may_not_speak_for_itself_is_hidden() -> None:
    phone, berlin = clients.made("secure-internet"), clients.made("l3vpn-gateway", "berlin")
    assert tree_of(phone)[f"firewall.wg{phone.vcid}"]["masq"] == "1"
    assert f"firewall.wg{phone.vcid}_in" not in tree_of(phone)
    assert "masq" not in tree_of(berlin)[f"firewall.wg{berlin.vcid}"]
    assert tree_of(berlin)[f"firewall.wg{berlin.vcid}_in"]["dest"] == "lan"


@pytest.mark.parametrize("kind", ["l2-point-to-point", "l2-mesh"])
def test_the_tunnel_runs_over_wireguard_and_ends_in_the_bridge(kind: str) -> None:
    config = clients.made(kind, mtu=1420 if kind == "l2-point-to-point" else 1560).with_port("lan4")
    tree = tree_of(config)
    tunnel, bridge = tree[f"network.t{config.vcid}"], tree[f"network.br{config.vcid}"]
    assert (
        tunnel["tunlink"] == f"wg{config.vcid}" and "ttl" not in tunnel
    )  # netifd refuses df=0 beside a ttl
    prefix = "gre4t-" if kind == "l2-point-to-point" else ""
    assert bridge["ports"] == [f"{prefix}t{config.vcid}", "lan4"]
    mtu = int(str(tree[f"network.wg{config.vcid}"]["mtu"]))
    assert config.segment is not None and mtu >= config.segment.carrier_mtu
    assert tree[f"firewall.wg{config.vcid}_tunnel"]["src_ip"] == config.segment.remote


@pytest.mark.parametrize("kind", clients.NETWORKS)
def test_names_fit_with_the_longest_vcid(kind: str) -> None:
    tree = tree_of(clients.made(kind, vcid=VCID_MAX))
    zone = tree[f"firewall.wg{VCID_MAX}"]
    assert len(str(zone["name"])) <= 11
    for name, section in tree.items():
        if section[""] == "interface":
            device = name.partition(".")[2]
            assert len(device) + (6 if section["proto"] == "gretap" else 0) <= 15
