"""A neighbour on the uplink forges answers: nothing comes in that the other side of a connection
did not send.

isp (a router, and a neighbour) ---- gw ---- a c1, b c2  (`out`: NAT, `own`: its addresses)
        |
        world 198.51.100.7

The neighbour sends frames to the gateway's own MAC. It knows every address inside, on transit links
and on the outside of NAT, and all ports of open connections, but it is not the other side of one:
each packet differs from a true answer in one thing. The same while the ruleset is flushed and
nothing of warpd runs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from .gateway import LINK, Gateway, Tunnel
from .lan import INTERNET4, INTERNET6, UPLINK4, UPLINK6, Lab, until
from .matrix.wire import quoting
from .packet import Packet, new_ident
from .tally import TALLY
from .test_neighbour import send_to_gateway

MODES = ("namespace", "vrf")
VCIDS = {"out": 70000001, "own": 70000002}
KEPT = {"subnet": "198.51.101.0/29", "subnet6": "2001:db8:77::/64", "nat": False, "nat6": False}
SERVICE, BATCH = 7777, 50
ROUTER = {4: "203.0.113.254", 6: "2001:db8:113::fe"}
OTHERS = {
    4: ("203.0.113.254", "203.0.113.77", "198.51.100.9"),
    6: ("2001:db8:113::fe", "2001:db8:113::77", "2001:db8:51::9"),
}
PEER = {4: INTERNET4, 6: INTERNET6}
SYN, RST, ACK, FIN, PUSH = 2, 4, 16, 1, 8
TCP_FLAGS = (SYN, SYN | ACK, ACK, PUSH | ACK, FIN | ACK, RST, RST | ACK, 0, 0x3F)
FLUSHED = {
    "guarded": "guarded",
    "root": "root flushed",
    "inside": "namespaces flushed",
    "all": "all flushed",
}
# kind and code of an error, by IP version: unreachable, too big, time exceeded, redirect
ERRORS = {4: ((3, 3), (3, 4), (11, 0), (5, 1)), 6: ((1, 4), (2, 0), (3, 0))}


@dataclass(frozen=True, slots=True)
class Open:
    """An open connection of an endpoint, as it knows it and as the far side does."""

    inner: str
    sport: int
    outer: str
    outer_port: int
    kind: str  # udp or tcp

    @property
    def version(self) -> int:
        return 6 if ":" in self.inner else 4


@dataclass(frozen=True, slots=True)
class Probe:
    """A packet of the neighbour: its bytes, and the mark by which it is known where it arrives."""

    ident: str
    text: str
    packet: bytes


def opened(lab: Lab, tunnel: Tunnel, sport: int) -> Iterator[Open]:
    for version, target in PEER.items():
        inner = tunnel.config.address6 if version == 6 else tunnel.config.address4
        ident = new_ident()
        ask = partial(tunnel.host.udp, target, SERVICE, ident, 1, sport=sport)
        assert until(ask, 15), f"the lab is wrong: no way to {target}"
        yield _seen(lab, ident, inner, sport, "udp")
        assert tunnel.host.do("tcp_open", dst=target, port=SERVICE, timeout_s=5)
        ident = new_ident()
        assert (
            tunnel.host.do("tcp_say", dst=target, port=SERVICE, payload=ident, timeout_s=3) == ident
        )
        answers = [
            row for row in tunnel.host.records() if row["ident"] == ident and row["src"] == target
        ]
        yield _seen(lab, ident, inner, answers[0]["dport"], "tcp")


def _seen(lab: Lab, ident: str, inner: str, sport: int, kind: str) -> Open:
    row = next(
        row for row in lab.world.records() if row["ident"] == ident and row.get("dport") == SERVICE
    )
    return Open(inner, sport, row["src"], row["sport"], kind)


def probes(connections: list[Open], places: list[str]) -> Iterator[Probe]:
    yield from to_mappings(connections)
    yield from to_places(connections, places)
    yield from errors(connections, places)


def to_mappings(connections: list[Open]) -> Iterator[Probe]:
    """To an open connection, from another address or port than the far side's."""
    for one in connections:
        wrong = [(source, SERVICE) for source in OTHERS[one.version]] + [
            (PEER[one.version], SERVICE + 1)
        ]
        for source, sport in wrong:
            yield from _transports(source, one.outer, sport, one.outer_port)


