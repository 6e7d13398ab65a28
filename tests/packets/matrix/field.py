"""The whole matrix applied once, every client connected by wg-quick with the config exactly as
printed.

In order: apply; connect; prove every allowed way with the printed AllowedIPs; then let every client
loose (its own AllowedIPs are widened to everything, as a hostile device would), so that what is
stopped is stopped by the gateway.

A probe's fate is predicted before it is sent. What arrives is looked for everywhere: on every link
of every client, of the provider and of the world, and behind the gateway's own input filters.
"""

from __future__ import annotations

import itertools
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..gateway import LINK, Config, Gateway, Tunnel, parse
from ..lan import LAN_GATEWAY4, LAN_GATEWAY6, UPLINK4, UPLINK6, Host, Lab, Stuck, until
from ..packet import Packet, new_ident
from ..tally import Tally
from .model import LAN_NEIGHBOURS, NEIGHBOURS, PORTS, End, Net, networks

PORT, CABLE = "port0", "pc0"  # the LAN port of an L2 client, and the far end of the cable in it
CHUNK = 60
MATRIX = Tally()
LISTENING_PORTS = [22, 49, 50, 54, 53, 7776, 7777, 7778]


@dataclass(frozen=True, slots=True)
class Member:
    """An endpoint with its host."""

    net: Net
    end: End
    number: int
    host: Host
    config: Config
    tunnel: Tunnel
    gateways: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.net.name}/{self.end.name}"

    def own(self, target: str) -> str:
        return self.config.address6 if ":" in target else self.config.address4

    def gateway(self, target: str) -> str:
        return next(a for a in self.gateways if (":" in a) == (":" in target))

    @property
    def mac(self) -> str:
        """The same in every L2 network."""
        return f"02:00:00:00:00:{[end.name for end in self.net.ends].index(self.end.name) + 1:02x}"


@dataclass(frozen=True, slots=True)
class Probe:
    """What is sent, and what must come of it.

    `must` and `may` are names of hosts; `answer` is what comes back.
    """

    category: str
    sender: Member
    text: str
    ident: str
    packets: tuple[bytes, ...]
    must: str = ""
    may: frozenset[str] = frozenset()
    answer: str = ""
    sport: int = 0


@dataclass(slots=True)
class Seen:
    """All arrivals so far."""

    next: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    arrived: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    quoted: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    opened: set[tuple[str, int]] = field(default_factory=set)

    def look(self, host: Host) -> None:
        value = host.do("records", since=self.next[host.name])
        self.next[host.name] = value["next"]
        for record in value["new"]:
            entry = {**record, "host": host.name}
            if record["ident"]:
                self.arrived[record["ident"]].append(entry)
            if record.get("quoted"):
                self.quoted[record["quoted"]].append(entry)
            if record.get("flags") == 0x12:
                self.opened.add((host.name, record["dport"]))

    def where(self, ident: str) -> set[str]:
        return {record["host"] for record in self.arrived.get(ident, ())}


