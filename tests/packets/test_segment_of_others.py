"""A segment takes frames from its own network's tunnels only, whoever has the same addresses,
guarded or flushed.

wire  left c1 10.77.0.1 == GRE == [bridge] == GRE == c2 right 10.77.0.2
mesh  a c3 10.77.1.1 == VXLAN == [bridge] == VXLAN == c4 b 10.77.1.2
evil  x c5: of a network with the addresses of the wire, y c6: with those of the mesh
isp: a neighbour on the uplink

Frames of every kind: IPv4, ARP, and what no firewall of the gateway looks at.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .gateway import LINK, Gateway, Tunnel
from .lan import UPLINK4, Lab, until
from .matrix.wire import BROADCAST, TEST_ETHERTYPE, gre, vxlan
from .packet import Packet, new_ident
from .tally import TALLY
from .test_frames import arp, ethernet
from .test_neighbour import send_to_gateway

VCIDS = {"wire": 70000001, "mesh": 70000002, "evilwire": 70000003, "evilmesh": 70000004}
NAMES = ("wire/left", "wire/right", "mesh/a", "mesh/b", "evilwire/x", "evilmesh/y")
SUBNETS = {"wire": "10.77.0.0/30", "mesh": "10.77.1.0/29"}
VNI = 110001


def networks(mode: str) -> dict[str, Any]:
    cpe, mobile = {"type": "cpe"}, {"type": "mobile"}
    bodies: dict[str, dict[str, Any]] = {
        "wire": {
            "type": "l2-point-to-point",
            "subnet": SUBNETS["wire"],
            "endpoints": {"left": cpe, "right": cpe},
        },
        "mesh": {
            "type": "l2-mesh",
            "vlan_id": 100,
            "subnet": SUBNETS["mesh"],
            "endpoints": {"a": cpe, "b": cpe},
        },
        "evilwire": {
            "type": "secure-internet",
            "subnet": SUBNETS["wire"],
            "endpoints": {"x": mobile},
        },
        "evilmesh": {
            "type": "secure-internet",
            "subnet": SUBNETS["mesh"],
            "endpoints": {"y": mobile},
        },
    }
    return {name: {**body, "vcid": VCIDS[name], "isolation": mode} for name, body in bodies.items()}


def frames() -> list[tuple[str, bytes]]:
    """With the marker of each, where it is seen."""
    packet = Packet("udp", "10.99.0.1", "10.99.0.2", 7777, new_ident())
    ident, asked = new_ident(), new_ident()
    plain = ethernet(BROADCAST, TEST_ETHERTYPE, ident.encode())
    return [
        (packet.ident, ethernet(BROADCAST, 0x0800, packet.encode())),
        (asked, ethernet(BROADCAST, 0x0806, arp("10.99.0.2") + asked.encode())),
        (ident, plain),
    ]


class Field:
    def __init__(self, folder: Path, mode: str) -> None:
        lab = self.lab = Lab(len(NAMES))
        self.mode, self.gateway = mode, Gateway(lab.gw, folder)
        self.gateway.apply(networks(mode))
        self.own: dict[str, str] = {}
        self.tunnels: dict[str, Tunnel] = {}
        for name, host in zip(NAMES, lab.clients, strict=True):
            tunnel = self.tunnels[name] = Tunnel(host, self.gateway.config(name))
            tunnel.up()
            network = name.partition("/")[0]
            shown = json.loads(
                self.gateway.warpctl("network", "show", network, "-o", "json").checked().out
            )
            self.own[network] = str(shown["gateway_address"])
            assert tunnel.wake(self.own[network]), f"no session: {name}"
            links = json.loads(host.run("ip", "-j", "link", "show").checked().out)
            for link in links:
                if link["ifname"].startswith(("gt-", "vx-")):
                    host.do("watch_frames", link=link["ifname"])
        assert (
            self.tunnels["wire/left"].config.address4 == self.tunnels["evilwire/x"].config.address4
        )
        assert self.tunnels["mesh/a"].config.address4 == self.tunnels["evilmesh/y"].config.address4

    def flush(self) -> None:
        self.lab.gw.run("nft", "flush", "ruleset").checked()
        for vcid in VCIDS.values() if self.mode == "namespace" else ():
            self.lab.gw.run(
                "nsenter", f"--net=/run/netns/warp-{vcid}", "nft", "flush", "ruleset"
            ).checked()

    def wrapped(self, kind: str, source: str, target: str, frame: bytes) -> list[bytes]:
        if kind == "wire":
            return [gre(source, target, frame), gre(source, target, frame, key=1)]
        return [vxlan(source, target, VNI, frame), vxlan(source, target, VNI + 1, frame)]

    def attack(self, kind: str) -> list[tuple[str, str]]:
        """From the other network with the same addresses, and from the uplink; each marker with
        what was sent.
        """
        evil = self.tunnels["evilwire/x" if kind == "wire" else "evilmesh/y"]
        source, own = evil.config.address4, self.own[kind]
        sent: list[tuple[str, str]] = []
        for ident, frame in frames():
            packets = self.wrapped(kind, source, own, frame)
            evil.host.do("packets", link=LINK, packets=[packet.hex() for packet in packets])
            sent.append((ident, f"{kind} from the other network, {frame[12:14].hex()}"))
        for target in (own, UPLINK4):
            for ident, frame in frames():
                send_to_gateway(self.lab, self.wrapped(kind, source, target, frame))
                sent.append((ident, f"{kind} from the uplink to {target}, {frame[12:14].hex()}"))
        return sent

    def control(self, kind: str) -> bool:
        """The right sender's frame comes out."""
        near, far = ("wire/left", "wire/right") if kind == "wire" else ("mesh/a", "mesh/b")
        tunnel = self.tunnels[near]
        ident, frame = frames()[2]
        for packet in self.wrapped(kind, tunnel.config.address4, self.own[kind], frame):
            tunnel.host.do("packets", link=LINK, packets=[packet.hex()])
        return until(lambda: ident in self.lab.arrivals([self.tunnels[far].host]))


@pytest.mark.parametrize("mode", ["namespace", "vrf"])
def test_no_frame_of_others_comes_into_a_segment(wireguard: str, tmp_path: Path, mode: str) -> None:
    field = Field(tmp_path, mode)
    try:
        faults = []
        for state in ("guarded", "flushed"):
            assert field.control("wire") and field.control("mesh"), f"the lab is wrong: {state}"
            if state == "flushed":
                field.flush()
            sent = [item for kind in SUBNETS for item in field.attack(kind)]
            field.gateway.converge().checked()
            assert field.control("wire") and field.control("mesh"), f"the lab is wrong: {state}"
            arrived = field.lab.arrivals([field.tunnels[name].host for name in NAMES[:4]])
            results = [(text, ident in arrived) for ident, text in sent]
            faults += TALLY.forbidden(f"frames of others, {mode}, {state}", results)
        assert not faults
    finally:
        field.lab.stop()