def to_places(connections: list[Open], places: list[str]) -> Iterator[Probe]:
    """To addresses that are not those of the outside, in the name of the far side and of others,
    with ports of connections.
    """
    for target in places:
        version = 6 if ":" in target else 4
        ports = {
            (one.sport, one.outer_port)
            for one in connections
            if one.version == version and target != one.outer
        }
        for source in (PEER[version], ROUTER[version]):
            for port in sorted(set(itertools.chain.from_iterable(ports))):
                yield from _transports(source, target, SERVICE, port)
            ident = new_ident()
            yield Probe(
                ident,
                f"ping {source} to {target}",
                Packet("ping", source, target, 0, ident).encode(),
            )


def errors(connections: list[Open], places: list[str]) -> Iterator[Probe]:
    """About packets of connections as the gateway never sent them: inner addresses outside, or one
    thing changed.
    """
    for one in connections:
        source = OTHERS[one.version][0]
        inner = Packet(one.kind, one.inner, PEER[one.version], SERVICE, "", sport=one.sport)  # type: ignore[arg-type]
        outer = replace(inner, source=one.outer, sport=one.outer_port)
        quotes = [
            (one.outer, replace(outer, port=SERVICE + 1)),
            (one.outer, replace(outer, target=OTHERS[one.version][2])),
        ]
        if one.outer != one.inner:
            quotes += [(one.outer, inner), (one.inner, inner), (one.inner, outer)]
        quotes += [
            (place, inner)
            for place in places
            if (":" in place) == (one.version == 6) and place != one.inner
        ]
        for (target, quoted), (kind, code) in itertools.product(quotes, ERRORS[one.version]):
            ident = new_ident()
            packet = quoting(source, target, replace(quoted, ident=ident).encode(), kind, code)
            yield Probe(
                ident,
                f"error {kind}/{code} to {target} about {quoted.source} to {quoted.target}"
                f" {quoted.port}",
                packet,
            )


def _transports(source: str, target: str, sport: int, port: int) -> Iterator[Probe]:
    ident = new_ident()
    yield Probe(
        ident,
        f"udp {source} {sport} to {target} {port}",
        Packet("udp", source, target, port, ident, sport).encode(),
    )
    for flags in TCP_FLAGS:
        ident = new_ident()
        packet = Packet("tcp", source, target, port, ident, sport, flags=flags)
        yield Probe(ident, f"tcp {flags:#x} {source} {sport} to {target} {port}", packet.encode())


