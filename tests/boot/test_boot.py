"""First boot as a cloud does it: Debian's own kernel and systemd, cloud-init, the package; then
reboot and power-cut.

client (namespace) 192.0.2.2 -- 192.0.2.1 [gw] 203.0.113.15 -- 203.0.113.2 pings, 203.0.113.100:80
files
"""

from __future__ import annotations

import json
import re
import subprocess
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .machine import NEIGHBOUR, SERVER, Machine, image, package

EXAMPLES = Path(__file__).parents[2] / "examples" / "cloud-init"
PENDING = "/var/lib/warpd/pending.json"
READY = "systemctl is-active --quiet warpd && warpctl plan >/dev/null"

pytestmark = pytest.mark.boot


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    folder.chmod(0o755)
    (folder / "hello").write_text("hello from the internet\n")
    return folder


def user_data(name: str, served: Path) -> str:
    """The example as it stands, with the place of the package put in, as its reader does."""
    deb, digest = package(served)
    text = (EXAMPLES / name).read_text()
    text, urls = re.subn(r"url=\S+", f"url=http://{SERVER}/{deb}", text)
    text, sums = re.subn(r"sha256=[0-9a-f]{64}", f"sha256={digest}", text)
    text, updates = re.subn(
        r"package_update: true\n", "", text
    )  # the machine's one network has no mirror of Debian
    assert (urls, sums, updates) == (1, 1, 1)
    return text


@pytest.fixture(scope="module")
def gw(tmp_path_factory: pytest.TempPathFactory, served: Path) -> Iterator[Machine]:
    machine = Machine(
        tmp_path_factory.mktemp("gw"), image(), served, user_data("user-data.yaml", served)
    )
    try:
        print(f"\n  first boot: {machine.power_on():.0f} s to the first command")
        yield machine
    finally:
        machine.stop()


def converged_s(machine: Machine) -> float:
    """Seconds from the start of warpd to its first pass done, as systemd measured them."""
    shown = machine.run(
        "systemctl show warpd -p ExecMainStartTimestampMonotonic -p ActiveEnterTimestampMonotonic"
    ).checked()
    times = dict(line.split("=") for line in shown.split())
    return (
        int(times["ActiveEnterTimestampMonotonic"]) - int(times["ExecMainStartTimestampMonotonic"])
    ) / 1e6


# A stand-in for resolvconf: the client is a namespace of the gateway's machine, whose name servers
# are not the client's to set.
CLIENT = """set -e
printf '#!/bin/sh\\ncat >/dev/null\\n' >/usr/local/bin/resolvconf
chmod 755 /usr/local/bin/resolvconf
ip netns add client
ip link add to-client type veth peer name eth0 netns client
ip addr add 192.0.2.1/24 dev to-client
ip link set to-client up
ip -n client addr add 192.0.2.2/24 dev eth0
ip -n client link set lo up
ip -n client link set eth0 up
ip -n client route add default via 192.0.2.1"""


def connect(machine: Machine) -> None:
    """A client that dials the gateway with the config as it is printed, and reaches the
    internet.
    """
    machine.run(CLIENT).checked()
    machine.run("umask 077; warpctl endpoint config privacy/phone-1 >/run/wg0.conf").checked()
    machine.run("ip netns exec client wg-quick up /run/wg0.conf").checked()
    machine.until(f"ip netns exec client ping -c 1 -W 2 {NEIGHBOUR}", 120)
    got = machine.run(
        f"ip netns exec client curl -fsS --max-time 60 http://{SERVER}/hello"
    ).checked()
    assert got == "hello from the internet\n"
    assert "latest handshake" in machine.run("ip netns exec client wg show wg0").checked()


def test_first_boot(gw: Machine) -> None:
    took = gw.until(READY)
    gw.until("cloud-init status | grep -E 'done|error'")
    assert "done" in gw.run("cloud-init status --long").out, gw.run(
        "cat /var/log/cloud-init-output.log"
    ).out
    connect(gw)
    print(
        f"\n  in sync {took:.0f} s after the first command; from the start of warpd to converged:"
        f" {converged_s(gw):.1f} s"
    )


def test_the_same_after_a_reboot(gw: Machine) -> None:
    before = json.loads(gw.run("warpctl network show privacy -o json").checked())
    config = gw.run("cat /run/wg0.conf").checked()
    gw.shut_down()
    print(f"\n  second boot: {gw.power_on():.0f} s to the first command")
    gw.until(READY)
    after = json.loads(gw.run("warpctl network show privacy -o json").checked())
    keep = ("vcid", "port", "subnet", "subnet6", "gateway_address", "gateway_address6")
    assert {key: after[key] for key in keep} == {key: before[key] for key in keep}
    connect(gw)
    assert gw.run("cat /run/wg0.conf").checked() == config
    print(f"  from the start of warpd to converged: {converged_s(gw):.1f} s")


