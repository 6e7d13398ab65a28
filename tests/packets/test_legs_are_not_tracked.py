"""Frames of many flows pass a mesh whole, and take no entry of the connection table.

a c1 == leg 1 == [bridge, VLAN 100] == leg 2 == c2 b

A VXLAN tunnel sends each flow from a UDP port of its own (RFC 7348, section 5). The gateway's
kernel has br_netfilter, which passes bridged frames to the host's firewall.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest

from .gateway import Gateway, Tunnel
from .lan import Host, Lab, until
from .packet import Packet, new_ident
from .tally import TALLY
from .test_frames import ethernet
from .test_storm import cable_of

VCID = 70000001
FLOWS = 3000  # more than the burst of new connections of an endpoint
AT_ONCE = 100
OTHERS = 50  # entries of pings, of WireGuard and of the host itself
NEAR, FAR = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


def entries(gateway: Host, mode: str) -> int:
    place = () if mode == "vrf" else ("nsenter", f"--net=/run/netns/warp-{VCID}")
    path = "/proc/sys/net/netfilter/nf_conntrack_count"
    return int(gateway.run(*place, "cat", path).checked().out)


def flow(number: int, ident: str) -> bytes:
    packet = Packet("udp", "10.99.0.1", "10.99.0.2", 7777, ident, sport=10000 + number)
    return ethernet(FAR, 0x0800, packet.encode(), source=NEAR)


def is_there(lab: Lab, host: Host, ident: str) -> bool:
    return ident in lab.arrivals([host])


@pytest.mark.parametrize("mode", ["namespace", "vrf"])
def test_flows_of_a_mesh_take_no_entry(wireguard: str, tmp_path: Path, mode: str) -> None:
    lab = Lab(2)
    try:
        gateway = Gateway(lab.gw, tmp_path)
        endpoints = {name: {"type": "cpe"} for name in ("a", "b")}
        mesh = {"type": "l2-mesh", "vcid": VCID, "vlan_id": 100, "isolation": mode}
        gateway.apply({"mesh": {**mesh, "endpoints": endpoints}})
        shown = json.loads(gateway.warpctl("network", "show", "mesh", "-o", "json").checked().out)
        for host, name in zip(lab.clients, endpoints, strict=True):
            tunnel = Tunnel(host, gateway.config(f"mesh/{name}"))
            tunnel.up()
            assert tunnel.wake(str(shown["gateway_address"])), f"no session: {name}"
        near, far = lab.clients
        cables = [str(cable_of(host)["ifname"]) for host in lab.clients]
        far.do("watch_frames", link=cables[1])
        before = entries(lab.gw, mode)
        idents = [new_ident() for _ in range(FLOWS)]
        for start in range(0, FLOWS, AT_ONCE):
            part = range(start, start + AT_ONCE)
            frames = [flow(number, idents[number]).hex() for number in part]
            near.do("frames", link=cables[0], frames=frames)
            until(functools.partial(is_there, lab, far, idents[part[-1]]), 1)
        made = entries(lab.gw, mode) - before
        here = lab.arrivals([far])
        arrived = [(ident, ident in here) for ident in idents]
        lost = TALLY.allowed(f"frames of {FLOWS} flows, {mode}", arrived)
        print(f"\n  {mode}: {FLOWS - len(lost)} of {FLOWS} frames, {made} new entries")
        assert not lost, f"{len(lost)} of {FLOWS} frames"
        assert made <= OTHERS
    finally:
        lab.stop()
