"""GRE of an endpoint of a wire, towards the tunnels that the host has for itself.

c1 == leg of the wire == gw, the host, with tunnels of anybody: dmvpn (GRE, key 42),
                             bridged (GRETAP, key 43), gre0 (no key)

Where the kernel knows no tunnel of a packet's addresses, it takes one of any address and any link.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from .gateway import LINK, Gateway, Tunnel
from .lan import LAN_GATEWAY4, UPLINK4, Host, Lab
from .matrix.wire import BROADCAST, ipv4, mac
from .packet import Packet, new_ident
from .tally import TALLY

OWN = {"dmvpn": "10.7.3.1", "bridged": "10.7.4.1", "gre0": "10.7.5.1"}
CHECKSUM, KEY, SEQUENCE = 0x8000, 0x2000, 0x1000
BARE, FRAME = 0x0800, 0x6558  # what follows: an IPv4 packet, an Ethernet frame
HEADS = (0, KEY, KEY | SEQUENCE, SEQUENCE, CHECKSUM)


@pytest.mark.parametrize("mode", ["namespace", "vrf"])
def test_gre_of_a_wire_comes_into_no_tunnel_of_the_host(
    wireguard: str, tmp_path: Path, mode: str
) -> None:
    lab = Lab(1)
    try:
        lab.gw.ip("link add dmvpn type gre key 42 ttl 64", "link add bridged type gretap key 43")
        for name, address in OWN.items():
            lab.gw.ip(f"addr add {address}/24 dev {name}", f"link set {name} up")
        gateway = Gateway(lab.gw, tmp_path)
        ends = {"a": {"type": "cpe"}, "b": {"type": "cpe"}}
        gateway.apply({"wire": {"type": "l2-point-to-point", "isolation": mode, "endpoints": ends}})
        end = Tunnel(lab.clients[0], gateway.config("wire/a"))
        end.up()
        shown = json.loads(gateway.warpctl("network", "show", "wire", "-o", "json").checked().out)
        target = shown["gateway_address"]
        assert end.wake(target)
        before = received(lab.gw)
        sent = list(packets(end.config.address4, target))
        end.host.do("packets", link=LINK, packets=[data.hex() for _ident, data in sent])
        assert end.wake(target)  # and what was sent before has come
        inside = {name: count - before[name] for name, count in received(lab.gw).items()}
        here = lab.arrivals([lab.gw])
        services = [
            ident
            for ident, _data in sent
            if any(row["dst"] != target for row in here.get(ident, ()) if row["where"] == "input")
        ]
        arrived = max(sum(inside.values()), len(services))
        of_all = [("", number < arrived) for number in range(len(sent))]
        TALLY.forbidden(f"GRE into the host's own tunnels, {mode}", of_all)
        assert not arrived, (inside, len(services))
    finally:
        lab.stop()


def packets(source: str, target: str) -> Iterator[tuple[str, bytes]]:
    """To the gateway's own address: GRE with every sort of head, keys of the host's tunnels, and in
    it a packet to an address of the host; with the mark of each.
    """
    for flags in HEADS:
        for key in (42, 43, 44) if flags & KEY else (0,):
            for kind in (BARE, FRAME):
                for inner in (*OWN.values(), LAN_GATEWAY4, UPLINK4):
                    ident = new_ident()
                    body = Packet("udp", "10.7.3.9", inner, 7777, ident).encode()
                    if kind == FRAME:
                        if not flags:  # a frame of the leg itself: it is carried, and must be
                            continue
                        body = mac(BROADCAST) + mac("02:00:00:00:00:aa") + b"\x08\x00" + body
                    yield ident, ipv4(47, source, target, head(flags, kind, key) + body)


def head(flags: int, kind: int, key: int) -> bytes:
    out = struct.pack("!HH", flags, kind)
    for flag, value in ((CHECKSUM, 0), (KEY, key), (SEQUENCE, 1)):
        if flags & flag:
            out += struct.pack("!I", value)
    return out


def received(host: Host) -> dict[str, int]:
    """Packets that came into the host's own tunnels."""
    links = json.loads(host.run("ip", "-j", "-s", "link", "show").checked().out)
    return {
        link["ifname"]: link["stats64"]["rx"]["packets"] for link in links if link["ifname"] in OWN
    }
