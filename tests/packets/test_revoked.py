"""What is taken off a list ends with the apply that takes it off: in both directions, and only
that.

pc c1 ---- gw ---- hq c2 --- LANs behind it   (`net`: resources beyond the uplink, and behind hq)
           |  \\
           |   lan0 --- world 10.44.0.9              (a private range, opened)
           isp --- world 198.51.100.7

A conversation is open before the change. After it, the endpoint goes on asking, and the other side
goes on sending. """

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from .gateway import LINK, Gateway, Tunnel
from .lan import (
    DNS4,
    INTERNET4,
    INTERNET6,
    LAN_HOST4,
    LAN_HOST6,
    UPLINK4,
    UPLINK6,
    Host,
    Lab,
    until,
)
from .packet import Packet, new_ident
from .tally import TALLY

MODES = ("namespace", "vrf")
ROUNDS = 3
BEHIND = ("192.168.77.9", "fd00:77::9")  # its entries are taken away
KEPT = ("192.168.78.9", "fd00:78::9")  # these stay
ROUTED = {"subnet": "198.51.101.0/29", "subnet6": "2001:db8:77::/64"}


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation of a client with a listener of `far`, where it arrives by `link`."""

    client: Host
    target: str
    port: int
    far: Host
    link: str
    back: tuple[str, int] = ("", 0)  # where the other side sees the client

    def opened(self) -> Talk:
        """The same, once it works and its address on the other side is known."""
        idents: list[str] = []

        def ask() -> bool:
            idents.append(new_ident())
            return self.ask(idents[-1])

        assert until(ask, 15), f"{self.text} does not work"
        rows = [
            row
            for row in self.far.records()
            if row["ident"] == idents[-1] and row.get("dport") == self.port
        ]
        assert rows, f"the lab is wrong: {self.far.name} did not see {self.text}"
        return replace(self, back=(rows[-1]["src"], rows[-1]["sport"]))

    def ask(self, ident: str, timeout_s: float = 1) -> bool:
        return self.client.udp(self.target, self.port, ident, timeout_s, sport=self.sport)

    @property
    def sport(self) -> int:
        return 41000 + self.port % 1000 + 10 * (":" in self.target)

    @property
    def text(self) -> str:
        return f"{self.target} udp {self.port}"

    def reach(self) -> Iterator[tuple[str, bool]]:
        """Every packet of either direction, and whether it arrived."""
        asked, told = [new_ident() for _ in range(ROUNDS)], [new_ident() for _ in range(ROUNDS)]
        for ident in asked:
            self.ask(ident, 0)
        address, port = self.back
        packets = [
            Packet("udp", self.target, address, port, ident, sport=self.port) for ident in told
        ]
        self.far.do("routed", packets=[packet.encode().hex() for packet in packets])
        until(lambda: self._served(asked) == set(asked) and self._heard(told) == set(told), 0.5)
        served, heard = self._served(asked), self._heard(told)
        yield from ((f"{self.text}: {ident} asked", ident in served) for ident in asked)
        yield from ((f"{self.text}: {ident} sent in", ident in heard) for ident in told)

    def _served(self, idents: list[str]) -> set[str]:
        """Those that arrived at the other side."""
        rows = self.far.records()
        return {
            row["ident"]
            for row in rows
            if row["link"] == self.link and row.get("dport") == self.port
        } & set(idents)

    def _heard(self, idents: list[str]) -> set[str]:
        """Those that came out of the client's tunnel."""
        rows = self.client.records()
        return {
            row["ident"] for row in rows if row["link"] == LINK and row.get("dport") == self.sport
        } & set(idents)


def revoked(category: str, gone: list[Talk], kept: list[Talk]) -> list[str]:
    faults = TALLY.forbidden(
        f"taken away: {category}", [each for talk in gone for each in talk.reach()]
    )
    return faults + TALLY.allowed(
        f"taken away: {category}, others", [each for talk in kept for each in talk.reach()]
    )


def resource(address: str, ports: list[int], via: str = "hq") -> dict[str, Any]:
    subnet = (
        f"{address.rpartition('.')[0]}.0/24"
        if "." in address
        else f"{address.rpartition(':')[0]}:/64"
    )
    out: dict[str, Any] = {"subnet": subnet, "protocol": "udp", "ports": ports}
    return {**out, "via": via} if via else out


def connected(lab: Lab, gateway: Gateway, *names: str) -> list[Tunnel]:
    shown = json.loads(gateway.warpctl("network", "show", "net", "-o", "json").checked().out)
    out = []
    for host, name in zip(lab.clients, names, strict=False):
        tunnel = Tunnel(host, gateway.config(f"net/{name}"))
        tunnel.up()
        assert tunnel.wake(shown["gateway_address"]), f"no tunnel with {name}"
        out.append(tunnel)
    return out


