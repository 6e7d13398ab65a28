"""The lab of the packet tests: hosts in namespaces without names, and the links between them.

Every host is a process tree of its own (network, mount and process namespace) with an agent
(agent.py) inside. Nothing has a name that the machine could see, so that nothing can collide with
it or stay behind: when the agent ends, its processes, links and mounts end with it. Addresses of
the documentation ranges play the internet.

      c1 .. cN                      isp (router)                 world
      eth0 192.0.2.(4i+2)/30 ------ c1 .. cN             every address of the internet and of the
           2001:db8:c:i::2/64       world 198.51.100.1/24 -- eth0  "inside": egress must not reach it
                                    gw 203.0.113.254/24          |  |
                                    |  2001:db8:113::fe/64       |  |
      gw (the gateway's root)       |                            |  |
      eth0    203.0.113.1/24 -------+                            |  |
              2001:db8:113::1/64                                 |  |
      lan0    10.44.0.1/24, fd00:44::1/64 ---------------- lan0 -+  |   10.44.0.9, fd00:44::9
      docker0 172.17.0.1/16 ------------------------------ dock0 ---+   172.17.0.2
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from .packet import Packet

AGENT = Path(__file__).with_name("agent.py")
REPOSITORY = AGENT.parents[2]
# Debian's own interpreter starts four times faster than one from a venv, in a guest kernel even
# more so.
PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable

UPLINK4, UPLINK6 = "203.0.113.1", "2001:db8:113::1"
INTERNET4, INTERNET6 = "198.51.100.7", "2001:db8:51::7"
# Behind a link of the provider that carries less than the tunnels do.
NARROW4, NARROW6, NARROW_MTU = "198.51.100.8", "2001:db8:51::8", 1300
LAN_GATEWAY4, LAN_GATEWAY6, DOCKER_GATEWAY = "10.44.0.1", "fd00:44::1", "172.17.0.1"
LAN_HOST4, LAN_HOST6, CONTAINER = "10.44.0.9", "fd00:44::9", "172.17.0.2"
DNS4, DNS6 = "10.9.9.53", "fd00:9::53"
# One real host in every range that internet egress must not reach (some in the middle, some at an
# edge).
INSIDE4 = (
    "0.1.2.3",
    "10.9.9.9",
    "10.255.255.254",
    "100.64.9.9",
    "100.127.255.254",
    "127.9.9.9",
    "169.254.169.254",
    "172.16.9.9",
    "172.31.255.254",
    "192.168.9.9",
    "198.18.9.9",
    "198.19.250.9",
    "224.0.0.99",
    "239.9.9.9",
    "240.0.0.9",
    "255.255.255.254",
    "168.63.129.16",
    "192.0.0.192",
    "192.88.99.1",
    DNS4,
    LAN_HOST4,
    CONTAINER,
)
INSIDE6 = (
    "::1",
    "::ffff:10.9.9.9",
    "64:ff9b::a09:909",
    "64:ff9b:1::9",
    "fc00::9",
    "fd00:9::9",
    "fe80::99",
    "ff02::99",
    "ff0e::99",
    "2002:a09:909::1",
    "2001:0:a09:909::1",
    "fec0::9",
    "100::9",
    "5f00::9",
    DNS6,
    LAN_HOST6,
)
# Of those, what Linux forwards by an ordinary route: the others are martian to every router on the
# way, so that they cannot be listened to there and are watched for at the gateway itself instead.
ROUTED4 = tuple(a for a in INSIDE4 if a.split(".")[0] not in ("0", "127", "224", "239", "255"))
ROUTED6 = tuple(a for a in INSIDE6 if a.split(":")[0] not in ("", "fe80", "ff02", "ff0e"))
WORLD_PORTS = (53, 54, 7777)
GATEWAY_PORTS = (22, 53, 7777)


# The package is installed and systemd runs its unit: the gateway is this machine itself.
UNIT = os.environ.get("WARPD_TEST_UNIT") == "1"


class Stuck(Exception):
    """The lab itself failed: an agent gave no answer, or a command of the set-up did not work."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    rc: int
    out: str
    err: str

    def checked(self) -> Self:
        if self.rc:
            raise Stuck(f"exit {self.rc}\n{self.out}\n{self.err}")
        return self


