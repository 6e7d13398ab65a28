"""The intent that most packet tests share, applied once: six networks, ten endpoints, all connected
by wg-quick.

    hub      hub-and-spoke, everything automatic           h1 = c1, h2 = c2
    mesh     peer_communication, globally routed ranges    m1 = c3, m2 = c4
    left     \\ the same IPv4 and IPv6 subnet,              a = c5
    right    / another endpoint                            z = c6
    four     ipv6: false                                   v = c7
    lenient  allow_private and a DNS server inside         l = c8
    (c9 has no account: the stranger)

The provider routes every network's range back to the gateway, and so does each client's whole
default route: whatever the gateway lets out to the wrong place has a way to arrive there.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .gateway import ISOLATION, LINK, Config, Gateway, Tunnel
from .lan import (
    DNS4,
    DNS6,
    INTERNET4,
    INTERNET6,
    LAN_HOST4,
    LAN_HOST6,
    UPLINK4,
    UPLINK6,
    Host,
    Lab,
    Stuck,
    until,
)
from .packet import Kind, Packet, new_ident
from .tally import TALLY

KINDS: tuple[Kind, ...] = ("udp", "tcp", "ping")
VCIDS = {
    "hub": 11111111,
    "mesh": 22222222,
    "left": 33333333,
    "right": 44444444,
    "four": 55555555,
    "lenient": 66666666,
}
MEMBERS = (
    ("hub", "h1"),
    ("hub", "h2"),
    ("mesh", "m1"),
    ("mesh", "m2"),
    ("left", "a"),
    ("right", "z"),
    ("four", "v"),
    ("lenient", "l"),
)
# Wide on purpose: it covers the other networks' own ranges (10.77.0.0/16, 10.100.0.0/16), which
# stay out of reach.
LISTED4 = ("172.16.9.9/32", f"{LAN_HOST4}/32", "10.64.0.0/10")
LISTED6 = ("fd00:9::9/128", f"{LAN_HOST6}/128")
ALLOWED_INSIDE = ("172.16.9.9", LAN_HOST4, "fd00:9::9", LAN_HOST6)
TWIN: dict[str, object] = {"subnet": "10.77.0.0/29", "subnet6": "fd77:7::/64"}
MESH_RANGES = ("198.51.101.0/29", "2001:db8:77::/64")

NETWORKS: dict[str, dict[str, object]] = {
    "hub": {"expected_users": 6},
    "mesh": {"peer_communication": True, "subnet": MESH_RANGES[0], "subnet6": MESH_RANGES[1]},
    "left": TWIN,
    "right": TWIN,
    "four": {"ipv6": False},
    "lenient": {"allow_private": [*LISTED4, *LISTED6], "dns": [DNS4, DNS6]},
}


def intent() -> dict[str, object]:
    endpoints: dict[str, dict[str, object]] = {name: {} for name in NETWORKS}
    for network, name in MEMBERS:
        endpoints[network][name] = {"type": "mobile"}
    endpoints["right"]["z"] = {"type": "mobile", "address": "10.77.0.3"}
    common = {"type": "secure-internet"}
    return {
        name: {**common, "vcid": VCIDS[name], **rest, "endpoints": endpoints[name]}
        for name, rest in NETWORKS.items()
    }


@dataclass(frozen=True, slots=True)
class Member:
    """An endpoint: its host, its config and its network's addresses."""

    name: str
    network: str
    number: int
    host: Host
    config: Config
    tunnel: Tunnel
    gateway4: str
    gateway6: str

    @property
    def vcid(self) -> int:
        return VCIDS[self.network]

    @property
    def internet(self) -> tuple[str, ...]:
        return (INTERNET4, INTERNET6) if self.config.address6 else (INTERNET4,)

    def own(self, target: str) -> str:
        """Its inner address of the target's family; in a network without IPv6 one that it might
        have had.
        """
        return (self.config.address6 or "fd00:5::5") if ":" in target else self.config.address4

    def packet(
        self, kind: Kind, target: str, port: int = 7777, source: str = "", sport: int = 40000
    ) -> Packet:
        return Packet(kind, source or self.own(target), target, port, new_ident(), sport)


Shot = tuple[Member, Packet]


