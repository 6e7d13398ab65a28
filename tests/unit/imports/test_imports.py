"""Imports of older gateways: the same keys, ports and addresses; what is wrong is said, all at
once, and nothing guessed.

The databases are made with the older gateway's own tables; the client configs that are compared are
those that its clients have.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests import clients
from tests.command import Run
from warpd.imports.found import free, slug
from warpd.keys import derivation
from warpd.keys.derivation import Secret
from warpd.service.workspace import Workspace
from warpd.yamlfile.parser import read_tree

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="key files belong to root")


def pair(number: int) -> tuple[str, str]:
    raw = bytes([8 * number, *range(1, 31), 64])
    return derivation.encode(raw), derivation.public_key(Secret(raw))


SERVER, SERVER_PUBLIC = pair(1)
SHARED = derivation.encode(bytes(range(7, 39)))
CONFIG = f"""\
[Interface]
Address = 10.66.66.1/24, fd42:42:42::1/64
ListenPort = 51833
PrivateKey = {SERVER}
PostUp = iptables -I INPUT -p udp --dport 51833 -j ACCEPT
MTU = 1412

### Client Anna's phone
[Peer]
PublicKey = {pair(2)[1]}
PresharedKey = {SHARED}
AllowedIPs = 10.66.66.2/32,fd42:42:42::2/128

