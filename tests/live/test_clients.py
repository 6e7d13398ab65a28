"""Client configs in the hands of their consumers: wg-quick, systemd-networkd and NetworkManager
read what a format wrote, bring it up, and packets pass, also whole frames with a VLAN tag through
the L2 types. The gateway's side is made by hand, so that only the client's is tested.

[ gw ] 203.0.113.1 eth0 ---- eth0 203.0.113.2 [ client ] lan0 ---- eth0 10.9.0.2 [ near ]
  wg0 <- - - - - - - - - - - - - - > wg-<vcid>
  br0 (tun0, far) -- eth0 10.9.0.1 [ far ]    br-<vcid> (tunnel, lan0)

NetworkManager is taken from a folder of unpacked packages: .work/networkmanager, or what
WARPD_NETWORKMANAGER names.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_interface
from pathlib import Path

import pytest

from tests import clients
from tests.live.conftest import sh
from warpd.clients import FORMATS
from warpd.clients.config import ClientConfig
from warpd.clients.files import split
from warpd.keys import derivation

NETWORKD = Path("/lib/systemd/systemd-networkd")
# Where `./run test` unpacks the packages: NetworkManager, once installed, would take over the
# host's own links.
UNPACKED = Path(
    os.environ.get("WARPD_NETWORKMANAGER") or Path(__file__).parents[2] / ".work/networkmanager"
)
NETWORKMANAGER = UNPACKED / "usr/sbin/NetworkManager"
HOST = "203.0.113.1"
PATIENCE_S = 25
LARGE_MTU = 1560  # what a gateway tells endpoints of an l2-mesh


@dataclass
class Lab:
    folder: Path

    def run(self, where: str, command: str) -> str:
        return sh(f"ip netns exec {where} bash -ec '{command}'")

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """A daemon in the client, in a mount namespace of its own: no udev, /etc and /run as the
        test wants them.
        """
        private = f"""
            mount --make-rprivate /
            mount -o remount,bind,ro /sys
            mkdir -p {self.folder}/etc {self.folder}/run
            {command}"""
        whole = ["ip", "netns", "exec", "client", "unshare", "--mount", "bash", "-ec", private]
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(whole, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-6000:]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    tmp_path.chmod(0o755)
    places = ("gw", "client", "near", "far")
    sh("".join(f"ip netns add {place}\nip -n {place} link set lo up\n" for place in places))
    sh("""
        ip link add eth0 netns gw type veth peer eth0 netns client
        ip link add lan0 netns client type veth peer eth0 netns near
        ip link add far netns gw type veth peer eth0 netns far
        ip -n gw addr add 203.0.113.1/24 dev eth0; ip -n gw link set eth0 up
        ip -n client addr add 203.0.113.2/24 dev eth0; ip -n client link set eth0 up; ip -n client link set lan0 up
        ip -n near addr add 10.9.0.2/24 dev eth0; ip -n near link set eth0 up
        ip -n far addr add 10.9.0.1/24 dev eth0; ip -n far link set eth0 up; ip -n gw link set far up
    """)
    for place, address in (("near", "10.10.0.2/24"), ("far", "10.10.0.1/24")):
        sh(f"ip -n {place} link add eth0.7 link eth0 type vlan id 7")
        sh(
            f"ip -n {place} addr add {address} dev eth0.7; ip -n {place} link set eth0.7 mtu"
            " 1500 up"
        )
    try:
        yield Lab(tmp_path)
    finally:
        sh("".join(f"ip netns del {place}\n" for place in places))


def gateway(lab: Lab, kind: str, config: ClientConfig) -> None:
    """The other side of a config, from what the config says."""
    assert config.private_key
    (lab.folder / "gw.key").write_text(derivation.encode(clients.gateway_key(config).reveal()))
    (lab.folder / "gw.psk").write_text(config.shared_text or "")
    inside = [ip_interface(address) for address in config.addresses]
    peer = f"peer {derivation.public_key(config.private_key)} preshared-key {lab.folder}/gw.psk"
    allowed = ",".join(str(each.network) for each in inside)
    port = config.host_port[1]
    sh(f"""
        ip -n gw link add wg0 mtu {config.mtu} type wireguard
        ip netns exec gw wg set wg0 private-key {lab.folder}/gw.key listen-port {port} {peer} allowed-ips {allowed}
        ip -n gw link set wg0 up
        ip -n gw addr add 198.51.100.1/32 dev lo
    """)
    for address in clients.gateway_addresses(kind):
        sh(f"ip -n gw addr add {address} dev wg0")
    for each in inside:
        sh(f"ip -n gw route add {each.network} dev wg0")
    if config.segment:
        segment = config.segment
        ends = f"local {segment.remote} remote {segment.local}"
        kind = f"gretap {ends} nopmtudisc ignore-df"
        if segment.kind == "vxlan":
            kind = f"vxlan id {segment.vni} {ends} dstport 4789 nolearning df unset"
        sh(f"""
            ip -n gw link add tun0 type {kind}
            ip -n gw link set tun0 mtu 1500 up
            ip -n gw link add br0 type bridge
            ip -n gw link set tun0 master br0; ip -n gw link set far master br0; ip -n gw link set br0 up
        """)


def until(check: Callable[[], object], lab: Lab) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            check()
            return
        except AssertionError:
            if time.monotonic() > deadline:
                print(
                    lab.log(),
                    sh(
                        "ip -n client addr; ip -n client route show table all; ip netns exec client"
                        " wg || true"
                    ),
                )
                raise
            time.sleep(0.2)


def reaches(lab: Lab, where: str, target: str, size: int = 56) -> None:
    lab.run(where, f"ping -n -c 1 -W 1 -M do -s {size} {target}")


def frames_pass(lab: Lab) -> None:
    """Payloads of 1500 bytes with DF, untagged and tagged, both ways."""
    until(lambda: reaches(lab, "near", "10.9.0.1"), lab)
    for where, target in (
        ("near", "10.9.0.1"),
        ("far", "10.9.0.2"),
        ("near", "10.10.0.1"),
        ("far", "10.10.0.2"),
    ):
        reaches(lab, where, target, 1472)


def l2_config(kind: str) -> ClientConfig:
    config = clients.made(kind, host=HOST, mtu=1420 if kind == "l2-point-to-point" else LARGE_MTU)
    return config.with_port("lan0").numbered(1)


def l3_config(kind: str) -> ClientConfig:
    return clients.made(kind, host=HOST).numbered(1)


# ---- wg-quick --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["l2-point-to-point", "l2-mesh"])
def test_wg_quick_carries_whole_frames_and_cleans_up(lab: Lab, kind: str) -> None:
    config = l2_config(kind)
    assert config.segment
    gateway(lab, kind, config)
    path = lab.folder / "warp0.conf"
    path.touch(mode=0o600)
    path.write_text(FORMATS["wg-quick"].text(config))
    before = links(lab)
    for _ in range(2):
        sh(
            f"ip -n client link add {config.segment.device} type dummy"
        )  # what an interrupted start may leave
        lab.run("client", f"wg-quick up {path}")
        frames_pass(lab)
        lab.run("client", f"wg-quick down {path}")
        assert links(lab) == before
    lab.run("client", f"wg-quick up {path}")
    sh(f"ip -n client link del {config.segment.bridge}")
    lab.run("client", f"wg-quick down {path}")
    assert links(lab) == before


def links(lab: Lab) -> str:
    return lab.run("client", "ip -br link | cut -d@ -f1 | sort")


# ---- systemd-networkd ------------------------------------------------------------------------


@pytest.fixture
def networkd(lab: Lab) -> Iterator[Callable[[ClientConfig], None]]:
    assert NETWORKD.exists(), "systemd-networkd is not installed"
    daemons: list[subprocess.Popen[bytes]] = []

    def started(config: ClientConfig) -> None:
        folder = lab.folder / "etc"
        folder.mkdir()
        folder.chmod(0o755)
        for name, text in split(FORMATS["networkd"].text(config)).items():
            (folder / name).write_text(text)
        command = f"""
            mkdir -p /run/systemd /etc/systemd/network
            mount -t tmpfs none /run/systemd
            mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
            chown -R systemd-network: /run/systemd/netif
            mount --bind {folder} /etc/systemd/network
            SYSTEMD_LOG_LEVEL=info SYSTEMD_LOG_TARGET=console exec {NETWORKD}"""
        daemons.append(lab.start(command))

    try:
        yield started
    finally:
        for daemon in daemons:
            daemon.terminate()
            daemon.wait(20)


def complaints(lab: Lab) -> list[str]:
    """Keys and values that networkd did not take."""
    words = ("Unknown", "ignoring", "Failed to parse", "Invalid", "Could not", "accessible by")
    return [
        line
        for line in lab.log().splitlines()
        if "05-warp" in line and any(word in line for word in words)
    ]


@pytest.mark.parametrize("kind", ["secure-internet", "remote-resource-gateway", "l3vpn-gateway"])
def test_networkd_connects(lab: Lab, networkd: Callable[[ClientConfig], None], kind: str) -> None:
    config = l3_config(kind)
    gateway(lab, kind, config)
    networkd(config)
    for address in clients.gateway_addresses(kind):
        until(partial(reaches, lab, "client", address), lab)
    if kind == "secure-internet":
        until(
            lambda: reaches(lab, "client", "198.51.100.1"), lab
        )  # an address that only the tunnel leads to
        assert f"dev {config.device}" in lab.run("client", "ip route get 198.51.100.1")
        mark = config.vcid
        assert "dev eth0" in lab.run("client", f"ip route get {HOST} mark {mark}")
    assert complaints(lab) == []


@pytest.mark.parametrize("kind", ["l2-point-to-point", "l2-mesh"])
def test_networkd_carries_whole_frames(
    lab: Lab, networkd: Callable[[ClientConfig], None], kind: str
) -> None:
    config = l2_config(kind)
    gateway(lab, kind, config)
    networkd(config)
    frames_pass(lab)
    assert complaints(lab) == []


# ---- NetworkManager --------------------------------------------------------------------------


@pytest.fixture
def networkmanager(lab: Lab) -> Iterator[Callable[[ClientConfig], None]]:
    if not NETWORKMANAGER.exists():
        pytest.skip(
            "no NetworkManager: `./run test` unpacks it, or name a folder in WARPD_NETWORKMANAGER"
        )
    daemons: list[subprocess.Popen[bytes]] = []

    def started(config: ClientConfig) -> None:
        folder = lab.folder / "etc"
        folder.mkdir()
        for name, text in split(FORMATS["networkmanager"].text(config)).items():
            path = folder / name
            path.touch(mode=0o600)
            path.write_text(text)
        (lab.folder / "bus.conf").write_text(BUS.format(folder=lab.folder))
        (lab.folder / "nm.conf").write_text(SETTINGS)
        libraries = next(UNPACKED.glob("usr/lib/*-linux-gnu"))
        command = f"""
            mkdir -p /etc/NetworkManager/system-connections /var/lib/NetworkManager /run/NetworkManager
            mount --bind {folder} /etc/NetworkManager/system-connections
            mount -t tmpfs none /run/NetworkManager
            mount -t tmpfs none /var/lib/NetworkManager
            dbus-daemon --nofork --config-file={lab.folder}/bus.conf &
            until [ -S {lab.folder}/bus ]; do sleep 0.1; done
            export DBUS_SYSTEM_BUS_ADDRESS=unix:path={lab.folder}/bus LD_LIBRARY_PATH={libraries}
            trap "kill 0" TERM
            {NETWORKMANAGER} --no-daemon --config={lab.folder}/nm.conf --log-level=INFO &
            wait"""
        daemons.append(lab.start(command))

    try:
        yield started
    finally:
        for daemon in daemons:
            pids = sh("ip netns pids client").split()
            if pids:
                subprocess.run(["kill", "-KILL", *pids], check=False)
            daemon.wait(20)


BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={folder}/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_destination="*"/>
<allow eavesdrop="false"/></policy></busconfig>
"""
SETTINGS = """[main]
plugins=keyfile
no-auto-default=*
dns=none
rc-manager=unmanaged
[device]
match-device=interface-name:eth0
managed=0
"""


@pytest.mark.parametrize("kind", ["secure-internet", "remote-resource-gateway", "l3vpn-gateway"])
def test_networkmanager_connects(
    lab: Lab, networkmanager: Callable[[ClientConfig], None], kind: str
) -> None:
    config = l3_config(kind)
    gateway(lab, kind, config)
    networkmanager(config)
    for address in clients.gateway_addresses(kind):
        until(partial(reaches, lab, "client", address), lab)
    if kind == "secure-internet":
        until(lambda: reaches(lab, "client", "198.51.100.1"), lab)
    assert "unknown" not in lab.log().lower()


@pytest.mark.parametrize("kind", ["l2-point-to-point", "l2-mesh"])
def test_networkmanager_carries_whole_frames(
    lab: Lab, networkmanager: Callable[[ClientConfig], None], kind: str
) -> None:
    config = l2_config(kind)
    gateway(lab, kind, config)
    networkmanager(config)
    frames_pass(lab)
