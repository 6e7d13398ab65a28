"""A virtual machine that systemd runs, with an uplink, the internet behind it and two phones; its
dashboard on a port of this machine's loopback.

    phone-old 192.0.2.2 -+
                         +- isp 203.0.113.254 -- 203.0.113.1 eth0, the gateway
    phone-new 192.0.2.6 -+  (198.51.100.7 answers)

The phones are namespaces; the gateway is the machine itself, as it is for whoever has one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.boot.machine import Done
from tests.relay import Line, Outer

REPOSITORY = Path(__file__).resolve().parents[2]
LIMIT_S = 1200
PATIENCE_S = 240.0
SERIAL = "/dev/ttyS0"
ORIGIN = "https://localhost:8443"  # what `warpctl web init` sets up, where it is told nothing
INTERNET = "198.51.100.7"
NETWORK = """\
ip link add eth0 type veth peer name gw
for name in isp phone-old phone-new; do ip netns add $name; ip -n $name link set lo up; done
ip link set gw netns isp
ip addr add 203.0.113.1/24 dev eth0
ip link set eth0 up
ip -n isp addr add 203.0.113.254/24 dev gw
ip -n isp link set gw up
ip -n isp addr add 198.51.100.7/32 dev lo
ip netns exec isp sysctl -qw net.ipv4.ip_forward=1
ip route add default via 203.0.113.254
number=1
for name in phone-old phone-new; do
    ip -n isp link add $name type veth peer name eth0 netns $name
    ip -n isp addr add 192.0.2.$number/30 dev $name
    ip -n isp link set $name up
    ip -n $name addr add 192.0.2.$((number + 1))/30 dev eth0
    ip -n $name link set eth0 up
    ip -n $name route add default via 192.0.2.$number
    number=$((number + 4))
done
# wg-quick tells it of name servers
printf '#!/bin/sh\\ncat >/dev/null\\n' >/usr/local/sbin/resolvconf
chmod 755 /usr/local/sbin/resolvconf
"""


class Machine:
    """The running machine; `port` is that of its dashboard on loopback here."""

    def __init__(self, port: int) -> None:
        self.port = port

    def run(self, command: str, given: str = "") -> Done:
        """A command of bash, as root, in the gateway; `given` is its standard input."""
        text = f"exec <<<{shlex.quote(given)}; {command}" if given else command
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as line:
            line.sendall(json.dumps({"id": "1", "command": text}).encode() + b"\n")
            with line.makefile("rb") as answers:
                said = json.loads(answers.readline())
        return Done(said["rc"], said["out"])

    def until(self, command: str) -> None:
        """Wait for a command to succeed."""
        end = time.monotonic() + PATIENCE_S
        while (done := self.run(command)).rc != 0:
            assert time.monotonic() < end, f"{command}\n{done.out}\n{self.last_words()}"
            time.sleep(0.2)

    def last_words(self) -> str:
        return self.run("journalctl -o cat -u 'warpd*' --no-pager -n 40").out

    def reaches(self, phone: str) -> bool:
        """Whether the phone has an answer from the internet by its tunnel, to one of six pings."""
        words = f"ip netns exec {phone} ping -n -q -c 1 -W 1 -I vpn {INTERNET}"
        return self.run(f"for _ in 1 2 3 4 5 6; do ! {words} || exit 0; done; exit 1").rc == 0

    def connect(self, phone: str, config: str) -> None:
        """What the WireGuard app does with a config: here, wg-quick."""
        path = f"/run/{phone}/vpn.conf"
        self.run(f"mkdir -p /run/{phone}; cat >{path}; chmod 600 {path}", config).checked()
        self.run(f"ip netns exec {phone} wg-quick up {path}").checked()


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Machine]:
    """The machine, until it is left; what it prints is in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    here, there = socket.socketpair()
    with socket.socket() as listener, (folder / "printed").open("wb") as printed:
        listener.bind(("127.0.0.1", 0))
        outer = Outer(Line(here.fileno()), listener)
        inside = [sys.executable, "-m", "tests.journey.inside", SERIAL, ORIGIN.rpartition("/")[2]]
        text = f"cd {shlex.quote(str(REPOSITORY))} && {shlex.join(inside)}"
        lab = [REPOSITORY / "tests/vm/lab", "run", "uml", folder, str(LIMIT_S), text]
        settings = {"LAB_SYSTEMD": "1", "LAB_CPUS": "1", "LAB_MEM": "3G"}
        process = subprocess.Popen(
            [str(word) for word in lab],
            env={**settings, **os.environ, "LAB_SERIAL": f"fd:{there.fileno()}"},
            stdout=printed,
            stderr=subprocess.STDOUT,
            pass_fds=[there.fileno()],
            start_new_session=True,
        )
        there.close()
        threading.Thread(target=outer.run, daemon=True).start()
        try:
            came = outer.is_there.wait(PATIENCE_S)
            assert came, (folder / "printed").read_text(errors="replace")[-3000:]
            made = Machine(listener.getsockname()[1])
            made.run(f"set -e\n{NETWORK}").checked()
            yield made
        finally:
            if outer.is_there.is_set():
                outer.end()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.terminate()
                process.wait(20)
            here.close()