@pytest.mark.parametrize("mode", MODES)
def test_a_resource_behind_an_endpoint(wireguard: str, tmp_path: Path, mode: str) -> None:
    """First one of its ports, then all of it, then `via` as a whole."""
    lab = Lab(2)
    try:
        gateway, routes = (
            Gateway(lab.gw, tmp_path),
            [
                "192.168.77.0/24",
                "192.168.78.0/24",
                "fd00:77::/64",
                "fd00:78::/64",
            ],
        )

        def apply(*resources: dict[str, Any]) -> None:
            endpoints = {"pc": {"type": "mobile"}, "hq": {"type": "cpe", "routes": routes}}
            body = {
                "type": "remote-resource-gateway",
                "isolation": mode,
                "endpoints": endpoints,
                "resources": list(resources),
            }
            gateway.apply({"net": body})

        kept = [resource(address, [7777]) for address in KEPT]
        apply(*kept, *(resource(address, [53, 7777]) for address in BEHIND))
        pc, hq = connected(lab, gateway, "pc", "hq")
        hq.host.ip(*(f"addr add {address} dev lo" for address in (*BEHIND, *KEPT)))
        hq.host.do("listen", udp=[53], tcp=[])
        first = [Talk(pc.host, address, 7777, hq.host, LINK).opened() for address in BEHIND]
        second = [Talk(pc.host, address, 53, hq.host, LINK).opened() for address in BEHIND]
        others = [Talk(pc.host, address, 7777, hq.host, LINK).opened() for address in KEPT]
        assert not TALLY.allowed(
            f"open conversations, {mode}",
            [each for talk in first + second for each in talk.reach()],
        )
        apply(*kept, *(resource(address, [53]) for address in BEHIND))
        faults = revoked(f"a port of via, {mode}", first, second + others)
        apply(*kept)
        faults += revoked(f"a resource of via, {mode}", first + second, others)
        apply()
        assert not faults + revoked(f"every via, {mode}", first + second + others, [])
    finally:
        lab.stop()


@pytest.mark.parametrize("mode", MODES)
def test_a_resource_beyond_the_uplink(wireguard: str, tmp_path: Path, mode: str) -> None:
    """Without NAT the other side needs no mapping to go on sending; with NAT again, what was open
    without it ends.
    """
    lab = Lab(1)
    try:
        gateway = Gateway(lab.gw, tmp_path)
        lab.isp.ip(
            f"route add {ROUTED['subnet']} via {UPLINK4}",
            f"route add {ROUTED['subnet6']} via {UPLINK6}",
        )

        def apply(*ports: int, nat: bool = False) -> None:
            resources = [
                resource(address, list(ports), via="") for address in (INTERNET4, INTERNET6)
            ]
            body = {
                "type": "remote-resource-gateway",
                "isolation": mode,
                "nat": nat,
                "nat6": nat,
                **ROUTED,
            }
            gateway.apply(
                {"net": {**body, "resources": resources, "endpoints": {"pc": {"type": "mobile"}}}}
            )

        apply(53, 7777)
        [pc] = connected(lab, gateway, "pc")
        first = [
            Talk(pc.host, address, 7777, lab.world, "eth0").opened()
            for address in (INTERNET4, INTERNET6)
        ]
        second = [
            Talk(pc.host, address, 53, lab.world, "eth0").opened()
            for address in (INTERNET4, INTERNET6)
        ]
        seen = {talk.back[0] for talk in first + second}
        assert seen == set(pc.config.addresses), "the lab is wrong: the sources are translated"
        assert not TALLY.allowed(
            f"open conversations, {mode}",
            [each for talk in first + second for each in talk.reach()],
        )
        apply(53)
        faults = revoked(f"a port beyond the uplink, {mode}", first, second)
        apply(53, nat=True)
        assert not faults + revoked(f"nat: false, {mode}", first + second, [])
    finally:
        lab.stop()


@pytest.mark.parametrize("mode", MODES)
def test_an_opened_private_range(wireguard: str, tmp_path: Path, mode: str) -> None:
    lab = Lab(1)
    try:
        gateway = Gateway(lab.gw, tmp_path)

        def apply(*opened: str, dns: str = "9.9.9.9") -> None:
            body = {
                "type": "secure-internet",
                "isolation": mode,
                "dns": [dns],
                "allow_private": list(opened),
            }
            gateway.apply({"net": {**body, "endpoints": {"pc": {"type": "mobile"}}}})

        apply("10.44.0.0/24", "fd00:44::/64", dns=DNS4)
        [pc] = connected(lab, gateway, "pc")
        opened = [
            Talk(pc.host, address, 7777, lab.world, "lan0").opened()
            for address in (LAN_HOST4, LAN_HOST6)
        ]
        server = [Talk(pc.host, DNS4, 53, lab.world, "eth0").opened()]
        others = [
            Talk(pc.host, address, 7777, lab.world, "eth0").opened()
            for address in (INTERNET4, INTERNET6)
        ]
        everything = opened + server + others
        assert not TALLY.allowed(
            f"open conversations, {mode}", [each for talk in everything for each in talk.reach()]
        )
        lines = {address: tcp(pc.host, address) for address in (LAN_HOST4, INTERNET4)}
        assert all(lines.values()), "the lab is wrong: TCP does not work"
        apply(dns=DNS4)
        faults = revoked(f"allow_private, {mode}", opened, server + others)
        faults += TALLY.forbidden(
            f"taken away: allow_private, {mode}", [("TCP goes on", says(pc.host, LAN_HOST4))]
        )
        faults += TALLY.allowed(
            f"taken away: allow_private, {mode}, others",
            [("TCP goes on", says(pc.host, INTERNET4))],
        )
        apply()
        assert not faults + revoked(f"a name server, {mode}", opened + server, others)
    finally:
        lab.stop()


def tcp(host: Host, target: str) -> bool:
    """Open a connection that stays open; True when it carries something."""
    return bool(host.do("tcp_open", dst=target, port=7777, timeout_s=5)) and says(host, target)


def says(host: Host, target: str) -> bool:
    ident = new_ident()
    return bool(host.do("tcp_say", dst=target, port=7777, payload=ident, timeout_s=2) == ident)
