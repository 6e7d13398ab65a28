"""warpd is stopped, killed and started again under traffic: the data plane is the kernel's, and
nothing there may notice.

client-n -- [gateway, network in a namespace] -- internet
client-v -- [the same, network in a VRF] -- internet
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path

import pytest

from .gateway import Gateway, Tunnel
from .lan import INTERNET4, INTERNET6, Lab, until
from .tally import TALLY

DAEMON = shlex.split(os.environ.get("WARPD_TEST_WARPD", "")) or [
    sys.executable,
    "-m",
    "warpd.daemon.main",
]
STARTED = "setsid {} >>/run/warpd.log 2>&1 & echo $! >/run/warpd.pid"
INTERVAL_S = 0.01  # twice as often, a guest that was kept waiting for a second lost its queues
RENEWED_S = 115  # WireGuard itself makes a new handshake once a session is two minutes old


class Service:
    """warpd in the gateway's namespaces, as an init system would run it."""

    def __init__(self, gateway: Gateway) -> None:
        self.host, self.starts = gateway.host, 0
        words = [
            "-c",
            str(gateway.file),
            "--state-dir",
            str(gateway.state),
            "--socket",
            "/run/warpd.sock",
            "--interval",
            "2",
        ]
        self._command = shlex.join([*DAEMON, *words])

    def start(self) -> None:
        self.starts += 1
        self.host.run("sh", "-c", STARTED.format(self._command)).checked()
        assert until(lambda: self.told("ready") >= self.starts, 60), self.host.run(
            "cat", "/run/warpd.log"
        ).out

    def end(self, signal: str) -> None:
        self.host.run("sh", "-c", f"kill -{signal} $(cat /run/warpd.pid)").checked()
        gone = (
            "! kill -0 $(cat /run/warpd.pid) 2>/dev/null || grep -q '^State:.Z' /proc/$(cat"
            " /run/warpd.pid)/status"
        )
        assert until(lambda: self.host.run("sh", "-c", gone).rc == 0, 30)

    def told(self, event: str) -> int:
        return self.host.run("sh", "-c", "cat /run/warpd.log 2>/dev/null").out.count(
            f'"event": "{event}"'
        )

    def conditions(self, code: str, state: str) -> int:
        """How often the log tells that this condition begins, or is over."""
        search = f'grep -F \'"code": "{code}"\' /run/warpd.log | grep -cF \'"state": "{state}"\''
        return int(self.host.run("sh", "-c", search).out or 0)


def restarts(lab: Lab, folder: Path, packets: int) -> None:
    """At least so many echo requests, each of which must be answered, while warpd comes and
    goes.
    """
    gateway = Gateway(lab.gw, folder)
    phone = {"phone": {"type": "mobile"}}
    gateway.networks = {
        f"under-{mode}": {"type": "secure-internet", "isolation": mode, "endpoints": phone}
        for mode in ("namespace", "vrf")
    }
    gateway.write()
    service = Service(gateway)
    service.start()
    flows, tunnels = [], []
    for host, network in zip(lab.clients, gateway.networks, strict=False):
        tunnel = Tunnel(host, gateway.config(f"{network}/phone"))
        tunnel.up()
        assert tunnel.wake(INTERNET4) and tunnel.wake(INTERNET6)
        tunnels.append(tunnel)
        flows += [(host, target) for target in (INTERNET4, INTERNET6)]
    for tunnel in tunnels:
        tunnel.settle()
    before = [tunnel.handshake for tunnel in tunnels]
    began = time.monotonic()
    for host, target in flows:
        host.do("flow", dst=target, interval_s=INTERVAL_S)
    ends = 0
    while ends < 2 or sum(host.do("flow_sent", dst=target) for host, target in flows) < packets:
        assert time.monotonic() - began < 600, "too slow: the machine is busy"
        service.end(("TERM", "KILL")[ends % 2])
        service.start()
        ends += 1
    took = time.monotonic() - began
    counts = [host.do("flow_end", dst=target, wait_s=10) for host, target in flows]
    sent, answered = (
        sum(count["sent"] for count in counts),
        sum(count["answered"] for count in counts),
    )
    after = [tunnel.handshake for tunnel in tunnels]
    redone = sum(0 < now - then < RENEWED_S for now, then in zip(after, before, strict=True))
    print(
        f"\n  warpd ended {ends} times in {took:.0f} s; packets lost {sent - answered} of {sent};"
        f" handshakes redone {redone}"
    )
    assert ends >= 2 and sent >= packets
    assert not redone
    faults = TALLY.allowed(
        "restarts of warpd under traffic", [(f"packet {n}", n < answered) for n in range(sent)]
    )
    service.end("TERM")
    assert not faults, f"{len(faults)} lost"


def test_restarts_under_traffic(bench: tuple[Lab, Gateway], tmp_path: Path) -> None:
    restarts(bench[0], tmp_path, 5_000)


@pytest.mark.long
def test_a_hundred_thousand_packets(bench: tuple[Lab, Gateway], tmp_path: Path) -> None:
    restarts(bench[0], tmp_path, 100_000)
