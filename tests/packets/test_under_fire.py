"""The ruleset is flushed, deleted and reloaded while forbidden packets are sent all the time: none
of them gets through.

near  phone c1, laptop c2 --- [namespace] --+
far   phone c3, laptop c4 --- [VRF] --------+-- gw -- isp (routes all back) -- world

The phones send, without a pause, whatever they must not: to every address of the host, to laptops
of either network, into private ranges. Packets to the internet are sent too: none may leave with
its inner source. In between the ruleset is damaged, and repaired by the daemon, or by the next
apply where no daemon runs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from .gateway import LINK, Gateway, Tunnel
from .lan import (
    CONTAINER,
    DNS4,
    DNS6,
    DOCKER_GATEWAY,
    INTERNET4,
    INTERNET6,
    LAN_GATEWAY4,
    LAN_GATEWAY6,
    LAN_HOST4,
    LAN_HOST6,
    UPLINK4,
    UPLINK6,
    Lab,
    until,
)
from .packet import Kind, Packet, new_ident
from .tally import TALLY
from .test_restart import Service

HOST = (
    UPLINK4,
    UPLINK6,
    LAN_GATEWAY4,
    LAN_GATEWAY6,
    DOCKER_GATEWAY,
    "203.0.113.255",
    "224.0.0.1",
    "ff02::1",
)
INSIDE = (LAN_HOST4, LAN_HOST6, CONTAINER, DNS4, DNS6)
KINDS: tuple[Kind, ...] = ("udp", "tcp", "ping")
SERVICES: tuple[Kind, ...] = ("udp", "tcp")  # the gateway's own address in a network answers ping
PAUSE_S = 0.1
MODES = {"near": "namespace", "far": "vrf"}
ENDS = ("near/phone", "near/laptop", "far/phone", "far/laptop")
ROUNDS = [pytest.param(1), pytest.param(13, marks=pytest.mark.long)]
# As /etc/nftables.conf of Debian: what `systemctl reload nftables` does.
RELOAD = """
flush ruleset
table inet filter {
    chain input { type filter hook input priority filter; }
    chain forward { type filter hook forward priority filter; }
    chain output { type filter hook output priority filter; }
}
"""
# As firewalld reloads: its own table goes and comes in one transaction.
FIREWALLD = """
table inet firewalld
delete table inet firewalld
table inet firewalld {
    chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept; }
}
"""
FLUSH, DELETE = "flush ruleset\n", "delete table inet warpd\n"
DAMAGE: dict[str, tuple[str, str]] = {  # for `nft -f`, in the root and in the namespace
    "flush ruleset, root": (FLUSH, ""),
    "flush ruleset, namespace": ("", FLUSH),
    "flush ruleset, both": (FLUSH, FLUSH),
    "table deleted, root": (DELETE, ""),
    "table deleted, namespace": ("", DELETE),
    "nftables.conf reloaded": (RELOAD, ""),
    "firewalld reloaded": (FIREWALLD, ""),
    "table deleted, both": (DELETE, DELETE),
}


class UnderFire:
    """Two networks, four clients, and what the phones send."""

    def __init__(self, folder: Path) -> None:
        self.lab = Lab(len(ENDS))
        self.gateway = Gateway(self.lab.gw, folder)
        ends = {"phone": {"type": "mobile"}, "laptop": {"type": "mobile"}}
        body = {"type": "secure-internet", "expected_users": 2, "endpoints": ends}
        self.gateway.apply({name: {**body, "isolation": mode} for name, mode in MODES.items()})
        self.shown = {name: self._show(name) for name in MODES}
        self.tunnels = {
            name: Tunnel(host, self.gateway.config(name))
            for name, host in zip(ENDS, self.lab.clients, strict=True)
        }
        for tunnel in self.tunnels.values():
            tunnel.up()
        for shown in self.shown.values():
            self.lab.isp.ip(
                f"route add {shown['subnet']} via {UPLINK4}",
                f"route add {shown['subnet6']} via {UPLINK6}",
            )
        assert all(
            tunnel.wake(target)
            for tunnel in self.tunnels.values()
            for target in (INTERNET4, INTERNET6)
        )
        self.forbidden = {
            name: list(self._forbidden(name)) for name in ENDS if name.endswith("phone")
        }
        self.outwards = {name: list(self._outwards(name)) for name in self.forbidden}

    def _show(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self.gateway.warpctl("network", "show", name, "-o", "json").checked().out
        )
        return found

    def _forbidden(self, name: str) -> Iterator[Packet]:
        others = [
            address for end in ENDS if end != name for address in self.tunnels[end].config.addresses
        ]
        for target in (*HOST, *INSIDE, *others):
            yield from (self._packet(name, kind, target) for kind in KINDS)
        shown = self.shown[name.partition("/")[0]]
        for target in (shown["gateway_address"], shown["gateway_address6"]):
            yield from (self._packet(name, kind, target) for kind in SERVICES)

    def _outwards(self, name: str) -> Iterator[Packet]:
        for target in (INTERNET4, INTERNET6):
            yield from (self._packet(name, kind, target) for kind in KINDS)

    def _packet(self, name: str, kind: Kind, target: str) -> Packet:
        config = self.tunnels[name].config
        return Packet(
            kind, config.address6 if ":" in target else config.address4, target, 7777, new_ident()
        )

    def fire(self) -> None:
        for name, packets in self.forbidden.items():
            encoded = [packet.encode().hex() for packet in (*packets, *self.outwards[name])]
            self.tunnels[name].host.do("barrage", link=LINK, packets=encoded, pause_s=PAUSE_S)

    def cease(self) -> int:
        """How many packets were sent that must not arrive anywhere."""
        sent = 0
        for name, packets in self.forbidden.items():
            (count,) = self.tunnels[name].host.do("barrage_end")
            sent += count["sent"] * len(packets) // (len(packets) + len(self.outwards[name]))
        return sent

    def damage(self, what: str) -> None:
        root, inside = DAMAGE[what]
        if root:
            self.lab.gw.run("nft", "-f", "-", text=root).checked()
        if inside:
            netns = f"--net=/run/netns/warp-{self.shown['near']['vcid']}"
            self.lab.gw.run("nsenter", netns, "nft", "-f", "-", text=inside).checked()

    def is_open(self) -> bool:
        """Whether both phones reach the internet."""
        phones = [self.tunnels[name].host for name in self.forbidden]
        return all(phone.ping(target) for phone in phones for target in (INTERNET4, INTERNET6))

    def arrived(self) -> list[str]:
        """Every arrival of a forbidden packet, and of one that left with its inner source."""
        return self.faults(self.lab.arrivals())

    def faults(self, arrivals: dict[str, list[dict[str, Any]]]) -> list[str]:
        """Those of them that must not be."""
        forbidden = {
            packet.ident: packet for packets in self.forbidden.values() for packet in packets
        }
        outwards = {
            packet.ident: packet for packets in self.outwards.values() for packet in packets
        }
        found = []
        for ident, records in arrivals.items():
            for record in records:
                where = f"{record['host']} {record['where']} {record['link']}, from {record['src']}"
                if ident in forbidden:
                    found.append(f"{forbidden[ident].kind} to {forbidden[ident].target} at {where}")
                elif (
                    ident in outwards
                    and record["host"] == "isp"
                    and record["src"] == outwards[ident].source
                ):
                    found.append(
                        f"{outwards[ident].kind} to {outwards[ident].target} with its inner source"
                        f" at {where}"
                    )
        return found


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
def test_nothing_forbidden_passes_while_the_ruleset_is_gone(
    wireguard: str, tmp_path: Path, running: bool, rounds: int
) -> None:
    under = UnderFire(tmp_path)
    try:
        service = Service(under.gateway)
        if running:
            service.start()
        back: list[tuple[str, bool]] = []
        took: list[float] = []
        under.fire()
        for what in [*DAMAGE] * rounds:
            began = time.monotonic()
            under.damage(what)
            if not running:
                time.sleep(4 * PAUSE_S)
                under.gateway.converge().checked()
            back.append((what, until(under.is_open, 20)))
            took.append(time.monotonic() - began)
        sent, arrived = under.cease(), under.arrived()
        state = "running" if running else "stopped"
        times = f"median {median(took):.2f} s, worst {max(took):.2f} s until all is back"
        print(
            f"\n  {len(took)} times under fire, warpd {state}: forbidden {len(arrived)} of {sent};"
            f" {times}"
        )
        faults = TALLY.forbidden(f"under fire, warpd {state}", [(text, True) for text in arrived])
        faults += TALLY.forbidden(
            f"under fire, warpd {state}", [("", False)] * (sent - len(arrived))
        )
        faults += TALLY.allowed(f"under fire, warpd {state}: back", back)
        if running:
            service.end("TERM")
        assert not faults, "\n".join(sorted(set(faults)))
        assert sent > 100 * len(took), "the lab is wrong: too little was sent"
    finally:
        under.lab.stop()