class Field:
    def __init__(self, folder: Path, mode: str) -> None:
        lab = self.lab = Lab(2)
        self.mode, self.gateway = mode, Gateway(lab.gw, folder)
        lab.isp.ip(
            f"route add {KEPT['subnet']} via {UPLINK4}",
            f"route add {KEPT['subnet6']} via {UPLINK6}",
        )
        common = {
            "type": "secure-internet",
            "isolation": mode,
            "endpoints": {"e": {"type": "mobile"}},
        }
        networks = {
            "out": {**common, "vcid": VCIDS["out"]},
            "own": {**common, "vcid": VCIDS["own"], **KEPT},
        }
        self.gateway.apply(networks)
        self.tunnels: dict[str, Tunnel] = {}
        self.own: dict[str, list[str]] = {}
        for name, host in zip(networks, lab.clients, strict=True):
            tunnel = self.tunnels[name] = Tunnel(host, self.gateway.config(f"{name}/e"))
            tunnel.up()
            shown = json.loads(
                self.gateway.warpctl("network", "show", name, "-o", "json").checked().out
            )
            self.own[name] = [shown["gateway_address"], shown["gateway_address6"]]
            assert all(tunnel.wake(address) for address in self.own[name])
        if mode == "namespace":
            for vcid in VCIDS.values():
                self.lab.gw.do("watch_input", netns=f"warp-{vcid}")

    def places(self, guarded: bool) -> list[str]:
        """Addresses of endpoints, of the gateway inside, and of transit links.

        The gateway's end of a transit link is an address of the host. Without any ruleset it
        answers to whoever is answered on the uplink's address, so that it is no place of ours then.
        """
        inner = [address for tunnel in self.tunnels.values() for address in tunnel.config.addresses]
        out = [*inner, *itertools.chain.from_iterable(self.own.values())]
        for vcid in VCIDS.values() if self.mode == "namespace" else ():
            ends = self.gateway.transit(vcid)
            out += ends if guarded else ends[len(ends) // 2 :]
        return out

    def flush(self, where: str) -> None:
        """The ruleset of the root, of the namespaces, or all."""
        if where != "inside":
            self.lab.gw.run("nft", "flush", "ruleset").checked()
        for vcid in VCIDS.values() if self.mode == "namespace" and where != "root" else ():
            self.gateway.inside(vcid, "nft", "flush", "ruleset").checked()

    def send(self, sent: list[Probe]) -> None:
        """All of them, and at last what arrives by the same link whatever is flushed."""
        fence = Packet("udp", ROUTER[4], UPLINK4, SERVICE, new_ident())
        packets = [*(probe.packet for probe in sent), fence.encode()]
        for at in range(0, len(packets), BATCH):
            send_to_gateway(self.lab, packets[at : at + BATCH])
        assert until(lambda: fence.ident in self.lab.arrivals([self.lab.gw]))

    def repair(self) -> None:
        self.gateway.converge().checked()
        waits = [(t, address) for name, t in self.tunnels.items() for address in self.own[name]]
        assert all(tunnel.wake(address) for tunnel, address in waits)

    def inside(self, sent: list[Probe], places: list[str]) -> list[tuple[str, bool]]:
        """Each probe, and whether an endpoint or an address of a network got it."""
        rows = [row for host in self.lab.clients for row in host.records() if row["link"] == LINK]
        own = (row for row in self.lab.gw.records() if row["where"] == "input")
        rows += [row for row in own if row["dst"] in places]
        arrived = {row["ident"] or row.get("quoted") for row in rows}
        return [(probe.text, probe.ident in arrived) for probe in sent]


@pytest.mark.parametrize("mode", MODES)
def test_no_forged_answer_comes_in(wireguard: str, tmp_path: Path, mode: str) -> None:
    """The guard in force, and without it: nothing of warpd runs here that would repair it."""
    field = Field(tmp_path, mode)
    try:
        numbered = enumerate(field.tunnels.values(), 41000)
        connections = [
            one for sport, tunnel in numbered for one in opened(field.lab, tunnel, sport)
        ]
        faults = []
        for state in (
            ("guarded", "root", "inside", "all") if mode == "namespace" else ("guarded", "all")
        ):
            if state != "guarded":
                field.flush(state)
            places = field.places(state in ("guarded", "inside"))
            sent = list(probes(connections, places))
            field.send(sent)
            field.repair()
            results = field.inside(sent, places)
            faults += TALLY.forbidden(f"forged answers, {mode}, {FLUSHED[state]}", results)
        assert not faults
        again = [(one.inner, says(field, one)) for one in connections]
        assert not TALLY.allowed(f"connections that were attacked, {mode}", again)
    finally:
        field.lab.stop()


def says(field: Field, one: Open) -> bool:
    """Whether the connection still works."""
    tunnel = next(t for t in field.tunnels.values() if one.inner in t.config.addresses)
    target, ident = PEER[one.version], new_ident()
    if one.kind == "udp":
        return tunnel.host.udp(target, SERVICE, ident, sport=one.sport)
    about = {"dst": target, "port": SERVICE, "payload": ident, "timeout_s": 20}
    return bool(tunnel.host.do("tcp_say", **about) == ident)
