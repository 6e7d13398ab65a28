"""A neighbour on the uplink routes what it likes to the gateway: no address inside is reached, no
host service by one.

isp (203.0.113.254) ---- gw: listeners on 0.0.0.0 and ::
                          |--- transit link --- [namespace] ---wg--- phone
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from .gateway import Gateway, Tunnel
from .lan import INTERNET4, INTERNET6, UPLINK4, UPLINK6, Lab, until
from .packet import Kind, Packet, new_ident
from .tally import TALLY

VCID = 70000001
KINDS: tuple[Kind, ...] = ("udp", "tcp", "ping")
SOURCES4, SOURCES6 = ("203.0.113.254", INTERNET4), ("2001:db8:113::fe", INTERNET6)


def send_to_gateway(lab: Lab, packets: Sequence[bytes]) -> None:
    """From the next router on the uplink, in frames to the gateway itself: no route says so."""
    macs = []
    for host, link in ((lab.gw, "eth0"), (lab.isp, "gw")):
        shown = json.loads(host.run("ip", "-j", "link", "show", "dev", link).checked().out)
        macs.append(shown[0]["address"].replace(":", ""))
    frames = [
        f"{''.join(macs)}{'86dd' if packet[0] >> 4 == 6 else '0800'}{packet.hex()}"
        for packet in packets
    ]
    lab.isp.do("frames", link="gw", frames=frames)


@pytest.mark.parametrize("mode", ["namespace", "vrf"])
def test_nothing_inside_is_reached_from_the_uplink(
    wireguard: str, tmp_path: Path, mode: str
) -> None:
    lab = Lab(1)
    try:
        gateway = Gateway(lab.gw, tmp_path)
        network = {
            "type": "secure-internet",
            "vcid": VCID,
            "isolation": mode,
            "endpoints": {"phone": {"type": "mobile"}},
        }
        gateway.apply({"a": network})
        phone = Tunnel(lab.clients[0], gateway.config("a/phone"))
        phone.up()
        shown = json.loads(gateway.warpctl("network", "show", "a", "-o", "json").checked().out)
        own = [shown["gateway_address"], shown["gateway_address6"]]
        assert all(phone.wake(address) for address in own)
        targets = [*own, *phone.config.addresses]
        if mode == "namespace":
            shows = lab.gw.run("ip", "-j", "addr", "show", "dev", f"dn-{VCID}").checked().out
            near = [
                item["local"]
                for item in json.loads(shows)[0]["addr_info"]
                if item["scope"] == "global"
            ]
            far = [
                f"198.19.{address.split('.')[2]}.{int(address.split('.')[3]) ^ 1}"
                for address in near
                if "." in address
            ]
            targets += [*near, *far]
        probes: dict[str, Packet] = {}
        for target in targets:
            for source in SOURCES6 if ":" in target else SOURCES4:
                for kind in KINDS:
                    ident = new_ident()
                    probes[ident] = Packet(kind, source, target, 7777, ident)
        control = [
            Packet("udp", SOURCES4[0], UPLINK4, 7777, new_ident()),
            Packet("udp", SOURCES6[0], UPLINK6, 7777, new_ident()),
        ]
        send_to_gateway(lab, [packet.encode() for packet in (*probes.values(), *control)])
        assert until(lambda: {packet.ident for packet in control} <= lab.arrivals([lab.gw]).keys())
        assert all(phone.wake(address) for address in own)
        heard = {**lab.arrivals([lab.gw]), **lab.arrivals(lab.clients)}
        results = [
            (f"{packet.kind} {packet.source} to {packet.target}", ident in heard)
            for ident, packet in probes.items()
        ]
        assert not TALLY.forbidden(f"from the uplink to addresses inside, {mode}", results)
    finally:
        lab.stop()