# The stock kernels run under an emulator, several times slower: every limit is that much longer
# there.
PATIENCE = 6.0 if os.environ.get("LAB_KERNEL") in ("6.1", "6.12") else 1.0


class Host:
    """One machine of the lab.

    With `here` it is the machine that runs the tests: a virtual one, thrown away afterwards.
    """

    def __init__(self, name: str, here: bool = False) -> None:
        self.name = name
        spaces = (
            "--net",
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        )
        unshared = () if here else ("unshare", *spaces)
        command = (
            "setpriv",
            "--pdeathsig",
            "KILL",
            *unshared,
            "sh",
            "-c",
            SETTINGS if here else PRELUDE + SETTINGS,
            name,
        )
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            (*command, PYTHON, "-I", "-S", str(AGENT)),
            stdin=pipe,
            stdout=pipe,
            start_new_session=True,
        )
        self._seen = 0
        self._ready = selectors.DefaultSelector()
        assert self.process.stdout
        self._ready.register(self.process.stdout, selectors.EVENT_READ)

    def do(self, operation: str, limit_s: float = 30, **arguments: Any) -> Any:
        """Let the agent do one thing; `limit_s` bounds the wait for its answer."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"do": operation, **arguments}).encode() + b"\n")
        self.process.stdin.flush()
        limit_s *= PATIENCE
        if not self._ready.select(limit_s):
            raise Stuck(f"{self.name}: no answer to {operation} within {limit_s} s")
        reply = json.loads(self.process.stdout.readline() or '{"error": "the agent is gone"}')
        if "error" in reply:
            raise Stuck(f"{self.name}: {operation}: {reply['error']}")
        return reply["value"]

    def run(
        self,
        *argv: str,
        timeout_s: float = 20,
        text: str = "",
        env: Mapping[str, str] | None = None,
    ) -> Done:
        """A command inside this host."""
        value = self.do(
            "run",
            timeout_s + 10,
            argv=argv,
            timeout_s=timeout_s * PATIENCE,
            text=text,
            env=dict(env or {}),
        )
        return Done(**value)

    def ip(self, *lines: str) -> None:
        self.run("ip", "-batch", "-", text="\n".join(lines)).checked()

    def outside(self, *argv: str) -> Done:
        """A command in this host's network, but with the tests' process ids: for `ip link ... netns
        PID`.
        """
        command = ("nsenter", "--net", "-t", str(self.process.pid), *argv)
        job = subprocess.run(
            command, capture_output=True, text=True, timeout=20 * PATIENCE, check=False
        )
        return Done(job.returncode, job.stdout, job.stderr)

    def link(self, name: str, other: Host, peer: str) -> None:
        """A cable from here to another host."""
        rest = ("type", "veth", "peer", "name", peer, "netns", str(other.process.pid))
        self.outside("ip", "link", "add", name, *rest).checked()

    def send(self, link: str, packets: Iterable[Packet]) -> None:
        """Send packets as they are, past this host's own routing."""
        self.do("packets", link=link, packets=[packet.encode().hex() for packet in packets])

    def udp(
        self,
        target: str,
        port: int,
        ident: str,
        timeout_s: float = 2,
        sport: int = 0,
        source: str = "",
    ) -> bool:
        """Send a datagram; True when it was answered. With no time to wait: False at once."""
        about = {"dst": target, "port": port, "payload": ident, "sport": sport, "source": source}
        return bool(self.do("udp", timeout_s + 10, timeout_s=timeout_s, **about) == ident)

    def tcp(self, target: str, port: int, ident: str, timeout_s: float = 3) -> bool:
        """Connect, send and read the echo; True when it all worked."""
        about = {"dst": target, "port": port, "payload": ident}
        return bool(self.do("tcp", timeout_s + 10, timeout_s=timeout_s, **about) == ident)

    def ping(self, target: str, wait_s: int = 1) -> bool:
        return self.run("ping", "-n", "-c1", f"-W{wait_s}", target).rc == 0

    def records(self) -> list[dict[str, Any]]:
        """What arrived here since the tests began."""
        return list(self.do("records", since=0)["new"])

    def latest(self) -> list[dict[str, Any]]:
        """What arrived here since this was asked before."""
        answer = self.do("records", since=self._seen)
        self._seen = answer["next"]
        return list(answer["new"])

    def stop(self) -> None:
        """End the agent, and with it all that runs or exists in this host."""
        assert self.process.stdin and self.process.stdout
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(3)
        self.process.stdout.close()
        self._ready.close()


