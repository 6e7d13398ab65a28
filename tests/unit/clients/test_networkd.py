"""The networkd format against systemd.netdev(5) and systemd.network(5), and its cutting into files
by awk.

systemd-networkd itself reads it in the live tests; here every key must be one that version 247
knows.
"""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from tests import clients
from warpd.clients import networkd
from warpd.clients.config import ClientConfig
from warpd.clients.files import split

KNOWN = {
    "netdev": {
        "NetDev": {"Name", "Kind", "MTUBytes"},
        "WireGuard": {"PrivateKey", "ListenPort", "FirewallMark"},
        "WireGuardPeer": {
            "PublicKey",
            "PresharedKey",
            "Endpoint",
            "AllowedIPs",
            "PersistentKeepalive",
        },
        "Bridge": {"STP"},
        "Tunnel": {"Independent", "Local", "Remote", "DiscoverPathMTU"},
        "VXLAN": {
            "VNI",
            "DestinationPort",
            "Local",
            "Remote",
            "MacLearning",
            "IPDoNotFragment",
            "Independent",
        },
    },
    "network": {
        "Match": {"Name"},
        "Link": {"RequiredForOnline"},
        "Network": {
            *("Address", "DNS", "Domains", "LinkLocalAddressing"),
            *("IPv6AcceptRA", "Bridge", "ConfigureWithoutCarrier"),
        },
        "Route": {"Destination", "Scope", "Table"},
        "RoutingPolicyRule": {
            "Family",
            "Table",
            "SuppressPrefixLength",
            "Priority",
            "FirewallMark",
            "InvertRule",
        },
    },
}
Sections = list[tuple[str, dict[str, list[str]]]]


def parsed(text: str) -> Sections:
    out: Sections = []
    for line in text.splitlines():
        if line.startswith("["):
            out.append((line.strip("[]"), {}))
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals and value and key == key.strip() and value == value.strip(), line
            out[-1][1].setdefault(key, []).append(value)
    return out


def section(config: ClientConfig, file: str, name: str) -> list[dict[str, list[str]]]:
    return [
        keys
        for title, keys in parsed(networkd.files(config)[f"05-warp-{config.vcid}{file}"])
        if title == name
    ]


@pytest.mark.parametrize("kind", clients.NETWORKS)
def test_every_section_and_key_is_known(kind: str) -> None:
    config = clients.made(kind)
    if config.segment:
        config = config.with_port("eth1")
    for name, text in networkd.files(config).items():
        known = KNOWN[name.rpartition(".")[2]]
        for title, keys in parsed(text):
            assert title in known and set(keys) <= known[title], (name, title, keys)


@pytest.mark.parametrize("kind", clients.NETWORKS)
def test_every_device_has_a_file_that_sets_it_up(kind: str) -> None:
    files = networkd.files(clients.made(kind))
    titled = [(name, dict(parsed(text))) for name, text in files.items()]
    made = {keys["NetDev"]["Name"][0] for name, keys in titled if name.endswith(".netdev")}
    matched = {keys["Match"]["Name"][0] for name, keys in titled if name.endswith(".network")}
    assert made == matched and len(made) == (3 if kind.startswith("l2") else 1)


def test_everything_through_the_tunnel_but_the_tunnel_itself() -> None:
    config = clients.made("secure-internet")
    assert section(config, ".netdev", "WireGuard")[0]["FirewallMark"] == [str(config.vcid)]
    routes = section(config, ".network", "Route")
    assert [route["Destination"][0] for route in routes] == ["0.0.0.0/0", "::/0"]
    assert {route["Table"][0] for route in routes} == {str(config.vcid)}
    first, second = section(config, ".network", "RoutingPolicyRule")
    assert first["SuppressPrefixLength"] == ["0"] and first["Table"] == ["main"]
    assert second["InvertRule"] == ["yes"] and second["FirewallMark"] == second["Table"] == [
        str(config.vcid)
    ]
    assert int(first["Priority"][0]) < int(second["Priority"][0]) < 32766
    assert section(config, ".network", "Network")[0]["Domains"] == ["~."]


@pytest.mark.parametrize("kind", ["remote-resource-gateway", "l3vpn-gateway", "l2-mesh"])
def test_only_what_is_allowed_is_routed_into_it(kind: str) -> None:
    config = clients.made(kind)
    routes = section(config, ".network", "Route")
    assert tuple(route["Destination"][0] for route in routes) == config.allowed_ips
    assert not any("Table" in route for route in routes) and not section(
        config, ".network", "RoutingPolicyRule"
    )


def test_whole_frames_fit_where_networkd_cannot_ignore_an_inner_df() -> None:
    config = clients.made("l2-point-to-point", mtu=1420)
    assert section(config, ".netdev", "NetDev")[0]["MTUBytes"] == ["1542"]
    assert section(config, "-tunnel.netdev", "NetDev")[0]["MTUBytes"] == ["1500"]
    assert section(clients.made("l2-mesh", mtu=1560), ".netdev", "NetDev")[0]["MTUBytes"] == [
        "1560"
    ]


def test_the_line_at_the_top_cuts_it_as_we_do(tmp_path: Path) -> None:
    text = networkd.text(clients.made("l2-mesh").with_port("eth1"))
    command = next(line for line in text.splitlines() if "awk" in line).partition(
        "cut into files by: "
    )[2]
    whole = tmp_path / "in" / "all.txt"
    whole.parent.mkdir()
    whole.write_text(text)
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(
        ["sh", "-c", command.replace("THIS_FILE", shlex.quote(str(whole)))],
        cwd=out,
        check=True,
        timeout=10,
    )
    assert {path.name: path.read_text().rstrip("\n") + "\n" for path in out.iterdir()} == split(
        text
    )
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o600}
