"""Every IP protocol and ICMP type, extension headers and the special ranges of the registries, from
endpoints with a way out.

c1 .. c4 ---- gw ---- isp ---- world 198.51.100.7   (hub and res, in either mode)
               |________________ partner of the host's own GRE tunnel

Only TCP, UDP and ICMP echo leave by NAT: what else left would share one tuple a partner with
everybody, and with the host."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from tests.unit.networks.registries import BEYOND, DOCUMENTATION, IPV4, IPV6

from .gateway import LINK, Gateway, Tunnel
from .lan import INTERNET4, INTERNET6, LAN_HOST4, LAN_HOST6, UPLINK4, UPLINK6, Lab, until
from .matrix.wire import ipv4, ipv6
from .packet import Packet, checksum, new_ident
from .tally import TALLY

BATCH = 100
ALWAYS = {4: (1, 6, 17), 6: (6, 17, 58)}
ECHO = {4: 8, 6: 128}
TYPES: dict[str, dict[str, Any]] = {
    "hub": {"type": "secure-internet"},
    "res": {
        "type": "remote-resource-gateway",
        "resources": [{"subnet": f"{INTERNET4}/32"}, {"subnet": f"{INTERNET6}/128"}],
    },
}
MODES = {"n": "namespace", "v": "vrf"}


@dataclass(frozen=True, slots=True)
class Shot:
    """One packet that must arrive nowhere beyond the gateway."""

    category: str
    text: str
    ident: str
    data: bytes


def raw(version: int, protocol: int, source: str, target: str, body: bytes) -> bytes:
    return (
        ipv4(protocol, source, target, body)
        if version == 4
        else ipv6(protocol, source, target, body)
    )


def protocols(sources: dict[int, str]) -> Iterator[Shot]:
    """All 256 of each family, to the internet, to the host and to its LAN; the body is what GRE
    would carry.
    """
    targets = {4: (INTERNET4, UPLINK4, LAN_HOST4), 6: (INTERNET6, UPLINK6, LAN_HOST6)}
    for version, source in sources.items():
        for target in targets[version]:
            for number in range(256):
                if number not in ALWAYS[version]:
                    ident = new_ident()
                    data = raw(
                        version,
                        number,
                        source,
                        target,
                        struct.pack("!HHI", 0, 0x0800, 0) + ident.encode(),
                    )
                    yield Shot(
                        f"256 protocols v{version}", f"protocol {number} to {target}", ident, data
                    )


def types(sources: dict[int, str]) -> Iterator[Shot]:
    """All 256 ICMP types of each family but echo, about no connection."""
    for version, source in sources.items():
        target = INTERNET4 if version == 4 else INTERNET6
        for number in range(256):
            if number != ECHO[version]:
                ident = new_ident()
                data = raw(
                    version,
                    1 if version == 4 else 58,
                    source,
                    target,
                    icmp(version, source, target, number, ident),
                )
                yield Shot(
                    f"256 ICMP types v{version}", f"ICMP type {number} to {target}", ident, data
                )


def icmp(version: int, source: str, target: str, number: int, ident: str) -> bytes:
    body = struct.pack("!BBHI", number, 0, 0, 0) + ident.encode()
    pseudo = b""
    if version == 6:
        pseudo = (
            ip_address(source).packed
            + ip_address(target).packed
            + struct.pack("!II", len(body), 58)
        )
    return body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]


def headers(sources: dict[int, str]) -> Iterator[Shot]:
    """UDP behind chains of extension headers, to where UDP itself may not go."""
    source = sources[6]
    for target in (UPLINK6, LAN_HOST6, "fd00:9::9", "fe80::99"):
        for chain in (
            (0,),
            (60,),
            (44,),
            (0, 60),
            (60, 44),
            (44, 60),
            (60,) * 6,
            (51,),
            (135,),
            (139,),
            (140,),
            (44, 44),
            (0, 44, 51),
        ):
            ident = new_ident()
            data = Packet("udp", source, target, 7777, ident).encode()[40:]
            following = 17
            for kind in reversed(chain):
                data, following = extension(kind, following) + data, kind
            yield Shot(
                "extension headers v6",
                f"UDP behind {chain} to {target}",
                ident,
                ipv6(following, source, target, data),
            )
        ident = new_ident()
        routing = bytes([17, 2, 0, 1]) + bytes(4) + ip_address(INTERNET6).packed
        data = routing + Packet("udp", source, INTERNET6, 7777, ident).encode()[40:]
        yield Shot(
            "extension headers v6",
            f"routing header by {target}",
            ident,
            ipv6(43, source, target, data),
        )


def extension(kind: int, following: int) -> bytes:
    if kind == 44:
        return struct.pack("!BBHI", following, 0, 0, 77)
    if kind == 51:
        return bytes([following, 4, 0, 0]) + bytes(20)
    padding = bytes([1, 4, 0, 0, 0, 0]) if kind in (0, 60) else bytes(6)
    return bytes([following, 0]) + padding


def special(sources: dict[int, str]) -> Iterator[Shot]:
    """Both ends and the middle of every row of the registries that leads inside, on the port of
    name servers and another.
    """
    rows = [
        block
        for block, _name, reachable in (*IPV4, *IPV6)
        if reachable is not True and block not in DOCUMENTATION
    ]
    for block in sorted({*rows, *BEYOND}):
        network = ip_network(block)
        for address in sorted({network[0], network[-1], network[network.num_addresses // 2]}):
            for port in (53, 7777):
                ident = new_ident()
                packet = Packet("udp", sources[network.version], str(address), port, ident)
                yield Shot(
                    f"special ranges v{network.version}",
                    f"{address} port {port}",
                    ident,
                    packet.encode(),
                )


def test_what_nat_cannot_keep_apart_does_not_leave(wireguard: str, tmp_path: Path) -> None:
    lab = Lab(len(TYPES) * len(MODES))
    try:
        gateway = Gateway(lab.gw, tmp_path)
        # Wide enough that no packet is dropped for their number: the policy must be what drops it.
        wide = {"limits": {"connections": 8000, "connections_per_second": 1000}}
        one = {**wide, "endpoints": {"pc": {"type": "mobile", **wide}}}
        names = [f"{kind}-{mode}" for kind in TYPES for mode in MODES]
        gateway.apply(
            {name: {**TYPES[name[:3]], "isolation": MODES[name[-1]], **one} for name in names}
        )
        faults, shots = [], []
        tunnels = {
            name: Tunnel(host, gateway.config(f"{name}/pc"))
            for name, host in zip(names, lab.clients, strict=True)
        }
        for name, tunnel in tunnels.items():
            tunnel.up()
            assert tunnel.wake(INTERNET4) and tunnel.wake(INTERNET6), name
            peer = tunnel.host.run("wg", "show", LINK, "peers").checked().out.strip()
            tunnel.host.run(
                "wg", "set", LINK, "peer", peer, "allowed-ips", "0.0.0.0/0,::/0"
            ).checked()
            sources = {4: tunnel.config.address4, 6: tunnel.config.address6}
            own = [shot for make in (protocols, types, headers, special) for shot in make(sources)]
            for at in range(0, len(own), BATCH):
                tunnel.host.do(
                    "packets", link=LINK, packets=[shot.data.hex() for shot in own[at : at + BATCH]]
                )
            shots += [(name, shot) for shot in own]
            passed = [
                (f"{name}: {what} to {target}", done)
                for target in (INTERNET4, INTERNET6)
                for what, done in (
                    ("UDP", tunnel.host.udp(target, 7777, new_ident())),
                    ("TCP", tunnel.host.tcp(target, 7777, new_ident())),
                    ("ping", tunnel.host.ping(target)),
                )
            ]
            faults += TALLY.allowed("TCP, UDP and echo", passed)
        arrived = lab.arrivals()
        for name, shot in shots:
            faults += TALLY.forbidden(
                f"{shot.category}, {name}", [(f"{name}: {shot.text}", shot.ident in arrived)]
            )
        assert not faults, f"{len(faults)} of them\n" + "\n".join(faults[:40])
    finally:
        lab.stop()


@pytest.mark.parametrize("mode", MODES.values())
def test_the_hosts_own_tunnel_is_left_alone(wireguard: str, tmp_path: Path, mode: str) -> None:
    """The host speaks GRE with a partner; an endpoint that does the same neither speaks in that
    tunnel nor hears it.
    """
    lab = Lab(1)
    try:
        gateway = Gateway(lab.gw, tmp_path)
        gateway.apply(
            {
                "net": {
                    "type": "secure-internet",
                    "isolation": mode,
                    "endpoints": {"pc": {"type": "mobile"}},
                }
            }
        )
        pc = Tunnel(lab.clients[0], gateway.config("net/pc"))
        pc.up()
        assert pc.wake(INTERNET4)
        ends = (
            (lab.gw, UPLINK4, INTERNET4, "10.7.7.1"),
            (lab.world, INTERNET4, UPLINK4, "10.7.7.2"),
        )
        for host, local, remote, inner in ends:
            host.ip(
                f"link add gre7 type gre local {local} remote {remote} ttl 64",
                f"addr add {inner}/30 dev gre7",
            )
        lab.world.ip("link set gre7 up")
        told, heard = [new_ident() for _ in range(5)], [new_ident() for _ in range(5)]
        inner = [Packet("udp", "10.7.7.1", "10.7.7.2", 7777, ident).encode() for ident in told]
        wrapped = [
            ipv4(47, pc.config.address4, INTERNET4, struct.pack("!HH", 0, 0x0800) + packet)
            for packet in inner
        ]
        pc.host.do("packets", link=LINK, packets=[packet.hex() for packet in wrapped])
        assert pc.host.udp(INTERNET4, 7777, new_ident())
        lab.gw.ip("link set gre7 up")
        for ident in heard:
            lab.world.udp("10.7.7.1", 7777, ident, 0)
        assert not TALLY.allowed(
            f"the host's own GRE, {mode}", [("ping", until(lambda: lab.gw.ping("10.7.7.2"), 5))]
        )
        world, client = lab.arrivals([lab.isp, lab.world]), lab.arrivals([pc.host])
        spoken = [(f"{ident} spoken", ident in world) for ident in told]
        captured = [(f"{ident} captured", ident in client) for ident in heard]
        assert not TALLY.forbidden(f"the host's own GRE, {mode}", spoken + captured)
    finally:
        lab.stop()


@pytest.mark.parametrize("mode", MODES.values())
def test_listed_protocols_leave_without_nat(wireguard: str, tmp_path: Path, mode: str) -> None:
    """Out and back with the endpoint's own address; of the other family, and of what is not listed,
    nothing.
    """
    lab = Lab(1)
    try:
        gateway = Gateway(lab.gw, tmp_path)
        own = {
            "type": "secure-internet",
            "isolation": mode,
            "subnet": "198.51.101.0/29",
            "nat": False,
            "protocols": ["gre", 115],
        }
        gateway.apply({"net": {**own, "endpoints": {"pc": {"type": "mobile"}}}})
        lab.isp.ip(f"route add {own['subnet']} via {UPLINK4}")
        pc = Tunnel(lab.clients[0], gateway.config("net/pc"))
        pc.up()
        assert pc.wake(INTERNET4)
        four, six = pc.config.address4, pc.config.address6
        sent: dict[str, tuple[bytes, bool]] = {}
        for number in (47, 115, 50, 4, 41, 132):
            for version, source, target in ((4, four, INTERNET4), (6, six, INTERNET6)):
                ident = new_ident()
                data = raw(
                    version, number, source, target, struct.pack("!II", 7, 1) + ident.encode()
                )
                sent[ident] = (data, version == 4 and number in (47, 115))
        pc.host.do("packets", link=LINK, packets=[data.hex() for data, _passes in sent.values()])
        assert pc.host.udp(INTERNET4, 7777, new_ident())
        back = {new_ident(): number for number in (47, 115, 50)}
        answers = [
            ipv4(number, INTERNET4, four, struct.pack("!II", 7, 1) + ident.encode()).hex()
            for ident, number in back.items()
        ]
        lab.world.do("routed", packets=answers)
        assert pc.host.udp(INTERNET4, 7777, new_ident())
        rows = {ident: seen for ident, seen in lab.arrivals([lab.world]).items() if ident in sent}
        assert all({row["src"] for row in seen} == {four} for seen in rows.values())
        heard = lab.arrivals([pc.host])
        passed = [(ident, ident in rows) for ident, (_data, passes) in sent.items() if passes]
        passed += [
            (f"{number} back", ident in heard) for ident, number in back.items() if number != 50
        ]
        stopped = [(ident, ident in rows) for ident, (_data, passes) in sent.items() if not passes]
        stopped += [
            (f"{number} back", ident in heard) for ident, number in back.items() if number == 50
        ]
        faults = TALLY.allowed(f"listed protocols, {mode}", passed)
        assert not faults + TALLY.forbidden(f"listed protocols, {mode}", stopped)
    finally:
        lab.stop()