class Standing:
    """The applied intent with all its clients."""

    def __init__(self, folder: Path) -> None:
        started = time.monotonic()
        self._forbidden: list[tuple[Member, Packet, Sequence[str]]] = []
        self.lab = Lab(len(MEMBERS) + 1)
        try:
            self.gateway = Gateway(self.lab.gw, folder)
            self.gateway.apply(intent())
            self.applied_s = time.monotonic() - started
            self._route_back()
            made = [self._member(number, name) for number, name in enumerate(MEMBERS, 1)]
            self.members = {member.name: member for member in made}
            self._connect()
            for vcid in (
                VCIDS.values() if ISOLATION == "namespace" else ()
            ):  # else they live in the root, watched already
                self.lab.gw.do("watch_input", netns=f"warp-{vcid}")
                # A service inside a network's own room is one of the host, too.
                self.lab.gw.do("listen", udp=[7777], tcp=[7777], netns=f"warp-{vcid}")
        except BaseException:
            self.lab.stop()
            raise
        self.ready_s = time.monotonic() - started

    def __getitem__(self, name: str) -> Member:
        return self.members[name]

    @property
    def stranger(self) -> Host:
        return self.lab.clients[-1]

    def _route_back(self) -> None:
        ranges4 = (MESH_RANGES[0], "10.100.0.0/16", "10.77.0.0/16", "198.19.0.0/17")
        ranges6 = (MESH_RANGES[1], "fd77::/16")
        self.lab.isp.ip(
            *(f"route add {r} via {UPLINK4}" for r in ranges4),
            *(f"route add {r} via {UPLINK6}" for r in ranges6),
        )

    def _member(self, number: int, name: tuple[str, str]) -> Member:
        network, endpoint = name
        host = self.lab.clients[number - 1]
        config = self.gateway.config(f"{network}/{endpoint}")
        vcid = VCIDS[network]
        shown = (
            self.gateway.inside(vcid, "ip", "-j", "addr", "show", "dev", f"wg-{vcid}").checked().out
        )
        found = [a["local"] for a in json.loads(shown)[0]["addr_info"] if a["scope"] == "global"]
        four = next(a for a in found if ":" not in a)
        six = next((a for a in found if ":" in a), "")
        return Member(endpoint, network, number, host, config, Tunnel(host, config), four, six)

    def _connect(self) -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda member: member.tunnel.up(), self.members.values()))
            awake = pool.map(
                lambda m: all(m.tunnel.wake(a) for a in m.internet), self.members.values()
            )
            silent = [
                member.name
                for member, ok in zip(self.members.values(), awake, strict=True)
                if not ok
            ]
        if silent:
            raise Stuck(
                f"no way to the internet for {silent}\n{self.gateway.warpctl('status').out}"
            )

    def stopped(
        self, category: str, shots: Iterable[Shot], permitted: Sequence[str] = ()
    ) -> list[str]:
        """Send all; what arrived at all, as text.

        `permitted` names hosts at which an arrival is no fault.
        """
        sent = list(shots)
        self._fire(sent)
        self._forbidden += [(who, packet, permitted) for who, packet in sent]
        arrivals = self.lab.arrivals()
        faults = [
            (f"{who.network}/{who.name} {describe(p)}", self._where(arrivals, p, permitted))
            for who, p in sent
        ]
        return TALLY.forbidden(
            category, [(f"{what} at {where}", bool(where)) for what, where in faults]
        )

    def late(self) -> list[str]:
        """Forbidden probes that were not there when their test looked, but are now."""
        arrivals = self.lab.arrivals()
        found = [
            (who, packet, self._where(arrivals, packet, ok)) for who, packet, ok in self._forbidden
        ]
        return [
            f"{who.network}/{who.name} {describe(packet)} at {where}"
            for who, packet, where in found
            if where
        ]

    def passed(self, category: str, shots: Iterable[Shot], at: str) -> list[str]:
        """Send all; what did not arrive at the host `at`, as text."""
        sent = list(shots)
        self._fire(sent)
        place = next(host for host in self.lab.hosts if host.name == at)
        until(
            lambda: {packet.ident for _who, packet in sent} <= self.lab.arrivals([place]).keys(), 2
        )
        arrivals = self.lab.arrivals([place])
        return TALLY.allowed(
            category,
            [
                (
                    f"{who.network}/{who.name} {describe(p)}",
                    p.ident in arrivals,
                )
                for who, p in sent
            ],
        )

    def _fire(self, sent: Sequence[Shot]) -> None:
        for who, group in itertools.groupby(sent, key=lambda shot: shot[0]):
            who.host.send(LINK, [packet for _who, packet in group])
        for name in dict.fromkeys(who.name for who, _packet in sent):
            if not until(partial(self._fence, self[name].host)):
                raise Stuck(f"{name}: no answer to the packet behind the probes")
        time.sleep(0.1)  # the way to another client is a hop longer than the fence's

    @staticmethod
    def _fence(host: Host) -> bool:
        return host.udp(INTERNET4, 7777, new_ident(), 1)

    @staticmethod
    def _where(
        arrivals: dict[str, list[dict[str, object]]], packet: Packet, permitted: Sequence[str]
    ) -> str:
        return ", ".join(
            f"{r['host']} {r['where']} {r['link']}"
            for r in arrivals.get(packet.ident, ())
            if r["host"] not in permitted
        )


def describe(packet: Packet) -> str:
    return f"{packet.kind} {packet.source} -> {packet.target} port {packet.port}"
