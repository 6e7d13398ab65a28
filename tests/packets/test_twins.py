"""Two networks with the same subnets and the same LAN behind them share no connection.

What comes from the LAN unasked is let through as an answer only. If the gateway took both networks'
packets for the same connections, a conversation in one would open the same ports in the other.

one   pc c1 10.77.0.x:40000 ---- gw ---- hq c2 --- 192.168.77.9:7777   (this resource is listed)
two   pc c3 10.77.0.x:40000 ---- gw ---- hq c4 --- 192.168.77.9:7777   (another port is)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .gateway import LINK, Gateway, Tunnel
from .lan import Lab, until
from .packet import Packet, new_ident
from .tally import TALLY

LAN = {"192.168.77.0/24": "192.168.77.9", "fd00:77::/64": "fd00:77::9"}
ROUNDS = 5


def network(mode: str, port: int) -> dict[str, Any]:
    return {
        "type": "remote-resource-gateway",
        "isolation": mode,
        "subnet": "10.77.0.0/29",
        "subnet6": "fd77:7::/64",
        "endpoints": {"pc": {"type": "mobile"}, "hq": {"type": "cpe", "routes": list(LAN)}},
        "resources": [
            {"subnet": subnet, "protocol": "udp", "ports": [port], "via": "hq"} for subnet in LAN
        ],
    }


@pytest.mark.parametrize("mode", ["namespace", "vrf"])
def test_twins_share_no_connection(wireguard: str, tmp_path: Path, mode: str) -> None:
    lab = Lab(4)
    try:
        gateway = Gateway(lab.gw, tmp_path)
        gateway.apply({"one": network(mode, 7777), "two": network(mode, 7777)})
        names = ("one/pc", "one/hq", "two/pc", "two/hq")
        tunnels = {
            name: Tunnel(host, gateway.config(name))
            for name, host in zip(names, lab.clients, strict=True)
        }
        for name, tunnel in tunnels.items():
            tunnel.up()
            far = next(iter(LAN.values()))
            if name.endswith("hq"):
                far = tunnels["one/pc"].config.address4
                tunnel.host.ip(*(f"addr add {address} dev lo" for address in LAN.values()))
            # makes the handshake: without one the gateway does not know where it is
            tunnel.host.send(LINK, [Packet("ping", tunnel.config.address4, far, 0, new_ident())])
            assert until(lambda tunnel=tunnel: tunnel.handshake > 0, 15), (
                f"no handshake with {name}"
            )
        one, two = tunnels["one/pc"].config, tunnels["two/pc"].config
        assert one.addresses == two.addresses, "the lab is wrong: the twins are none"
        talked, answers, shadows = [], [], []
        for number in range(ROUNDS):
            for address in LAN.values():
                port, pc = 40000 + number, one.address6 if ":" in address else one.address4
                heard = until(
                    lambda a=address, p=port: tunnels["one/pc"].host.udp(
                        a, 7777, new_ident(), sport=p
                    ),
                    10,
                )
                talked.append((f"one: pc:{port} to {address}:7777", heard))
                for side, into in (("one", answers), ("two", shadows)):
                    packet = Packet("udp", address, pc, port, new_ident(), sport=7777)
                    tunnels[f"{side}/hq"].host.send(LINK, [packet])
                    arrived = until(
                        lambda s=side, i=packet.ident: i in lab.arrivals([tunnels[f"{s}/pc"].host]),
                        1,
                    )
                    into.append((f"{side}: {address}:7777 to {pc}:{port}", arrived))
        faults = TALLY.allowed(f"twins, {mode}: in one", [*talked, *answers])
        assert not faults + TALLY.forbidden(f"twins, {mode}: in two", shadows)
    finally:
        lab.stop()