def test_restart_and_upgrade_under_traffic(gw: Machine, served: Path) -> None:
    """The package is installed over itself and warpd restarted while a client pings on; the data
    plane is the kernel's.
    """
    deb, _digest = package(served)
    gw.run(f"curl -fsS -o /root/{deb} http://{SERVER}/{deb}").checked()
    shown = "ip netns exec client wg show wg0 latest-handshakes"
    gw.run(
        f"(ip netns exec client ping -q -i 0.02 -w 600 {NEIGHBOUR} >/root/pings 2>&1 & echo $!"
        " >/root/ping.pid)"
    ).checked()
    first = gw.run(shown).checked()
    began = time.monotonic()
    pids = {gw.run("systemctl show -P MainPID warpd").checked()}
    for command in (
        f"dpkg -i /root/{deb}",
        "systemctl restart warpd",
        "systemctl kill -s KILL warpd; sleep 1",
    ):
        gw.run(command).checked()
        gw.until("systemctl is-active --quiet warpd")
        pids.add(gw.run("systemctl show -P MainPID warpd").checked())
    took, last = time.monotonic() - began, gw.run(shown).checked()
    gw.run("kill -INT $(cat /root/ping.pid); sleep 2").checked()
    sent, received = map(
        int,
        re.findall(
            r"(\d+) packets transmitted, (\d+) received", gw.run("cat /root/pings").checked()
        )[0],
    )
    print(
        f"\n  {len(pids)} processes of warpd in {took:.0f} s: lost {sent - received} of {sent},"
        f" handshakes redone {first != last}"
    )
    assert len(pids) == 4 and sent > 500 and sent == received
    assert took > 110 or first == last  # sessions are renewed after two minutes anyway


@pytest.mark.parametrize("moment_s", [0, 2, 8])
def test_power_cut_during_an_unconfirmed_apply(gw: Machine, moment_s: float) -> None:
    """The networks as they were are back by themselves, with nobody there to ask for it."""
    more = (
        "  second: {type: l3vpn-gateway, isolation: vrf, endpoints: {a: {type: cpe}, b: {type:"
        " cpe}}}"
    )
    gw.write("/root/new.yaml", gw.run("cat /etc/warpd/warp.yaml").checked().rstrip() + "\n" + more)
    gw.run("warpctl -c /root/new.yaml validate").checked()
    command = "warpctl -c /root/new.yaml apply --yes --confirm-within 10m"
    gw.run(
        f"rm -f /root/done; (setsid sh -c '{command}; touch /root/done' >/root/apply.log 2>&1 &)"
    ).checked()
    gw.until(f"test -s {PENDING}")
    gw.run(f"sleep {moment_s}")
    done = gw.run("cat /root/apply.log; test -e /root/done").rc == 0
    gw.cut()
    gw.power_on()
    gw.until("systemctl is-active --quiet warpd")
    late_s = gw.until(f"! test -e {PENDING}")
    gw.until("warpctl plan")
    names = gw.run("ls /run/netns; ip -o link show type vrf").out.split()
    print(
        f"\n  power cut {moment_s} s after the checkpoint, apply done: {done}; undone {late_s:.0f}"
        f" s after warpd was up: {names}"
    )
    assert len(names) == 1 and names[0].startswith("warp-")


@pytest.fixture(scope="module")
def from_git(tmp_path_factory: pytest.TempPathFactory, served: Path) -> Iterator[Machine]:
    """A machine that knows nothing but a repository and who may sign; the repository is served as
    plain files.
    """
    folder = tmp_path_factory.mktemp("git")
    subprocess.run(
        ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"), check=True
    )
    work = folder / "work"
    signing = (
        "-c",
        "gpg.format=ssh",
        "-c",
        f"user.signingkey={folder / 'key'}",
        "-c",
        "user.name=ops",
        "-c",
        "user.email=o@e",
    )
    yaml = (EXAMPLES / "user-data.yaml").read_text().split("content: |\n")[1].split("\n  #")[0]
    work.mkdir()
    (work / "warp.yaml").write_text(textwrap.dedent(yaml))
    for words in (
        ("init", "-q", "--initial-branch=main"),
        ("add", "-A"),
        (*signing, "commit", "-q", "-S", "-m", "first"),
    ):
        subprocess.run(("git", "-C", work, *words), check=True)
    subprocess.run(("git", "clone", "-q", "--bare", work, served / "gateways.git"), check=True)
    subprocess.run(("git", "-C", served / "gateways.git", "update-server-info"), check=True)
    key = (folder / "key.pub").read_text().split()[1]
    text = user_data("user-data-git.yaml", served).replace(
        "https://git.example.com/ops", f"http://{SERVER}"
    )
    text, keys = re.subn(r"(ssh-ed25519 )\S+", rf"\g<1>{key}", text)
    assert keys == 1
    machine = Machine(tmp_path_factory.mktemp("gw-git"), image(), served, text)
    try:
        print(f"\n  first boot from git: {machine.power_on():.0f} s to the first command")
        yield machine
    finally:
        machine.stop()


def test_first_boot_from_git(from_git: Machine) -> None:
    took = from_git.until(READY)
    connect(from_git)
    status = json.loads(from_git.run("warpctl status -o json").checked())
    revision = status["daemon"]["source"]["revision"]
    print(f"\n  in sync {took:.0f} s after the first command, at {revision[:12]}")
