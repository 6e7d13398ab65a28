"""One endpoint at full blast leaves the others, and the host, their connections.

busy a c1, from all the addresses of its routes --+
busy b c2 -----------------------------------------+-- gw -- isp -- world
calm a c3 -----------------------------------------+
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .gateway import LINK, Gateway, Tunnel
from .lan import INTERNET4, INTERNET6, Host, Lab
from .packet import Packet, new_ident
from .tally import TALLY

ROUTES = ["192.168.50.0/24", "fd00:50::/64"]
CONNECTIONS, PER_SECOND = 320, 40  # of the network; an endpoint's are an eighth and a quarter
OWN = 40
UNHEARD = 9  # a port on which nobody answers
TRIES = 8
PIECE = 250


def networks(mode: str) -> dict[str, Any]:
    common = {"type": "secure-internet", "isolation": mode}
    ends = {"a": {"type": "mobile", "routes": ROUTES}, "b": {"type": "mobile"}}
    limits = {"connections": CONNECTIONS, "connections_per_second": PER_SECOND}
    return {
        "busy": {**common, "expected_users": 6, "limits": limits, "endpoints": ends},
        "calm": {**common, "endpoints": {"a": {"type": "mobile"}}},
    }


def flood(tunnel: Tunnel, count: int) -> list[Packet]:
    """As many connections of either family, from as many sources as the endpoint has."""
    out = []
    for number in range(count):
        own = (tunnel.config.address4, f"192.168.50.{number % 250 + 1}")[number % 2]
        own6 = (tunnel.config.address6, f"fd00:50::{number + 1:x}")[number % 2]
        for source, target in ((own, INTERNET4), (own6, INTERNET6)):
            out.append(Packet("udp", source, target, UNHEARD, new_ident(), sport=1024 + number))
    return out


def held(gateway: Gateway, vcid: int, mode: str) -> int:
    """Entries of the flood in the table that the network uses first."""
    count = 0
    for family in ("ipv4", "ipv6"):
        inside = ("nsenter", f"--net=/run/netns/warp-{vcid}") if mode == "namespace" else ()
        shown = gateway.host.run(
            *inside, "conntrack", "-L", "-f", family, "-p", "udp", "--orig-port-dst", str(UNHEARD)
        )
        count += shown.checked().out.count(f"dport={UNHEARD}")
    return count


def fresh(who: str, host: Host) -> list[tuple[str, bool]]:
    """New connections, each from a port of its own."""
    out = []
    for target in (INTERNET4, INTERNET6):
        out += [
            (f"{who} tcp {target}", host.tcp(target, 7777, new_ident())) for _ in range(TRIES // 2)
        ]
        out += [
            (f"{who} udp {target}", host.udp(target, 7777, new_ident())) for _ in range(TRIES // 2)
        ]
    return out


def counted(gateway: Gateway, network: str) -> dict[str, int]:
    shown = json.loads(gateway.warpctl("status", "-o", "json").checked().out)
    about = next(item for item in shown["networks"] if item["name"] == network)
    return {reason: int(item["packets"]) for reason, item in about["drops"].items()}


@pytest.mark.parametrize("mode", ["namespace", "vrf"])
def test_one_endpoint_holds_its_share_of_connections(
    wireguard: str, tmp_path: Path, mode: str
) -> None:
    lab = Lab(3)
    try:
        gateway = Gateway(lab.gw, tmp_path)
        gateway.apply(networks(mode))
        vcid = json.loads(gateway.warpctl("network", "show", "busy", "-o", "json").checked().out)[
            "vcid"
        ]
        names = ("busy/a", "busy/b", "calm/a")
        tunnels = {
            name: Tunnel(host, gateway.config(name))
            for name, host in zip(names, lab.clients, strict=True)
        }
        for tunnel in tunnels.values():
            tunnel.up()
            tunnel.wake(INTERNET4)
        packets = flood(tunnels["busy/a"], 2 * PIECE)
        for first in range(0, len(packets), PIECE):
            tunnels["busy/a"].host.send(LINK, packets[first : first + PIECE])
        results = (
            fresh("calm/a", tunnels["calm/a"].host)
            + fresh("busy/b", tunnels["busy/b"].host)
            + fresh("host", lab.gw)
        )
        entries, drops = held(gateway, vcid, mode), counted(gateway, "busy")
        assert 0 < entries <= OWN, f"{entries} entries of an endpoint that may have {OWN}"
        assert drops["connection-rate"] > 0
        assert drops["too-many-connections"] > 0
        assert not TALLY.allowed(f"while one endpoint floods ({mode})", results)
    finally:
        lab.stop()


PORTS_ROUNDS, PORTS_STEP = 3, 1000


@pytest.mark.parametrize("mode", ["namespace", "vrf"])
def test_one_network_leaves_the_ports_to_a_server_to_the_others(
    wireguard: str, tmp_path: Path, mode: str
) -> None:
    """More connections to one port of one server than the block has; others, and the host, still
    get there.
    """
    lab = Lab(2)
    try:
        gateway = Gateway(lab.gw, tmp_path)
        plenty = {"limits": {"connections": 1048576, "connections_per_second": 100000}}
        net = {
            "type": "secure-internet",
            "isolation": mode,
            "endpoints": {"a": {"type": "mobile", **plenty}},
            **plenty,
        }
        gateway.apply({"busy": net, "calm": net})
        tunnels = {
            n: Tunnel(host, gateway.config(f"{n}/a"))
            for n, host in zip(("busy", "calm"), lab.clients, strict=True)
        }
        for tunnel in tunnels.values():
            tunnel.up()
            tunnel.wake(INTERNET4)
        own = tunnels["busy"].config.address4
        for first in range(1024, 1024 + PORTS_ROUNDS * PORTS_STEP, PIECE):
            flood = [
                Packet("udp", own, INTERNET4, 7777, new_ident(), sport=first + n)
                for n in range(PIECE)
            ]
            tunnels["busy"].host.send(LINK, flood)
        shown = lab.gw.run("conntrack", "-L", "-p", "udp", "--orig-port-dst", "7777").checked().out
        used = {
            int(part.removeprefix("dport="))
            for line in shown.splitlines()
            for part in line.split()
            if part[:6] == "dport="
        }
        used -= {7777}
        results = [
            (f"{n} {k}", t.host.udp(INTERNET4, 7777, new_ident()))
            for n, t in tunnels.items()
            for k in range(4)
            if n != "busy"
        ]
        results += [(f"host {k}", lab.gw.udp(INTERNET4, 7777, new_ident())) for k in range(4)]
        drops = json.loads(gateway.warpctl("status", "-o", "json").checked().out)["drops"]
        assert len(used) > PORTS_STEP, f"the lab is wrong: {len(used)} connections"
        assert max(used) - min(used) < 65536 // 24, "ports beyond the block"
        assert int(drops["no-free-port"]["packets"]) > 0
        assert not TALLY.allowed(f"while one network uses up its ports ({mode})", results)
    finally:
        lab.stop()


AT_ONCE = 100
SCANNED = 240  # destinations of each family on the uplink's own link, where nobody is


def looked_for(gateway: Gateway) -> int:
    """Neighbours on the uplink that the host has looked for."""
    shown = [
        gateway.host.run("ip", family, "neigh", "show", "dev", "eth0", "nud", "all").checked().out
        for family in ("-4", "-6")
    ]
    return sum(len(text.splitlines()) for text in shown)


@pytest.mark.parametrize("mode", ["namespace", "vrf"])
def test_one_endpoint_makes_the_host_look_for_few_neighbours(
    wireguard: str, tmp_path: Path, mode: str
) -> None:
    """A scan of the uplink's own link; who has answered there is reached all the same, and so is
    the internet.
    """
    lab = Lab(2)
    try:
        gateway = Gateway(lab.gw, tmp_path)
        net = {"type": "secure-internet", "isolation": mode, "endpoints": {"a": {"type": "cpe"}}}
        gateway.apply({"busy": net, "calm": net})
        tunnels = {
            n: Tunnel(host, gateway.config(f"{n}/a"))
            for n, host in zip(("busy", "calm"), lab.clients, strict=True)
        }
        for tunnel in tunnels.values():
            tunnel.up()
            tunnel.wake(INTERNET4)
        busy, calm = tunnels["busy"], tunnels["calm"]
        near = ("203.0.113.254", "2001:db8:113::fe")
        # many packets at once to one that nobody has heard of yet are one attempt
        own4 = busy.config.address4
        at_once = [Packet("ping", own4, near[0], 0, new_ident(), sport=n) for n in range(AT_ONCE)]
        busy.host.send(LINK, at_once)
        sent = json.loads(gateway.warpctl("status", "-o", "json").checked().out)["drops"]
        assert int(sent["unresolved"]["packets"]) == 0
        reached = [(f"before {target}", busy.host.ping(target)) for target in near]
        targets = [f"203.0.113.{n + 10}" for n in range(SCANNED)] + [
            f"2001:db8:113::{n + 0x1000:x}" for n in range(SCANNED)
        ]
        own = {4: busy.config.address4, 6: busy.config.address6}
        packets = [
            Packet("udp", own[6 if ":" in target else 4], target, UNHEARD, new_ident())
            for target in targets
        ]
        busy.host.send(LINK, packets)
        drops = json.loads(gateway.warpctl("status", "-o", "json").checked().out)["drops"]
        found = looked_for(gateway)
        assert found < len(targets) // 4, f"{found} neighbours looked for"
        assert int(drops["unresolved"]["packets"]) > 0
        reached += [
            (f"busy {target} {n}", busy.host.ping(target)) for target in near for n in range(4)
        ]
        reached += fresh("calm", calm.host) + fresh("host", lab.gw)
        assert not TALLY.allowed(f"while one endpoint scans ({mode})", reached)
    finally:
        lab.stop()
