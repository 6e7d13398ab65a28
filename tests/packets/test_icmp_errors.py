"""ICMP errors about a connection come only from its own two sides: nobody else ends it, or makes
its packets small.

a c1 ------ gw ------ b c2 --- LAN of b
           / \\
other c3 -+   isp --- world 198.51.100.7

`other` knows addresses and ports of the connections of a, and sends errors that quote their
packets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from .gateway import LINK, Gateway, Tunnel
from .lan import INTERNET4, INTERNET6, UPLINK4, UPLINK6, Host, Lab, until
from .matrix.wire import BROADCAST, frame, gre, quoting
from .packet import Packet, new_ident
from .tally import TALLY

MODES = ("namespace", "vrf")
NAMES = ("a", "b", "other")
LAN_OF_B = ("192.168.77.9", "fd00:77::9")
ROUTER_OF_B = ("192.168.77.1", "fd00:77::1")
SERVICE, SPORT, SMALL_MTU = 7777, 41000, 1300
# kind, code and second word of an error, by IP version
KINDS = {
    4: ((3, 3, 0), (3, 4, SMALL_MTU), (5, 1, 0x0A000001), (11, 0, 0), (12, 0, 0)),
    6: ((1, 4, 0), (2, 0, SMALL_MTU), (3, 0, 0), (4, 0, 0)),
}
Lans = dict[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation of a with somebody: how each side knows the other."""

    near: str
    far: str
    far_host: Host
    far_link: str
    seen: tuple[str, int]  # the address and port of a as the far side knows them

    def quoted(self, ident: str, back: bool) -> Packet:
        """A packet of the far side to a, or of a to the far side."""
        if back:
            return Packet("udp", self.far, self.near, SPORT, ident, sport=SERVICE)
        return Packet("udp", self.near, self.far, SERVICE, ident, sport=SPORT)


def body(kind: str, mode: str) -> dict[str, Any]:
    types = {
        "l3vpn": {"type": "l3vpn-gateway"},
        "mesh": {"type": "secure-internet", "peer_communication": True, "expected_users": 6},
        "via": {
            "type": "remote-resource-gateway",
            "resources": [
                {"subnet": "192.168.77.0/24", "protocol": "udp", "via": "b"},
                {"subnet": "fd00:77::/64", "protocol": "udp", "via": "b"},
                {"subnet": f"{INTERNET4}/32"},
                {"subnet": f"{INTERNET6}/128"},
            ],
        },
    }
    endpoints = {
        "a": {"type": "mobile"},
        "b": {"type": "cpe", "routes": ["192.168.77.0/24", "fd00:77::/64"]},
    }
    return {
        **types[kind],
        "isolation": mode,
        "endpoints": {**endpoints, "other": {"type": "mobile"}},
    }


def conversations(lab: Lab, kind: str, a: Tunnel) -> Iterator[Talk]:
    """Those that the type permits: with a host behind b, with the internet."""
    own = {4: a.config.address4, 6: a.config.address6}
    places = [(far, lab.clients[1], LINK) for far in LAN_OF_B]
    places += [(far, lab.world, "eth0") for far in (INTERNET4, INTERNET6) if kind != "l3vpn"]
    for far, host, link in places:
        ident = new_ident()
        assert until(partial(a.host.udp, far, SERVICE, ident, 1, sport=SPORT), 15), (
            f"the lab is wrong: a and {far}"
        )
        row = next(
            row for row in host.records() if row["ident"] == ident and row.get("dport") == SERVICE
        )
        yield Talk(own[6 if ":" in far else 4], far, host, link, (row["src"], row["sport"]))


@dataclass(frozen=True, slots=True)
class Error:
    """One to be sent by a host, into its tunnel as it is or by its own routes, and where it would
    be seen.
    """

    sender: Host
    link: str
    source: str
    target: str
    quoted: Packet
    at: Host
    at_link: str
    kind: tuple[int, int, int]

    def send(self) -> None:
        packet = quoting(self.source, self.target, self.quoted.encode(), *self.kind)
        if self.link == LINK:
            self.sender.do("packets", link=LINK, packets=[packet.hex()])
        else:
            self.sender.do("routed", packets=[packet.hex()])

    def arrived(self) -> bool:
        rows = self.at.records()
        return any(
            row.get("quoted") == self.quoted.ident and row["link"] == self.at_link for row in rows
        )

    @property
    def text(self) -> str:
        return (
            f"{self.source} to {self.target}, kind {self.kind[0]}, about {self.quoted.source} to"
            f" {self.quoted.target}"
        )


def of_others(talk: Talk, a: Tunnel, other: Tunnel) -> Iterator[Error]:
    """To either side of the conversation, in the sender's own name."""
    version = 6 if ":" in talk.far else 4
    source = other.config.address6 if version == 6 else other.config.address4
    for kind in KINDS[version]:
        to_a = talk.quoted(new_ident(), back=False)
        to_far = talk.quoted(new_ident(), back=True)
        yield Error(other.host, LINK, source, talk.near, to_a, a.host, LINK, kind)
        yield Error(other.host, LINK, source, talk.far, to_far, talk.far_host, talk.far_link, kind)