class Field:
    """The applied intent with all its clients."""

    def __init__(self, folder: Path) -> None:
        started = time.monotonic()
        self.nets = networks()
        self.sent: list[Probe] = []
        self.faults: list[str] = []
        self.seen = Seen()
        self.sports = itertools.cycle(range(10000, 60000))
        self.lab = Lab(sum(len(net.ends) for net in self.nets))
        try:
            self._prepare()
            self.gateway = Gateway(self.lab.gw, folder)
            self.apply(folder)
            self.applied_s = time.monotonic() - started
            self._meet()
            self.silent = self._connect()
        except BaseException:
            self.lab.stop()
            raise
        self.ready_s = time.monotonic() - started

    # ---- set-up ------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Listeners and addresses; hosts that never ration ICMP errors; sockets that hear every
        VRF.
        """
        lab, world = self.lab, self.lab.world
        lans = [f"addr add {a} dev lan0" for a in LAN_NEIGHBOURS]
        world.ip(*(f"addr add {a} dev lo" for a in NEIGHBOURS), *lans)
        # No IPv6 router cuts a packet in pieces, and a single large answer may be lost to learning
        # that: learned already.
        world.ip(
            "route change default via 2001:db8:51::1 mtu 1400",
            f"route add {LAN_GATEWAY6} dev lan0 mtu 1400",
        )
        lab.isp.ip(
            *(
                f"route add {a} via {'2001:db8:51::7' if ':' in a else '198.51.100.7'}"
                for a in NEIGHBOURS
            )
        )
        for host in (world, *lab.clients):
            host.run(
                "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"
            ).checked()
        ports = [port for port in PORTS if port not in (9, 53, 54, 7777)]
        world.do("listen", udp=ports, tcp=ports)
        lab.gw.run(
            "sysctl", "-w", *(f"net.ipv4.{kind}_l3mdev_accept=1" for kind in ("tcp", "udp", "raw"))
        )
        members = [(net, end) for net in self.nets for end in net.ends]
        for host, (net, end) in zip(lab.clients, members, strict=True):
            host.do(
                "listen",
                udp=[p for p in LISTENING_PORTS if p != 7777],
                tcp=[p for p in LISTENING_PORTS if p != 7777],
            )
            if end.lans:
                host.ip(*(f"addr add {a} dev lo" for a in end.lans))
            if net.layer2:
                self._lan_port(host, net.ends.index(end) + 1)
        ranges4 = (
            "10.77.0.0/16",
            "10.78.0.0/16",
            "10.79.0.0/16",
            "10.80.0.0/16",
            "10.60.0.0/16",
            "10.70.0.0/16",
        )
        ranges6 = ("fd77:7::/64", "fd78:8::/64", "fd79:9::/64", "fd80:9::/64")
        lans4, lans6 = (
            ("192.168.10.0/24", "192.168.20.0/24", "192.168.77.0/24"),
            (
                "fd00:10::/64",
                "fd00:20::/64",
            ),
        )
        lab.isp.ip(
            *(f"route add {r} via {UPLINK4}" for r in (*ranges4, *lans4, "198.19.0.0/17")),
            *(f"route add {r} via {UPLINK6}" for r in (*ranges6, *lans6)),
        )
        world.ip(
            *(f"route add {r} via {LAN_GATEWAY4} src 10.44.0.9" for r in (*ranges4, *lans4)),
            *(f"route add {r} via {LAN_GATEWAY6} src fd00:44::9" for r in (*ranges6, *lans6)),
        )

    @staticmethod
    def _lan_port(host: Host, number: int) -> None:
        host.ip(
            f"link add {CABLE} address 02:00:00:00:00:{number:02x} type veth peer name {PORT}",
            f"link add link {CABLE} name {CABLE}.105 type vlan id 105",
            f"link set {CABLE} up",
            f"link set {PORT} up",
        )
        # Host and client's bridge are one machine here: each address answers ARP on its own link
        # only.
        host.run("sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1").checked()
        host.do("watch_frames", link=CABLE)

    def apply(self, folder: Path) -> None:
        self.gateway.networks = {net.name: net.document() for net in self.nets}
        self.gateway.write(vlan_scope="network", pools={"ports": "51820-51899"})
        self.result = self.gateway.converge(timeout_s=300)
        if self.result.rc not in (0, 3):
            self.result.checked()

    def _meet(self) -> None:
        """The printed configs and what the networks were given."""
        pairs = [(net, end) for net in self.nets for end in net.ends]
        wanted = [self._print(net, end) for net, end in pairs]
        wanted += [["network", "show", net.name, "-o", "json"] for net in self.nets]
        texts = [self.gateway.warpctl(*words).checked().out for words in wanted]
        shown = [json.loads(text or "{}") for text in texts[len(pairs) :]]
        facts = {net.name: about for net, about in zip(self.nets, shown, strict=True)}
        self.facts = facts
        self.members: dict[str, Member] = {}
        for number, ((net, end), text) in enumerate(zip(pairs, texts, strict=False), 1):
            config, host, about = parse(text), self.lab.clients[number - 1], facts[net.name]
            gateways = (about["gateway_address"], about["gateway_address6"])
            full = End(end.name, config.addresses, end.lans)
            member = Member(
                net,
                full if net.layer2 else end,
                number,
                host,
                config,
                Tunnel(host, config),
                gateways,
            )
            self.members[member.name] = member
        self.hosts = {member.host.name: name for name, member in self.members.items()}
        for net in self.nets:
            if net.mode == "namespace":
                self.lab.gw.do("watch_input", netns=f"warp-{facts[net.name]['vcid']}")
                self.lab.gw.do(
                    "listen",
                    udp=[22, 7777],
                    tcp=[22, 7777],
                    netns=f"warp-{facts[net.name]['vcid']}",
                )

    @staticmethod
    def _print(net: Net, end: End) -> list[str]:
        return [
            "endpoint",
            "config",
            f"{net.name}/{end.name}",
            *(["--lan-port", PORT] if net.layer2 else []),
        ]

    def _connect(self) -> dict[str, str]:
        """All tunnels up; name -> why, for those that got no answer from the gateway's own
        address.
        """
        with ThreadPoolExecutor(4) as pool:
            ways = list(pool.map(self._raise_tunnel, self.members.values()))
        return {name: why for name, why in zip(self.members, ways, strict=True) if why}

    def _raise_tunnel(self, member: Member) -> str:
        try:
            member.tunnel.up()
        except Stuck as problem:
            return str(problem)
        if member.net.layer2:
            member.host.ip(f"link set {CABLE}.105 up")
        deaf = [a for a in member.gateways if a and not member.tunnel.wake(a, 12)]
        return f"no answer from {deaf}" if deaf else ""

    def loose(self) -> None:
        """Let every client send and hear everything: its own AllowedIPs are its own business."""
        for member in self.members.values():
            peer = member.host.run("wg", "show", LINK, "peers").out.strip()
            if peer:
                member.host.run(
                    "wg", "set", LINK, "peer", peer, "allowed-ips", "0.0.0.0/0,::/0"
                ).checked()

    # ---- probing -----------------------------------------------------------------------------

    def of(self, net: Net) -> list[Member]:
        return [member for member in self.members.values() if member.net is net]

    def others(self, net: Net) -> list[Member]:
        return [member for member in self.members.values() if member.net is not net]

    def packet(
        self,
        member: Member,
        kind: Any,
        target: str,
        port: int = 7777,
        source: str = "",
        sport: int = 40000,
    ) -> Packet:
        return Packet(kind, source or member.own(target), target, port, new_ident(), sport)

    def host_of(self, net: Net, name: str) -> str:
        return name if name in ("world", "gw") else self.members[f"{net.name}/{name}"].host.name

    def run(self, probes: Iterable[Probe]) -> list[str]:
        """Send all, fence, look; what went otherwise than predicted, as text.

        Counts by category.
        """
        sent = list(probes)
        groups: dict[str, list[Probe]] = defaultdict(list)
        for probe in sent:
            groups[probe.sender.name].append(probe)
        before = {name: self._entered(name) for name in {self.members[n].net.name for n in groups}}
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda item: self._fire(self.members[item[0]], item[1]), groups.items()))
        self.sent += sent
        until(lambda: self.look() and not any(self._lacks(probe) for probe in sent), 3)
        time.sleep(0.1)
        self.look()
        return [*self._judge(sent), *self._control(groups, before)]

    def _fire(self, member: Member, probes: Sequence[Probe]) -> None:
        packets = [packet for probe in probes for packet in probe.packets]
        for at in range(0, len(packets), CHUNK):
            member.host.do(
                "packets", link=LINK, packets=[packet.hex() for packet in packets[at : at + CHUNK]]
            )
            if not until(lambda: self._fence(member), 8):
                raise Stuck(f"{member.name}: no answer to the packet behind the probes")

    def _fence(self, member: Member) -> bool:
        """A ping that the gateway itself answers has come back: everything before it has been
        handled.
        """
        fence = self.packet(member, "ping", member.gateways[0])
        member.host.send(LINK, [fence])
        return until(lambda: self._came(member.host, fence.ident), 1, 0.003)

    def _came(self, host: Host, ident: str) -> bool:
        self.seen.look(host)
        return host.name in self.seen.where(ident)

    def look(self) -> bool:
        for host in self.lab.hosts:
            self.seen.look(host)
        return True

    def _lacks(self, probe: Probe) -> bool:
        if not probe.must:
            return False
        if probe.must not in self.seen.where(probe.ident):
            return True
        host = probe.sender.host.name
        return {
            "": False,
            "echo": host not in self.seen.where(probe.ident),
            "open": (host, probe.sport) not in self.seen.opened,
            "error": (
                host not in {record["host"] for record in self.seen.quoted.get(probe.ident, ())}
            ),
        }[probe.answer]

    def leaks(self, probe: Probe) -> set[str]:
        found = self.seen.where(probe.ident) | {
            record["host"]
            for record in self.seen.quoted.get(probe.ident, ())
            if not probe.must and record["host"] != probe.sender.host.name
        }
        return found - {probe.must} - probe.may

    def _judge(self, sent: Sequence[Probe]) -> list[str]:
        faults = []
        for probe in sent:
            category = f"{probe.sender.net.column} {probe.category}"
            if probe.must:
                faults += MATRIX.allowed(
                    category, [(f"{probe.sender.name} {probe.text}", not self._lacks(probe))]
                )
            leaked = self.leaks(probe)
            if leaked or not probe.must:
                where = [self.hosts.get(name, name) for name in sorted(leaked)]
                faults += MATRIX.forbidden(
                    category, [(f"{probe.sender.name} {probe.text} at {where}", bool(leaked))]
                )
        return faults

    def late(self) -> list[str]:
        """Probes that were not at a wrong place when their test looked, but are now."""
        self.look()
        return [
            f"{p.sender.name} {p.text} at {sorted(self.leaks(p))}"
            for p in self.sent
            if self.leaks(p)
        ]

    # The control: all that was sent did reach the gateway's device, so that nobody but the gateway
    # can have stopped it.

    def _entered(self, network: str) -> int:
        about = self.facts[network]
        vcid = about["vcid"]
        show = ("ip", "-s", "-j", "link", "show", "dev", f"wg-{vcid}")
        done = (
            self.gateway.inside(vcid, *show)
            if about["isolation"] == "namespace"
            else self.lab.gw.run(*show)
        )
        (link,) = json.loads(done.checked().out)
        received = link["stats64"]["rx"]
        return int(received["packets"]) + int(received["errors"])

    def _control(self, groups: dict[str, list[Probe]], before: dict[str, int]) -> list[str]:
        expected: dict[str, int] = defaultdict(int)
        for name, probes in groups.items():
            expected[self.members[name].net.name] += sum(len(probe.packets) for probe in probes)
        counts = {name: self._entered(name) - before[name] for name in expected}
        return [
            f"only {counts[name]} of {n} packets reached the gateway's device of {name}: the lab is"
            " wrong"
            for name, n in expected.items()
            if counts[name] < n
        ]