# BEGIN_PEER anna-s-phone
[Peer]
PublicKey = {pair(3)[1]}
AllowedIPs = 10.66.66.9/32
# END_PEER anna-s-phone
[Peer]
# Name = Router (Köln)
PublicKey = {pair(4)[1]}
AllowedIPs = 10.66.66.4/32, 192.168.7.0/24
Endpoint = router.example.net:51820
PersistentKeepalive = 25
"""


def networks(at: Path) -> dict[str, Any]:
    value = read_tree((at / "warp.yaml").read_text()).value
    assert value is not None
    return dict(value["networks"])


def wg0(at: Path, text: str = CONFIG) -> str:
    (at / "wg0.conf").write_text(text)
    return str(at / "wg0.conf")


def config_of(at: Path, network: str, endpoint: str) -> Any:
    workspace = Workspace(at / "warp.yaml", at / "state")
    target = workspace.target(workspace.read(), create=False)
    return clients.config_of(
        target.intent,
        target.allocations,
        target.master,
        network,
        endpoint,
        public_host="gw",
        mtu=1412,
    )


# wg-quick


@needs_root
def test_clients_of_a_wg_quick_server_go_on(run: Run, tmp_path: Path) -> None:
    code, out, err = run("import", wg0(tmp_path), "--type", "secure-internet", "--name", "Home VPN")
    assert code == 0 and "1 network, 3 endpoints; 2 key files" in out
    assert (
        "wg0.conf:5:1: warning: postup is not taken over" in err
        and "another peer is called anna-s-phone" in err
    )
    body = networks(tmp_path)["home-vpn"]
    ends = body.pop("endpoints")
    assert body == {
        "type": "secure-internet",
        "private_key_file": f"{tmp_path}/keys/home-vpn.key",
        "port": 51833,
        "mtu": 1412,
        "subnet": "10.66.66.0/24",
        "gateway_address": "10.66.66.1",
        "subnet6": "fd42:42:42::/64",
    }
    assert ends["anna-s-phone"] == {
        "type": "mobile",
        "public_key": pair(2)[1],
        "address": "10.66.66.2",
        "address6": "fd42:42:42::2",
        "preshared_key_file": f"{tmp_path}/keys/home-vpn.anna-s-phone.psk",
    }
    assert ends["anna-s-phone-2"] == {
        "type": "mobile",
        "public_key": pair(3)[1],
        "preshared_key": False,
        "address": "10.66.66.9",
    }
    assert (
        ends["router"]["routes"] == ["192.168.7.0/24"]
        and ends["router"]["endpoint"] == "router.example.net:51820"
    )
    made = config_of(tmp_path, "home-vpn", "anna-s-phone")
    assert made.gateway_public_key == SERVER_PUBLIC and made.dial == "gw:51833"
    assert made.addresses == ("10.66.66.2/32", "fd42:42:42::2/128")
    assert made.preshared_key == Secret(derivation.decode(SHARED)) and made.private_key is None
    for file in (tmp_path / "keys").iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_an_import_joins_what_is_there(run: Run, tmp_path: Path) -> None:
    text = "version: 1\nnetworks: # mine\n  old:\n    type: l2-mesh # so\n"
    (tmp_path / "warp.yaml").write_text(text)
    assert run("import", wg0(tmp_path), "--type", "l3vpn-gateway")[0] == 0
    assert (
        (tmp_path / "warp.yaml").read_text().startswith(text + "  wg0:\n    type: l3vpn-gateway\n")
    )
    assert set(networks(tmp_path)["wg0"]["endpoints"]) == {
        "anna-s-phone",
        "anna-s-phone-2",
        "router",
    }
    code, _, err = run("import", wg0(tmp_path), "--type", "l3vpn-gateway")
    assert code == 1 and "network wg0 exists already" in err


def test_every_problem_of_a_wg_quick_config_at_once(run: Run, tmp_path: Path) -> None:
    bad = "[Interface]\nAddress = 10.0.0.1\nListenPort = many\nPrivateKey = x\nSecret = 1\n"
    bad += "[Peer]\nPublicKey = y\nAllowedIPs = z\n"
    code, _, err = run("import", wg0(tmp_path, bad))
    lines = [int(match[1]) for match in re.finditer(r"wg0\.conf:(\d+):1:", err)]
    assert code == 1 and sorted(lines) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert "must be a number from 1 to 65535" in err and "secret is no key of [Interface]" in err
    assert sorted(os.listdir(tmp_path)) == ["wg0.conf"]
    code, _, err = run("import", wg0(tmp_path, bad), "--skip-broken")
    assert (
        code == 1
        and "nothing sound to import" in err
        and sorted(os.listdir(tmp_path)) == ["wg0.conf"]
    )


def test_a_broken_peer_can_be_left_out(run: Run, tmp_path: Path) -> None:
    text = wg0(tmp_path, CONFIG.replace("AllowedIPs = 10.66.66.9/32", "AllowedIPs = 10.77.0.9/32"))
    assert run("import", text, "--type", "l3vpn-gateway")[0] == 1
    code, _, err = run("import", text, "--type", "l3vpn-gateway", "--skip-broken")
    assert code == 0 and "has no address of the network's subnet" in err
    assert set(networks(tmp_path)["wg0"]["endpoints"]) == {"anna-s-phone", "router"}


@pytest.mark.parametrize("words", [(), ("--dry-run",), ("-o", "json")])
def test_no_key_is_ever_printed(run: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    code, out, err = run("import", wg0(tmp_path), "--type", "secure-internet", *words)
    assert code == 0
    for secret in (SERVER, SHARED):
        assert secret not in out + err
    if words == ("--dry-run",):
        assert sorted(os.listdir(tmp_path)) == ["wg0.conf"] and "+  wg0:" in out


def test_a_key_file_with_another_key_is_left_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "wg0.key").write_text("precious\n")
    code, _, err = run("import", wg0(tmp_path), "--type", "secure-internet")
    assert code == 1 and "holds another key" in err and not (tmp_path / "warp.yaml").exists()
    assert (
        os.listdir(tmp_path / "keys") == ["wg0.key"]
        and (tmp_path / "keys" / "wg0.key").read_text() == "precious\n"
    )


def test_what_is_no_older_gateway(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("hello")
    code, _, err = run("import", str(tmp_path / "x"))
    assert code == 1 and "is neither a KahLuna WARP database nor a wg-quick config" in err
    (tmp_path / "x").write_bytes(b"SQLite format 3\0" + b"\xff" * 500)
    code, _, err = run("import", str(tmp_path / "x"))
    assert code == 1 and "database" in err


# KahLuna WARP

NETWORK = """CREATE TABLE vpn_networks (id INTEGER PRIMARY KEY, name TEXT UNIQUE, port INTEGER UNIQUE, subnet TEXT,
 network_type TEXT, private_key TEXT, public_key TEXT, custom_allowed_ips TEXT, is_active BOOLEAN, vlan_id INTEGER,
 vlan_range TEXT, bridge_name TEXT, vni_pool TEXT, vcid INTEGER, peer_communication_enabled BOOLEAN, expected_users INTEGER,
 vrf_name TEXT, routing_table_id INTEGER, rate_limit_enabled BOOLEAN, rate_limit_download_mbps INTEGER, created_at DATETIME)"""
ENDPOINT = """CREATE TABLE endpoints (id INTEGER PRIMARY KEY, vpn_network_id INTEGER, name TEXT, ip_address TEXT,
 private_key TEXT, public_key TEXT, preshared_key TEXT, endpoint_type TEXT,
 is_active BOOLEAN, last_handshake DATETIME, created_at DATETIME)"""
CONFIGS = """CREATE TABLE endpoint_configs (id INTEGER PRIMARY KEY, endpoint_id INTEGER, config_content TEXT, version INTEGER,
 created_at DATETIME)"""
SERVER_CONFIG = """CREATE TABLE server_config (id INTEGER PRIMARY KEY, hostname TEXT, public_ip TEXT, location TEXT,
 admin_email TEXT, created_at DATETIME, updated_at DATETIME)"""
NEWEST = """CREATE TABLE vpn_networks (id INTEGER PRIMARY KEY, name TEXT UNIQUE, port INTEGER UNIQUE, subnet TEXT,
 network_type TEXT, private_key TEXT, public_key TEXT, status TEXT,
 peer_communication_enabled BOOLEAN, expected_users INTEGER, created_at DATETIME,
 updated_at DATETIME)"""
NEWEST_ENDPOINT = ENDPOINT.replace("is_active BOOLEAN", "status TEXT")
GATEWAY_CONFIG = "CREATE TABLE gateway_config (id INTEGER PRIMARY KEY, hostname TEXT)"
OLDEST = """CREATE TABLE wg_interfaces (id INTEGER PRIMARY KEY, name TEXT, port INTEGER, subnet TEXT, network_type TEXT,
 private_key TEXT, public_key TEXT, is_active BOOLEAN, custom_allowed_ips TEXT, created_at DATETIME)"""
PEERS = """CREATE TABLE peers (id INTEGER PRIMARY KEY, wg_interface_id INTEGER, name TEXT, ip_address TEXT, private_key TEXT,
 public_key TEXT, preshared_key TEXT, is_active BOOLEAN, last_handshake DATETIME, created_at DATETIME)"""
PEER_CONFIGS = CONFIGS.replace("endpoint_configs", "peer_configs").replace("endpoint_id", "peer_id")


class Base:
    """A database of the older gateway."""

    def __init__(self, path: Path, *tables: str) -> None:
        self.path = path
        for table in tables:
            self._do(table)

    def _do(self, text: str, *values: Any) -> None:
        with contextlib.closing(sqlite3.connect(self.path)) as base:
            base.execute(text, values)
            base.commit()

    def put(self, table: str, **fields: Any) -> Base:
        marks = ", ".join("?" * len(fields))
        self._do(f"INSERT INTO {table} ({', '.join(fields)}) VALUES ({marks})", *fields.values())
        return self

    def network(self, number: int, name: str, table: str = "vpn_networks", **fields: Any) -> Base:
        private, public = pair(number)
        base: dict[str, Any] = {
            "private_key": private,
            "public_key": public,
            "name": name,
            "port": 51820 + number,
            "id": number,
        }
        base |= {"subnet": f"10.100.{number}.0/29", "network_type": "secure_internet"}
        return self.put(table, **{**base, **fields})

    def endpoint(self, number: int, network: int, name: str, **fields: Any) -> Base:
        private, public = pair(number)
        base: dict[str, Any] = {
            "ip_address": f"10.100.{network}.{number % 8}",
            "private_key": private,
            "public_key": public,
        }
        base |= {"id": number, "vpn_network_id": network, "name": name, "endpoint_type": "mobile"}
        return self.put("endpoints", **{**base, **fields})


def later(at: Path) -> Base:
    return Base(at / "warp_gateway.db", NETWORK, ENDPOINT, CONFIGS, SERVER_CONFIG)


@needs_root
def test_clients_of_the_older_gateway_go_on(run: Run, tmp_path: Path) -> None:
    base = later(tmp_path).put("server_config", id=1, hostname="gw-old", public_ip="198.51.100.7")
    base.network(1, "Privacy Users", vcid=12345678, routing_table_id=1000, is_active=0)
    base.network(
        5,
        "wire",
        network_type="l2_point_to_point",
        vlan_id=100,
        vlan_range="100 - 110",
        bridge_name="br-x",
        vcid=7,
    )
    base.endpoint(18, 1, "Anna's phone", preshared_key=SHARED)
    base.endpoint(19, 1, "laptop", ip_address="10.100.1.4", endpoint_type="cpe")
    base.put(
        "endpoint_configs",
        id=1,
        endpoint_id=18,
        version=1,
        config_content="[Interface]\nAddress = 10.100.1.7/29\n",
    )
    told = (
        "[Interface]\nAddress = 10.100.1.2/32\nDNS = 1.1.1.1, 8.8.8.8\n[Peer]\nEndpoint ="
        " vpn.example.com:51821\n"
    )
    base.put("endpoint_configs", id=2, endpoint_id=18, version=2, config_content=told)
    before = base.path.read_bytes()
    code, out, err = run("import", str(base.path))
    assert code == 0, err
    assert "2 networks, 2 endpoints; 3 key files" in out and base.path.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["keys", "warp.yaml", "warp_gateway.db"]
    value = read_tree((tmp_path / "warp.yaml").read_text()).value
    assert value is not None and value["gateway"] == {
        "name": "gw-old",
        "public_endpoint": "vpn.example.com",
    }
    body = value["networks"]["privacy-users"]
    assert body.pop("endpoints") == {
        "anna-s-phone": {
            "type": "mobile",
            "description": "Anna's phone",
            "address": "10.100.1.2",
            "public_key": pair(18)[1],
            "preshared_key_file": f"{tmp_path}/keys/privacy-users.anna-s-phone.psk",
        },
        "laptop": {
            "type": "cpe",
            "address": "10.100.1.4",
            "public_key": pair(19)[1],
            "preshared_key": False,
        },
    }
    assert body == {
        "type": "secure-internet",
        "description": "Privacy Users",
        "port": 51821,
        "vcid": 12345678,
        "subnet": "10.100.1.0/29",
        "gateway_address": "10.100.1.1",
        "private_key_file": f"{tmp_path}/keys/privacy-users.key",
        "dns": ["1.1.1.1", "8.8.8.8"],
        "routing_table": 1000,
        "ipv6": False,
    }
    wire = value["networks"]["wire"]
    assert (wire["vlan_id"], wire["bridge_name"]) == (100, "br-x") and "vlan_range" not in wire
    assert "VLAN 100 was untagged (vlan_id) and in 100-110" in err
    made = config_of(tmp_path, "privacy-users", "anna-s-phone")
    assert (made.gateway_public_key, made.vcid, made.dial) == (pair(1)[1], 12345678, "gw:51821")
    assert made.addresses == ("10.100.1.2/32",) and made.preshared_key == Secret(
        derivation.decode(SHARED)
    )


def test_a_slash_31_has_its_endpoint_below_the_gateway(run: Run, tmp_path: Path) -> None:
    base = (
        later(tmp_path)
        .network(1, "one", subnet="10.100.1.0/31", vcid=5)
        .endpoint(16, 1, "a", ip_address="10.100.1.0")
    )
    assert run("import", str(base.path))[0] == 0
    assert networks(tmp_path)["one"]["gateway_address"] == "10.100.1.1"
    assert networks(tmp_path)["one"]["endpoints"]["a"]["address"] == "10.100.1.0"


def test_the_newest_generation(run: Run, tmp_path: Path) -> None:
    base = Base(tmp_path / "gateway.db", NEWEST, NEWEST_ENDPOINT, GATEWAY_CONFIG).put(
        "gateway_config", id=1, hostname="gw-new"
    )
    base.network(1, "a", status="suspended", peer_communication_enabled=1).endpoint(
        18, 1, "x", status="suspended"
    )
    code, _, err = run("import", str(base.path))
    assert code == 0
    assert (
        "does not say what clients dial" in err
        and "it has no VCID" in err
        and "a migration may have set" in err
    )
    body = networks(tmp_path)["a"]
    assert body["enabled"] is False and body["endpoints"]["x"]["enabled"] is False
    assert not {"vcid", "peer_communication", "routing_table"} & set(body)


def test_the_first_generation(run: Run, tmp_path: Path) -> None:
    base = Base(tmp_path / "g.db", OLDEST, PEERS, PEER_CONFIGS).network(
        1, "wg0", table="wg_interfaces"
    )
    private, public = pair(9)
    base.put(
        "peers",
        id=1,
        wg_interface_id=1,
        name="x",
        ip_address="10.100.1.2",
        private_key=private,
        public_key=public,
    )
    told = "[Interface]\nAddress = 10.100.1.2/32\n[Peer]\nEndpoint = 203.0.113.5:51821\n"
    base.put("peer_configs", id=1, peer_id=1, version=1, config_content=told)
    assert run("import", str(base.path))[0] == 0
    assert networks(tmp_path)["wg0"]["endpoints"]["x"]["public_key"] == public
    assert "public_endpoint: 203.0.113.5" in (tmp_path / "warp.yaml").read_text()


def test_a_mixed_file_gives_each_network_once(run: Run, tmp_path: Path) -> None:
    base = Base(tmp_path / "m.db", NETWORK, ENDPOINT, OLDEST, PEERS)
    base.network(1, "new name").network(1, "old name", table="wg_interfaces").network(
        2, "left behind", table="wg_interfaces"
    )
    assert run("import", str(base.path))[0] == 0
    assert sorted(networks(tmp_path)) == ["left-behind", "new-name"]


def test_everything_that_is_wrong_is_said_at_once(run: Run, tmp_path: Path) -> None:
    base = later(tmp_path)
    base.network(1, "fine", vcid=1, routing_table_id=1000).network(
        2, "host bits", subnet="10.100.2.5/24", routing_table_id=1000
    )
    base.network(
        3,
        "Fine",
        vcid=3,
        subnet="10.100.1.0/28",
        custom_allowed_ips="10.0.0.0/8",
        rate_limit_enabled=1,
    )
    base.network(4, "odd", vcid=4, network_type="l2_mesh", vlan_range="all of them")
    base.network(6, "typeless", network_type="magic").network(
        7, "keyless", private_key="?", public_key=None
    )
    base.endpoint(18, 1, "a").endpoint(26, 1, "b").endpoint(27, 1, "c").endpoint(
        28, 1, "d", ip_address="10.9.9.9"
    )
    base.endpoint(29, 1, "e", public_key=pair(30)[1]).endpoint(
        30, 1, "f", ip_address="10.100.1.1", preshared_key="no"
    )
    base.put(
        "endpoint_configs",
        id=1,
        endpoint_id=27,
        version=1,
        config_content="Address = 10.100.1.5/32\nEndpoint = x.org:1\n",
    )
    code, _, err = run("import", str(base.path))
    for text in (
        "'10.100.2.5/24' has host bits",
        "is it 10.100.2.0/24?",
        "the type 'magic' is not known",
        "the private key is not a WireGuard key",
        "10.100.1.2 is used 2 times",
        "10.9.9.9 lies outside of the subnet 10.100.1.0/29",
        "are not a pair",
        "10.100.1.1 is the gateway's own address",
        "the preshared key is not a WireGuard key",
        "given the address 10.100.1.5",
        "dials port 1, the network has 51821",
        "2 networks have routing table 1000",
        "its rate limit is not taken over",
        "AllowedIPs 10.0.0.0/8",
        "'all of them' is no range of numbers",
        "10.100.1.0/28 overlaps 10.100.1.0/29 of fine",
        "the network 'Fine' becomes fine-2",
    ):
        assert text in err, text
    assert code == 1 and sorted(os.listdir(tmp_path)) == ["warp_gateway.db"]
    code, _, _ = run("import", str(base.path), "--skip-broken")
    assert code == 0 and sorted(networks(tmp_path)) == ["fine", "fine-2", "odd"]
    assert networks(tmp_path)["fine"]["endpoints"] == {}
    assert (tmp_path / "keys" / "host-bits.key").exists()  # to be written by hand


def test_keys_that_the_device_has_otherwise(run: Run, tmp_path: Path) -> None:
    base = (
        later(tmp_path)
        .network(1, "n", vcid=1)
        .endpoint(18, 1, "ok", preshared_key=SHARED)
        .endpoint(19, 1, "odd")
    )

    def told(number: int, private: str, public: str, shared: str) -> str:
        head = f"[Interface]\nPrivateKey = {private}\nAddress = 10.100.1.{number}/32\n"
        return (
            f"{head}[Peer]\nPublicKey = {public}\nPresharedKey = {shared}\nEndpoint ="
            " 192.0.2.1:51821\n"
        )

    fine, odd = told(2, pair(18)[0], pair(1)[1], SHARED), told(3, pair(20)[0], pair(2)[1], SHARED)
    base.put("endpoint_configs", id=1, endpoint_id=18, version=1, config_content=fine)
    base.put("endpoint_configs", id=2, endpoint_id=19, version=1, config_content=odd)
    code, out, err = run("import", str(base.path))
    assert (
        code == 1
        and err.count("networks.n.endpoints.odd: its device") == 3
        and "endpoints.ok" not in err
    )
    for secret in (SHARED, pair(18)[0], pair(20)[0], pair(1)[0]):
        assert secret not in out + err


def test_what_only_the_whole_shows_can_be_left_out_too(run: Run, tmp_path: Path) -> None:
    base = later(tmp_path).network(1, "a", vcid=1).network(2, "b", vcid=1).endpoint(18, 1, "x")
    base.endpoint(19, 1, "y", ip_address="10.100.1.5", public_key=pair(18)[1], private_key=None)
    code, _, err = run("import", str(base.path))
    assert code == 1 and "VCID 1 is used twice" in err and "is used a second time" in err
    assert "warp.yaml" not in err, "that file was not written"
    code, _, err = run("import", str(base.path), "--skip-broken")
    assert code == 0 and "VCID 1 is used twice" in err and "is used a second time" in err
    assert sorted(networks(tmp_path)) == ["a"] and list(networks(tmp_path)["a"]["endpoints"]) == [
        "x"
    ]


def test_a_database_without_networks(run: Run, tmp_path: Path) -> None:
    code, _, err = run("import", str(later(tmp_path).path))
    assert code == 1 and "holds no networks" in err


def test_names() -> None:
    assert [slug(text) for text in ("Köln & Bonn", "--A--", "日本", "x" * 80)] == [
        "koln-bonn",
        "a",
        "",
        "x" * 63,
    ]
    assert free("a", {}) == "a" and free("a", {"a": 1, "a-2": 2}) == "a-3"


# what operators' own files look like


def imported(
    run: Run, at: Path, text: str, kind: str = "secure-internet"
) -> tuple[dict[str, Any], str]:
    code, _, err = run("import", wg0(at, text), "--type", kind)
    assert code == 0, err
    return networks(at)["wg0"], err


def server(*peers: str, address: str = "10.44.0.1/24", **fields: str) -> str:
    more = "".join(f"{key} = {value}\n" for key, value in fields.items())
    return (
        f"[Interface]\nPrivateKey = {SERVER}\nAddress = {address}\nListenPort = 51820\n{more}\n"
        + "".join(peers)
    )


def peer(number: int, allowed: str | None = None, above: str = "", inside: str = "") -> str:
    return (
        f"{above}[Peer]\n{inside}PublicKey = {pair(number)[1]}\nAllowedIPs ="
        f" {allowed or f'10.44.0.{number}/32'}\n"
    )


@needs_root
@pytest.mark.parametrize("own", ["fd11:5ee:bad:c0de::a54:2201", "fd11:5ee:bad:c0de::"])
def test_a_server_whose_ipv6_address_is_not_the_first(run: Run, tmp_path: Path, own: str) -> None:
    text = server(
        peer(2, "10.44.0.2/32, fd11:5ee:bad:c0de::a54:2202/128"), address=f"10.44.0.1/24,{own}/64"
    )
    body, err = imported(run, tmp_path, text)
    assert body["subnet6"] == "fd11:5ee:bad:c0de::/64"
    assert body["endpoints"]["peer-1"]["address6"] == "fd11:5ee:bad:c0de::a54:2202"
    assert "wg0.conf:3:1: networks.wg0.subnet6: warning: the gateway was" in err


@needs_root
@pytest.mark.parametrize(
    ("comment", "name", "description"),
    [
        ("# Client: Вика (3)", "peer-1", "Вика"),
        ("# 张伟的手机", "peer-1", "张伟的手机"),
        ("# Вика 2", "peer-1", "Вика 2"),
        ("# user 7", "user-7", None),
        ("# Name = 7", "7", None),
        ("### begin anna ###", "anna", None),
        ("# Łukasz Großmann", "lukasz-grossmann", None),
        ("# laptop 王", "laptop", "laptop 王"),
        ("# \N{MOBILE PHONE}", "peer-1", "\N{MOBILE PHONE}"),
        ("# \N{MOBILE PHONE} Anna", "anna", "\N{MOBILE PHONE} Anna"),
        ("# ----- \N{BOX DRAWINGS LIGHT HORIZONTAL}", "peer-1", None),
        ('# friendly_json={"name":"anna","dept":5}', "anna", None),
    ],
)
def test_names_that_an_operator_recognises(
    run: Run, tmp_path: Path, comment: str, name: str, description: str | None
) -> None:
    body, _ = imported(run, tmp_path, server(peer(2, above=f"{comment}\n")))
    assert {each: one.get("description") for each, one in body["endpoints"].items()} == {
        name: description
    }


@needs_root
@pytest.mark.parametrize(
    "off",
    [
        "#[Peer]\n# Name = berta\n#PublicKey = (gone)\n#AllowedIPs = 10.44.0.6/32\n",
        "# berta\n# [Peer]\n# PublicKey = (gone)\n",
        "# Name = berta\n##[peer]\n#PublicKey=(gone)\n",
    ],
)
def test_the_name_of_a_peer_that_is_commented_out_is_given_to_nobody(
    run: Run, tmp_path: Path, off: str
) -> None:
    body, _ = imported(
        run,
        tmp_path,
        server(peer(2, above="# anna\n"), off, peer(3), off, peer(4, above="# carl\n")),
    )
    assert list(body["endpoints"]) == ["anna", "peer-2", "carl"]


@needs_root
def test_one_address_twice_in_one_peer_is_one_address(run: Run, tmp_path: Path) -> None:
    body, _ = imported(
        run,
        tmp_path,
        server(peer(2, "10.44.0.2/32, 10.44.0.2/32, 10.9.0.0/16, 10.9.0.0/16")),
        "l3vpn-gateway",
    )
    assert body["endpoints"]["peer-1"]["address"] == "10.44.0.2" and body["endpoints"]["peer-1"][
        "routes"
    ] == ["10.9.0.0/16"]
    (tmp_path / "warp.yaml").unlink()
    code, _, err = run(
        "import",
        wg0(tmp_path, server(peer(2, "10.44.0.2/32, 10.44.0.3/32"))),
        "--type",
        "l3vpn-gateway",
    )
    assert code == 1 and "has 10.44.0.2 and 10.44.0.3" in err


@needs_root
def test_ipv6_that_a_server_without_it_routed_is_said(run: Run, tmp_path: Path) -> None:
    body, err = imported(
        run, tmp_path, server(peer(2, "10.44.0.2/32, fd00:44::2/128")), "l3vpn-gateway"
    )
    assert body["ipv6"] is False and body["endpoints"]["peer-1"] == {
        "type": "mobile",
        "public_key": pair(2)[1],
        "preshared_key": False,
        "address": "10.44.0.2",
    }
    assert re.search(r"wg0\.conf:8:1: .*warning: AllowedIPs fd00:44::2/128 is not taken over", err)


@needs_root
def test_where_a_phone_was_last_is_not_pinned(run: Run, tmp_path: Path) -> None:
    phone = peer(2) + "Endpoint = 198.51.100.7:41234\n"
    site = peer(3, "10.44.0.3/32, 192.168.7.0/24") + "Endpoint = 198.51.100.8:51820\n"
    named = peer(4) + "Endpoint = home.example.net:51820\n"
    body, err = imported(
        run, tmp_path, server(phone, site, named, SaveConfig="true"), "l3vpn-gateway"
    )
    dials = {name: one.get("endpoint") for name, one in body["endpoints"].items()}
    assert dials == {
        "peer-1": None,
        "peer-2": "198.51.100.8:51820",
        "peer-3": "home.example.net:51820",
    }
    assert "Endpoint 198.51.100.7:41234 is not taken over" in err


@needs_root
def test_findings_stand_at_lines_of_the_old_file(run: Run, tmp_path: Path) -> None:
    """Also those that only show when all of it is read as YAML: two peers with one address."""
    text = server(peer(2), peer(3, "10.44.0.2/32"))
    code, _, err = run("import", wg0(tmp_path, text), "--type", "secure-internet")
    assert code == 1 and re.search(
        r"wg0\.conf:11:1: networks\.wg0\.endpoints\.peer-2\.address: ", err
    ), err
    assert "warp.yaml" not in err


ANNA = f"[Peer]\nPublicKey = {pair(2)[1]}\n"
PHONE = f"{ANNA}AllowedIPs = 10.0.0.2/32\n"
HEAD = f"[Interface]\nPrivateKey = {SERVER}\nListenPort = 51820\n"


@needs_root
@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (f"{HEAD}Address = 10.0.0.1\n{PHONE}", 4, "subnet: one IPv4 Address"),
        (f"{HEAD}Address = 10.0.0.1/24\nAddress = fe80::1/64\n{PHONE}", 5, "subnet6: fe80::/64"),
        (f"{HEAD}Address = 10.0.0.1/24\n{PHONE}{HEAD}", 8, "has 2 .Interface. sections"),
        (
            f"{HEAD}Address = 10.0.0.1/24\n{PHONE}PersistentKeepalive = 70000\n",
            8,
            "keepalive: must be at most",
        ),
        (
            f"{HEAD}Address = 10.0.0.1/24\n{PHONE}AllowedIPs = 10.1.0.0/24\n"
            "AllowedIPs = 127.0.0.0/8\n",
            9,
            "routes.1.: 127.0.0.0/8",
        ),
    ],
)
def test_a_finding_stands_at_the_line_that_it_is_about(
    run: Run, tmp_path: Path, text: str, line: int, said: str
) -> None:
    code, _, err = run("import", wg0(tmp_path, text), "--type", "l3vpn-gateway")
    assert code == 1 and re.search(rf"wg0\.conf:{line}:1: .*{said}", err), err
    assert "warp.yaml" not in err


@needs_root
def test_a_yaml_that_is_invalid_by_itself_is_what_is_to_be_mended(run: Run, tmp_path: Path) -> None:
    text = server(peer(2), peer(3, "10.44.0.2/32"))
    for words in (("import", wg0(tmp_path, text), "--type", "secure-internet"),):
        assert run(*words)[0] == 1
        (tmp_path / "warp.yaml").write_text("version: 2\nnetworks: {}\n")
        assert run(*words)[0] == 4
