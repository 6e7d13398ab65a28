"""Without NAT the gateway routes the endpoints' own addresses, and still nothing comes in but
answers of the internet.

world 198.51.100.7 ---- isp ---- gw ---- pc   (network "open", nat: false)
                                  |
                                  +----- pal  (network "other", nat: false)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .gateway import LINK, Gateway, Tunnel
from .lan import INTERNET4, INTERNET6, UPLINK4, UPLINK6, Lab, until
from .packet import Packet, new_ident
from .tally import TALLY

ROUNDS = 3
TYPES: dict[str, dict[str, Any]] = {
    "secure-internet": {},
    "remote-resource-gateway": {
        "resources": [{"subnet": f"{INTERNET4}/32"}, {"subnet": f"{INTERNET6}/128"}]
    },
}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("mode", ["namespace", "vrf"])
def test_only_answers_come_in(wireguard: str, tmp_path: Path, mode: str, kind: str) -> None:
    lab = Lab(1)
    try:
        gateway = Gateway(lab.gw, tmp_path)
        subnets = {"subnet": "198.51.101.0/29", "subnet6": "2001:db8:77::/64"}
        endpoints = {"pc": {"type": "mobile"}}
        gateway.apply(
            {
                "open": {
                    "type": kind,
                    "isolation": mode,
                    **subnets,
                    **TYPES[kind],
                    "nat": False,
                    "nat6": False,
                    "endpoints": endpoints,
                }
            }
        )
        lab.isp.ip(
            f"route add {subnets['subnet']} via {UPLINK4}",
            f"route add {subnets['subnet6']} via {UPLINK6}",
        )
        pc = Tunnel(lab.clients[0], gateway.config("open/pc"))
        pc.up()
        talks, unasked = [], []
        for number in range(ROUNDS):
            for address, source in (
                (INTERNET4, pc.config.address4),
                (INTERNET6, pc.config.address6),
            ):
                ident, sport = new_ident(), 40000 + number
                talked = until(
                    lambda a=address, i=ident, p=sport: pc.host.udp(a, 7777, i, sport=p), 10
                )
                seen = {row["src"] for row in lab.arrivals([lab.world]).get(ident, ())}
                talks.append(
                    (f"pc to {address}, seen as {seen}", bool(talked) and seen == {source})
                )
                for port in (53, 7777, sport):
                    other = new_ident()
                    lab.world.udp(source, port, other, 0)
                    unasked.append((f"{address} to {source} port {port}", other))
        control = new_ident()
        assert until(lambda: pc.host.udp(INTERNET4, 7777, control), 10)
        arrived = lab.arrivals([lab.gw, lab.clients[0]])
        passed = lab.arrivals([lab.isp])
        assert all(ident in passed for _, ident in unasked), (
            "the lab is wrong: the provider did not see all of it"
        )
        faults = TALLY.allowed(f"routed, {mode}: {kind} to the internet", talks)
        shadows = [(text, ident in arrived) for text, ident in unasked]
        assert not faults + TALLY.forbidden(
            f"routed, {mode}: {kind} from the internet, unasked", shadows
        )
    finally:
        lab.stop()


@pytest.mark.parametrize(
    "modes", [("namespace", "namespace"), ("vrf", "vrf"), ("namespace", "vrf")]
)
def test_two_networks_punch_no_hole(wireguard: str, tmp_path: Path, modes: tuple[str, str]) -> None:
    """Each sends to the other at once: to either guard the other's packets look like the answers to
    its own.
    """
    lab = Lab(2)
    try:
        gateway = Gateway(lab.gw, tmp_path)
        names = ("open", "other")
        networks: dict[str, Any] = {
            name: {
                "type": "secure-internet",
                "isolation": mode,
                "subnet": f"198.51.10{number}.0/29",
                "subnet6": f"2001:db8:7{number}::/64",
                "nat": False,
                "nat6": False,
                "endpoints": {"pc": {"type": "mobile"}},
            }
            for number, (name, mode) in enumerate(zip(names, modes, strict=True), 1)
        }
        gateway.apply(networks)
        for body in networks.values():
            lab.isp.ip(
                f"route add {body['subnet']} via {UPLINK4}",
                f"route add {body['subnet6']} via {UPLINK6}",
            )
        ends = [
            Tunnel(host, gateway.config(f"{name}/pc"))
            for host, name in zip(lab.clients, names, strict=True)
        ]
        talks, punches = [], []
        for end in ends:
            end.up()
            for address in (INTERNET4, INTERNET6):
                talked = until(lambda h=end.host, a=address: h.udp(a, 7777, new_ident()), 10)
                talks.append((f"{end.config.address4} to {address}", talked))
        for number in range(ROUNDS):
            for one, other in (ends, reversed(ends)):
                for source, target in zip(
                    one.config.addresses, other.config.addresses, strict=True
                ):
                    packet = Packet(
                        "udp", source, target, 41000 + number, new_ident(), sport=41000 + number
                    )
                    one.host.send(LINK, [packet])
                    punches.append(
                        (f"{source} to {target} port {packet.port}", packet.ident, other.host)
                    )
        for end in ends:
            assert until(
                lambda h=end.host: h.udp(INTERNET4, 7777, new_ident()), 10
            )  # what was sent before it is through
        arrived = {end.host: lab.arrivals([end.host]) for end in ends}
        faults = TALLY.allowed(f"routed, {' and '.join(modes)}: to the internet", talks)
        holes = [(text, ident in arrived[host]) for text, ident, host in punches]
        assert not faults + TALLY.forbidden(
            f"routed, {' and '.join(modes)}: from each other", holes
        )
    finally:
        lab.stop()
