"""An older WireGuard server is taken over while its client looks on: not a byte of the client's config changes.

[ tcl-<pid> ] wg0 10.66.66.2 -- isp 203.0.113.254 ---- eth0 203.0.113.1 [ gateway ] first wg0, then warpd on the same port
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.conftest import sh
from warpd.kernel.live import LiveKernel

CLIENT = f"tcl-{os.getpid()}"
DEADLINE_S = 20


@pytest.fixture
def client(gateway: LiveKernel, tmp_path: Path) -> Iterator[Path]:
    """A folder with the older server's wg0.conf, and a client connected to it."""
    at = tmp_path
    sh(f"""
    cd {at}; umask 077
    wg genkey >server; wg genkey >client; wg genpsk >psk
    wg pubkey <server >server.pub; wg pubkey <client >client.pub
    printf '[Interface]\\nListenPort = 51833\\nPrivateKey = %s\\n' $(cat server) >wg0.strip
    printf '[Peer]\\nPublicKey = %s\\nPresharedKey = %s\\nAllowedIPs = 10.66.66.2/32\\n' $(cat client.pub) $(cat psk) >>wg0.strip
    sed '1a Address = 10.66.66.1/24' wg0.strip | sed 's/^.Peer.$/### Client anna\\n[Peer]/' >wg0.conf
    ip netns add {CLIENT}
    ip link set isp netns {CLIENT}
    ip -n {CLIENT} addr add 203.0.113.254/24 dev isp; ip -n {CLIENT} link set isp up; ip -n {CLIENT} link set lo up
    ip -n {CLIENT} link add wg0 type wireguard
    ip netns exec {CLIENT} wg set wg0 private-key client peer $(cat server.pub) preshared-key psk \
        allowed-ips 10.66.66.0/24 endpoint 203.0.113.1:51833 persistent-keepalive 1
    ip -n {CLIENT} addr add 10.66.66.2/24 dev wg0; ip -n {CLIENT} link set wg0 up
    ip link add wg0 type wireguard; wg setconf wg0 wg0.strip
    ip addr add 10.66.66.1/24 dev wg0; ip link set wg0 up
    """)
    try:
        yield at
    finally:
        sh(f"ip netns del {CLIENT}; ip link del wg0 2>/dev/null || true")


def answers() -> bool:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        ping = ["ip", "netns", "exec", CLIENT, "ping", "-c1", "-W1", "10.66.66.1"]
        done = subprocess.run(ping, capture_output=True, check=False)
        if done.returncode == 0:
            return True
    return False


def warpctl(at: Path, *words: str) -> str:
    command = [sys.executable, "-B", "-m", "warpd.cli", "-c", str(at / "warp.yaml"), "--state-dir", str(at / "state"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_client_in_the_field_goes_on(client: Path) -> None:
    assert answers()
    told = sh(f"ip netns exec {CLIENT} wg showconf wg0")
    server = sh("wg show wg0 public-key")
    warpctl(client, "import", str(client / "wg0.conf"), "--type", "secure-internet")
    sh("ip link del wg0")
    warpctl(client, "apply", "--yes")
    shown = warpctl(client, "endpoint", "config", "wg0/anna")
    assert f"PublicKey = {server.strip()}\n" in shown and "Address = 10.66.66.2/32\n" in shown
    assert answers()
    assert sh(f"ip netns exec {CLIENT} wg showconf wg0") == told
    warpctl(client, "endpoint", "add", "wg0", "phone-2", "--type", "mobile")
    warpctl(client, "apply", "--yes")
    assert answers()


def test_without_its_key_file_nothing_is_applied(client: Path) -> None:
    warpctl(client, "import", str(client / "wg0.conf"), "--type", "secure-internet")
    (client / "keys" / "wg0.key").chmod(0o644)
    with pytest.raises(AssertionError, match="others than root can read it"):
        warpctl(client, "apply", "--yes")
    assert "warp-" not in sh("ip netns list")
