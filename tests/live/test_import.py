"""An older WireGuard server is taken over while its client looks on: not a byte of the client's
config changes.

[ tcl-<pid> ] wg0 10.66.66.2 -- isp 203.0.113.254 ---- eth0 203.0.113.1 [ gateway ] first wg0, then
warpd on the same port
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import preloading
from tests.live.conftest import sh
from tests.unit.imports.test_imports import later
from warpd.kernel.linux.live_kernel import LiveKernel

CLIENT = f"tcl-{os.getpid()}"
PEERS = int(os.environ.get("WARPD_TEST_PEERS", "3"))  # 30 in `./run proofs`
DEADLINE_S = 20


@pytest.fixture
def client(gateway: LiveKernel, tmp_path: Path) -> Iterator[Path]:
    """A folder with the older server's wg0.conf, and clients connected to it: device cN is who has
    10.66.66.N.
    """
    at = tmp_path
    last = PEERS + 1
    sh(f"""
    cd {at}; umask 077
    wg genkey >server; wg pubkey <server >server.pub
    printf '[Interface]\nListenPort = 51833\nPrivateKey = %s\n' $(cat server) >wg0.strip
    ip netns add {CLIENT}
    ip link set isp netns {CLIENT}
    ip -n {CLIENT} addr add 203.0.113.254/24 dev isp; ip -n {CLIENT} link set isp up; ip -n {CLIENT} link set lo up
    for n in $(seq 2 {last}); do
        wg genkey >client$n; wg genpsk >psk$n
        printf '[Peer]\nPublicKey = %s\nPresharedKey = %s\nAllowedIPs = 10.66.66.%s/32\n' \
            $(wg pubkey <client$n) $(cat psk$n) $n >>wg0.strip
        ip -n {CLIENT} link add c$n type wireguard
        ip netns exec {CLIENT} wg set c$n private-key client$n peer $(cat server.pub) preshared-key psk$n \
            allowed-ips 10.66.66.0/24 endpoint 203.0.113.1:51833 persistent-keepalive 1
        ip -n {CLIENT} addr add 10.66.66.$n/32 dev c$n; ip -n {CLIENT} link set c$n up
        ip -n {CLIENT} route add 10.66.66.1/32 dev c$n metric $n
    done
    sed '1a Address = 10.66.66.1/24' wg0.strip | awk '/Peer/ {{ print "### Client user-" ++n }} {{ print }}' >wg0.conf
    ip link add wg0 type wireguard; wg setconf wg0 wg0.strip
    ip addr add 10.66.66.1/24 dev wg0; ip link set wg0 up
    """)
    try:
        yield at
    finally:
        sh(f"ip netns del {CLIENT}; ip link del wg0 2>/dev/null || true")


def connected() -> int:
    """How many of the clients get an answer from the gateway's inner address in the end."""
    return sum(answers(f"c{n}") for n in range(2, PEERS + 2))


def answers(device: str) -> bool:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        ping = ["ip", "netns", "exec", CLIENT, "ping", "-I", device, "-c1", "-W1", "10.66.66.1"]
        if subprocess.run(ping, capture_output=True, check=False).returncode == 0:
            return True
    return False


def configs() -> str:
    """What the clients were told, as they hold it."""
    return sh(f"for n in $(seq 2 {PEERS + 1}); do ip netns exec {CLIENT} wg showconf c$n; done")


def warpctl(at: Path, *words: str) -> str:
    paths = ("-c", str(at / "warp.yaml"), "--state-dir", str(at / "state"))
    command = [*preloading.warpctl(), *paths, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_clients_in_the_field_go_on(client: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = connected()
    told = configs()
    server = sh("wg show wg0 public-key")
    warpctl(client, "import", str(client / "wg0.conf"), "--type", "secure-internet")
    sh("ip link del wg0")
    warpctl(client, "apply", "--yes")
    shown = warpctl(client, "endpoint", "config", "wg0/user-1")
    assert f"PublicKey = {server.strip()}\n" in shown and "Address = 10.66.66.2/32\n" in shown
    after = connected()
    same = configs() == told
    warpctl(client, "network", "show", "wg0")
    with capsys.disabled():
        print(
            f"\n  clients connected before {before}, after the import {after}, of {PEERS}; their"
            f" configs changed: {not same}"
        )
    assert before == after == PEERS
    assert same


def test_clients_of_the_older_gateway_go_on(
    client: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same clients, their gateway known from the older gateway's database: as it stands there,
    and as they were told.
    """

    def word(name: str) -> str:
        return (client / name).read_text().strip()

    base = later(client).put("server_config", id=1, hostname="gw-old", public_ip="203.0.113.1")
    keys = {"private_key": word("server"), "public_key": word("server.pub")}
    base.network(1, "office", port=51833, subnet="10.66.66.0/24", **keys)
    for n in range(2, PEERS + 2):
        mine = {
            "private_key": word(f"client{n}"),
            "public_key": sh(f"wg pubkey <{client}/client{n}").strip(),
        }
        base.endpoint(
            n, 1, f"user {n}", ip_address=f"10.66.66.{n}", preshared_key=word(f"psk{n}"), **mine
        )
    before, told = connected(), configs()
    warpctl(client, "import", str(base.path))
    sh("ip link del wg0")
    warpctl(client, "apply", "--yes")
    after, same = connected(), configs() == told
    with capsys.disabled():
        print(
            f"\n  clients of the older gateway connected before {before}, after the import {after},"
            f" of {PEERS}",
            end="",
        )
    assert before == after == PEERS
    assert same


def test_without_its_key_file_nothing_is_applied(client: Path) -> None:
    warpctl(client, "import", str(client / "wg0.conf"), "--type", "secure-internet")
    (client / "keys" / "wg0.key").chmod(0o644)
    with pytest.raises(AssertionError, match="is accessible to users other than root"):
        warpctl(client, "apply", "--yes")
    assert "warp-" not in sh("ip netns list")