# A private /run: namespaces' names, WireGuard's sockets and locks of one host are not seen by
# another or the machine. wg-quick calls `resolvconf` for a DNS line; a stand-in records what it was
# told, and /etc/resolv.conf is a copy.
PRELUDE = """
set -e
mount -t tmpfs run /run
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null || true # `ip vrf exec` needs it; other tests do not
mkdir -p /run/netns /run/wireguard /run/lock /run/stand-in
printf '#!/bin/sh\\n{ echo "$*"; cat; } >>/run/resolvconf.log\\n' >/run/stand-in/resolvconf
chmod 755 /run/stand-in/resolvconf
for real in /usr/bin/resolvconf /usr/sbin/resolvconf; do
    [ ! -e $real ] || mount --bind /run/stand-in/resolvconf "$(realpath $real)"
done
if [ -f /etc/resolv.conf ]; then
    cat /etc/resolv.conf >/run/resolv.conf
    mount --bind /run/resolv.conf "$(realpath /etc/resolv.conf)"
fi
"""
SETTINGS = """
ip link set lo up
for f in all default; do
    echo 0 >/proc/sys/net/ipv4/conf/$f/rp_filter
    echo 0 >/proc/sys/net/ipv6/conf/$f/accept_dad
    echo 0 >/proc/sys/net/ipv6/conf/$f/disable_ipv6
    echo 0 >/proc/sys/net/ipv6/conf/$f/accept_ra
done
exec "$@"
"""