def of_both_sides(talk: Talk, a: Tunnel) -> Iterator[Error]:
    """From a, from the host that it speaks with, and from a router on the way there."""
    version = 6 if ":" in talk.far else 4
    inside = talk.far_link == LINK
    router = ROUTER_OF_B[version == 6] if inside else talk.far
    address, port = talk.seen
    for kind in KINDS[version][:2]:
        to_far = talk.quoted(new_ident(), back=True)
        yield Error(a.host, LINK, talk.near, talk.far, to_far, talk.far_host, talk.far_link, kind)
        for source in dict.fromkeys((talk.far, router)) if inside else ():
            to_a = talk.quoted(new_ident(), back=False)
            yield Error(talk.far_host, LINK, source, talk.near, to_a, a.host, LINK, kind)
        if not inside:
            sent = Packet("udp", address, talk.far, SERVICE, new_ident(), sport=port)
            yield Error(talk.far_host, "eth0", talk.far, address, sent, a.host, LINK, kind)


def connected(lab: Lab, gateway: Gateway, kind: str, mode: str) -> list[Tunnel]:
    gateway.apply({"net": body(kind, mode)})
    shown = json.loads(gateway.warpctl("network", "show", "net", "-o", "json").checked().out)
    out = []
    for host, name in zip(lab.clients, NAMES, strict=True):
        tunnel = Tunnel(host, gateway.config(f"net/{name}"))
        tunnel.up()
        assert tunnel.wake(shown["gateway_address"]), f"no tunnel with {name}"
        out.append(tunnel)
    for tunnel in out:  # a hostile client sends what it likes
        peer = tunnel.host.run("wg", "show", LINK, "peers").checked().out.strip()
        tunnel.host.run("wg", "set", LINK, "peer", peer, "allowed-ips", "0.0.0.0/0,::/0").checked()
    return out


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["l3vpn", "mesh", "via"])
def test_errors_come_only_from_the_sides_of_a_connection(
    wireguard: str, tmp_path: Path, kind: str, mode: str
) -> None:
    lab = Lab(3)
    try:
        gateway = Gateway(lab.gw, tmp_path)
        a, b, other = connected(lab, gateway, kind, mode)
        b.host.ip(*(f"addr add {address} dev lo" for address in LAN_OF_B))
        talks = list(conversations(lab, kind, a))
        assert {talk.seen[0] for talk in talks} - {talk.near for talk in talks} <= {
            UPLINK4,
            UPLINK6,
        }
        forged = [error for talk in talks for error in of_others(talk, a, other)]
        true = [error for talk in talks for error in of_both_sides(talk, a)]
        for error in (*forged, *true):
            error.send()
        until(lambda: all(error.arrived() for error in true))
        lost = TALLY.allowed(
            f"errors of both sides, {kind}, {mode}",
            [(error.text, error.arrived()) for error in true],
        )
        passed = [(error.text, error.arrived()) for error in forged]
        assert not lost + TALLY.forbidden(f"errors of others, {kind}, {mode}", passed)
    finally:
        lab.stop()


@pytest.mark.parametrize("mode", MODES)
def test_the_gateway_learns_a_path_from_nobody_else(
    wireguard: str, tmp_path: Path, mode: str
) -> None:
    """What the way to an endpoint carries, for the gateway's own tunnels to it, that endpoint alone
    says.
    """
    lab = Lab(2)
    try:
        gateway, vcid = Gateway(lab.gw, tmp_path), 70000001
        endpoints = {"a": {"type": "cpe"}, "other": {"type": "cpe"}}
        gateway.apply(
            {
                "net": {
                    "type": "l2-point-to-point",
                    "vcid": vcid,
                    "isolation": mode,
                    "endpoints": endpoints,
                }
            }
        )
        shown = json.loads(gateway.warpctl("network", "show", "net", "-o", "json").checked().out)
        own = shown["gateway_address"]
        a, other = (
            Tunnel(host, gateway.config(f"net/{name}"))
            for host, name in zip(lab.clients, endpoints, strict=True)
        )
        for tunnel in (a, other):
            tunnel.up()
            assert tunnel.wake(own)
        place = ("nsenter", f"--net=/run/netns/warp-{vcid}") if mode == "namespace" else ()
        table = () if mode == "namespace" else ("vrf", f"vrf-{vcid}")
        ask = (*place, "ip", "route", "get", a.config.address4, *table)
        # A broadcast of `other`, which the gateway has sent on to a by GRE.
        broadcast = frame("02:00:00:00:00:02", BROADCAST, new_ident())
        sent = gre(other.config.address4, own, broadcast)
        other.host.do("packets", link=LINK, packets=[sent.hex()])
        quoted = gre(own, a.config.address4, broadcast)
        results = []
        for tunnel in (other, a):
            error = quoting(tunnel.config.address4, own, quoted, 3, 4, SMALL_MTU)
            tunnel.host.do("packets", link=LINK, packets=[error.hex()])
            assert tunnel.wake(own)
            results.append(f"mtu {SMALL_MTU}" in lab.gw.run(*ask).checked().out)
        assert not TALLY.allowed(
            f"path MTU of an endpoint, by itself, {mode}", [("a of itself", results[1])]
        )
        assert not TALLY.forbidden(
            f"path MTU of an endpoint, by others, {mode}", [("other of a", results[0])]
        )
    finally:
        lab.stop()