class Lab:
    """All hosts of one drawing, wired and addressed; the gateway runs nothing of ours yet."""

    def __init__(self, clients: int) -> None:
        self.gw, self.isp, self.world = Host("gw", here=UNIT), Host("isp"), Host("world")
        self.clients = tuple(Host(f"c{i}") for i in range(1, clients + 1))
        try:
            self._wire()
            self._watch()
        except BaseException:
            self.stop()
            raise

    @property
    def hosts(self) -> tuple[Host, ...]:
        return (self.gw, self.isp, self.world, *self.clients)

    def _wire(self) -> None:
        for host in self.hosts:
            host.do("records", since=0)  # its namespaces exist once it answers
        self._provider()
        self._gateway()
        self._world()
        for number, client in enumerate(self.clients, 1):
            self._client(number, client)
        # The first neighbour solicitation on a fresh link may be lost; the tests must not be the
        # ones to wait for it.
        for target in (INTERNET4, INTERNET6, LAN_HOST4, LAN_HOST6, CONTAINER):
            if not until(partial(self.gw.ping, target)):
                raise Stuck(f"the gateway does not reach {target}")

    def _provider(self) -> None:
        isp = self.isp
        isp.link("gw", self.gw, "eth0")
        isp.link("world", self.world, "eth0")
        for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            isp.run("sysctl", "-qw", f"net/{path}=1").checked()
        isp.ip(
            "addr add 203.0.113.254/24 dev gw",
            "addr add 2001:db8:113::fe/64 dev gw",
            "addr add 198.51.100.1/24 dev world",
            "addr add 2001:db8:51::1/64 dev world",
            "link set gw up",
            "link set world up",
            f"route add {NARROW4} dev world mtu lock {NARROW_MTU}",
            f"route add {NARROW6} dev world mtu lock {NARROW_MTU}",
            *(f"route add {a} via {INTERNET4}" for a in ROUTED4),
            *(f"route add {a} via {INTERNET6}" for a in ROUTED6),
        )

    def _gateway(self) -> None:
        gw = self.gw
        gw.link("lan0", self.world, "lan0")
        gw.link("docker0", self.world, "dock0")
        gw.ip(
            f"addr add {UPLINK4}/24 dev eth0",
            f"addr add {UPLINK6}/64 dev eth0",
            f"addr add {LAN_GATEWAY4}/24 dev lan0",
            f"addr add {LAN_GATEWAY6}/64 dev lan0",
            f"addr add {DOCKER_GATEWAY}/16 dev docker0",
            *(f"link set {link} up" for link in ("eth0", "lan0", "docker0")),
            "route add default via 203.0.113.254",
            "route add default via 2001:db8:113::fe",
        )
        gw.do("listen", udp=GATEWAY_PORTS, tcp=GATEWAY_PORTS)

    def _world(self) -> None:
        world = self.world
        # Multicast addresses cannot be assigned, the rest of what no router forwards need not be.
        on_loopback = [
            a for a in (*ROUTED4, *ROUTED6) if a not in (LAN_HOST4, LAN_HOST6, CONTAINER)
        ]
        world.ip(
            f"addr add {INTERNET4}/24 dev eth0",
            f"addr add {INTERNET6}/64 dev eth0",
            f"addr add {NARROW4}/32 dev eth0",
            f"addr add {NARROW6}/128 dev eth0",
            f"addr add {LAN_HOST4}/24 dev lan0",
            f"addr add {LAN_HOST6}/64 dev lan0",
            f"addr add {CONTAINER}/16 dev dock0",
            *(f"addr add {a} dev lo" for a in on_loopback),
            *(f"link set {link} up" for link in ("eth0", "lan0", "dock0")),
            "route add default via 198.51.100.1",
            "route add default via 2001:db8:51::1",
        )
        world.do("listen", udp=WORLD_PORTS, tcp=WORLD_PORTS)

    def _client(self, number: int, client: Host) -> None:
        self.isp.link(f"c{number}", client, "eth0")
        base = 4 * number
        self.isp.ip(
            f"addr add 192.0.2.{base + 1}/30 dev c{number}",
            f"addr add 2001:db8:c:{number}::1/64 dev c{number}",
            f"link set c{number} up",
        )
        client.ip(
            f"addr add {public4(number)}/30 dev eth0",
            f"addr add {public6(number)}/64 dev eth0",
            "link set eth0 up",
            f"route add default via 192.0.2.{base + 1}",
            f"route add default via 2001:db8:c:{number}::1",
        )
        client.do("listen", udp=[7777], tcp=[7777])

    def _watch(self) -> None:
        self.gw.do("watch_input")
        for host in (self.isp, self.world, *self.clients):
            host.do("watch_wire")

    def arrivals(self, hosts: Sequence[Host] | None = None) -> dict[str, list[dict[str, Any]]]:
        """Marker -> every arrival of that probe, anywhere."""
        out: dict[str, list[dict[str, Any]]] = {}
        for host in self.hosts if hosts is None else hosts:
            for record in host.records():
                if record["ident"]:
                    out.setdefault(record["ident"], []).append({**record, "host": host.name})
        return out

    def latest(self) -> dict[str, list[dict[str, Any]]]:
        """The same of what has arrived since this was asked before, or since the tests began."""
        out: dict[str, list[dict[str, Any]]] = {}
        for host in self.hosts:
            for record in host.latest():
                if record["ident"]:
                    out.setdefault(record["ident"], []).append({**record, "host": host.name})
        return out

    def stop(self) -> None:
        for host in self.hosts:
            host.stop()


def public4(number: int) -> str:
    """The address at which the provider knows client `number`."""
    return f"192.0.2.{4 * number + 2}"


def public6(number: int) -> str:
    return f"2001:db8:c:{number}::2"


def until(check: Any, timeout_s: float = 5, pause_s: float = 0.05) -> bool:
    """Poll until `check()` is true or the time is over."""
    deadline = time.monotonic() + timeout_s * PATIENCE
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_s)
    return True


def environment() -> dict[str, str]:
    """What a command of ours needs to find the package when it is not installed."""
    return {
        "PYTHONPATH": str(REPOSITORY),
        "PATH": f"/run/stand-in:{os.environ['PATH']}",
        "NO_COLOR": "1",
    }
